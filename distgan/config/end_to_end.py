"""Settings that a run with end-to-end privacy refuses, because they would read real series outside of the
accounted sums. Each is refused by name, with the setting to change; nothing is switched off silently.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from distgan.config.anonymity import Encoder, Privacy
from distgan.config.data import Data
from distgan.config.families import FAMILIES
from distgan.config.family import Family
from distgan.config.sweep import Sweep
from distgan.config.training import Engine, Objective, Train

COMPARING = ("relativistic",)  # losses of which the generator's side looks at real logits
SEPARATE = "nonsaturating, hinge, lsgan or standard"


class Settings(Protocol):
    """The sections of `Config` that are looked at here."""

    @property
    def data(self) -> Data: ...
    @property
    def encoder(self) -> Encoder: ...
    @property
    def privacy(self) -> Privacy: ...
    @property
    def model(self) -> Family: ...
    @property
    def objective(self) -> Objective: ...
    @property
    def train(self) -> Train: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def sweep(self) -> Sweep: ...


def refuse_uncovered(settings: Settings) -> None:
    """
    Raises:
        ValueError: a setting reads real series in a way that the budget does not count.
    """
    for words in _list_uncovered(settings):
        raise ValueError(f"privacy.end_to_end: {words}")


def _list_uncovered(settings: Settings) -> Iterator[str]:
    yield from _check_model(settings)
    yield from _check_losses(settings)
    yield from _check_data(settings)
    yield from _check_training(settings)
    yield from _check_engine(settings)


def _check_model(settings: Settings) -> Iterator[str]:
    if not settings.model.by_owners:
        able = ", ".join(name for name, family in FAMILIES.items() if family.by_owners)
        yield (
            f"model {settings.model.name} has no gradients by owner; use a model that has: {able} (of "
            "your own: a family with by_owners = True)"
        )


def _check_losses(settings: Settings) -> Iterator[str]:
    objective = settings.objective
    if settings.model.own_loss == "all":
        return
    if objective.loss in COMPARING:
        yield (
            f"the generator's side of objective.loss {objective.loss} compares with real series; use "
            f"objective.loss={SEPARATE}"
        )
    for term in objective.batch_terms:
        yield f"{term} compares the generator's series with real ones; set {term}=0"
    if objective.penalty.kind == "interpolated":
        yield "objective.penalty.kind interpolated is not taken by owners; use finite_difference or exact"
    if objective.penalty.kind != "none" and objective.penalty.fraction != 1:
        yield (
            f"objective.penalty.fraction {objective.penalty.fraction:g} penalises a part of a batch, and "
            "by owners every series is; set objective.penalty.fraction=1"
        )


def _check_data(settings: Settings) -> Iterator[str]:
    scaling = settings.data.scaling
    if scaling.method == "standard" and scaling.bound is None:
        yield (
            "data.scaling.bound is learned from the training series; set it to a public number, e.g. "
            "data.scaling.bound=8"
        )
    for name, off in (("scope", "series"), ("marginal", "none"), ("whitening", 0)):
        if getattr(scaling, name) != off:
            yield (
                f"data.scaling.{name} {getattr(scaling, name)} is learned from the training series; set "
                f"data.scaling.{name}={off}"
            )
    if scaling.transform == "log1p" and scaling.unit is None:
        yield "data.scaling.unit is learned from the training series; set it to a public number"


def _check_training(settings: Settings) -> Iterator[str]:
    owners = settings.privacy.owners
    assert owners is not None
    for name, size in (
        ("encoder.batch_size", settings.encoder.batch_size),
        ("train.batch_size", settings.train.batch_size),
    ):
        if size >= owners:
            yield (
                f"{name} {size} is not below privacy.owners {owners}; a step takes a random part of them, so "
                f"lower {name}"
            )
    if settings.train.max_rollbacks:
        yield (
            f"train.max_rollbacks {settings.train.max_rollbacks} would repeat steps that are spent; set "
            "train.max_rollbacks=0"
        )
    if settings.train.select.score is not None:
        yield (
            "train.select chooses a step by validation series, which the budget does not count; leave "
            "train.select.score out"
        )
    if settings.sweep.space:
        yield (
            "the trials of a sweep are trainings of their own on the same people, and no ledger adds "
            "them up; leave sweep.space out, or search on public data"
        )


def _check_engine(settings: Settings) -> Iterator[str]:
    engine = settings.engine
    if elsewhere := [name for name in engine.trackers if name != "tensorboard"]:
        yield (
            f"engine.trackers {', '.join(elsewhere)} may send losses, which have no noise, to others; set "
            "engine.trackers=[tensorboard] or []"
        )
    if engine.precision != "fp32":
        yield f"gradients are clipped in float32; set engine.precision=fp32, not {engine.precision}"
    if 3 in (engine.zero, engine.discriminator_zero):
        yield "gradients by owner need whole weights in every process; set engine.zero=2"
    for name in ("compile", "checkpoint_activations"):
        if getattr(engine, name) is True:
            yield f"engine.{name} does not work with gradients by owner; set engine.{name}=false"


def list_planned(settings: Settings) -> dict[str, Any]:
    """Return what the division of a budget follows from, beside the sections that a stage depends on: with
    another number of steps, a run that has begun would be another one.
    """
    return {
        "privacy": settings.privacy.describe(),
        "steps": settings.train.steps,
        "batch_size": settings.train.batch_size,
    }
