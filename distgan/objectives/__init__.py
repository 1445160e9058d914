"""What each network of a family minimises. `GAMES` names the families that do not play the plain game."""

from torch import nn

from distgan import config
from distgan.models import noise_width
from distgan.objectives.adversarial import PLAIN, Adversarial, Arithmetic, Conditions, Rules
from distgan.objectives.base import Objective
from distgan.objectives.crnn_gan import CrnnGAN
from distgan.objectives.nr_gan import NoiseReduction
from distgan.objectives.timegan import TimeGAN
from distgan.objectives.tts_cgan import LabelGAN

GAMES: dict[str, type[Adversarial]] = {
    "timegan": TimeGAN,
    "crnn_gan": CrnnGAN,
    "nr_gan": NoiseReduction,
    "tts_cgan": LabelGAN,
}


def make_objective(
    settings: config.Config,
    networks: dict[str, nn.Module],
    conditions: Conditions,
    arithmetic: Arithmetic = PLAIN,
    steps_per_day: int = 24,
) -> Objective:
    """The objective of the family that `model.name` names. Arguments as of `Adversarial`."""
    return GAMES.get(settings.model.name, Adversarial)(
        networks,
        conditions,
        Rules(
            settings.objective,
            settings.seed,
            noise_width(networks["generator"]),
            settings.train.burn_in_steps,
            steps_per_day,
            settings.model,
        ),
        arithmetic,
    )
