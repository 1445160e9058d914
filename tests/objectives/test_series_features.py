"""Features of whole series, and the distance of their moments over a batch."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from distgan.objectives import series_features
from distgan.objectives.losses import apply_to_global_means
from distgan.objectives.series_features import compute_feature_distance, measure_features

DAY, LENGTH = 6, 12 * 42  # twelve weeks in steps of four hours


def draw_series(count: int, seed: int = 0, channels: int = 1) -> Tensor:
    """Days with noise: (B, LENGTH, C)."""
    generator = torch.Generator().manual_seed(seed)
    day = torch.sin(2 * torch.pi * torch.arange(LENGTH) / DAY)[None, :, None]
    size = 0.1 + 0.2 * torch.rand(count, 1, channels, generator=generator)
    return size * day + 0.05 * torch.randn(count, LENGTH, channels, generator=generator)


def measure_distance(fake: Tensor, real: Tensor) -> Tensor:
    plain = partial(apply_to_global_means, across=lambda means: means)
    return compute_feature_distance(measure_features(fake, DAY), measure_features(real, DAY), plain)


def test_equal_sets_are_no_distance_apart_in_any_order() -> None:
    series = draw_series(16)
    assert measure_distance(series.flip(0), series).item() == pytest.approx(0, abs=1e-6)


def lift_nights(series: Tensor) -> Tensor:
    return torch.maximum(series, series.quantile(0.2, dim=1, keepdim=True))


def smooth(series: Tensor) -> Tensor:
    return (series + series.roll(1, 1)) / 2


def repeat_one(series: Tensor) -> Tensor:
    return series[:1].expand_as(series)


@pytest.mark.parametrize("change", [lift_nights, smooth, repeat_one])
def test_what_differs_is_further_away_than_another_draw(change: Callable[[Tensor], Tensor]) -> None:
    """A base load, a smoother texture, and one series in place of many."""
    series, other = draw_series(32), draw_series(32, seed=1)
    assert measure_distance(change(other), series) > 2 * measure_distance(other, series)


def test_shares_of_kernels_are_those_of_a_product_with_windows() -> None:
    x_NL = draw_series(3)[..., 0]
    found = series_features.measure_kernels(x_NL, [2])
    wanted = []
    for places in series_features.KERNELS:
        kernel = torch.full((series_features.TAPS,), -1.0)
        kernel[list(places)] = 2.0
        output = x_NL.unfold(1, 2 * series_features.TAPS - 1, 1)[..., ::2] @ kernel
        scaled = output / output.square().mean(1, keepdim=True).sqrt()
        for level in series_features.THRESHOLDS:
            wanted.append(((scaled - level) / series_features.SOFTNESS + 0.5).clamp(0, 1).mean(1))
    torch.testing.assert_close(found, torch.stack(wanted, dim=1), rtol=1e-4, atol=1e-5)


def test_the_spectrum_has_a_line_for_the_day() -> None:
    """A wave of one cycle a day has all of its power at that frequency, and none in the other groups."""
    wave = torch.sin(2 * torch.pi * torch.arange(LENGTH) / DAY)[None]
    power = series_features.measure_spectrum(wave, DAY)[0].exp() - series_features.SMALL
    assert power.max().item() == pytest.approx(LENGTH / 4, rel=1e-3)  # |X|^2 / L of a sine of size 1
    assert power.sort().values[-2] < 1e-3


def test_changes_of_a_staircase_by_hand() -> None:
    """Half of the steps stay, half rise or fall by twice the readings' root mean square."""
    x_NL = torch.tensor([[1.0, 1.0, -1.0, -1.0]]).repeat(1, 50)
    found = series_features.measure_changes(x_NL, 1)[0]
    share = 99 / 199
    assert found[:-1].tolist() == pytest.approx([share] * 5, rel=1e-4)
    assert found[-1].item() == pytest.approx(0)  # no change is followed by another


@pytest.mark.parametrize(("length", "channels"), [(3, 1), (24, 2), (100, 3)])
def test_short_series_have_features_and_finite_gradients(length: int, channels: int) -> None:
    series = (
        0.1 * torch.randn(4, length, channels, generator=torch.Generator().manual_seed(0))
    ).requires_grad_()
    flat = torch.zeros(4, length, channels)
    for real in (flat, flat + 0.3):
        distance = measure_distance(series, real)
        (gradient,) = torch.autograd.grad(distance, series)
        assert distance > 0 and torch.isfinite(gradient).all()


def test_the_distance_of_two_halves_is_that_of_the_whole() -> None:
    fake, real = draw_series(4).requires_grad_(), draw_series(4, seed=1)
    seen = []

    def whole(function: object, means: Tensor) -> Tensor:
        seen.append(means.detach())
        return apply_to_global_means(function, means, lambda each: each)  # type: ignore[arg-type]

    distance = compute_feature_distance(measure_features(fake, DAY), measure_features(real, DAY), whole)
    (wanted,) = torch.autograd.grad(distance, fake)
    halves = partial(apply_to_global_means, across=lambda means: seen[0])  # of a mean over two processes
    parts = [
        compute_feature_distance(measure_features(fake[rows], DAY), measure_features(real[rows], DAY), halves)
        for rows in (slice(0, 2), slice(2, 4))
    ]
    loss = (parts[0] + parts[1]) / 2
    assert loss.item() == pytest.approx(distance.item(), rel=1e-5)
    torch.testing.assert_close(torch.autograd.grad(loss, fake)[0], wanted, rtol=1e-3, atol=1e-6)
