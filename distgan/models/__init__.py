"""The model families: one file each, found by the settings in `model` (`distgan.config.find_family`).

A family's module has `build(settings, length, channels, condition_dim, labels)`, which gives its networks by
name, and where they differ from the plain case `Game`, a subclass of `Adversarial`, and
`join_sampler(networks)`. README.md beside this file states the interface of a family and how to add one.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from types import ModuleType

from torch import Tensor, nn

from distgan import config
from distgan.errors import UserError
from distgan.objectives.adversarial import PLAIN, Adversarial, Arithmetic, Condition, Conditions, Rules
from distgan.objectives.owner_games import GameByOwners, OwnerGame

Score = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
MakeOwnerGame = Callable[[dict[str, nn.Module], Conditions, Rules], GameByOwners]


def find_module(settings: config.Config) -> ModuleType:
    """Return the module with the networks and the game of the family that `model` names."""
    return import_module(type(settings.model).find_module_name())


def build(settings: config.Config, length: int, channels: int, labels: int = 0) -> dict[str, nn.Module]:
    """Return the family's networks: `generator(noise (B, noise_dim), condition (B, K)) -> (B, L, C)` and, but
    for fitted ones and those without a game, `discriminator(series (B, L, C), condition) -> logits (B, H)`;
    some families have more, or others: `join_sampler` returns what samples. K is `compute_condition_width`.
    """
    width = compute_condition_width(settings, channels, labels)
    networks: dict[str, nn.Module] = find_module(settings).build(
        settings.model, length, channels, width, labels
    )
    return networks


def make_objective(
    settings: config.Config,
    networks: dict[str, nn.Module],
    conditions: Conditions,
    arithmetic: Arithmetic = PLAIN,
    steps_per_day: int = 24,
) -> Adversarial:
    """Return the family's game, `Game` of its module or the plain one. Arguments as of `Adversarial`."""
    game: type[Adversarial] = getattr(find_module(settings), "Game", Adversarial)
    return game(networks, conditions, make_rules(settings, networks, steps_per_day), arithmetic)


def make_owner_game(
    settings: config.Config,
    networks: dict[str, nn.Module],
    conditions: Conditions,
    paired: Condition,
    steps_per_day: int = 24,
) -> GameByOwners:
    """Return the family's game by owners, `OwnerGame` of its module or the plain one.

    Args:
        paired: as of the plain `OwnerGame`; families without a discriminator pair nothing.

    Raises:
        UserError: as `find_owner_game`.
    """
    own, rules = find_owner_game(settings), make_rules(settings, networks, steps_per_day)
    if own is not None:
        if settings.privacy.public is None:  # else the networks know that of the public series
            rules = replace(rules, expected_deviation=settings.data.scaling.expected_deviation)
        return own(networks, conditions, rules)
    return OwnerGame(networks, conditions, paired, rules)


def find_owner_game(settings: config.Config) -> MakeOwnerGame | None:
    """Return the game by owners in the family's module; None for the plain one.

    Raises:
        UserError: the family has none, and the plain one would give noise to another network, or no noise to
            what reads real series: the family has a game of its own, or its generator learns from them.
    """
    module = find_module(settings)
    own: MakeOwnerGame | None = getattr(module, "OwnerGame", None)
    if own is None and (hasattr(module, "Game") or settings.model.private_network != "discriminator"):
        raise UserError(
            f"privacy.end_to_end: model {settings.model.name} has a game of its own, or no discriminator, "
            "and no class OwnerGame, so it cannot be taken by owners; use model multiscale or rectified_flow"
        )
    return own


def make_rules(settings: config.Config, networks: dict[str, nn.Module], steps_per_day: int) -> Rules:
    return Rules(
        settings.objective,
        settings.seed,
        compute_noise_width(networks["generator"]),
        settings.train.burn_in_steps,
        steps_per_day,
        settings.model,
    )


def compute_condition_width(settings: config.Config, channels: int, labels: int = 0) -> int:
    """Return the numbers of a condition: location and scale of every channel, the group's mean, one for each
    label.
    """
    return 2 * channels + settings.bank.condition_dim + labels


def join_sampler(settings: config.Config, networks: dict[str, nn.Module]) -> nn.Module:
    """Return the trained networks as one that samples: (B, noise_dim), (B, K) -> (B, L, C)."""
    join = getattr(find_module(settings), "join_sampler", None)
    joined: nn.Module = networks["generator"] if join is None else join(networks)
    return joined


def find_score(settings: config.Config) -> Score | None:
    """Return what scores series by the network that samples, higher for those it was trained on; None where
    the family has no such function: (sampler, series, mask, condition) -> (B,).
    """
    score: Score | None = getattr(find_module(settings), "score_series", None)
    return score


def find_smallest_share(sampler: nn.Module) -> float:
    """Return the share of the training series behind the smallest part of which the network that samples
    keeps a mean; 1 where it has no parts.
    """
    find: Callable[[], float] | None = getattr(sampler, "find_smallest_share", None)
    return 1.0 if find is None else find()


def compute_noise_width(generator: nn.Module) -> int:
    """Return the numbers of noise that a generator takes for a series."""
    return int(generator.noise_dim)  # type: ignore[arg-type]
