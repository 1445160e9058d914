"""Scaling is undone exactly, fills the networks' range, and leaves missing values missing."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
import torch

from distgan import config
from distgan.data.rounding import clip_to_bounds, round_to_multiples
from distgan.data.scaling import Scaler
from distgan.data.scaling_statistics import compute_location_and_scale
from distgan.errors import UserError

ALL = [(transform, method) for transform in ("none", "sqrt", "log1p") for method in ("standard", "minmax")]


def series(rows: int = 20) -> np.ndarray:
    """Gamma-distributed loads of very different sizes, some negative (solar), some missing."""
    rng = np.random.default_rng(0)
    sizes = 10 ** rng.uniform(-1, 4, (rows, 1, 2))
    values = (rng.gamma(1.5, size=(rows, 200, 2)) * sizes).astype(np.float32)
    values[::5] *= -1
    values[::3, 10:40] = np.nan
    return values


@pytest.mark.parametrize(("transform", "method"), ALL)
def test_restore_undoes_scale(transform: str, method: str) -> None:
    values = series()
    settings = config.Scaling(transform=transform, method=method)
    scaler = Scaler.fit([values[:7], values[7:]], settings)
    attributes = scaler.compute_attributes(values)
    scaled = scaler.scale(values, attributes)
    assert attributes.shape == (20, 2, 2) and (attributes[..., 1] > 0).all()
    assert scaled.dtype == attributes.dtype == np.float32
    assert 0.8 < np.nanmax(np.abs(scaled)) < 1 + 1e-5
    np.testing.assert_array_equal(np.isnan(scaled), np.isnan(values))
    restored = scaler.restore(scaled, attributes)
    sizes = np.nanmax(np.abs(values), axis=1, keepdims=True)
    assert np.nanmax(np.abs(restored - values) / sizes) < 1e-5
    assert Scaler.from_dict(scaler.to_dict()) == scaler


@pytest.mark.parametrize(("transform", "method"), ALL)
def test_blocks_do_not_matter(transform: str, method: str) -> None:
    values = series()
    settings = config.Scaling(transform=transform, method=method)
    one, many = Scaler.fit([values], settings), Scaler.fit(np.array_split(values, 9), settings)
    assert one.bound == pytest.approx(many.bound) and one.unit == pytest.approx(many.unit)


def test_the_bound_is_no_single_owners_number() -> None:
    """Whatever the most extreme owners do, as long as `least` others go as far, the bound stays."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((60, 200, 1)).astype(np.float32)
    owners = np.arange(60) // 2
    calm = Scaler.fit([values], config.Scaling(), owners=owners, least=15).bound
    wild = values.copy()
    wild[:28, 7] = 40 + np.arange(28)[:, None]  # 14 owners of 30
    assert Scaler.fit([wild], config.Scaling(), owners=owners, least=15).bound == calm
    wild[:30, 7] = 40  # a 15th
    assert Scaler.fit([wild], config.Scaling(), owners=owners, least=15).bound > calm
    assert (2 * np.log2(calm)) == pytest.approx(round(2 * np.log2(calm)))  # on the public grid
    few = Scaler.fit([wild[:8]], config.Scaling(), owners=owners[:8], least=15).bound  # 4 owners in all
    assert few == Scaler.fit([wild[:8]], config.Scaling(), owners=owners[:8], least=4).bound


def test_location_and_scale_of_a_dataset_count_every_owner_alike() -> None:
    """The mean and variance of every owner count equally, whatever the number of readings."""
    first, second = np.array([1.0, 3.0]), np.array([10.0, 10.0])
    series = np.stack([first, second, second, [np.nan, np.nan]])[:, :, None].astype(np.float32)
    (location,), (scale,) = compute_location_and_scale([series[:1], series[1:]], np.array([0, 1, 1, 2]))
    assert location == pytest.approx((2 + 10) / 2)
    assert scale == pytest.approx(np.sqrt((5 + 100) / 2 - 36))


