"""Statistics that scaling learns from the training series, none of which depends on a single owner."""

from collections.abc import Callable, Iterable

import numpy as np

from distgan import config
from distgan.errors import UserError
from distgan.rng import make_keyed_generator

SAMPLE_READINGS = 2**24  # that normal scores and covariances are learned from, at most: 64 MiB as float32
RANGE_STEPS = 32  # a learned range ends at multiples of a power of two, about this fraction of its width

Blocks = Iterable[np.ndarray]


def anonymise_bound(reached: np.ndarray, owners: np.ndarray, least: int) -> float:
    """Return the largest |z| that at least `least` owners reach (all, where there are fewer), rounded up to a
    power of √2: of each series [n], [n] owners -> a number that no single owner decides.

    Owners whose series do not vary reach nothing and do not count.
    """
    of_owner = np.zeros(int(owners.max()) + 1)
    np.maximum.at(of_owner, owners, reached)
    ranked = np.sort(of_owner[of_owner > 0])[::-1]
    shared = float(ranked[min(least, len(ranked)) - 1])
    return float(2.0 ** (np.ceil(2 * np.log2(shared) - 1e-9) / 2))


def compute_typical_size(blocks: Blocks, owners: np.ndarray) -> float:
    """Return the geometric mean of the sizes of measured values but zeros, in which every owner counts alike:
    blocks [n, L, C], [N] owners -> a number.

    Raises:
        UserError: all values are zeros or missing.
    """
    sums, first = np.zeros((2, int(owners.max(initial=-1)) + 1)), 0
    for values in blocks:
        there = np.isfinite(values) & (values != 0)
        logs = np.log(np.abs(values), where=there, out=np.zeros(values.shape, np.float64))
        own = owners[first : first + len(values)]
        for part, of_series in zip(sums, (logs, there)):
            np.add.at(part, own, of_series.sum(axis=(1, 2)))
        first += len(values)
    total, count = sums[:, sums[1] > 0]
    if not len(count):
        raise UserError("the training series hold no values but zeros; nothing to scale by")
    return float(np.exp((total / count).mean()))


def refuse_few_owners(settings: config.Scaling, owners: np.ndarray, least: int) -> None:
    """
    Raises:
        UserError: what these settings learn of whole training sets would be of fewer than `least` owners.
    """
    count = len(np.unique(owners))
    for name, off in (("whitening", 0.0), ("marginal", "none"), ("scope", "series")):
        value = getattr(settings, name)
        if value != off and count < least:
            raise UserError(
                f"data.scaling.{name}={value} is learned from the training series of {count} owners, and "
                f"bank.min_members wants {least} behind every learned number; set data.scaling.{name}={off}, "
                "or lower bank.min_members"
            )


def compute_location_and_scale(
    blocks: Blocks, owners: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over all series, in which every owner counts alike:
    blocks [n, L, C], [N] owners -> [C], [C]. A channel that does not vary has scale 1.
    """
    count = int(owners.max()) + 1
    sums: list[np.ndarray] = []
    first = 0
    for values in blocks:
        there = ~np.isnan(values)
        exact = np.where(there, values, 0).astype(np.float64)
        moments = np.stack([there.sum(1), exact.sum(1), np.square(exact).sum(1)], axis=-1)  # [n, C, 3]
        sums = sums or [np.zeros((count, values.shape[2], 3))]
        np.add.at(sums[0], owners[first : first + len(values)], moments)
        first += len(values)
    measured, total, squares = np.moveaxis(sums[0], -1, 0)
    present = measured > 0
    people = np.maximum(present.sum(0), 1)
    mean = np.divide(total, measured, where=present, out=np.zeros_like(total)).sum(0) / people
    square = np.divide(squares, measured, where=present, out=np.zeros_like(total)).sum(0) / people
    variance = square - mean**2
    scale = np.where(variance > 1e-12 * square, np.sqrt(np.maximum(variance, 0)), 1.0)
    return tuple(map(float, mean)), tuple(map(float, scale))


def compute_range(
    blocks: Blocks, owners: np.ndarray, least: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return midpoint and half range of each channel over all series: blocks [n, L, C], [N] owners -> [C],
    [C].

    The ends are the extremes that at least `least` owners reach, moved out to a multiple of a power of two:
    no single owner decides them. A channel that does not vary has scale 1.
    """
    count, first = int(owners.max()) + 1, 0
    extremes: list[np.ndarray] = []
    for values in blocks:
        there = ~np.isnan(values)
        low = -np.min(values, axis=1, where=there, initial=np.inf)
        high = np.max(values, axis=1, where=there, initial=-np.inf)
        extremes = extremes or [np.full((count, 2, values.shape[2]), -np.inf)]
        np.maximum.at(extremes[0], owners[first : first + len(values)], np.stack([low, high], axis=1))
        first += len(values)
    ranked = np.sort(extremes[0], axis=0)[::-1]
    low, high = ranked[min(least, count) - 1] * np.array([[-1], [1]])
    empty = ~(np.isfinite(low) & np.isfinite(high))
    low, high = np.where(empty, 0, low), np.where(empty, 0, high)
    low, high = np.minimum(low, high), np.maximum(low, high)  # with few owners their order may be turned
    step = 2.0 ** np.floor(np.log2(np.maximum((high - low) / RANGE_STEPS, 1e-30)))
    varies = high > low
    low, high = (
        np.where(varies, np.floor(low / step) * step, low),
        np.where(varies, np.ceil(high / step) * step, high),
    )
    return tuple(map(float, (low + high) / 2)), tuple(map(float, np.where(varies, (high - low) / 2, 1.0)))


def choose_sample(owners: np.ndarray, readings: int, least: int) -> np.ndarray:
    """Return the series that normal scores and a covariance are learned from: ascending, of at most
    SAMPLE_READINGS readings, and with no more than 1 / `least` of them from one owner.

    Args:
        owners: [N] a number 0 .. E-1 for the owner of each series.
        readings: L * C of a series.
    """
    counts = np.bincount(owners)
    most = max(1, SAMPLE_READINGS // readings)

    def is_too_many(limit: int) -> bool:
        taken = int(np.minimum(counts, limit).sum())
        return taken > most or limit * least > taken

    limit = _find_largest(lambda each: not is_too_many(each), int(counts.max()))
    order = make_keyed_generator(0, 0, "scaling sample").permutation(len(owners))
    order = order[np.argsort(owners[order], kind="stable")]
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = order[place < limit]
    if len(chosen) > most:  # one of each owner is more than that
        chosen = make_keyed_generator(0, 0, "scaling owners").choice(chosen, most, replace=False)
    found: np.ndarray = np.sort(chosen)
    return found


def _find_largest(holds: Callable[[int], bool], most: int) -> int:
    """Return the largest number from 1 to `most` for which `holds`, which 1 is taken to do."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
