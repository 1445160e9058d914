"""The two-sample tests of a report: all series never trained on against all synthetic ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distgan.evaluation.comparisons import Tone
from distgan.evaluation.metrics.descriptors import Array
from distgan.evaluation.metrics.two_sample import VIEWS, Accuracy, Effort, Sample, compare_samples
from distgan.evaluation.typed_json import JsonResult
from distgan.progress import Progress
from distgan.rng import make_keyed_generator

SHOWN = ("weeks", "series")
EFFORT = Effort(features=2016, places=1500)
MOST_SERIES = 400  # of each side
EVEN, APART = 0.55, 0.75  # accuracy that is taken for guessing; that is surely more than a likeness


class ViewAccuracy(JsonResult):
    """Balanced accuracy with its 95 % interval; `auc` of the classifiers' scores."""

    value: float
    low: float
    high: float
    auc: float


class ViewResult(JsonResult):
    """The test on one view. `real` is the test of two halves of the real series; None where there are too few
    owners.
    """

    name: str
    title: str
    meaning: str
    synthetic: ViewAccuracy
    real: ViewAccuracy | None
    owners: int
    series: int
    items: int


class TwoSampleTests(JsonResult):
    """All views; `verdict` is `real` (not distinguished), `between`, or `baseline` (easily distinguished)."""

    views: list[ViewResult]
    verdict: str
    tone: Tone
    sentence: str


@dataclass(frozen=True)
class Sides:
    """The compared series, [n, L, C] each, and the owners of the real ones."""

    real: Array
    owners: Array
    synthetic: Array


def evaluate(sides: Sides, steps_per_day: float, seed: int = 0) -> TwoSampleTests | None:
    """Test all views that the records have; None where no view can be tested.

    Args:
        sides: more than `MOST_SERIES` of one side are represented by a random part.
    """
    rng = make_keyed_generator(seed, 0, "two-sample tests")
    rows = _choose_rows(len(sides.real), rng)
    real = Sample(sides.real[rows], np.asarray(sides.owners)[rows])
    made = Sample(sides.synthetic[_choose_rows(len(sides.synthetic), rng)])
    halves = _split_by_owner(real, rng)
    effort = Effort(EFFORT.features, EFFORT.places, seed)
    found = []
    with Progress("evaluate: two-sample tests", len(SHOWN), "views") as progress:
        for name in SHOWN:
            accuracy = compare_samples(real, made, name, steps_per_day, effort)
            if accuracy is not None:
                beside = compare_samples(*halves, name, steps_per_day, effort)
                found.append(_make_view_result(name, accuracy, beside, len(made.values)))
            progress.advance()
    return _conclude(found) if found else None


def _choose_rows(count: int, rng: np.random.Generator) -> Array:
    return np.sort(rng.permutation(count)[:MOST_SERIES])


def _split_by_owner(real: Sample, rng: np.random.Generator) -> tuple[Sample, Sample]:
    """Return two random halves of the owners."""
    codes = real.codes
    side = (rng.permutation(int(codes.max()) + 1) % 2)[codes]
    return (
        Sample(real.values[side == 0], codes[side == 0]),
        Sample(real.values[side == 1], codes[side == 1]),
    )


def _make_view_result(name: str, made: Accuracy, real: Accuracy | None, series: int) -> ViewResult:
    view = VIEWS[name]
    return ViewResult(
        name=name,
        title=view.title,
        meaning=view.meaning,
        synthetic=_round(made),
        real=None if real is None else _round(real),
        owners=made.owners[0],
        series=series,
        items=made.items,
    )


def _round(found: Accuracy) -> ViewAccuracy:
    return ViewAccuracy(**{name: round(getattr(found, name), 4) for name in ViewAccuracy.model_fields})


def _conclude(views: Sequence[ViewResult]) -> TwoSampleTests:
    """Return the finding in plain words, by the view with the highest accuracy."""
    low = max(view.synthetic.low for view in views)
    verdict, tone = "baseline", "bad"
    if low <= EVEN:
        verdict, tone = "real", "good"
    elif low <= APART:
        verdict, tone = "between", "warn"
    parts = [
        f"{view.synthetic.value:.0%} of {view.title} (95 % interval {view.synthetic.low:.0%} to "
        f"{view.synthetic.high:.0%}{f'; two real sets {view.real.value:.0%}' if view.real else ''})"
        for view in views
    ]
    text = (
        "A classifier on MiniRocket features that saw no series of the same owner is right about "
        f"{' and '.join(parts)}; 50 % is guessing."
    )
    return TwoSampleTests(views=list(views), verdict=verdict, tone=tone, sentence=text)  # type: ignore[arg-type]