def test_attributes_are_mean_and_deviation_of_measured_values() -> None:
    values = series()
    attributes = Scaler.fit([values], config.Scaling()).compute_attributes(values)
    np.testing.assert_allclose(attributes[..., 0], np.nanmean(values, axis=1, dtype=np.float64), rtol=1e-5)
    np.testing.assert_allclose(attributes[..., 1], np.nanstd(values, axis=1, dtype=np.float64), rtol=1e-5)


def test_only_the_lower_bound_clips() -> None:
    values = series()
    scaler = Scaler.fit([values], config.Scaling(), config.Bounds(lower=0.0))
    attributes = scaler.compute_attributes(values)
    wild = np.full_like(values, 3.0)
    assert (scaler.restore(wild, attributes) > np.nanmax(values, axis=1, keepdims=True)).all()
    assert scaler.restore(-wild, attributes).min() == 0


@pytest.mark.parametrize(("transform", "method"), ALL)
def test_bounds_hold_exactly_and_whole_numbers_are_whole(transform: str, method: str) -> None:
    values = np.clip(np.abs(series()), 0, 100.25)
    limits = config.Bounds(lower=0.0, upper=100.25)
    scaler = Scaler.fit([values], config.Scaling(transform=transform, method=method), limits)
    attributes = scaler.compute_attributes(values)
    wild = np.random.default_rng(0).normal(0, 0.5, values.shape).astype(np.float32)
    wild[0, :3] = np.nan
    restored = scaler.restore(wild, attributes)
    assert np.nanmin(restored) == 0 and np.nanmax(restored) == np.float32(100.25)
    assert np.isnan(restored[0, :3]).all()
    standardised = scaler.standardise(
        torch.from_numpy(np.nan_to_num(wild)), torch.ones(wild.shape), torch.from_numpy(attributes)
    )
    seen = scaler.restore(
        standardised.numpy(), attributes
    )  # what the discriminator sees lies within them, too
    unbounded = replace(scaler, lower_bound=None, upper_bound=None)
    np.testing.assert_allclose(seen, unbounded.restore(standardised.numpy(), attributes), atol=1e-2)
    size = np.nanmax(np.abs(seen), axis=1, keepdims=True)
    assert not ((seen > 0) & (seen < 5e-7 * size)).any()  # no rounding beside a bound
    assert not ((seen < 100.25) & (seen > 100.25 - 1e-5)).any()
    whole = replace(scaler, integer=True, lower_bound=0.5).restore(wild, attributes)
    there = whole[~np.isnan(whole)]
    assert (there == np.rint(there)).all() and there.min() == 1 and there.max() == 100
    assert Scaler.from_dict(scaler.to_dict()) == scaler


def test_rounding_beside_a_bound_is_the_bound() -> None:
    values = np.array([[1e-7, -1e-7, 1e-3, 8.0, np.nan, 9.9999995, -4.0, 70.0]], np.float32)[..., None]
    found = clip_to_bounds(values, 0, 10)[0, :, 0]
    np.testing.assert_array_equal(found, np.array([0, 0, 1e-3, 8, np.nan, 10, 0, 10], np.float32))
    assert found.dtype == np.float32 and not np.signbit(found).any()
    np.testing.assert_array_equal(clip_to_bounds(values, None, None), values)
    values[0, 6] = np.inf
    assert clip_to_bounds(values, 0, None)[0, [3, 6], 0].tolist() == [8, np.inf]
    tiny = np.array([[1e-7, 2e-7, 0, 3e-7]], np.float32)[..., None]  # a series of small values keeps them
    np.testing.assert_array_equal(clip_to_bounds(tiny, 0, None), tiny)


