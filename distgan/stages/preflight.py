"""What is known before anything is trained, and would stop a later stage: refused here, with a setting that
works.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from distgan import conditions, config, privacy
from distgan.data import ingest
from distgan.data.store import Axis
from distgan.errors import UserError
from distgan.models.classical import FAMILIES
from distgan.stages.common import refuse_shared_owners

CLEAN = "clean"  # the label of series without noise


@dataclass(frozen=True)
class Training:
    """The training series: who is behind each, its load, its label."""

    entities: np.ndarray  # [n] codes
    loads: np.ndarray  # [n] sum of absolute values
    labels: np.ndarray | None  # [n]
    windows: int  # of each series; 1 without data.windows
    channels: int

    @classmethod
    def of(cls, settings: config.Config, found: ingest.Series, splits: np.ndarray) -> "Training":
        rows = np.flatnonzero(splits == "train")
        chosen, whole = settings.data.windows, found.meta.axis.length
        windows = (
            1 if chosen.length is None else (whole - chosen.length) // (chosen.stride or chosen.length) + 1
        )
        names = np.asarray(found.entities)[rows]
        loads = np.ones(len(rows)) if found.loads is None else found.loads[rows]
        labels = None if found.labels is None else np.asarray(found.labels)[rows]
        codes = np.unique(names, return_inverse=True)[1]
        return cls(codes, loads, labels, windows, len(found.meta.channels))

    @property
    def num_entities(self) -> int:
        return len(np.unique(self.entities))

    def parts(self, by_label: bool) -> Iterator[tuple[str, np.ndarray]]:
        """The series that may share a group, by label where groups go by it: (name, rows)."""
        if not by_label or self.labels is None:
            yield "", np.arange(len(self.entities))
            return
        for label in np.unique(self.labels):
            yield str(label), np.flatnonzero(self.labels == label)


def refuse_early(settings: config.Config, found: ingest.Series, splits: np.ndarray) -> None:
    """
    Raises:
        UserError: a later stage would refuse these data with these settings.
    """
    length = refuse_lengths(settings, found.meta.axis.length)
    refuse_shifts(settings, found.meta.axis, length)
    training = Training.of(settings, found, splits)
    refuse_labels(settings, training)
    if "bank" in settings.stages:
        refuse_clusters(settings, training)
        refuse_groups(settings, training, found)
        if settings.privacy.epsilon is not None:
            refuse_budget(settings, training, found)


def refuse_lengths(settings: config.Config, whole: int) -> int:
    """Return the steps of a training series.

    Raises:
        UserError: a window or a patch is longer than the series.
    """
    length = settings.data.windows.length or whole
    if length > whole:
        raise UserError(f"data.windows.length {length} is above the {whole} steps of a series; use less")
    patches = {"model.patch": getattr(settings.model, "patch", 1)}
    if "encoder" in settings.stages:
        patches["encoder.patch"] = settings.encoder.patch
    for name, patch in patches.items():
        if length < patch:
            raise UserError(
                f"series have {length} steps, fewer than {name} {patch}; set {name} to {length} or less"
            )
    return length


def refuse_shifts(settings: config.Config, axis: Axis, length: int) -> None:
    """
    Raises:
        UserError: augmentation is to turn series by days that are no whole number of steps, or are too few.
    """
    from distgan.stages.gan import steps_per_day

    if "gan" in settings.stages and settings.model.name not in FAMILIES:
        steps_per_day(settings, Axis(axis.start, axis.step_seconds, length, axis.leap_days))


def refuse_labels(settings: config.Config, training: Training) -> None:
    """
    Raises:
        UserError: the model or the bank needs labels that the source does not have.
    """
    labels = training.labels
    if settings.bank.by_label and labels is None and "bank" in settings.stages:
        raise UserError(
            f"bank.by_label needs labels, and {settings.data.source} has none (array `label` of an NPZ); set "
            "bank.by_label=false"
        )
    if settings.model.name == "nr_gan":
        clean = 0 if labels is None else int((labels == CLEAN).sum())
        if not 0 < clean < len(training.entities):
            raise UserError(
                f"{settings.data.source} has {clean} training series labelled {CLEAN} and "
                f"{len(training.entities) - clean} of another label; a denoiser needs both kinds (array "
                "`label` of "
                "an NPZ)"
            )


def refuse_clusters(settings: config.Config, training: Training) -> None:
    """
    Raises:
        UserError: k-means is to make more clusters than there are training series.
    """
    series, chosen = len(training.entities) * training.windows, settings.clusters
    if isinstance(chosen.count, int) and chosen.count > series and settings.privacy.epsilon is None:
        raise UserError(
            f"{series} training series cannot make {chosen.count} clusters; set clusters.count to "
            f"{series} or less"
        )
    if chosen.count == "auto" and chosen.range[1] > series:
        raise UserError(
            f"clusters.range ends at {chosen.range[1]}, above the {series} training series; set "
            "clusters.range to "
            f"[{min(chosen.range[0], series - 1)}, {series}] or less"
        )


# ----------------------------------------------------------------------------------------------- group sizes


def refuse_groups(settings: config.Config, training: Training, found: ingest.Series) -> None:
    """
    Raises:
        UserError: all training series together, or all with one label, do not make one group of the minimum
            size in which no entity has more than `bank.max_share` of the load.
    """
    bank = settings.bank
    if bank.study:
        return
    fewest = minimum_group_size(bank, bank.condition_dim, training.channels)
    for label, rows in training.parts(bank.by_label):
        entities = len(np.unique(training.entities[rows]))
        who = f"{entities} training entities" + (f" labelled {label!r}" if label else "")
        if entities < fewest:
            remedies = remedies_for_few(settings, training, found, entities, label)
            raise UserError(
                f"{who} are fewer than the {fewest} that one group needs (bank.min_members "
                f"{bank.min_members}, "
                f"bank.max_tracing_auc {bank.max_tracing_auc:g}, bank.condition_dim {bank.condition_dim}, "
                f"{training.channels} channels); {' or '.join(remedies)}"
            )
        if training.windows > 1 or settings.privacy.epsilon is not None:
            continue  # windows are left out later, which changes loads; private sums have no shares
        effective = effective_entities(training, rows, bank.max_share)
        if effective < fewest * (1 - conditions.TOLERANCE):
            raise UserError(
                f"a few entities carry so much of the load that {who} count as {effective:.1f} under "
                "bank.max_share "
                f"{bank.max_share:g}, fewer than the {fewest} that one group needs; "
                f"{' or '.join(remedies_for_load(settings, training, rows, effective))}"
            )


def minimum_group_size(bank: config.Bank, condition_dim: int, channels: int) -> int:
    """Return the fewest entities behind one released mean."""
    return conditions.floor(bank, conditions.released_numbers(condition_dim, channels))


def effective_entities(training: Training, rows: np.ndarray, max_share: float, left_out: int = 0) -> float:
    """Return how many entities of equal load the series `rows` count as under `max_share`, in one group,
    without the `left_out` entities of the largest load; 0 where no weights fit the share.
    """
    codes = np.unique(training.entities[rows], return_inverse=True)[1]
    loads = np.sort(np.bincount(codes, weights=training.loads[rows]))
    weights = conditions.capped_weights(loads[: len(loads) - left_out], max_share)
    return 0.0 if weights is None else conditions.effective_members(weights)


def remedies_for_few(
    settings: config.Config, training: Training, found: ingest.Series, entities: int, label: str
) -> list[str]:
    """Return what makes the group large enough, each by itself; true for these data."""
    bank, channels = settings.bank, training.channels
    narrower = widest_condition(bank, channels, entities)
    remedies = [f"set bank.condition_dim={narrower}"] if narrower else []
    fewest = minimum_group_size(bank, bank.condition_dim, channels)
    if not label and (shares := larger_training_share(settings, found, fewest)):
        remedies.append(f"set {shares}")
    relaxed = bank.model_copy(update={"min_members": 15})
    if bank.min_members > 15 and minimum_group_size(relaxed, bank.condition_dim, channels) <= entities:
        size = max(15, minimum_group_size(relaxed, bank.condition_dim, channels))
        remedies.append(f"set bank.min_members={size}")
    if label:
        remedies += remedies_for_label(training, fewest)
    share = settings.data.splits.train
    return [*remedies, f"bring {math.ceil((fewest - entities) / share)} more entities"]


def remedies_for_label(training: Training, fewest: int) -> list[str]:
    """Return what to do where one label is too rare: train on the others alone, or do without labels."""
    sizes = {name: len(np.unique(training.entities[rows])) for name, rows in training.parts(True)}
    common = [name for name, size in sizes.items() if size >= fewest]
    alone = [f"set data.labels=[{','.join(common)}]"] if common else []
    return [*alone, "set bank.by_label=false"]


def widest_condition(bank: config.Bank, channels: int, entities: float) -> int | None:
    """Return the largest bank.condition_dim below the config's for which so many entities make a group."""
    for dim in range(bank.condition_dim - 1, 0, -1):
        if minimum_group_size(bank, dim, channels) <= entities:
            return dim
    return None


