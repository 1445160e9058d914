"""Measure series: descriptors and scores of any set in one feature space, against one target.

Shapes: n series, L steps, C channels. Values are in original units, NaN where missing.
"""

import math
from dataclasses import replace

import numpy as np

from distgan.evaluation.metrics.descriptors import (
    SPACE_SERIES,
    Array,
    Descriptors,
    compute_descriptors,
    fit_space,
    make_reference_grid,
)
from distgan.evaluation.metrics.gaps import apply_gaps
from distgan.evaluation.metrics.kernels import fit_embedding, fit_standard
from distgan.evaluation.metrics.nearest import Shapes, find_nearest
from distgan.evaluation.metrics.scores import SCORES


class Measure:
    """The parts common to all rows: reference grid, feature space, training and target series.

    Args:
        train, target: [n, L, C] in original units, NaN where missing.
        owners: [n] of the target series; series of one owner are kept together where a set is parted.
        train_is_scored: the training series are scored as other real series, too. The feature space is then
            fitted to the target alone: in a space of their own, series look unlike new ones of their kind.
    """

    def __init__(
        self,
        train: Array,
        target: Array,
        steps_per_day: float,
        owners: Array | None = None,
        *,
        train_is_scored: bool = False,
    ) -> None:
        real = np.concatenate([target, train])
        self.grid = make_reference_grid(real, steps_per_day)
        real = target if train_is_scored else real
        self._training, self._target = Shapes.of_series(train), Shapes.of_series(target)
        self._gaps = np.isnan(target)
        descriptors = compute_descriptors(real[:: math.ceil(len(real) / SPACE_SERIES)], self.grid)
        self.space, self.encoder = fit_space(descriptors), fit_embedding(descriptors.kernels)
        self.rocket, self.sizes = fit_standard(descriptors.rocket), fit_standard(descriptors.sizes)
        self.target = self.compute_descriptors(target, owners, is_target=True)

    def compute_descriptors(
        self, values: Array, owners: Array | None = None, *, is_target: bool = False
    ) -> Descriptors:
        """Compute all descriptors of [n, L, C] series; distances within the target leave out the series
        itself. A set without gaps gets the target's, since gaps would distinguish the two sets.
        """
        values = apply_gaps(self._gaps, values)
        bare = compute_descriptors(values, self.grid)
        standard = Shapes.of_series(values)
        own = find_nearest(standard, standard, same=True)
        kernels = self.encoder.standardise(bare.kernels)
        return replace(
            bare,
            kernels=kernels,
            rocket=self.rocket.standardise(bare.rocket),
            sizes=self.sizes.standardise(bare.sizes),
            owner=bare.owner if owners is None else np.asarray(owners),
            embedding=self.encoder.place(kernels),
            points=self.space.place(bare),
            to_training=find_nearest(standard, self._training),
            to_target=own if is_target else find_nearest(standard, self._target),
            to_own=own,
        )

    def compute_scores(self, candidate: Descriptors, target: Descriptors | None = None) -> dict[str, float]:
        """Compute every score of a set against the target, by name."""
        return {
            score.name: score.function(target or self.target, candidate, self.grid)
            for score in SCORES
            if score.function is not None
        }
