"""Checks before training of what a later stage would refuse; messages name a setting that works."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distgan import config, models
from distgan.anonymity import group_size, groups
from distgan.anonymity.cells import fit_column
from distgan.anonymity.dp.accounting import make_budget
from distgan.data import ingest
from distgan.data.scaling_statistics import refuse_few_owners
from distgan.data.splits import assign_splits
from distgan.data.static_attributes import StaticAttribute
from distgan.data.store.metadata import Axis
from distgan.data.store.private_table import VALIDATION
from distgan.data.whitening import refuse_size
from distgan.errors import UserError
from distgan.files import refuse_full_disk
from distgan.pipeline.attribute_cells import choose_statics, count_numbers, translate
from distgan.pipeline.training_data import refuse_shared_owners
from distgan.progress import format_count

LEAST = 15  # entities in a group, whatever its conditions tell
IN_WINDOWS = 0.9  # share of a series' load that is in its windows at least, if these are many without gaps
CLEAN = "clean"  # the label of series without noise


@dataclass(frozen=True)
class Training:
    """The training series: who is behind each, its load, its label."""

    entities: np.ndarray  # [n] codes
    owners: np.ndarray  # [n] codes
    loads: np.ndarray  # [n] sum of absolute values of one channel; 1 where they are found later
    labels: np.ndarray | None  # [n]
    windows: int  # of each series; 1 without data.windows
    channels: int
    statics: tuple[StaticAttribute, ...] = ()  # those that groups go by

    @classmethod
    def from_series(cls, settings: config.Config, found: ingest.Series, splits: np.ndarray) -> "Training":
        rows = np.flatnonzero(splits == "train")
        chosen, whole = settings.data.windows, found.meta.axis.length
        windows = (
            1 if chosen.length is None else (whole - chosen.length) // (chosen.stride or chosen.length) + 1
        )
        entities, owners = (
            np.unique(np.asarray(names)[rows], return_inverse=True)[1]
            for names in (found.entities, found.owners)
        )
        one = len(found.meta.channels) == 1
        loads = found.loads[rows] if found.loads is not None and one else np.ones(len(rows))
        labels = None if found.labels is None else np.asarray(found.labels)[rows]
        statics: tuple[StaticAttribute, ...] = ()
        if "bank" in settings.stages:
            chosen_statics = choose_statics(settings.bank.by, found.statics, found.labels)
            statics = translate(settings, (each.take(rows) for each in chosen_statics))
        return cls(entities, owners, loads, labels, windows, len(found.meta.channels), statics)

    def count_released(self, condition_dim: int) -> int:
        """Return the numbers released of a group, by those of its condition."""
        return group_size.count_released_numbers(condition_dim, self.channels, count_numbers(self.statics))

    def compute_minimum_group_size(self, bank: config.Bank, condition_dim: int) -> int:
        """Return the fewest entities behind one released mean."""
        return group_size.compute_minimum_group_size(bank, self.count_released(condition_dim))

    @property
    def num_entities(self) -> int:
        return len(np.unique(self.entities))

    def iterate_parts(self, by_label: bool) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the series that may share a group, by label where groups go by it: (name, rows)."""
        if not by_label or self.labels is None:
            yield "", np.arange(len(self.entities))
            return
        for label in np.unique(self.labels):
            yield str(label), np.flatnonzero(self.labels == label)


def refuse_early(settings: config.Config, found: ingest.Series, splits: np.ndarray) -> None:
    """
    Raises:
        DiskFull: the series that `generate` is to make do not fit on the disk.
        UserError: a later stage would refuse these data with these settings.
    """
    refuse_unknown_requests(settings)
    if settings.privacy.end_to_end:
        models.find_owner_game(settings)  # before the encoder spends its part
    length = refuse_lengths(settings, found.meta.axis.length)
    if "generate" in settings.stages:
        count = settings.generate.count
        needed = count_bytes(count, length, len(found.meta.channels))
        refuse_full_disk(Path(settings.run_dir), needed, describe_many(count, length))
    refuse_shifts(settings, found.meta.axis, length)
    training = Training.from_series(settings, found, splits)
    refuse_scaling(settings, training, length)
    refuse_labels(settings, training)
    refuse_selection(settings, training, splits)
    if "bank" in settings.stages:
        refuse_clusters(settings, training)
        if settings.privacy.epsilon is None:
            refuse_groups(settings, training, found)
        else:  # the exact number of entities must not decide whether there is a release
            refuse_budget(settings, training, found)


def count_bytes(count: int, length: int, channels: int) -> int:
    """Return the size of so many synthetic series in their store, float32 as they are."""
    return count * length * channels * np.dtype(np.float32).itemsize


def describe_many(count: int, length: int) -> str:
    return f"generate.count: {count:,} series of {length:,} steps"


