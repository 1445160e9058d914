"""Scores of synthetic series against real series that no network has seen, each beside its baselines.

A score alone says little, so all rows of a table are scored by the same functions against the same target:

    model          the synthetic series
    held-out real  other real entities, never trained on: what a perfect generator would reach
    copier, noisy copier              training series: perfect on fidelity, useless for privacy
    mean curve                        realistic on average, no diversity
    shuffled hours, shuffled days     right values, no rhythm
    Gaussian, PCA+GMM, cluster mean   generators that are fitted without a network

The target is the held-out split. The `held-out real` row is the reference split (a third set of real
entities) against it; where that split is too small, the held-out split is cut into two halves, one the
target of all rows, one the real row. Distances between finite sets never reach zero and shrink with their
sizes, so all rows are compared at one size, the smallest, averaged over random draws. The ± is a cautious
standard error over the choice of entities: the spread over random halves of both sets, the same for all
rows. Of large sets smaller parts are drawn, and the spread is scaled down as that of a mean; recurrent
networks give a standard error of their own. Of differences between rows it was 1.2 to 3 times the true
deviation where that was measured. What is concluded goes by the same halves of two rows (`paired.py`).

Shapes: n series, L steps, C channels, K random halves, S scores. Values are in original units, NaN where
missing. A score that does not exist for the data (weekly profile of three days) is NaN here and null in the
report.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from distgan.errors import UserError
from distgan.evaluation import baselines
from distgan.evaluation.metrics import paired
from distgan.evaluation.metrics.c2st import Estimate, compute_recurrent_scores
from distgan.evaluation.metrics.descriptors import Array, Descriptors
from distgan.evaluation.metrics.entity_loads import compare_units
from distgan.evaluation.metrics.gaps import copy_gaps
from distgan.evaluation.metrics.measure import Measure
from distgan.evaluation.metrics.scores import BY_NAME, OF_ALL, SCORES
from distgan.evaluation.report.verdict import COPIER, MODEL, REAL, ROWS, judge
from distgan.evaluation.results import Counts, Measurements, Row, ScoreMeaning, Scores, ScoreTable
from distgan.progress import Progress
from distgan.rng import make_keyed_generator

VALUE_DRAWS, NOISE_DRAWS = 12, 24
DRAWN_SERIES = 2400  # in all draws of a row together: large sets are averaged over fewer draws
NOISE_SERIES = 200  # of each set in a draw for the noise, at most
NOISE_PARTS = 4  # of a larger set in such a draw, at most
SMALLEST_REAL_ROW = 4

Trained = dict[str, Estimate]  # what networks that were trained on the series say, by name of the score


def split_sides(
    held_out: Array, seed: int, reference: Array | None = None, owners: Array | None = None
) -> tuple[Array, Array]:
    """Return the target of all rows and the series of the real row, both never trained on.

    A reference split of fair size is the real row; otherwise the held-out split is cut into halves, and no
    owner is on both sides unless there is only one. A held-out split of one series is the target, and there
    is no real row. By default every series has an owner of its own.
    """
    if reference is not None and len(reference) >= max(SMALLEST_REAL_ROW, len(held_out) / 3):
        return held_out, reference
    owners = np.arange(len(held_out)) if owners is None or len(np.unique(owners)) == 1 else owners
    _, first, codes = np.unique(owners, return_index=True, return_inverse=True)
    order = make_keyed_generator(seed, 0, "fidelity halves").permutation(len(first))
    place = np.empty(len(first), int)  # of each owner in that order; owners come as in the held-out split
    place[np.argsort(first)[order]] = np.arange(len(first))
    reached = np.cumsum(np.bincount(place[codes]))  # series of so many owners
    last = min(int(np.searchsorted(reached, (len(held_out) + 1) // 2)), max(len(first) - 2, 0))
    rows = np.argsort(place[codes], kind="stable")
    return held_out[rows[: reached[last]]], held_out[rows[reached[last] :]]


# ------------------------------------------------------------------------------------------------------ table


def average_scores(measure: Measure, candidate: Descriptors, size: int, seed: int) -> dict[str, float]:
    """Return scores at `size` series, averaged over random draws."""
    rng = make_keyed_generator(seed, 0, "fidelity draws")
    results = []
    for _ in range(min(max(DRAWN_SERIES // size, 1), VALUE_DRAWS)):
        target = measure.target.take(rng.permutation(len(measure.target)))
        results.append(measure.compute_scores(candidate.take(rng.permutation(len(candidate))[:size]), target))
    found = _average(results)
    every = {name: BY_NAME[name].function for name in OF_ALL}
    return found | {
        name: score(measure.target, candidate, measure.grid) for name, score in every.items() if score
    }


def score_halves(measure: Measure, candidate: Descriptors, size: int, seed: int) -> list[dict[str, float]]:
    """Score random halves of both sets, or smaller parts; the target's are the same for every candidate.

    A set of more than `size` series is scored in parts of half that size, whose scores are averaged: shares
    such as coverage depend on how many series of each side there are.
    """
    part = min(size // 2, len(candidate) // 2, NOISE_SERIES)
    target_half = min(len(measure.target) // 2, NOISE_SERIES)
    if min(part, target_half) < 2:
        return []
    half = min(len(candidate) // 2, NOISE_PARTS * part, NOISE_SERIES)
    results = []
    for draw in range(NOISE_DRAWS):
        target = _draw_part(
            measure.target.owner, target_half, make_keyed_generator(seed, draw, "fidelity half target")
        )
        rows = _draw_part(candidate.owner, half, make_keyed_generator(seed, draw, "fidelity half"))
        parts = np.array_split(rows, max(1, round(len(rows) / part)))
        results.append(_average([_score_half(measure, candidate, size, each, target) for each in parts]))
    return results


def _score_half(
    measure: Measure, candidate: Descriptors, size: int, rows: Array, target: Array
) -> dict[str, float]:
    """Score some rows of a candidate against some of the target."""
    found = measure.compute_scores(candidate.take(rows), measure.target.take(target))
    unit = compare_units((len(rows), len(target)), (size, len(measure.target)))
    return found | {"load_figures": unit * found["load_figures"]}


def _average(results: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each score."""
    return {name: float(np.mean([result[name] for result in results])) for name in results[0]}


