"""Side discriminators: pictures with positions, and fixed convolution kernels."""

import math

import numpy as np
import pytest
import torch

from distgan import config, models
from distgan.models.side_discriminators import (
    NORM,
    TAPS,
    PictureDiscriminator,
    RandomKernels,
    SummaryDiscriminator,
    choose_dilations,
    choose_stride,
)


def build(length: int, *settings: str, channels: int = 2) -> torch.nn.Module:
    tree = ["model.patch=12", "model.discriminator={width: 16, periods: [6], spectra: [24]}", *settings]
    torch.manual_seed(0)
    return models.build(config.load(None, tree), length, channels)["discriminator"]


def test_dilations_are_as_long_as_the_series_allow() -> None:
    assert choose_dilations(2190) == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert choose_dilations(TAPS) == [1]
    assert choose_dilations(TAPS - 1) == []


@pytest.mark.parametrize(("length", "period"), [(2190, 42), (8760, 168), (100, 7), (2016, 6), (35040, 672)])
def test_every_phase_of_the_period_is_read(length: int, period: int) -> None:
    stride = choose_stride(length, period)
    assert stride == 1 or math.gcd(stride, period) == 1
    assert length / stride <= 800


def test_shares_are_those_of_the_plain_loops() -> None:
    length, kernels = 150, 5
    layer = RandomKernels(length, 1, kernels, period=6)
    layer.softness.fill_(1e-6)  # shares of places above the threshold, then
    series = torch.randn(2, length, 1)
    x, expected = series[:, :, 0].double().numpy(), []
    for number, dilation in enumerate(layer.dilations):
        for kernel in range(kernels):
            weights = (layer.weights[number, kernel].numpy() * NORM).round()
            assert sorted(weights.tolist()) == [-1.0] * 6 + [2.0] * 3
            places = range(0, length - (TAPS - 1) * dilation, layer.stride)
            outputs = [
                sum(w / NORM * x[:, t + tap * dilation] for tap, w in enumerate(weights)) for t in places
            ]
            expected.append((np.array(outputs) > layer.thresholds[number, kernel].item()).mean(0))
    assert np.allclose(layer(series).detach().numpy(), np.stack(expected, axis=1), atol=1e-5)


def test_kernels_of_a_dilation_are_different_ones_and_those_of_another_others() -> None:
    weights = RandomKernels(150, 1, 10, period=6).weights
    assert all(len(torch.unique(each, dim=0)) == 10 for each in weights)
    assert not torch.equal(weights[0], weights[1])


def test_a_summary_tells_series_of_other_recurrence_or_base_load() -> None:
    """Means of features over many series of a kind differ far beyond their errors."""
    torch.manual_seed(0)
    noise = torch.randn(200, 150, 1)
    slow = (noise + noise.roll(8, 1)) / 2**0.5
    kernels = RandomKernels(150, 1, 20, period=6)
    plain, moved = (kernels(series).detach() for series in (noise, slow))
    error = (plain.var(0) / 200 + moved.var(0) / 200).sqrt()
    assert ((plain.mean(0) - moved.mean(0)).abs() / error).max() > 10
    summary = SummaryDiscriminator(kernels, 1, 3, 8)
    condition = torch.zeros(200, 3)
    assert not torch.allclose(summary(noise, condition), summary(noise, condition + 1), atol=1e-2)
    assert not torch.allclose(summary(noise, condition), summary(noise.clamp(min=-0.5), condition), atol=1e-2)


def test_thresholds_and_series_have_gradients() -> None:
    layer = SummaryDiscriminator(RandomKernels(150, 2, 4, period=6), 2, 3, 8)
    series = torch.randn(3, 150, 2, requires_grad=True)
    layer(series, torch.zeros(3, 3)).sum().backward()
    assert series.grad is not None and (series.grad != 0).any(dim=1).all()
    thresholds = layer.kernels.thresholds.grad
    assert thresholds is not None and (thresholds != 0).any(dim=1).all()


def test_the_discriminator_has_one_more_logit_with_kernels() -> None:
    width = models.compute_condition_width(config.load(None, []), 2)
    series, condition = torch.randn(3, 120, 2), torch.zeros(3, width)
    plain, more = build(120), build(120, "model.discriminator.random_kernels=7")
    assert more(series, condition).shape[1] == plain(series, condition).shape[1] + 1


def test_a_series_shorter_than_a_kernel_has_no_summary() -> None:
    settings = ("model.discriminator.periods=[]", "model.discriminator.spectra=[]", "model.patch=4")
    assert build(TAPS - 1, *settings, "model.discriminator.random_kernels=7").summary is None
    assert build(TAPS, *settings, "model.discriminator.random_kernels=7").summary is not None


def test_a_picture_without_positions_is_blind_to_where_something_stands() -> None:
    picture, condition = torch.zeros(1, 1, 64, 48), torch.zeros(1, 3)
    picture[..., 16:24, 16:24] = torch.randn(8, 8)
    moved = picture.roll((16, 8), dims=(2, 3))
    torch.manual_seed(0)
    plain, placed = PictureDiscriminator(1, 4), PictureDiscriminator(1, 4, (64, 48), 3)
    assert torch.allclose(plain(picture, condition), plain(moved, condition), atol=1e-6)
    assert not torch.allclose(placed(picture, condition), placed(moved, condition), atol=1e-3)
    assert not torch.allclose(placed(picture, condition), placed(picture, condition + 1), atol=1e-3)


@pytest.mark.parametrize("size", [(64, 48), (5, 7), (1, 2), (337, 14)])
def test_positions_fit_pictures_of_any_size(size: tuple[int, int]) -> None:
    assert PictureDiscriminator(2, 4, size, 5)(torch.randn(3, 2, *size), torch.randn(3, 5)).shape == (3, 16)


def test_runs_without_the_new_parts_keep_their_description() -> None:
    new = {"random_kernels": 9, "picture_positions": True}
    described = config.load(None, []).model.describe()["discriminator"]
    assert not described.keys() & new.keys()
    changed = [f"model.discriminator.{name}={str(value).lower()}" for name, value in new.items()]
    assert config.load(None, changed).model.describe()["discriminator"] == described | new
