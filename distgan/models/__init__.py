"""The model zoo: `MODELS[name].build(settings, length, channels, condition_dim)` gives the networks of a
family.

A new family is one file here with a `build`, one section in config.py, and one line in `MODELS`.
"""

from torch import nn

from distgan import config
from distgan.models import multiscale, seed

MODELS = {"multiscale": multiscale.build, "seed": seed.build}


def build(settings: config.Config, length: int, channels: int) -> dict[str, nn.Module]:
    """The networks that `model.name` names: `generator(noise (B, noise_dim), condition (B, K)) -> (B, L, C)`
    in [-1, 1] and `discriminator(series (B, L, C), condition) -> logits (B, H)`.
    """
    family = MODELS[settings.model.name]
    return family(settings.model, length, channels, settings.bank.condition_dim)  # type: ignore[operator]