def _draw_part(owner: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw the rows of random whole owners, as near to `size` as possible; rows of single series where one
    owner has nearly all.
    """
    _, codes = np.unique(owner, return_inverse=True)
    place = rng.permutation(int(codes.max()) + 1)  # of each owner in a random order
    rows = np.argsort(place[codes], kind="stable")
    reached = np.cumsum(np.bincount(place[codes]))
    count = int(reached[np.argmin(np.abs(reached - size))])
    return rows[:count] if 2 <= count < len(rows) else rng.permutation(len(rows))[:size]


def compute_shrinkage(size: int) -> float:
    """Return the standard error at `size` series over the spread of draws without replacement: 1 for halves.

    The variance of a mean of b among n is (1/b - 1/n) s², and what is wanted s²/n.
    """
    drawn = min(size // 2, NOISE_SERIES)
    return 1.0 if drawn == size // 2 else math.sqrt(drawn / (size - drawn))


def estimate_noise(halves: list[dict[str, float]], trained: Trained, shrinkage: float) -> dict[str, float]:
    """Return an upper bound of every score's standard error over the choice of entities."""
    names = halves[0] if halves else ()
    found = {name: shrinkage * float(np.std([half[name] for half in halves])) for name in names}
    return {**blank_scores(), **found, **{name: estimate.error for name, estimate in trained.items()}}


def estimate_difference_noise(
    row: tuple[list[dict[str, float]], Trained],
    real: tuple[list[dict[str, float]], Trained],
    shrinkage: float,
) -> dict[str, float]:
    """Return an upper bound of the standard error of the difference of losses from those of a row of real
    series, draw by draw: 1.2 to 3 times the true one where that was measured.
    """
    found = blank_scores()
    for name in row[0][0] if row[0] and real[0] else ():
        loss = BY_NAME[name].compute_loss
        found[name] = shrinkage * float(
            np.std([loss(h[name]) - loss(r[name]) for h, r in zip(row[0], real[0])])
        )
    for name in set(row[1]) & set(real[1]):
        found[name] = math.hypot(row[1][name].error, real[1][name].error)
    return found


def blank_scores() -> dict[str, float]:
    return dict.fromkeys(BY_NAME, math.nan)


def _choose_rows(count: int, limit: int, seed: int, purpose: str) -> Array:
    """Return the rows of the series to compare, in order."""
    if count <= limit:
        return np.arange(count)
    return np.sort(make_keyed_generator(seed, 0, f"fidelity {purpose}").permutation(count)[:limit])


TESTED = ("held_out", "reference")  # never trained on


@dataclass(frozen=True)
class Sets:
    """The compared series: [n, L, C] each, in original units, NaN where missing.

    Attributes:
        owners: number of owners (what a split never parts) per split, to say how much the numbers can bear.
        owner_of: [n] the owner of each series of "held_out" and "reference", by default one each; classifiers
            and errors keep all series of an owner together.
    """

    train: Array
    held_out: Array
    synthetic: Array
    reference: Array | None = None
    owners: Mapping[str, int] = field(default_factory=dict)
    owner_of: Mapping[str, Array] = field(default_factory=dict)

    @property
    def arrays(self) -> dict[str, Array]:
        """The sets by name, without a reference split of no series.

        Raises:
            UserError: an empty set, or sets of different lengths or channels.
        """
        found = {"train": self.train, "held_out": self.held_out}
        if self.reference is not None and len(self.reference):
            found["reference"] = self.reference
        found["synthetic"] = self.synthetic
        _check_shapes(found)
        return found


def _check_shapes(sets: Mapping[str, Array]) -> None:
    """Check that the sets can be compared.

    Raises:
        UserError: an empty set, or sets of different lengths or channels.
    """
    shapes = {name: np.shape(values) for name, values in sets.items()}
    for name, shape in shapes.items():
        if len(shape) != 3:
            raise UserError(f"{name} series have shape {shape}; the shape must be [series, steps, channels]")
        if not shape[0]:
            raise UserError(
                f"there are no {name} series to compare with; raise data.splits.{name}, or add series"
            )
        if shape[1:] != shapes["train"][1:]:
            raise UserError(
                f"{name} series have {shape[1]} steps x {shape[2]} channels, but train series "
                f"{shapes['train'][1]} x {shapes['train'][2]}; both must come from one run"
            )


@dataclass(frozen=True)
class TrainedScores:
    """Updates of the discriminative networks (2000 as published; 0 leaves all out), and their kinds."""

    steps: int = 0
    backbones: tuple[str, ...] = ("gru",)


UNTRAINED = TrainedScores()


def evaluate(
    sets: Sets,
    steps_per_day: float,
    *,
    seed: int = 0,
    max_series: int = 1000,
    networks: TrainedScores = UNTRAINED,
    baseline_sets: Mapping[str, Array] | None = None,
) -> ScoreTable:
    """Score the synthetic series and their baselines; a score that is NaN becomes None in the result.

    Args:
        steps_per_day: 24 for hourly series; may be a fraction.
        max_series: of each set, at most, are compared.
        networks: of the discriminative and predictive scores of short series; without updates by default.
        baseline_sets: further rows, by name.

    Raises:
        UserError: an empty set, or sets that do not fit together.
    """
    given = sets.arrays
    counts = {name: len(given.get(name, ())) for name in ("train", "held_out", "reference", "synthetic")}
    chosen = {name: _choose_rows(count, max_series, seed, name) for name, count in counts.items()}
    some = {name: np.asarray(values, dtype=np.float32)[chosen[name]] for name, values in given.items()}
    who, whose = (_list_owners(sets.owner_of, name, counts[name])[chosen[name]] for name in TESTED)
    target, real = split_sides(some["held_out"], seed, some.get("reference"), who)
    owner, real_owner = split_sides(who, seed, whose if "reference" in some else None, who)
    copies_itself = sets.reference is sets.train  # the real row is what baselines are made of
    measure = Measure(some["train"], target, steps_per_day, owner, train_is_scored=copies_itself)
    makers: dict[str, Callable[[], Array]] = {
        MODEL: lambda: some["synthetic"],
        REAL: lambda: real,
        **baselines.make_baselines(some["train"], len(some["held_out"]), steps_per_day, seed),
        **{name: partial(np.asarray, values) for name, values in (baseline_sets or {}).items()},
    }
    descriptors, trained = _describe_rows(makers, measure, target, {REAL: real_owner}, networks, seed)
    if copies_itself:
        descriptors[REAL] = replace(descriptors[REAL], to_training=descriptors[REAL].to_own)
    size = min(len(target), *(len(rows) for rows in descriptors.values()))
    rows, resampled = _make_rows(measure, descriptors, trained, size, seed)
    measured = Measurements(
        n=Counts(**counts, target=len(target), target_owners=len(np.unique(owner)), compared=size),
        owners=dict(sets.owners),
        real_row=_name_origin(real, some.get("reference"), who),
        scores=[
            ScoreMeaning(**{name: getattr(score, name) for name in ScoreMeaning.model_fields})
            for score in SCORES
        ],
        rows=rows,
        lags={"acf_long_steps": measure.grid.long_lags.tolist()},
        paired=paired.compare_rows(resampled, MODEL, REAL),
    )
    return judge(measured)


def _list_owners(known: Mapping[str, Array], name: str, count: int) -> Array:
    """Return the owner of each series of a set, by default one each."""
    return np.asarray(known.get(name, np.arange(count)))


def _name_origin(real: Array, reference: Array | None, owners: Array) -> str:
    """Return the source of the row of other real series."""
    if real is reference:
        return "reference split"
    if not len(real):
        return "none"
    alone = len(np.unique(owners)) == 1
    return "half of the held-out series" + (", of the same owner as the target" if alone else "")


def _describe_rows(
    makers: dict[str, Callable[[], Array]],
    measure: Measure,
    target: Array,
    owners: dict[str, Array],
    networks: TrainedScores,
    seed: int,
) -> tuple[dict[str, Descriptors], dict[str, Trained]]:
    """Make every row's series, one row at a time; return descriptors and trained scores of the rows that have
    series.
    """
    descriptors: dict[str, Descriptors] = {}
    trained: dict[str, Trained] = {}
    with Progress("evaluate: series", len(makers), "rows") as progress:
        for name, make in makers.items():
            if len(values := make()):
                descriptors[name] = measure.compute_descriptors(values, owners.get(name))
                trained[name] = compute_recurrent_scores(
                    target,
                    copy_gaps(target, values),
                    steps=networks.steps,
                    seed=seed,
                    backbones=networks.backbones,
                )
            progress.advance()
    return descriptors, trained


def _make_rows(
    measure: Measure, descriptors: dict[str, Descriptors], trained: dict[str, Trained], size: int, seed: int
) -> tuple[list[Row], paired.ResampledLosses]:
    """Compute values and noise of every row at `size` series, and its losses on halves common to all rows."""
    halves, values = {}, {}
    with Progress("evaluate: scores", len(descriptors), "rows") as progress:
        for name, rows in descriptors.items():
            halves[name] = score_halves(measure, rows, size, seed), trained[name]
            known = {score: estimate.value for score, estimate in trained[name].items()}
            values[name] = {**blank_scores(), **average_scores(measure, rows, size, seed), **known}
            progress.advance()
    shrinkage = compute_shrinkage(len(measure.target))
    owners = min(
        len(np.unique(each.owner)) for each in (measure.target, descriptors.get(REAL, measure.target))
    )
    resampled = paired.ResampledLosses(
        names=tuple(BY_NAME),
        losses={name: paired.collect_losses(found) for name, found in values.items()},
        halves={name: _stack_losses(found) for name, (found, _) in halves.items()},
        errors={name: _list_trained_errors(found) for name, found in trained.items()},
        shrinkage=shrinkage,
        owners=owners,
        synthetic=len(descriptors[MODEL]),
        compared=size,
    )
    made = [
        Row(
            name=name,
            meaning=ROWS.get(name, ""),
            n=len(rows),
            values=replace_nan(values[name]),
            noise=replace_nan(estimate_noise(*halves[name], shrinkage)),
            noise_to={
                real: replace_nan(
                    estimate_difference_noise(halves[name], halves.get(real, ([], {})), shrinkage)
                )
                for real in (REAL, COPIER)
            },
        )
        for name, rows in descriptors.items()
    ]
    return made, resampled


def _stack_losses(halves: list[dict[str, float]]) -> Array:
    """Return losses on each half, NaN for scores that are not resampled: [K, S]."""
    return np.array([paired.collect_losses(half) for half in halves]).reshape(-1, len(BY_NAME))


def _list_trained_errors(trained: Trained) -> Array:
    """Return standard errors of scores that are not resampled, NaN for the others: [S]."""
    return np.array([trained[name].error if name in trained else math.nan for name in BY_NAME])


def replace_nan(values: dict[str, float]) -> Scores:
    return {name: round(value, 6) if math.isfinite(value) else None for name, value in values.items()}
