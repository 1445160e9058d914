"""All instruments together, for a table: the distance of a set of loads from real entities that no generator
was fitted to.

    accuracy    of two-sample tests on MiniRocket features, by view (`two_sample.py`)
    loads       distance of 24 figures of each load over that between real sets (`entity_loads.py`)
    vendi       Vendi score of these figures, and its ratio to that of as many real entities (`vendi.py`)
    catch22     mean Kolmogorov-Smirnov distance of 22 features (Lubba et al. 2019), by pycatch22
    forecast    error of a next-day forecaster over that of one trained on real series (`utility.py`)
    seams       change across borders of tokens over that across other midnights
    peak, load_factor   of the mean of 50 loads, or of as many as there are real ones

Shapes: n series, L steps, Q figures.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from scipy.stats import ks_2samp

from distgan.errors import UserError
from distgan.evaluation.metrics import entity_loads, loads, utility, vendi
from distgan.evaluation.metrics.descriptors import Array
from distgan.evaluation.metrics.gaps import average_known, copy_gaps
from distgan.evaluation.metrics.two_sample import FULL, Accuracy, Effort, Sample, compare_samples
from distgan.rng import make_keyed_generator

CATCH22 = "pycatch22"
TOGETHER = 50  # loads whose mean has a peak and a load factor
DRAWS = 50  # of so many loads
VENDI_DRAWS = 20


@dataclass(frozen=True)
class Reference:
    """The real series that all sets are measured against.

    Attributes:
        real: series [n, L, 1] that nothing was fitted to, with their owners.
        figures: [n, Q] load figures of these.
        unit: distances between real sets.
        catch: [n, 22] features of catch22, or None where they are left out.
        task: of the forecaster; None where records are too short.
        error: of a forecaster that was trained on other real series; NaN without a task.
        token: steps that a network writes at once, for seams; 0 for none.
    """

    real: Sample
    steps_per_day: float
    layout: entity_loads.Layout
    figures: Array
    unit: entity_loads.Unit
    catch: Array | None
    task: utility.Task | None
    error: float
    token: int

    def measure_forecast(self, made: Array) -> float:
        """Return the error on the real series of a next-day forecaster trained on `made`, over that of one
        trained on real series.
        """
        return _measure_error(made, self.real, self.task) / self.error


def fit_reference(
    real: Sample,
    train: Array,
    steps_per_day: float,
    *,
    first_weekday: int = 0,
    token: int = 0,
    features: bool = True,
) -> Reference:
    """Measure the real series once.

    Args:
        train: series that generators were fitted to: a second set of real ones, which settles units.
        first_weekday: of the record, 0 for Monday.
        features: compute catch22, too.
    """
    layout = entity_loads.fit_layout(train[..., 0], steps_per_day, first_weekday)
    figures, others = (entity_loads.measure_loads(each[..., 0], layout) for each in (real.values, train))
    task = utility.choose_task(train.shape[1], steps_per_day)
    return Reference(
        real=real,
        steps_per_day=steps_per_day,
        layout=layout,
        figures=figures,
        unit=entity_loads.fit_unit(np.concatenate([figures, others])),
        catch=measure_catch22(real.values[..., 0]) if features else None,
        task=task,
        error=_measure_error(train, real, task),
        token=token,
    )


def _measure_error(made: Array, real: Sample, task: utility.Task | None) -> float:
    error = None if task is None else utility.measure_error(made, real.values, task, real.owners)
    return math.nan if error is None else error


@dataclass(frozen=True)
class Reading:
    """The results of the instruments for one set; NaN or None where one does not apply."""

    accuracy: Mapping[str, Accuracy | None]
    loads: float
    vendi: float
    vendi_ratio: float
    catch22: float
    forecast: float
    seams: float
    peak: float
    load_factor: float
    figures: Mapping[str, float]
    ratios: Mapping[str, float]


def read_instruments(
    reference: Reference, made: Array, views: Sequence[str], effort: Effort = FULL
) -> Reading:
    """Measure series [n, L, 1] with every instrument; what describes single series, with the gaps of real
    ones.
    """
    values, seen = made[..., 0], copy_gaps(reference.real.values, made)[..., 0]
    figures = entity_loads.measure_loads(seen, reference.layout)
    ratios = entity_loads.compare_loads(reference.figures, figures, reference.unit)
    score, real_score = compare_variety(reference, figures)
    peak, factor = describe_aggregate(seen, len(reference.real.values))
    catch = math.nan
    if reference.catch is not None:
        catch = float(compare_features(reference.catch, measure_catch22(seen)).mean())
    seams = math.nan
    if reference.token:
        per_day = reference.layout.steps_per_day
        seams = float(average_known(measure_seams(values, per_day, reference.token)))
    sample = Sample(made)
    return Reading(
        accuracy={
            view: compare_samples(reference.real, sample, view, reference.steps_per_day, effort)
            for view in views
        },
        loads=entity_loads.average_ratios(ratios),
        vendi=score,
        vendi_ratio=score / real_score,
        catch22=catch,
        forecast=reference.measure_forecast(made),
        seams=seams,
        peak=peak,
        load_factor=factor,
        figures=dict(zip(entity_loads.FIGURES, np.nanmean(figures, axis=0).tolist())),
        ratios=dict(zip(entity_loads.FIGURES, ratios.tolist())),
    )


def compare_variety(reference: Reference, figures: Array) -> tuple[float, float]:
    """Return the Vendi scores of a set and of real entities, at the smaller number of both, averaged over
    draws.
    """
    sides = [reference.unit.place(each) for each in (figures, reference.figures)]
    width, size = vendi.fit_width(sides[1]), min(map(len, sides))
    rng = make_keyed_generator(0, 0, "vendi draws")
    scores = [
        np.mean(
            [
                vendi.count_effectively(side[rng.permutation(len(side))[:size]], width)
                for _ in range(VENDI_DRAWS if len(side) > size else 1)
            ]
        )
        for side in sides
    ]
    return float(scores[0]), float(scores[1])


def describe_aggregate(values: Array, most: int) -> tuple[float, float]:
    """Return the peak and load factor of the mean of `TOGETHER` loads, or of `most` if that is fewer,
    averaged over draws: [n, L] -> two numbers. The peak of fewer loads is higher.
    """
    rng = make_keyed_generator(0, 0, "loads together")
    size = min(TOGETHER, most, len(values))
    found = []
    for _ in range(DRAWS):
        demand = loads.compute_mean_demand(values[rng.permutation(len(values))[:size]])
        found.append((np.nanmax(demand), np.nanmean(demand) / np.nanmax(demand)))
    peak, factor = np.mean(found, axis=0)
    return float(peak), float(factor)


def measure_seams(values: Array, steps_per_day: int, token: int) -> Array:
    """Return the mean change across borders of tokens over that across other midnights: [n, L] -> [n]; NaN
    where there are none.

    Args:
        token: steps that a network writes at once; the days of the record begin at its first step.
    """
    midnights = np.arange(steps_per_day, values.shape[1], steps_per_day)
    border = midnights % token == 0
    changes = np.abs(values[:, midnights] - values[:, midnights - 1])
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(changes[:, border], axis=1) / np.nanmean(changes[:, ~border], axis=1))


def has_catch22() -> bool:
    return find_spec(CATCH22) is not None


def measure_catch22(values: Array) -> Array:
    """Compute the features of standardised series, gaps filled with the mean: [n, L] -> [n, 22].

    Raises:
        UserError: pycatch22 is not installed.
    """
    if not has_catch22():
        raise UserError(f"catch22 needs {CATCH22}; pip install '.[catch22]'")
    import pycatch22

    found = []
    for series in np.asarray(values, np.float64):
        filled = np.where(np.isnan(series), np.nanmean(series), series)
        deviation = filled.std()
        standard = (filled - filled.mean()) / (deviation if deviation > 0 else 1.0)
        found.append(pycatch22.catch22_all(standard.tolist())["values"])
    return np.array(found).reshape(len(values), 22)


def compare_features(real: Array, made: Array) -> Array:
    """Return the Kolmogorov-Smirnov distance of each feature over series: [n, Q], [m, Q] -> [Q], 0 to 1."""
    real, made = (np.where(np.isnan(side), np.inf, side) for side in (real, made))  # of a flat series: last
    return np.array([ks_2samp(one, two, method="asymp").statistic for one, two in zip(real.T, made.T)])
