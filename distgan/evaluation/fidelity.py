"""Scores of synthetic series against real series that no network has seen, each beside its floors.

A score alone says little, so every table has five rows, scored by the same functions against the same
target:

    model          the synthetic series
    real hold-out  other real entities, never trained on: what a perfect generator would reach
    copier         the training series themselves: perfect on fidelity, useless for privacy
    mean curve     the mean training curve, repeated: realistic on average, no diversity
    shuffled hours training series with their hours permuted: right values, no rhythm

The target is the hold-out. The `real hold-out` row is the reference split (a third set of real entities)
against it; where that split is too small, the hold-out is cut into two halves, one the target of all rows,
one the real row. The copier's fidelity is a second draw of the same: training series are real, and
independent of the target. A model is called like real only when it is no worse than the better of the two.
Distances between finite sets never reach zero and shrink with their sizes, so all rows are compared at one
size, the smallest, averaged over random draws. The ± is the standard error over the choice of entities: the
spread over random halves of both sets, the same for all rows.

Shapes: n series, L steps, C channels. Values are in original units, NaN where missing. A score that does
not exist for the data (weekly profile of three days) is NaN here and null in the report.
"""

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from distgan.draws import generator
from distgan.errors import UserError
from distgan.evaluation.scores import BY_NAME, SCORES
from distgan.evaluation.traits import (
    Array,
    Traits,
    describe,
    fit_space,
    make_ruler,
    nearest,
    standardise,
)
from distgan.evaluation.verdict import COPIER, MEAN_CURVE, MODEL, REAL, ROWS, SHUFFLED, judge

VALUE_DRAWS, NOISE_DRAWS = 12, 24
SMALLEST_REAL_ROW = 4


# ----------------------------------------------------------------------------------------------------- floors


def sides(holdout: Array, seed: int, reference: Array | None = None) -> tuple[Array, Array]:
    """The target of all rows and the series of the real row, both never trained on.

    A reference split of fair size is the real row; otherwise the hold-out is cut into halves. A hold-out of
    one series is the target, and there is no real row.
    """
    if reference is not None and len(reference) >= max(SMALLEST_REAL_ROW, len(holdout) / 3):
        return holdout, reference
    order = generator(seed, 0, "fidelity halves").permutation(len(holdout))
    half = (len(holdout) + 1) // 2
    return holdout[order[:half]], holdout[order[half:]]


