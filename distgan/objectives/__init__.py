"""What each network of a family minimises. `GAMES` names the families that do not play the plain game."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from distgan import config
from distgan.models import noise_width
from distgan.objectives.adversarial import Adversarial, Condition, Levelled, keep_level
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
    condition: Condition,
    across: Callable[[Tensor], Tensor] = lambda count: count,
    dtype: torch.dtype = torch.float32,
    steps_per_day: int = 24,
    real_condition: Condition | None = None,
    levelled: Levelled = keep_level,
) -> Objective:
    """The objective of the family that `model.name` names. Arguments as of `Adversarial`."""
    return GAMES.get(settings.model.name, Adversarial)(
        networks,
        noise_dim=noise_width(networks["generator"]),
        condition=condition,
        real_condition=real_condition,
        settings=settings.objective,
        seed=settings.seed,
        burn_in_steps=settings.train.burn_in_steps,
        across=across,
        dtype=dtype,
        family=settings.model,
        steps_per_day=steps_per_day,
        levelled=levelled,
    )