def refuse_unknown_requests(settings: config.Config) -> None:
    """
    Raises:
        UserError: series are asked for by attributes that groups will not state.
    """
    by, chosen = settings.bank.by, settings.generate
    there = f"which names {', '.join(by)}" if by else "which is empty"
    for section in ("attributes", "shares"):
        for name in getattr(chosen, section):
            if name not in by:
                raise UserError(f"generate.{section} asks for {name!r}, but not bank.by, {there}")
    if chosen.table is not None and not by:
        raise UserError("generate.table asks for attributes, but bank.by is empty; leave it out")


def refuse_lengths(settings: config.Config, whole: int) -> int:
    """Return the steps of a training series.

    Raises:
        UserError: a window or a patch is longer than the series.
    """
    length = settings.data.windows.length or whole
    if length > whole:
        raise UserError(
            f"data.windows.length is {length}, but a series has only {whole} steps; set it to {whole} or less"
        )
    patches = {"model.patch": getattr(settings.model, "patch", 1)}
    if "encoder" in settings.stages:
        patches["encoder.patch"] = settings.encoder.patch
    for name, patch in patches.items():
        if length < patch:
            raise UserError(
                f"{name} is {patch}, but a series has only {length} steps; set {name} to {length} or less"
            )
    return length


def refuse_scaling(settings: config.Config, training: Training, length: int) -> None:
    """
    Raises:
        UserError: series are too long or too few for a covariance, or owners too few for learned numbers.
    """
    scaling = settings.data.scaling
    if scaling.whitening:
        series = len(training.entities) * training.windows
        refuse_size(scaling.whitening, series, length, training.channels)
    refuse_few_owners(scaling, training.owners, settings.bank.min_members)


def refuse_shifts(settings: config.Config, axis: Axis, length: int) -> None:
    """
    Raises:
        UserError: augmentation is to turn series by days that are no whole number of steps, or are too few.
    """
    from distgan.pipeline.train_gan import count_steps_per_day

    if "gan" in settings.stages and not settings.model.fitted:
        count_steps_per_day(settings, Axis(axis.start, axis.step_seconds, length, axis.leap_days))


def refuse_selection(settings: config.Config, training: Training, splits: np.ndarray) -> None:
    """
    Raises:
        UserError: train.select names no score, or the validation split is too small for one.
    """
    if settings.train.select.score is None:
        return
    from distgan.evaluation.metrics.validation import FEWEST, check_score  # with sklearn, a second to import

    check_score(settings.train.select.score, "train.select.score")
    found = int((splits == VALIDATION).sum()) * training.windows
    if found < FEWEST:
        raise UserError(
            f"train.select needs {FEWEST} validation series or more, and data.validation "
            f"{settings.data.validation:g} gives {found}; raise data.validation, or set "
            "train.select.score=null"
        )


def refuse_labels(settings: config.Config, training: Training) -> None:
    """
    Raises:
        UserError: the model or the bank needs labels that the source does not have.
    """
    labels = training.labels
    if settings.bank.by_label and labels is None and "bank" in settings.stages:
        raise UserError(
            f"bank.by_label=true needs labels, but {settings.data.source} has none (array `label` "
            "of an NPZ); set bank.by_label=false"
        )
    if settings.model.filters:
        clean = 0 if labels is None else int((labels == CLEAN).sum())
        if not 0 < clean < len(training.entities):
            raise UserError(
                f"{settings.data.source} has {clean} training series labelled {CLEAN} and "
                f"{len(training.entities) - clean} with another label; model nr_gan needs both kinds "
                "(array `label` of an NPZ)"
            )


def refuse_clusters(settings: config.Config, training: Training) -> None:
    """
    Raises:
        UserError: k-means is to make more clusters than there are training series.
    """
    series, chosen = len(training.entities) * training.windows, settings.clusters
    if isinstance(chosen.count, int) and chosen.count > series and settings.privacy.epsilon is None:
        raise UserError(
            f"clusters.count is {chosen.count}, but there are only {series} training series; set "
            f"clusters.count to {series} or less"
        )
    if chosen.count == "auto" and chosen.range[1] > series:
        raise UserError(
            f"clusters.range ends at {chosen.range[1]}, but there are only {series} training "
            f"series; set clusters.range to [{min(chosen.range[0], series - 1)}, {series}] or less"
        )


# ----------------------------------------------------------------------------------------------- group sizes


