"""The utility of synthetic series for a classifier: trained on real, synthetic and both; tested on real
series of other owners.

The classifier is ridge regression on random convolutions (ROCKET, Dempster et al. 2020) and on location and
scale. Kernels and scales are those of the real training series in every row, and whole synthetic series get
the gaps of real ones of their label, so that rows differ in the series alone. Intervals are t-intervals of
95 % over owners: series of one owner are alike.

Shapes: n series, L steps, C channels, F features, D draws of synthetic series.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from distgan.errors import UserError
from distgan.evaluation.metrics.descriptors import Array, standardise
from distgan.evaluation.metrics.gaps import copy_gaps
from distgan.evaluation.metrics.intervals import estimate_interval
from distgan.evaluation.metrics.kernels import Kernels, fit_kernels
from distgan.evaluation.results import Classification, ClassifiedSeries, Interval

ALPHAS = np.logspace(-1, 4, 6)


@dataclass(frozen=True)
class LabelledSeries:
    """Series [n, L, C] in measured units, NaN where missing, with the label and the owner of each [n]."""

    series: Array
    labels: Array
    owners: Array


@dataclass(frozen=True)
class Encoder:
    """Features of series: [n, L, C] -> [n, F]."""

    kernels: Kernels
    scale: Array  # [C] deviation of the real values

    @classmethod
    def fit(cls, series: Array) -> "Encoder":
        standard, _, _ = standardise(series)
        scale = np.nanstd(series, axis=(0, 1), dtype=np.float64)
        return cls(fit_kernels(standard, 0.0), np.where(scale > 0, scale, 1.0))

    def __call__(self, series: Array) -> Array:
        standard, level, spread = standardise(series)
        mask = ~np.isnan(series).transpose(0, 2, 1)
        own = [np.arcsinh(level / self.scale), np.log(spread / self.scale + 1e-3)]
        return np.concatenate(
            [self.kernels.compute_features(standard, mask), *map(np.nan_to_num, own)], axis=1
        )


def classify(real: LabelledSeries, made: Sequence[LabelledSeries], test: LabelledSeries) -> Classification:
    """Return the accuracy of the three trainings, and how much synthetic series add to real ones.

    Args:
        real: series that the generator was trained on.
        made: draws of synthetic series; each row of the result is a mean over them.
        test: real series of other owners.

    Raises:
        UserError: there is only one label, or nothing to test on.
    """
    if len(np.unique(real.labels)) < 2 or not len(test.labels):
        raise UserError(
            "classification needs two labels or more and held-out series, but there are "
            f"{len(np.unique(real.labels))} labels and {len(test.labels)} held-out series; see "
            "data.labels and data.splits.held_out"
        )
    encoder = Encoder.fit(real.series)
    features, tested = encoder(real.series), encoder(test.series)
    drawn = [(encoder(copy_gaps_of_label(real, draw)), draw.labels) for draw in made]
    truth = test.labels
    commonest = max(np.unique(real.labels).tolist(), key=lambda label: int((real.labels == label).sum()))
    right = {  # [n] share of the draws in which each test series was recognised
        "commonest label": (truth == commonest).astype(float),
        "real": _score_predictions(features, real.labels, tested, truth),
        "synthetic": np.mean([_score_predictions(*draw, tested, truth) for draw in drawn], axis=0),
        "real + synthetic": np.mean(
            [
                _score_predictions(
                    np.concatenate([features, own]), np.concatenate([real.labels, labels]), tested, truth
                )
                for own, labels in drawn
            ],
            axis=0,
        ),
    }
    right["gain"] = right["real + synthetic"] - right["real"]
    rows = {
        name: _compute_interval(values, test.owners, lowest=-1.0 if name == "gain" else 0.0)
        for name, values in right.items()
    }
    return Classification(
        labels=sorted(map(str, np.unique(real.labels))),
        series=ClassifiedSeries(real=len(real.labels), synthetic=len(made[0].labels), test=len(truth)),
        test_owners=len(np.unique(test.owners)),
        draws=len(made),
        rows=rows,
    )


def copy_gaps_of_label(real: LabelledSeries, made: LabelledSeries) -> Array:
    """Return the synthetic series [n, L, C] with the gaps of real ones of the same label, in turn: what is
    measured when may go with the label.
    """
    found = made.series.copy()
    for label in np.unique(made.labels):
        rows = made.labels == label
        found[rows] = copy_gaps(real.series[real.labels == label], made.series[rows])
    return found


def _score_predictions(features: Array, labels: Array, tested: Array, truth: Array) -> Array:
    """Return whether each test series is recognised: [n] of 0 and 1."""
    scaler = StandardScaler().fit(features)
    model = RidgeClassifierCV(ALPHAS).fit(scaler.transform(features), labels)
    recognised: Array = (model.predict(scaler.transform(tested)) == truth).astype(float)
    return recognised


def _compute_interval(values: Array, owners: Array, lowest: float = 0.0) -> Interval:
    """Return the mean of [n], from `lowest` to 1, with its interval over owners; no interval for one
    owner.
    """
    codes = np.unique(owners, return_inverse=True)[1]
    found = estimate_interval(np.bincount(codes, weights=values), np.bincount(codes))
    low, high = (None, None) if found is None else (max(found[0], lowest), min(found[1], 1.0))
    return Interval(value=float(values.mean()), low=low, high=high)


def format_table(found: Classification) -> str:
    """Return the result as lines for the console."""
    series, lines = found.series, []
    lines.append(
        f"accuracy on {series.test} series of {found.test_owners} owners never trained on, "
        f"{len(found.labels)} labels; 95 % over owners"
    )
    for name, row in found.rows.items():
        sign = "+" if name == "gain" else ""
        sure = "one owner: no interval"
        if row.low is not None:
            sure = f"{row.low:{sign}.3f} to {row.high:{sign}.3f}"
        lines.append(f"  {name:<17} {row.value:{sign}.3f}  ({sure})")
    lines.append(
        f"real: {series.real} training series; synthetic: {series.synthetic}, mean over {found.draws} draws"
    )
    return "\n".join(lines)