@pytest.mark.parametrize("lower_bound", [None, 0.0])
@pytest.mark.parametrize(("transform", "method"), ALL)
def test_levelling_leaves_real_series_as_they_are(
    transform: str, method: str, lower_bound: float | None
) -> None:
    values = series() if lower_bound is None else np.abs(series())
    settings = config.Scaling(transform=transform, method=method)
    scaler = Scaler.fit([values], settings, config.Bounds(lower=lower_bound))
    attributes = scaler.compute_attributes(values)
    shapes = torch.from_numpy(scaler.scale(values, attributes))
    mask = (~shapes.isnan()).float()
    standardised = scaler.standardise(shapes.nan_to_num(), mask, torch.from_numpy(attributes))
    torch.testing.assert_close(standardised * mask, shapes.nan_to_num(), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(("transform", "method"), ALL)
def test_levelled_shapes_have_the_location_and_scale_that_they_are_to_get(
    transform: str, method: str
) -> None:
    values = series()
    scaler = Scaler.fit([values], config.Scaling(transform=transform, method=method))
    wanted = scaler.compute_attributes(values)
    generator = torch.Generator().manual_seed(0)
    noise, middle = (torch.rand(20, steps, 2, generator=generator) for steps in (200, 1))
    shapes = 0.3 * noise - middle / 3
    mask = torch.from_numpy(~np.isnan(values)).float()
    standardised = scaler.standardise(shapes, mask, torch.from_numpy(wanted)).numpy()
    restored = np.where(mask > 0, scaler.restore(standardised, wanted), np.nan)
    found = scaler.compute_attributes(restored)
    np.testing.assert_allclose(found[..., 1], wanted[..., 1], rtol=2e-3)
    assert np.abs((found[..., 0] - wanted[..., 0]) / wanted[..., 1]).max() < 2e-3


def test_what_the_lower_bound_cuts_off_keeps_its_gradient() -> None:
    values = np.abs(series())
    scaler = Scaler.fit([values], config.Scaling(), config.Bounds(lower=0.0))
    attributes = scaler.compute_attributes(values)
    attributes[..., 0] = attributes[..., 1] / 10  # nearly half of a shape lies below zero
    shapes = (0.1 * torch.randn(20, 200, 2, generator=torch.Generator().manual_seed(0))).requires_grad_()
    gradients = []
    for each in (scaler, replace(scaler, lower_bound=None)):
        standardised = each.standardise(shapes, torch.ones(20, 200, 2), torch.from_numpy(attributes))
        gradients.append(torch.autograd.grad((standardised * torch.arange(200)[:, None]).sum(), shapes)[0])
        restored = each.restore(standardised.detach().numpy(), attributes)
        below = restored < 1e-4 * attributes[:, None, :, 1]
        assert 0.2 < below.mean() < 0.7
    torch.testing.assert_close(*gradients)
    assert restored.min() < 0


def test_levelling_survives_wild_flat_and_unmeasured_shapes() -> None:
    values = np.abs(series())
    for method in ("standard", "minmax"):
        scaler = Scaler.fit([values], config.Scaling(method=method), config.Bounds(lower=0.0))
        attributes = torch.from_numpy(scaler.compute_attributes(values))
        for shapes in (torch.full((20, 200, 2), 1e4), torch.zeros(20, 200, 2), -1e4 * torch.rand(20, 200, 2)):
            shapes.requires_grad_()
            for mask in (torch.ones(20, 200, 2), torch.zeros(20, 200, 2)):
                standardised = scaler.standardise(shapes, mask, attributes)
                standardised.sum().backward()
                assert standardised.abs().max() <= 1 and shapes.grad.isfinite().all()


@pytest.mark.parametrize(("transform", "method"), ALL)
@pytest.mark.parametrize("value", [3.25, 0.0, np.nan])
def test_a_flat_or_empty_series_scales_to_zeros(transform: str, method: str, value: float) -> None:
    scaler = Scaler.fit([series()], config.Scaling(transform=transform, method=method))
    flat = np.full((1, 200, 2), value, np.float32)
    attributes = scaler.compute_attributes(flat)
    assert np.isfinite(attributes).all()
    scaled = scaler.scale(flat, attributes)
    np.testing.assert_array_equal(scaled, 0 * flat)
    np.testing.assert_allclose(scaler.restore(scaled, attributes), flat, rtol=1e-5)


def test_the_unit_of_log1p_counts_owners_alike() -> None:
    """Fifty large series of one owner moved the unit of all; zeros and gaps have no size."""
    small, large = np.full((4, 20, 1), 2.0, np.float32), np.full((50, 20, 1), 800.0, np.float32)
    small[:, 3:7], small[:, 9] = 0, np.nan
    owners = np.r_[np.arange(4), np.full(50, 4)]
    settings = config.Scaling(transform="log1p", bound=5.0)
    unit = Scaler.fit([small, large[:9], large[9:]], settings, owners=owners).unit
    assert unit == pytest.approx(2.0**0.8 * 800.0**0.2)
    assert Scaler.fit([small, -large[:1]], settings).unit == pytest.approx(unit)


@pytest.mark.parametrize("transform", ["none", "log1p"])
def test_nothing_to_learn_from_is_one_line(transform: str) -> None:
    with pytest.raises(UserError, match="nothing to scale by"):
        Scaler.fit([np.full((2, 5, 1), np.nan, np.float32)], config.Scaling(transform=transform))


def test_a_generator_of_blocks_is_our_mistake() -> None:
    def blocks() -> Iterator[np.ndarray]:
        yield series()

    with pytest.raises(AssertionError, match="walked twice"):
        Scaler.fit(blocks(), config.Scaling())


def test_huge_values_do_not_overflow_the_statistics() -> None:
    values = np.random.default_rng(0).normal(1e30, 1e29, (3, 50, 1)).astype(np.float32)
    scaler = Scaler.fit([values], config.Scaling())
    scaled = scaler.scale(values, scaler.compute_attributes(values))
    assert np.isfinite(scaled).all() and 0.7 < np.abs(scaled).max() <= 1 + 1e-5


def test_one_wild_series_does_not_squeeze_the_others() -> None:
    """A nearly empty home has readings 90 deviations from its mean; ordinary homes still use the range."""
    rng = np.random.default_rng(0)
    values = rng.gamma(4, 0.2, (20, 8760, 1)).astype(np.float32)
    values[0] = 0.01
    values[0, 4000] = 5
    scaler = Scaler.fit([values], config.Scaling())
    scaled = scaler.scale(values, scaler.compute_attributes(values))
    assert 0.9 < np.abs(scaled).max() <= 1 + 1e-6
    assert scaled[1:].std() > 0.1
    assert np.allclose(
        scaler.restore(scaled, scaler.compute_attributes(values)), values, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("step", [0.1, 0.001, 0.05, 0.25, 1.0, 5.0, 0.3])
def test_multiples_of_a_step_are_written_as_such(step: float) -> None:
    """0.3, not 0.30000001: in float32 and in text, for as many steps as float32 holds."""
    rng = np.random.default_rng(0)
    counts = np.concatenate([np.arange(-50, 50), rng.integers(-(2**20), 2**20, 500)])
    values = (counts * step + rng.uniform(-0.4, 0.4, len(counts)) * step).astype(np.float32)
    found = round_to_multiples(values, step)
    exact = [Decimal(int(count)) * Decimal(str(step)) for count in counts]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([float(each) for each in exact], np.float32))
    small = np.abs(counts) < 10**6  # seven digits are written in full
    assert [Decimal(str(value)) for value in found[small]] == [e for e, s in zip(exact, small) if s]
    assert not np.signbit(found[found == 0]).any()


def test_steps_keep_within_bounds_that_are_no_multiples() -> None:
    scaler = replace(Scaler("none", "standard", 1.0, 8.0, 0.15, 0.99), step=0.1)
    found = scaler.keep_within_bounds(np.array([-3, 0.12, 0.55, np.nan, 5], np.float32))
    np.testing.assert_array_equal(found, np.array([0.2, 0.2, 0.6, np.nan, 0.9], np.float32))
    assert Scaler.from_dict(scaler.to_dict()) == scaler
    older = {name: value for name, value in scaler.to_dict().items() if name != "step"}
    assert Scaler.from_dict(older).grid_step is None