def refuse_groups(settings: config.Config, training: Training, found: ingest.Series) -> None:
    """
    Raises:
        UserError: all training series together, or all with one label, do not make one group of the
            minimum size in which no entity has more than `bank.max_share` of the load; or too few entities
            have different values of an attribute of bank.by.
    """
    bank = settings.bank
    if bank.study:
        return
    fewest = training.compute_minimum_group_size(bank, bank.condition_dim)
    for label, rows in training.iterate_parts(bank.by_label):
        entities, effective = count_entities(settings, training, rows)
        if effective >= fewest * (1 - groups.TOLERANCE):
            continue
        who = f"{entities} training entities" + (f" labelled {label!r}" if label else "")
        counted = f"count as {effective:.1f} under bank.max_share {bank.max_share:g}, fewer than the {fewest}"
        few = (
            f"are fewer than the {fewest}"
            if entities < fewest
            else f"{counted}, as some have most of the load,"
        )
        remedies = list(find_remedies(settings, training, found, label, effective))
        many = "".join(f", attribute {each.name!r}" for each in training.statics)
        raise UserError(
            f"{who} {few} that one group needs (bank.min_members {bank.min_members}, bank.max_tracing_auc "
            f"{bank.max_tracing_auc:g}, bank.condition_dim {bank.condition_dim}, "
            f"{format_count(training.channels, 'channel')}{many}); {' or '.join(remedies)}"
        )
    for each in training.statics:
        fit_column(each, training.entities, training.owners, fewest)


def count_entities(settings: config.Config, training: Training, rows: np.ndarray) -> tuple[int, float]:
    """Return the entities behind the series `rows`, and as how many of equal load they count in one group; 0
    where no weights fit `bank.max_share`.
    """
    codes = np.unique(training.entities[rows], return_inverse=True)[1]
    entities = int(codes.max(initial=-1)) + 1
    loads = np.bincount(codes, weights=training.loads[rows])
    weights = groups.cap_weights(loads, settings.bank.max_share)
    effective = 0.0 if weights is None else groups.count_effective_members(weights)
    if training.windows == 1:
        return entities, effective
    chosen = settings.data.windows
    if training.windows < 1 / (1 - IN_WINDOWS) or (chosen.stride or 0) > (chosen.length or 0):
        return entities, entities  # parts of the series are in no window
    return entities, min(float(entities), effective / IN_WINDOWS)  # which windows stay is known later


def find_remedies(
    settings: config.Config, training: Training, found: ingest.Series, label: str, effective: float
) -> Iterator[str]:
    """Yield what makes a group large enough, each by itself; true for these data."""
    bank = settings.bank
    fewest = training.compute_minimum_group_size(bank, bank.condition_dim)
    for dim in range(bank.condition_dim - 1, 0, -1):
        if training.compute_minimum_group_size(bank, dim) <= effective:
            yield f"set bank.condition_dim={dim}"
            break
    relaxed = training.compute_minimum_group_size(
        bank.model_copy(update={"min_members": LEAST}), bank.condition_dim
    )
    if relaxed <= effective and relaxed < fewest:
        yield f"set bank.min_members={relaxed}"
    if label:
        yield from list_label_remedies(training, fewest)
    elif shares := suggest_larger_share(settings, found, fewest):
        yield f"set {shares}"
    added = count_entities_to_bring(fewest - effective, settings.data.training_share)
    yield f"add about {added} more entities"


def count_entities_to_bring(missing: float, share: float) -> int:
    """Return how many new entities give `missing` to the training split, by two deviations of chance."""
    count = math.ceil(missing / share)
    while count * share - 2 * math.sqrt(count * share * (1 - share)) < missing:
        count += 1
    return count


def list_label_remedies(training: Training, fewest: int) -> list[str]:
    """Return what to do where one label is too rare: train on the others alone, or do without labels."""
    sizes = {name: len(np.unique(training.entities[rows])) for name, rows in training.iterate_parts(True)}
    common = [name for name, size in sizes.items() if size >= fewest]
    alone = [f"set data.labels=[{','.join(common)}]"] if common else []
    return [*alone, "set bank.by_label=false"]


def suggest_larger_share(settings: config.Config, found: ingest.Series, fewest: int) -> str | None:
    """Return shares of the splits that leave enough training entities."""
    splits = settings.data.splits
    for percent in range(5 * math.ceil(20 * splits.train + 0.5), 91, 5):
        rest = 100 - percent
        reference = round(rest / 3) if splits.reference else 0
        tree = {"train": percent / 100, "held_out": (rest - reference) / 100, "reference": reference / 100}
        shares = config.Splits(**tree)
        try:
            sides = assign_splits(
                found.owners, shares, settings.seed, validation=settings.data.validation, suggest=False
            )
        except UserError:  # a split would be empty
            continue
        training = Training.from_series(settings, found, sides)
        if count_entities(settings, training, np.arange(len(training.entities)))[1] >= fewest:
            return " ".join(f"data.splits.{name}={share:g}" for name, share in tree.items())
    return None


def refuse_budget(settings: config.Config, training: Training, found: ingest.Series) -> None:
    """
    Raises:
        UserError: an owner has several entities, or noise would drown groups of the minimum size.
    """
    refuse_shared_owners(found.entities, found.owners)
    budget = make_budget(settings, settings.encoder.latent_dim)
    fewest = training.compute_minimum_group_size(settings.bank, settings.bank.condition_dim)
    budget.check(fewest, training.channels)
