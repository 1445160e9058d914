"""Which synthetic series are attacked before a release: those to leave, those that have left, and a sample.

A slice of thirty from a generator that repeats its training series shows hardly more than chance. So the
generator is attacked, not only the slice: together with the series that are to leave, all that have left
before, those of attempts that were over a limit, and a sample of the same generator that grows with the
number of members. The sample's seed is made of the weights, so that another attempt sees the same one.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distgan import config
from distgan.anonymity.bank import Bank
from distgan.data.store.private_table import private_table, read_table
from distgan.data.store.reader import Store
from distgan.errors import Mismatch
from distgan.parallel.processes import Parallel
from distgan.pipeline.binding import ARTEFACTS, digest_series
from distgan.pipeline.generate import regenerate
from distgan.pipeline.release_ledger import RELEASED, ReleaseLedger
from distgan.pipeline.training_data import read_scaler
from distgan.run import Run

MOST_SAMPLED = 10_000  # series of the generator, those to leave included, beyond which none are added
MOST_EARLIER = 20_000  # series of earlier attempts; of more, a random choice
MOST_CHECKED = 2_000  # series that are generated again and compared
TOLERANCE = 0.01  # root mean square of the difference, over the series' deviation: another device's rounding


@dataclass(frozen=True)
class AttackedSeries:
    """The series [n, L, C] to attack, how many of each kind, and how many earlier ones are left out."""

    values: np.ndarray
    counts: dict[str, int]
    left_out: int

    @property
    def facts(self) -> dict[str, int]:
        return {**self.counts, "left_out": self.left_out}

    @classmethod
    def gather(cls, settings: config.Config, folder: Run, parallel: Parallel) -> "AttackedSeries":
        """
        Raises:
            UserError: a store is damaged, or the run has no generator.
        """
        store = Store.open(folder.synthetic)
        candidate = store.rows(np.arange(store.num_series))
        earlier, left_out = gather_earlier(settings, folder, parallel, candidate.shape[1:])
        sample = draw_sample(settings, folder, parallel, len(candidate))
        counts = {"candidate": len(candidate), "earlier": len(earlier), "sample": len(sample)}
        return cls(np.concatenate([candidate, earlier, sample]), counts, left_out)


def describe_counts(facts: Mapping[str, int], about: bool = False) -> str:
    """Say what was attacked; `about`, if the size of the sample, which follows the members', is rounded."""
    sample = f"{'about ' if about else ''}{facts['sample']:,}"
    text = (
        f"The attacks used the {facts['candidate']:,} series to be released, {facts['earlier']:,} of earlier "
        f"attempts and a sample of {sample} more from the same generator."
    )
    if facts["left_out"]:
        text += (
            f" {facts['left_out']:,} series of earlier attempts were left out, because they belong to "
            "another split or are too many."
        )
    return text


def gather_earlier(
    settings: config.Config, folder: Run, parallel: Parallel, shape: tuple[int, ...]
) -> tuple[np.ndarray, int]:
    """Series of earlier releases, and of attempts with these weights that were over a limit: [n, L, C]; and
    how many could not be taken.

    What was released is kept as a copy. What was refused is generated again, from its seed and count.
    """
    ledger = ReleaseLedger.open(folder)
    split, weights = ARTEFACTS["split"].digest(folder), ARTEFACTS["generator"].digest(folder)
    seen, parts, left_out = {digest_series(folder.synthetic)}, [np.empty((0, *shape), np.float32)], 0
    for entry in ledger.entries():
        refused_over = entry.get("exit_code") == 3 and entry["weights"] == weights
        if entry["series"] in seen or not (entry["verdict"] == RELEASED or refused_over):
            continue
        seen.add(entry["series"])
        if entry["split"] != split:
            left_out += int(entry["count"])
        elif entry["verdict"] == RELEASED:
            store = Store.open(ledger.copy_of(entry))
            parts.append(store.rows(np.arange(store.num_series)))
        else:
            parts.append(generate_again(settings, folder, parallel, entry))
    values = np.concatenate([part for part in parts if part.shape[1:] == shape])
    if len(values) > MOST_EARLIER:
        rng = np.random.default_rng(secrets.randbits(128))
        left_out += len(values) - MOST_EARLIER
        values = values[np.sort(rng.permutation(len(values))[:MOST_EARLIER])]
    return values, left_out


