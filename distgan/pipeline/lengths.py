"""Ranges of a run's series: those of the training series in anonymous form, if they are asked for."""

import numpy as np

from distgan import config
from distgan.anonymity.group_size import compute_minimum_group_size, count_released_numbers
from distgan.data.lengths import Lengths, choose_step
from distgan.data.store.reader import Store
from distgan.data.windows import Windows
from distgan.errors import UserError, parsing
from distgan.files import read_record
from distgan.pipeline.training_data import read_scaler
from distgan.run import Run

WHOLE = "use generate.lengths=whole"


def measure_lengths(
    settings: config.Config,
    data: Store | Windows,
    ranges: np.ndarray,
    owners: np.ndarray,
    attribute_numbers: int = 0,
) -> Lengths | None:
    """Return the ranges of the training series that may be released, [n, 2] of `owners` [n]; None where there
    are none but whole series.

    Args:
        attribute_numbers: released of each group for the attributes of bank.by.

    Raises:
        UserError: they are asked for, and there are none.
    """
    private, generates = settings.privacy.epsilon is not None, "generate" in settings.stages
    if private or not generates or isinstance(data, Windows):
        return None
    released = count_released_numbers(settings.bank.condition_dim, data.channels, attribute_numbers)
    least = compute_minimum_group_size(settings.bank, released)
    axis = data.meta.axis
    step = choose_step(axis, has_times=not data.meta.is_nominal)
    found = Lengths.measure(ranges, owners, axis.length, step, least)
    if found is None and settings.generate.lengths == "as_real":
        raise UserError(describe_none(int((ranges != (0, axis.length)).any(axis=1).sum()), len(ranges)))
    return found


def describe_none(partial: int, count: int) -> str:
    """Describe why no ranges are drawn."""
    return (
        f"generate.lengths=as_real draws ranges that many owners share, and of {count:,} training series "
        f"{partial:,} begin late or end early, too few of them alike; {WHOLE}"
    )


def describe_lengths(lengths: Lengths | None) -> str:
    """Describe the stated ranges for the summary of `prepare`; "" where there are none."""
    if lengths is None:
        return ""
    partial = (lengths.ranges != (0, lengths.length)).any(axis=1)
    share = lengths.shares[partial].sum() / lengths.shares.sum()
    number = f"{partial.sum()} range{'s' if partial.sum() > 1 else ''}"
    return f"; {share:.0%} begin late or end early, in {number} that {lengths.owners} owners or more share"


def read_lengths(run: Run) -> Lengths | None:
    """Return the ranges of a prepared run's training series, if any are released."""
    tree = read_record(run.need(run.scaler, "prepare")).get("lengths")
    with parsing(run.scaler, "remove it and run the same command again"):
        return None if tree is None else Lengths.from_dict(tree)


def find_lengths(lengths: str, run: Run) -> Lengths | None:
    """Return the ranges that `generate.lengths` asks for; None for whole series.

    Raises:
        UserError: ranges are asked for, and the run has none.
    """
    if lengths == "whole":
        return None
    found = read_lengths(run)
    if found is None:
        read_scaler(run)
        raise UserError(
            f"generate.lengths=as_real: {run.scaler} states no ranges of series that begin late or end "
            f"early, because too few owners share one, or an earlier version wrote it; {WHOLE}"
        )
    return found