def larger_training_share(settings: config.Config, found: ingest.Series, fewest: int) -> str | None:
    """Return shares of the splits with enough training entities, and a twentieth at least for each other
    split.
    """
    splits = settings.data.splits
    for percent in range(math.ceil(100 * splits.train) + 5, 91, 5):
        rest = 100 - percent
        reference = round(rest / 3) if splits.reference else 0
        shares = config.Splits(
            train=percent / 100, holdout=(rest - reference) / 100, reference=reference / 100
        )
        try:
            sides = ingest.split(found.owners, shares, settings.seed)
        except UserError:
            return None
        if len(set(np.asarray(found.entities)[sides == "train"])) >= fewest:
            return (
                f"data.splits.train={shares.train:g} data.splits.holdout={shares.holdout:g} "
                f"data.splits.reference={shares.reference:g}"
            )
    return None


def remedies_for_load(
    settings: config.Config, training: Training, rows: np.ndarray, effective: float
) -> list[str]:
    """Return what makes the load of a group even enough, each by itself."""
    bank = settings.bank
    narrower = widest_condition(bank, training.channels, effective)
    remedies = [f"set bank.condition_dim={narrower}"] if narrower else []
    fewest = minimum_group_size(bank, bank.condition_dim, training.channels)
    entities = len(np.unique(training.entities[rows]))
    for left_out in range(1, entities - fewest + 1):
        if effective_entities(training, rows, bank.max_share, left_out) >= fewest:
            remedies.append(
                f"leave out the {left_out} with the largest load (data.columns.ignore of a wide table)"
            )
            break
    return [*remedies, "bring more series of the usual size"]


def refuse_budget(settings: config.Config, training: Training, found: ingest.Series) -> None:
    """
    Raises:
        UserError: an owner has several entities, delta is too large, or noise would drown the groups.
    """
    refuse_shared_owners(found.entities, found.owners)
    budget = privacy.Budget.of(settings.privacy, settings.encoder.latent_dim, training.num_entities)
    fewest = minimum_group_size(settings.bank, settings.bank.condition_dim, training.channels)
    budget.check(fewest, training.channels)