def generate_again(
    settings: config.Config, folder: Run, parallel: Parallel, entry: Mapping[str, Any]
) -> np.ndarray:
    """The series of an attempt with the weights that the run has now."""
    asked = {"generate.count": int(entry["count"]), "generate.seed": int(entry["seed"])}
    then = settings.with_values(asked, "release")
    rows = np.arange(min(then.generate.count, MOST_SAMPLED))
    return regenerate(then, folder, Bank.load(folder.bank), parallel, rows)


def draw_sample(settings: config.Config, folder: Run, parallel: Parallel, candidates: int) -> np.ndarray:
    """So many more series of the generator that there are as many as members, `MOST_SAMPLED` at most."""
    members = len(read_table(private_table(folder.series)).rows("train"))
    count = max(0, min(members, MOST_SAMPLED) - candidates)
    meta = Store.open(folder.synthetic).meta
    if not count:
        return np.empty((0, meta.axis.length, len(meta.channels)), np.float32)
    seed = int(ARTEFACTS["generator"].digest(folder)[:15], 16)
    asked = settings.with_values({"generate.count": count, "generate.seed": seed}, "release")
    return regenerate(asked, folder, Bank.load(folder.bank), parallel, np.arange(count))


def audit_generated(settings: config.Config, folder: Run, parallel: Parallel) -> str:
    """Generate a random choice of the series again, from weights, bank and seed, and compare.

    The choice is the operating system's, so nobody knows beforehand which series will be compared.

    Returns:
        What was verified.

    Raises:
        Mismatch: the store has another number of series, or a series that the generator does not make.
    """
    store = Store.open(folder.synthetic)
    count = settings.generate.count
    if store.num_series != count:
        raise Mismatch(
            f"{folder.synthetic} has {store.num_series} series, but generate.count is {count}; "
            f"run distgan generate {folder.folder} again"
        )
    rng = np.random.default_rng(secrets.randbits(128))
    rows = np.sort(rng.permutation(count)[:MOST_CHECKED])
    expected = regenerate(settings, folder, Bank.load(folder.bank), parallel, rows)
    found = store.rows(rows)
    wrong = int((~agree(found, expected, read_scaler(folder)[0].integer)).sum())
    if wrong:
        raise Mismatch(
            f"{wrong} of {len(rows)} series of {folder.synthetic} differ from those that the "
            f"run's generator makes with generate.seed {settings.generate.seed}; run distgan "
            f"generate {folder.folder} again"
        )
    return f"{len(rows):,} of {count:,} series, chosen at random, were generated again and agree"


def agree(found: np.ndarray, expected: np.ndarray, integer: bool = False) -> np.ndarray:
    """Which series agree up to the rounding of another device: [n, L, C] twice -> [n] bool.

    Where values are whole numbers, a rounding may fall to the other side, in one of a hundred values.
    """
    difference = np.sqrt(np.square(found - expected, dtype=np.float64).mean(axis=(1, 2)))
    deviation = expected.std(axis=(1, 2), dtype=np.float64)
    size = np.abs(expected).max(axis=(1, 2), initial=0.0)
    close: np.ndarray = difference <= TOLERANCE * deviation + 1e-6 * size  # NaN does not agree
    if not integer:
        return close
    steps = np.abs(found - expected)
    few = (steps > 0).mean(axis=(1, 2)) <= TOLERANCE
    return close | (few & (steps <= 1).all(axis=(1, 2)))
