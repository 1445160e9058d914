"""Finer tokens and slow noise of the multi-scale generator."""

import math

import pytest
import torch
from torch import Tensor, nn

from distgan import config, models
from distgan.errors import UserError
from distgan.models.readings import SlowNoise
from distgan.models.refinement import Refinement

WIDTH = 12
DAY, DAYS = 6, 7
LENGTH = 8 * DAY * DAYS + 5  # eight weeks and a part


def build(*settings: str) -> nn.Module:
    tree = [
        f"model.patch={DAY * DAYS}",
        "model.generator={width: 16, noise_dim: 6, token_noise_dim: 2}",
        f"model.generator.refinement={{ratio: {DAYS}, width: 8, noise_dim: 3}}",
        *settings,
    ]
    torch.manual_seed(0)
    return models.build(config.load(None, tree), LENGTH, 2)["generator"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_refined_generator_writes_series_of_any_length(dtype: torch.dtype) -> None:
    generator = build()
    noise, condition = torch.randn(3, generator.noise_dim), torch.randn(3, 12)
    series = generator(noise.to(dtype), condition.to(dtype))
    assert series.shape == (3, LENGTH, 2) and series.dtype == dtype and torch.isfinite(series).all()


def test_the_noise_of_a_day_changes_that_day_and_its_neighbours_alone() -> None:
    generator, day = build(), 3 * DAYS  # the first day of a week
    noise, condition = torch.randn(1, generator.noise_dim), torch.randn(1, 12)
    other = noise.clone()
    first = sum(generator.parts[:3]) + 3 * day
    other[:, first : first + 3] += 1
    with torch.no_grad():
        change = (generator(noise, condition) - generator(other, condition)).abs().sum((0, 2))
    touched = change.nonzero()[:, 0]
    # One block reaches a day to each side, and kernels overlap by half a day.
    assert (day - 1) * DAY - DAY // 2 <= touched.min() < day * DAY
    assert (day + 1) * DAY < touched.max() < (day + 2) * DAY + DAY // 2


def test_neighbours_are_mixed_across_the_border_of_two_coarse_tokens() -> None:
    torch.manual_seed(0)
    refinement = Refinement(3, WIDTH, WIDTH, config.Refinement(ratio=DAYS, width=8, noise_dim=0))
    tokens = torch.randn(1, 3, WIDTH, requires_grad=True)
    fine = refinement(tokens, torch.zeros(1, 0), torch.randn(1, WIDTH))
    assert fine.shape == (1, 3 * DAYS, 8)

    def find_sources(place: int) -> list[int]:
        gradient: Tensor = torch.autograd.grad(fine[0, place].sum(), tokens, retain_graph=True)[0]
        return gradient[0].abs().sum(1).nonzero()[:, 0].tolist()

    assert find_sources(DAYS) == [0, 1] and find_sources(2 * DAYS - 1) == [1, 2]


def test_days_of_a_constant_token_are_alike_until_weekdays_are_learned() -> None:
    torch.manual_seed(0)
    refinement = Refinement(4, WIDTH, WIDTH, config.Refinement(ratio=DAYS, width=8, noise_dim=0))
    tokens, style = torch.randn(1, 1, WIDTH).expand(1, 4, WIDTH), torch.randn(1, WIDTH)
    days = refinement(tokens, torch.zeros(1, 0), style)[0, DAYS:-DAYS]
    assert torch.allclose(days, days[:1].expand_as(days), atol=1e-6)
    with torch.no_grad():
        refinement.own[6] += 1  # Sundays
    changed = (refinement(tokens, torch.zeros(1, 0), style)[0, DAYS:-DAYS] - days).abs().sum(1)
    assert (changed > 1e-4).nonzero()[:, 0].tolist() == [0, 5, 6, 7, 12, 13]  # and their neighbours


def test_noise_of_tokens_keeps_its_variance_at_every_time_scale() -> None:
    """Autocorrelation of white noise smoothed by a Gaussian kernel of τ: exp(-d² / (4 τ²)) at distance d."""
    torch.manual_seed(0)
    made = SlowNoise(8, (0, 1.5, 4))(torch.randn(20_000, 40, 8)).double()
    assert made.std(0).flatten().tolist() == pytest.approx([1] * 320, abs=0.03)
    inside = made[:, 12:-12]
    for scale, numbers in ((0, slice(0, 2)), (1.5, slice(2, 5)), (4, slice(5, 8))):
        for distance in (1, 3):
            found = (inside[:, distance:, numbers] * inside[:, :-distance, numbers]).mean()
            expected = math.exp(-(distance**2) / (4 * scale**2)) if scale else 0
            assert float(found) == pytest.approx(expected, abs=0.01)


def test_scales_of_noise_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="token_noise_scales is 0 or more"):
        config.load(None, ["model.generator.token_noise_scales=[-1]"])
    with pytest.raises(UserError, match="more scales than token_noise_dim has numbers"):
        config.load(None, ["model.generator={token_noise_dim: 1, token_noise_scales: [0, 2]}"])


def test_a_ratio_that_does_not_divide_the_patch_is_refused() -> None:
    with pytest.raises(UserError, match=r"24 is not a multiple of generator\.refinement\.ratio 7"):
        config.load(None, ["model.patch=24", "model.generator.refinement.ratio=7"])


def test_settings_of_finer_tokens_without_effect_leave_a_run_valid() -> None:
    def identify(**generator: object) -> str:
        return config.from_tree({"model": {"patch": 42, "generator": generator}}).identity

    plain = identify()
    assert identify(refinement={"ratio": 1, "width": 9}, token_noise_scales=[0, 0]) == plain
    assert identify(refinement={"ratio": 7}) != plain != identify(token_noise_scales=[0, 2])
