"""Classifier two-sample tests of a set against real series, and TimeGAN's discriminative and predictive
scores.

The classifier two-sample test works at any length. TimeGAN's networks (Yoon et al. 2019) are for short
series, and there to be compared with published tables: with int(dim / 2) units, 1 at least, they overlook
much. `backbones` has others.

Shapes: n series, L steps, C channels, F features.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from distgan.evaluation.metrics.backbones import BACKBONES
from distgan.evaluation.metrics.descriptors import Array, Descriptors
from distgan.rng import derive_torch_seed, make_keyed_generator

CLASSIFIER_SERIES = 250  # of each set that a classifier is trained on, at most
ALPHAS = np.logspace(0, 5, 6)
LEVEL_SHARE = 0.05  # of the features' squared length that location and scale have; all kernels have the rest
LONGEST = 256  # steps of series that recurrent networks are shown
FEWEST = 10  # series of each class
BATCH, RATE, TEST_SHARE = 128, 1e-3, 0.2  # as published
RUNS = 3  # of the small network: its accuracy hangs on its seed
STRONG_UNITS = 32

# ------------------------------------------------------------------------------- classifier two-sample test


def compute_held_out_accuracy(target: Descriptors, candidate: Descriptors, name: str) -> float:
    """Return the balanced accuracy of ridge regression (on features, location and scale) on held-out series.

    It is trained on one half of the owners and tested on the other, then the other way round, with as many
    series of the one set as of the other. NaN if there are too few.

    Args:
        name: of the descriptors' features, "kernels" or "rocket".
    """
    features = [_weigh_features(descriptors, name) for descriptors in (target, candidate)]
    halves = [_split_by_owner(descriptors.owner) for descriptors in (target, candidate)]
    sizes = [min(len(one[side]) for one in halves) for side in (0, 1)]
    if min(sizes) < 2:
        return math.nan
    sides = [[values[rows[side][: sizes[side]]] for values, rows in zip(features, halves)] for side in (0, 1)]
    return (_measure_accuracy(sides[0], sides[1]) + _measure_accuracy(sides[1], sides[0])) / 2


def _weigh_features(descriptors: Descriptors, name: str) -> Array:
    """Return features [n, F] with location and scale, weighted to count beside hundreds of kernels."""
    features, sizes = getattr(descriptors, name), descriptors.sizes
    weight = math.sqrt(LEVEL_SHARE * max(features.shape[1], 1) / sizes.shape[1])
    return np.concatenate([features, weight * sizes], 1)


def _split_by_owner(owner: Array) -> tuple[Array, Array]:
    """Return the rows of two sides of about equal size, in order, with no owner on both."""
    names, first, codes, sizes = np.unique(owner, return_index=True, return_inverse=True, return_counts=True)
    side, filled = np.zeros(len(names), int), [0, 0]
    for name in np.argsort(first):
        side[name] = int(filled[1] < filled[0])
        filled[side[name]] += sizes[name]
    return np.flatnonzero(side[codes] == 0), np.flatnonzero(side[codes] == 1)


def _measure_accuracy(train: list[Array], test: list[Array]) -> float:
    """Return the accuracy of ridge regression on +1 (real) and -1, trained on two equal sets and tested on
    two others.
    """
    features = np.concatenate([values[:CLASSIFIER_SERIES] for values in train]).astype(np.float64)
    middle = features.mean(0)
    direction = fit_ridge(features - middle, np.repeat([1.0, -1.0], len(features) // 2))
    right = [sign * ((values - middle) @ direction) > 0 for sign, values in zip((1, -1), test)]
    return float(np.mean([np.mean(found) for found in right]))


def fit_ridge(centred: Array, signs: Array) -> Array:
    """Return the weights [F] of ridge regression of signs [n] that sum to 0 on centred features [n, F].

    Its strength is the one of `ALPHAS` with the least squared leave-one-out error, the intercept refitted.
    """
    values, vectors = np.linalg.eigh(centred @ centred.T)
    turned = vectors.T @ signs
    errors = []
    for alpha in ALPHAS:
        share = alpha / (np.maximum(values, 0) + alpha)  # of each direction that is left over
        left_out = (vectors * share) @ turned / (np.square(vectors) @ share - 1 / len(signs))
        errors.append(np.square(left_out).mean())
    alpha = ALPHAS[int(np.argmin(errors))]
    return centred.T @ (vectors @ (turned / (np.maximum(values, 0) + alpha)))


# ------------------------------------------------------------------------------------------- trained networks


@dataclass(frozen=True)
class Training:
    """A network and its training: a key of `BACKBONES`."""

    units: int
    steps: int
    seed: int
    backbone: str = "gru"


@dataclass(frozen=True)
class Estimate:
    """A score, and its standard error over the series it was tested on."""

    value: float
    error: float


def count_hidden_units(channels: int) -> int:
    """Return int(dim / 2) units as published, but at least 1: a univariate series would have none."""
    return max(1, channels // 2)


def _train(
    network: nn.Module,
    loss: Callable[[Array], Tensor],
    rows: int,
    steps: int,
    rng: np.random.Generator,
) -> None:
    """Minimise `loss` of random rows with Adam; no row occurs twice in a batch."""
    adam = torch.optim.Adam(network.parameters(), RATE)
    for _ in range(steps):
        value = loss(rng.permutation(rows)[:BATCH])
        adam.zero_grad()
        value.backward()
        adam.step()


def compute_discriminative(real: Array, made: Array, training: Training) -> Estimate:
    """Return |accuracy - 0.5| on a fifth of the series, of a network trained on the others.

    Args:
        real, made: [n, L, C], [m, L, C] on the same scale, NaN where missing; as many of each are used.
    """
    rng = make_keyed_generator(training.seed, 0, "discriminative score")
    count = min(len(real), len(made))
    one, two = (values[rng.permutation(len(values))[:count]] for values in (real, made))
    gaps = np.isnan(one) | np.isnan(two)  # the same in both, or the gaps would tell them apart
    pair = [torch.from_numpy(np.where(gaps, 0, values).astype(np.float32)) for values in (one, two)]
    trained = int((1 - TEST_SHARE) * count)
    start = torch.Generator().manual_seed(derive_torch_seed(training.seed, 0, "discriminative score"))
    network = BACKBONES[training.backbone](real.shape[2], training.units, start)

    def compute_loss(rows: Array) -> Tensor:
        others = rng.permutation(trained)[: len(rows)]
        logits = network(torch.cat([pair[0][rows], pair[1][others]]), last=True)
        labels = torch.arange(2).repeat_interleave(len(rows))[:, None]
        return functional.binary_cross_entropy_with_logits(logits, labels.float())

    _train(network, compute_loss, trained, training.steps, rng)
    with torch.inference_mode():
        called_real = [(network(values[trained:], last=True) < 0).float().mean().item() for values in pair]
    accuracy = (called_real[0] + 1 - called_real[1]) / 2
    return Estimate(abs(accuracy - 0.5), math.sqrt(0.25 / (2 * (count - trained))))


def compute_predictive(real: Array, made: Array, training: Training) -> Estimate:
    """Return the mean absolute error on all real series of a network trained on `made` to predict one step
    ahead.

    As published, the last channel from all others up to the step before; a single channel from its own past.

    Args:
        real, made: [n, L, C], [m, L, C] scaled to 0 … 1 by real series, NaN where missing.
    """
    rng = make_keyed_generator(training.seed, 0, "predictive score")
    inputs = max(1, real.shape[2] - 1)
    start = torch.Generator().manual_seed(derive_torch_seed(training.seed, 0, "predictive score"))
    network = BACKBONES[training.backbone](inputs, training.units, start)

    def sum_errors(values: Array) -> tuple[Tensor, Tensor]:
        past = torch.from_numpy(np.nan_to_num(values[:, :-1, :inputs]).astype(np.float32))
        truth = torch.from_numpy(values[:, 1:, -1:].astype(np.float32))
        measured = ~truth.isnan()
        gaps = (torch.sigmoid(network(past, last=False)) - truth.nan_to_num()).abs() * measured
        return gaps.sum((1, 2)), measured.sum((1, 2))

    def compute_loss(rows: Array) -> Tensor:
        sums, counts = sum_errors(made[rows])
        return sums.sum() / counts.sum().clamp(min=1)

    _train(network, compute_loss, len(made), training.steps, rng)
    with torch.inference_mode():
        sums, counts = sum_errors(real)
    each = (sums / counts)[counts > 0].double()
    return Estimate(float(each.mean()), float(each.std()) / math.sqrt(max(len(each), 1)))


def compute_recurrent_scores(
    real: Array, made: Array, *, steps: int, seed: int, backbones: Sequence[str] = ("gru",)
) -> dict[str, Estimate]:
    """Return the discriminative and predictive scores by name; empty where series are too long or too few.

    Args:
        real, made: [n, L, C], [m, L, C]; both are scaled by the extremes of the real ones.
        steps: updates of the discriminative networks; the predictive one makes 2.5 times as many.
        backbones: keys of `BACKBONES`; those other than TimeGAN's GRU have 32 units.
    """
    if not steps or not 2 <= real.shape[1] <= LONGEST or min(len(real), len(made)) < FEWEST:
        return {}
    low, high = (extreme.reduce(real, axis=(0, 1)) for extreme in (np.fmin, np.fmax))
    real, made = ((values - low) / np.where(high > low, high - low, 1) for values in (real, made))
    found = _compute_published(real, made, steps, seed) if "gru" in backbones else {}
    for name in (name for name in backbones if name != "gru"):
        each = Training(STRONG_UNITS, steps, seed, name)
        found[f"discriminative_{name}"] = compute_discriminative(real, made, each)
        found[f"predictive_{name}"] = compute_predictive(real, made, replace(each, steps=5 * steps // 2))
    return found


def _compute_published(real: Array, made: Array, steps: int, seed: int) -> dict[str, Estimate]:
    """Return TimeGAN's scores, the discriminative one averaged over seeds, and with a larger network, too."""
    small = Training(count_hidden_units(real.shape[2]), steps, seed)
    runs = [compute_discriminative(real, made, replace(small, seed=seed + run)) for run in range(RUNS)]
    return {
        "discriminative": Estimate(float(np.mean([run.value for run in runs])), runs[0].error),
        "discriminative_32": compute_discriminative(real, made, replace(small, units=STRONG_UNITS)),
        "predictive": compute_predictive(real, made, replace(small, steps=5 * steps // 2)),
    }
