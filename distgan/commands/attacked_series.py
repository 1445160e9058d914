"""The synthetic series that are attacked before a release: those to be released, those released before, and a
sample.

A slice of thirty from a generator that repeats its training series shows hardly more than chance. So the
generator is attacked, not only the slice: the series to be released, all released before, those of attempts
that were over a limit, and a sample of the same generator that grows with the number of members. The sample's
seed is made of the weights, so that another attempt sees the same one.

Copied windows (P1) are searched in all of them, block by block. The other attacks use a random choice: of the
series to leave and of earlier attempts `MOST_COMPARED` each, at most, and all of the generator's sample. The
choice of those to leave is keyed by their digest: the same series are attacked in the same sample.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np

from distgan.anonymity.bank import Bank
from distgan.data.store.private_table import read_table
from distgan.data.store.reader import Store
from distgan.errors import Mismatch
from distgan.evaluation.attacks.released import ReleasedSeries, describe_misses
from distgan.evaluation.results import AttackedCounts
from distgan.files import quote_path
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.digests import ARTEFACTS, digest_series
from distgan.pipeline.generate import regenerate
from distgan.pipeline.release_ledger import (
    RELEASED,
    Attempt,
    ReleaseLedger,
    digest_owners,
    list_copies_beside,
)
from distgan.pipeline.training_data import read_scaler
from distgan.rng import make_keyed_generator

MOST_SAMPLED = 10_000  # series of the generator, those to leave included, beyond which none are added
MOST_COMPARED = 10_000  # series to leave, and of earlier attempts, that attacks but P1 use
MOST_CHECKED = 2_000  # series that are generated again and compared
AS_GROUPS_ARE: dict[str, Any] = {  # no attributes requested
    "generate.attributes": {},
    "generate.shares": {},
    "generate.table": None,
}
TOLERANCE = 0.01  # root mean square of the difference, over the series' deviation: another device's rounding


@dataclass(frozen=True)
class AttackedSeries:
    """All series to attack, those [n, L, C] of them that attacks but P1 use, and the number of each kind."""

    released: ReleasedSeries
    values: np.ndarray
    facts: AttackedCounts

    @classmethod
    def gather(cls, context: PipelineContext) -> "AttackedSeries":
        """Gather the series to attack.

        Raises:
            UserError: a store is damaged, or the run has no generator.
        """
        store = Store.open(context.run.synthetic)
        candidate = ReleasedSeries((store,))
        parts, left_out, beside = gather_earlier(context, candidate.shape)
        earlier, sample = (
            ReleasedSeries((candidate.read_rows(np.arange(0)), *parts)),
            draw_sample(context, store.num_series),
        )
        key = int(ARTEFACTS["synthetic"].digest(context.run)[:15], 16)
        rows = candidate.choose(MOST_COMPARED, make_keyed_generator(key, 0, "attacked of those to leave"))
        others = earlier.choose(MOST_COMPARED, make_keyed_generator(key, 0, "attacked of earlier attempts"))
        drawn = len(rows) + len(others)
        facts = AttackedCounts(
            candidate=store.num_series,
            earlier=earlier.num_series,
            sample=len(sample),
            left_out=left_out,
            drawn=drawn if drawn < store.num_series + earlier.num_series else None,
            beside=beside,
        )
        values = np.concatenate([candidate.read_rows(rows), earlier.read_rows(others), sample])
        return cls(ReleasedSeries((store, *parts, sample)), values, facts)


def describe_counts(facts: AttackedCounts) -> str:
    """Describe the attacked series; without the size of the sample, which follows the members', if it is
    None.
    """
    sample = "a sample" if facts.sample is None else f"a sample of {facts.sample:,} more"
    text = (
        f"The attacks used the {facts.candidate:,} series to be released, {facts.earlier:,} of earlier "
        f"attempts and {sample} from the same generator."
    )
    if facts.drawn is not None:
        text += (
            f" Copied windows (P1) were searched in all of these. The other attacks used {facts.drawn:,} "
            f"of the series to be released and of earlier attempts, drawn at random, and {sample}. "
            f"{describe_misses(facts.drawn)}."
        )
    if facts.beside:
        text += (
            f" {facts.beside:,} of those of earlier attempts were released by runs beside this one, on the "
            "same split of the owners."
        )
    if facts.left_out:
        text += (
            f" {facts.left_out:,} series of earlier attempts were left out, because they belong to another "
            "split or have another length or other channels."
        )
    return text


def gather_earlier(
    context: PipelineContext, shape: tuple[int, ...]
) -> tuple[list[Store | np.ndarray], int, int]:
    """Return series of earlier releases, and of attempts with these weights that were over a limit, in parts;
    how many could not be taken; and how many were released by runs beside this one.

    What was released is kept as a copy. What was refused is generated again, from its seed, its count and the
    attributes asked for; what a table asked for, as the groups are.
    """
    ledger = ReleaseLedger.open(context.run)
    split, weights = ARTEFACTS["split"].digest(context.run), ARTEFACTS["generator"].digest(context.run)
    owners = digest_owners(context.run)
    seen, left_out = {digest_series(context.run.synthetic)}, 0
    parts: list[Store | np.ndarray] = []
    for entry in ledger.read_entries():
        refused_over = entry.exit_code == 3 and entry.weights == weights
        if entry.series in seen or not (entry.verdict == RELEASED or refused_over):
            continue
        seen.add(entry.series)
        if entry.split != split and entry.owners != owners:
            left_out += entry.count
            continue
        part: Store | np.ndarray
        if entry.verdict == RELEASED:
            part = Store.open(context.run.released_copy(entry.series))
        else:
            part = generate_again(context, entry)
        if ReleasedSeries((part,)).shape == shape:
            parts.append(part)
        else:
            left_out += entry.count
    beside = list_copies_beside(context.run)
    counted = 0
    for place in [*ledger.list_unnamed(), *beside]:
        if (digest := digest_series(place)) in seen:
            continue
        seen.add(digest)
        copy = Store.open(place)
        if ReleasedSeries((copy,)).shape != shape:
            left_out += copy.num_series
            continue
        parts.append(copy)
        counted += copy.num_series if place in beside else 0
    return parts, left_out, counted


def generate_again(context: PipelineContext, attempt: Attempt) -> np.ndarray:
    """Return the series of an attempt with the weights that the run has now."""
    asked = {**AS_GROUPS_ARE, **attempt.wished}
    asked |= {"generate.count": attempt.count, "generate.seed": attempt.seed}
    then = context.settings.with_values(asked, "release")
    rows = np.arange(min(then.generate.count, MOST_SAMPLED))
    return regenerate(context.with_settings(then), Bank.load(context.run.bank), rows)


def draw_sample(context: PipelineContext, candidates: int) -> np.ndarray:
    """Draw further series of the generator, as many in all as there are members, `MOST_SAMPLED` at most."""
    members = len(read_table(context.run.private_table).find_rows("train"))
    count = max(0, min(members, MOST_SAMPLED) - candidates)
    meta = Store.open(context.run.synthetic).meta
    if not count:
        return np.empty((0, meta.axis.length, len(meta.channels)), np.float32)
    seed = int(ARTEFACTS["generator"].digest(context.run)[:15], 16)
    asked = context.settings.with_values(
        {**AS_GROUPS_ARE, "generate.count": count, "generate.seed": seed}, "release"
    )
    return regenerate(context.with_settings(asked), Bank.load(context.run.bank), np.arange(count))


def audit_generated(context: PipelineContext) -> str:
    """Generate a random choice of the series again, from weights, bank and seed, and compare.

    The choice is the operating system's, so nobody knows beforehand which series will be compared.

    Returns:
        What was verified.

    Raises:
        Mismatch: the store has another number of series, or a series that the generator does not make.
    """
    store = Store.open(context.run.synthetic)
    count = context.settings.generate.count
    if store.num_series != count:
        raise Mismatch(
            f"{context.run.synthetic} has {store.num_series} series, but generate.count is {count}; "
            f"run distgan generate {quote_path(context.run.folder)} again"
        )
    rng = np.random.default_rng(secrets.randbits(128))
    rows = np.sort(rng.permutation(count)[:MOST_CHECKED])
    expected = regenerate(context, Bank.load(context.run.bank), rows)
    found = store.read_rows(rows)
    wrong = int((~find_agreeing(found, expected, read_scaler(context.run)[0].grid_step)).sum())
    if wrong:
        raise Mismatch(
            f"{wrong} of {len(rows)} series of {context.run.synthetic} differ from those that the run's "
            f"generator makes with generate.seed {context.settings.generate.seed}; run distgan generate "
            f"{context.run.folder} again"
        )
    return f"{len(rows):,} of {count:,} series, chosen at random, were generated again and agree"


def find_agreeing(found: np.ndarray, expected: np.ndarray, step: float | None = None) -> np.ndarray:
    """Return which series agree in every channel up to the rounding of another device: [n, L, C] twice -> [n]
    bool.

    Where values are multiples of a step, a rounding may fall to the other side, in one of a hundred values.
    """
    difference = np.sqrt(np.square(found - expected, dtype=np.float64).mean(axis=1))
    deviation = expected.std(axis=1, dtype=np.float64)
    size = np.abs(expected).max(axis=1, initial=0.0)
    close: np.ndarray = difference <= TOLERANCE * deviation + 1e-6 * size  # NaN does not agree
    if step is not None:
        steps = np.abs(found - expected) / step
        close |= ((steps > 0.5).mean(axis=1) <= TOLERANCE) & (steps <= 1.5).all(axis=1)
    return np.asarray(close.all(axis=1))
