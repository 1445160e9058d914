"""Features of whole series, and the energy distance of their distributions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distgan.objectives import series_features
from distgan.objectives.series_features import Whitening, compute_energy_distance, measure_features

DAY, LENGTH = 6, 12 * 42  # twelve weeks in steps of four hours


def draw_series(count: int, seed: int = 0, channels: int = 1) -> Tensor:
    """Days with noise: (B, LENGTH, C)."""
    generator = torch.Generator().manual_seed(seed)
    day = torch.sin(2 * torch.pi * torch.arange(LENGTH) / DAY)[None, :, None]
    size = 0.1 + 0.2 * torch.rand(count, 1, channels, generator=generator)
    return size * day + 0.05 * torch.randn(count, LENGTH, channels, generator=generator)


def keep(rows: Tensor) -> Tensor:
    """One process has all rows."""
    return rows


def measure(series: Tensor) -> list[Tensor]:
    return measure_features(series, series, series.new_zeros(len(series), 0), DAY)


def measure_distance(fake: Tensor, real: Tensor) -> Tensor:
    whitening = Whitening.fit(measure(real))
    sides = (whitening.apply(measure(each)) for each in (fake, real))
    return compute_energy_distance(*sides, keep, torch.arange(len(fake)))


def test_sets_of_one_distribution_are_no_distance_apart() -> None:
    """64 series whiten a hundred features so that another set has a little more variance."""
    assert abs(measure_distance(draw_series(64), draw_series(64, seed=1)).item()) < 0.1


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


def test_recurrence_is_the_autocorrelation_without_the_mean_week() -> None:
    x_NL, week = draw_series(3)[..., 0], 7 * DAY
    found = series_features.measure_recurrence(x_NL, DAY)
    weeks = x_NL.unflatten(1, (-1, week))
    rest = (weeks - weeks.mean(1, keepdim=True)).flatten(1).double()
    for place, lag in enumerate(series_features.find_recurrence_lags(DAY, LENGTH)):
        wanted = (rest[:, lag:] * rest[:, : LENGTH - lag]).sum(1) / rest.square().sum(1)
        torch.testing.assert_close(found[:, place].double(), wanted, atol=1e-3, rtol=0)


def test_figures_of_days_by_hand() -> None:
    """Every second day is twice as high: changes to the next day, and to the next week, are those of all."""
    x_NL = (1.0 + torch.arange(28) % 2)[None].repeat_interleave(2, dim=1) * torch.tensor([1.0, 3.0]).repeat(
        28
    )
    found = series_features.describe_days(x_NL, 2).unflatten(1, (4, -1))[0]
    means, lowest, highest, deviations = found
    assert means[[0, 6, 7, 8]].tolist() == pytest.approx([2, 4, 2, 2])
    assert lowest[[0, 6, 7]].tolist() == pytest.approx([1, 2, 1])
    assert highest[[0, 6, 7]].tolist() == pytest.approx([3, 6, 3])
    assert deviations[[0, 6, 7]].tolist() == pytest.approx([1, 2, 1], rel=1e-4)


def test_whitened_features_of_the_series_that_it_learned_from_have_about_unit_variance() -> None:
    families = measure(draw_series(200))
    for coordinates in Whitening.fit(families).apply(families):
        assert coordinates.mean(0).abs().max() < 1e-3
        covariance = coordinates.T @ coordinates / len(coordinates)
        assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-3
        assert covariance.diagonal().max() < 1.001 and covariance.diagonal().max() > 0.9


def test_a_feature_that_real_series_share_does_not_outweigh_the_others() -> None:
    torch.manual_seed(0)
    real = torch.cat([torch.randn(100, 2), torch.ones(100, 1)], dim=1)
    moved = real + torch.tensor([0.0, 0.0, 1e-3])
    found = Whitening.fit([real]).apply([moved])[0] - Whitening.fit([real]).apply([real])[0]
    assert found.abs().max() < 1


def test_a_feature_is_compared_given_what_belongs_to_its_series() -> None:
    """Features have the right distribution, and the right given numbers, but not together."""
    series, given = draw_series(64), torch.linspace(-1, 1, 64)[:, None]
    order = series[..., 0].std(1).argsort()
    rising, falling = series[order], series[order.flip(0)]
    real = measure_features(rising, rising, given, DAY)
    whitening = Whitening.fit(real)
    together, apart = (
        compute_energy_distance(
            whitening.apply(measure_features(each, each, given, DAY)),
            whitening.apply(real),
            keep,
            torch.arange(64),
        )
        for each in (rising, falling)
    )
    assert together < 0.02 < 0.1 < apart


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
    """The mean of two processes' values and gradients, each with half of the series."""
    fake, real = draw_series(6).requires_grad_(), draw_series(6, seed=1)
    whitening = Whitening.fit(measure(real))

    def compare(rows: slice, gathered: Tensor) -> Tensor:
        sides = (whitening.apply(measure(each[rows])) for each in (fake, real))
        return compute_energy_distance(*sides, lambda _: gathered, torch.arange(6)[rows])

    both = [whitening.apply(measure(each.detach())) for each in (fake, real)]
    whole = torch.cat([family for side in both for family in side], dim=1)
    distance = compare(slice(0, 6), whole)
    (wanted,) = torch.autograd.grad(distance, fake)
    loss = (compare(slice(0, 3), whole) + compare(slice(3, 6), whole)) / 2
    assert loss.item() == pytest.approx(distance.item(), rel=1e-4)
    torch.testing.assert_close(torch.autograd.grad(loss, fake)[0], wanted, rtol=1e-3, atol=1e-6)


def test_the_estimate_is_unbiased_and_its_gradient_is_that_of_the_plain_formula() -> None:
    fake, real = torch.randn(8, 5, requires_grad=True), torch.randn(8, 5)
    distance = compute_energy_distance([fake], [real], keep, torch.arange(8))
    unlike = ~torch.eye(8, dtype=torch.bool)

    def average(one: Tensor, other: Tensor, among: Tensor) -> Tensor:
        gaps = (one[:, None] - other[None])[among]
        return gaps.square().sum(-1).sqrt().mean() / 5**0.5 + gaps.abs().mean()

    everything = torch.ones(8, 8, dtype=torch.bool)
    wanted = 2 * average(fake, real, everything) - average(fake, fake, unlike) - average(real, real, unlike)
    assert distance.item() == pytest.approx(wanted.item(), rel=1e-5)
    slopes = (torch.autograd.grad(value, fake)[0] for value in (distance, wanted))
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)
    torch.manual_seed(0)
    draws = torch.stack(
        [
            compute_energy_distance([torch.randn(4, 3)], [torch.randn(4, 3)], keep, torch.arange(4))
            for _ in range(400)
        ]
    )
    assert abs(draws.mean().item()) < 3 * draws.std().item() / 400**0.5