def floors(train: Array, holdout: Array, seed: int, reference: Array | None = None) -> dict[str, Array]:
    """The series of every row but the model's: row -> [n, L, C]."""
    rng = generator(seed, 0, "fidelity shuffled hours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a step that is missing everywhere stays missing
        mean = np.asarray(np.nanmean(train, axis=0, dtype=np.float64), dtype=np.float32)
    shuffled = np.stack([series[rng.permutation(len(series))] for series in train])
    return {
        REAL: sides(holdout, seed, reference)[1],
        COPIER: train,
        MEAN_CURVE: np.repeat(mean[None], len(holdout), axis=0),
        SHUFFLED: shuffled,
    }


class Measure:
    """Everything that is the same for all rows: ruler, feature space, training and target series.

    Args:
        train, target: [n, L, C] in original units, NaN where missing.
    """

    def __init__(self, train: Array, target: Array, steps_per_day: float) -> None:
        real = np.concatenate([target, train])
        self.ruler = make_ruler(real, steps_per_day)
        self._training = standardise(train)[0]
        self._target = standardise(target)[0]
        self.space = fit_space(describe(real, self.ruler))
        self.target = self.traits(target, is_target=True)

    def traits(self, values: Array, *, is_target: bool = False) -> Traits:
        """All traits of [n, L, C] series; the target's own distances leave out the series itself."""
        bare = describe(values, self.ruler)
        standard = standardise(values)[0]
        own = nearest(standard, standard, same=True)
        return replace(
            bare,
            points=self.space.place(bare),
            to_training=nearest(standard, self._training),
            to_target=own if is_target else nearest(standard, self._target),
            to_own=own,
        )

    def scores(self, candidate: Traits, target: Traits | None = None) -> dict[str, float]:
        """Every score of a set against the target, by name."""
        return {score.name: score.function(target or self.target, candidate, self.ruler) for score in SCORES}


# ------------------------------------------------------------------------------------------------------ table


def _averaged(measure: Measure, candidate: Traits, size: int, seed: int, draws: int) -> dict[str, float]:
    """Scores at `size` series, the mean over random draws of them."""
    rng = generator(seed, 0, "fidelity draws")
    results = []
    for _ in range(draws if size < len(candidate) or len(candidate) < len(measure.target) else 1):
        target = measure.target.take(rng.permutation(len(measure.target)))
        results.append(measure.scores(candidate.take(rng.permutation(len(candidate))[:size]), target))
    return {name: float(np.mean([result[name] for result in results])) for name in results[0]}


def _halved(measure: Measure, candidate: Traits, size: int, seed: int) -> list[dict[str, float]]:
    """Scores between random halves of both sets; the same halves of the target whatever the candidate."""
    half, target_half = min(len(candidate) // 2, size), len(measure.target) // 2
    if min(half, target_half) < 2:
        return []
    results = []
    for draw in range(NOISE_DRAWS):
        target = generator(seed, draw, "fidelity half target").permutation(len(measure.target))[:target_half]
        rows = generator(seed, draw, "fidelity half").permutation(len(candidate))[:half]
        results.append(measure.scores(candidate.take(rows), measure.target.take(target)))
    return results


def _noise(halves: list[dict[str, float]]) -> dict[str, float]:
    """Standard error of every score over the choice of entities."""
    return {s.name: float(np.std([h[s.name] for h in halves])) if halves else math.nan for s in SCORES}


def _noise_to(halves: list[dict[str, float]], real: list[dict[str, float]]) -> dict[str, float]:
    """Standard error of the difference of losses from those of a row of real series, draw by draw."""
    if not (halves and real):
        return dict.fromkeys(BY_NAME, math.nan)
    return {
        s.name: float(np.std([s.loss(h[s.name]) - s.loss(r[s.name]) for h, r in zip(halves, real)]))
        for s in SCORES
    }


def _capped(values: Array, limit: int, seed: int, purpose: str) -> Array:
    if len(values) <= limit:
        return values
    return values[np.sort(generator(seed, 0, f"fidelity {purpose}").permutation(len(values))[:limit])]


def _check(sets: dict[str, Array | None]) -> None:
    """
    Raises:
        UserError: an empty set, or sets of different lengths or channels.
    """
    shapes = {name: np.shape(values) for name, values in sets.items() if values is not None}
    for name, shape in shapes.items():
        if len(shape) != 3:
            raise UserError(f"{name} series have shape {shape}; [series, steps, channels] is expected")
        if not shape[0]:
            raise UserError(
                f"no {name} series to compare with; raise data.splits.{name} or read more entities"
            )
        if shape[1:] != shapes["train"][1:]:
            raise UserError(
                f"{name} series are {shape[1]} steps x {shape[2]} channels, train series "
                f"{shapes['train'][1]} x {shapes['train'][2]}; both must come from one run"
            )


def evaluate(
    train: Array,
    holdout: Array,
    synthetic: Array,
    reference: Array | None = None,
    *,
    steps_per_day: float,
    seed: int = 0,
    max_series: int = 1000,
    owners: dict[str, int] | None = None,
    floor_sets: dict[str, Array] | None = None,
) -> dict[str, Any]:
    """Score the synthetic series and their floors; everything in the answer is ready for JSON (NaN is None).

    Args:
        train, holdout, synthetic, reference: [n, L, C] in original units, NaN where missing.
        steps_per_day: 24 for hourly series; may be a fraction.
        max_series: of each set, at most, are compared.
        owners: number of owners (what a split never parts) per split, to say how much the numbers can bear.
        floor_sets: further rows, by name.

    Raises:
        UserError: an empty set, or sets that do not fit together.
    """
    reference = reference if reference is not None and len(reference) else None
    _check({"train": train, "holdout": holdout, "synthetic": synthetic, "reference": reference})
    counts = {
        "train": len(train),
        "holdout": len(holdout),
        "reference": 0 if reference is None else len(reference),
        "synthetic": len(synthetic),
    }
    train, holdout, synthetic = (
        _capped(np.asarray(values, dtype=np.float32), max_series, seed, name)
        for name, values in (("train", train), ("holdout", holdout), ("synthetic", synthetic))
    )
    reference = None if reference is None else _capped(reference, max_series, seed, "reference")
    target, real = sides(holdout, seed, reference)
    measure = Measure(train, target, steps_per_day)
    sets = {MODEL: synthetic, **floors(train, holdout, seed, reference), **(floor_sets or {})}
    traits = {name: measure.traits(values) for name, values in sets.items() if len(values)}
    size = min(len(target), *(len(rows) for rows in traits.values()))
    halves = {name: _halved(measure, rows, size, seed) for name, rows in traits.items()}
    rows = [
        {
            "name": name,
            "meaning": ROWS.get(name, ""),
            "n": len(rows),
            "values": _clean(_averaged(measure, rows, size, seed, VALUE_DRAWS)),
            "noise": _clean(_noise(halves[name])),
            "noise_to": {
                real: _clean(_noise_to(halves[name], halves.get(real, []))) for real in (REAL, COPIER)
            },
        }
        for name, rows in traits.items()
    ]
    table = {
        "n": {**counts, "target": len(target), "compared": size},
        "owners": owners or {},
        "real_row": "reference split"
        if real is reference
        else "half of the hold-out"
        if len(real)
        else "none",
        "scores": [
            {key: getattr(score, key) for key in ("name", "title", "group", "better", "best", "meaning")}
            for score in SCORES
        ],
        "rows": rows,
        "lags": {"acf_long_steps": measure.ruler.long_lags.tolist()},
    }
    return {**table, **judge(table)}


def _clean(values: dict[str, float]) -> dict[str, float | None]:
    return {name: round(value, 6) if math.isfinite(value) else None for name, value in values.items()}
