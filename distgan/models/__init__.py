"""The model zoo: `MODELS[name]` is the file of a family; `build(settings, length, channels, condition_dim,
labels)` there gives its networks by name.

A new family is one file here with a `build`, one section in config.py, and one line in `MODELS`. Its
generator takes standard normal noise (B, noise_dim) and a condition (B, K), which it may ignore, and gives
series (B, L, C) on the scale of [-1, 1]. The last `labels` numbers of a condition tell a label, if there are
any: 1 at its place and 0 elsewhere. If sampling takes more than the network `generator`, the file has a
`sampler(networks)` that joins them; if it is fitted without gradients, its generator has a `fit`; if no
weight of it belongs to a step, `ANY_LENGTH`.
"""

from types import ModuleType

from torch import nn

from distgan import config
from distgan.models import classical, crnn_gan, mlp_gan, multiscale, nr_gan, seed, timegan, tts_cgan, tts_gan

MODELS: dict[str, ModuleType] = {
    "multiscale": multiscale,
    "seed": seed,
    "mlp_gan": mlp_gan,
    "tts_gan": tts_gan,
    "tts_cgan": tts_cgan,
    "timegan": timegan,
    "crnn_gan": crnn_gan,
    "nr_gan": nr_gan,
    **dict.fromkeys(classical.FAMILIES, classical),
}


def build(settings: config.Config, length: int, channels: int, labels: int = 0) -> dict[str, nn.Module]:
    """The networks that `model.name` names: `generator(noise (B, noise_dim), condition (B, K)) -> (B, L, C)`
    and, but for the classical ones, `discriminator(series (B, L, C), condition) -> logits (B, H)`; some
    families have more. A condition has `condition_numbers`.
    """
    family = MODELS[settings.model.name]
    width = condition_width(settings, channels, labels)
    networks: dict[str, nn.Module] = family.build(settings.model, length, channels, width, labels)
    return networks


def condition_width(settings: config.Config, channels: int, labels: int = 0) -> int:
    """Numbers of a condition: level and spread of every channel, the group's mean, one for each label."""
    return 2 * channels + settings.bank.condition_dim + labels


def join_sampler(settings: config.Config, networks: dict[str, nn.Module]) -> nn.Module:
    """The trained networks as one that samples: (B, noise_dim), (B, K) -> (B, L, C)."""
    join = getattr(MODELS[settings.model.name], "sampler", None)
    joined: nn.Module = networks["generator"] if join is None else join(networks)
    return joined


def makes_any_length(name: str) -> bool:
    """Whether a family's trained networks make series of another length than they were trained on."""
    return getattr(MODELS[name], "ANY_LENGTH", False)


def noise_width(generator: nn.Module) -> int:
    """Numbers of noise that a generator takes for a series."""
    return int(generator.noise_dim)  # type: ignore[arg-type]
