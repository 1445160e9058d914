"""Keyed random numbers: the same for ever, for each sample by itself, and different for every key."""

import itertools

import pytest
import torch

from distgan import rng


def test_the_numbers_of_a_key_never_change() -> None:
    """Trainings resume, and series are generated again, by these numbers."""
    raw = rng.make_keyed_generator(1, 2, "order", 3).bit_generator.random_raw(2)
    assert raw.tolist() == [9512304523545467757, 103026512048425250]
    assert rng.derive_torch_seed(5, 7, "phase d", 1) == 7986966512526597243
    normal = rng.draw_keyed_normal(0, 4, "levels", torch.tensor([2, 5]), (2,))
    torch.testing.assert_close(
        normal, torch.tensor([[-1.5083, -1.8234], [-0.2150, 1.3319]]), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("draw", [rng.draw_keyed_normal, rng.draw_keyed_uniform])
def test_a_sample_has_its_own_numbers_whoever_shares_the_batch(draw: object) -> None:
    whole = draw(0, 4, "noise", torch.tensor([2, 5, 9]), (3, 2))  # type: ignore[operator]
    parts = [draw(0, 4, "noise", torch.tensor([each]), (3, 2)) for each in (2, 5, 9)]  # type: ignore[operator]
    assert torch.equal(whole, torch.cat(parts)) and whole.dtype == torch.float32


def test_every_key_has_a_stream_of_its_own() -> None:
    """No number of one stream stands anywhere in the first thousand of another."""
    keys = itertools.product((0, 1), (0, 1), ("noise", "order"), (0, 1))
    drawn = [rng.make_keyed_generator(*key).bit_generator.random_raw(1000).tolist() for key in keys]
    assert len(set().union(*drawn)) == 16 * 1000


@pytest.mark.parametrize("shape", [(), (3, 2), (0,)])
def test_threads_draw_what_one_draws(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many numbers, several threads each take some samples."""
    monkeypatch.setattr(rng, "MANY", 0)
    before, drawn = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        drawn.append(rng.draw_keyed_normal(0, 4, "noise", torch.arange(7), shape))
    torch.set_num_threads(before)
    assert torch.equal(*drawn) and drawn[0].shape == (7, *shape)


def test_no_sample_has_no_numbers() -> None:
    assert rng.draw_keyed_uniform(0, 4, "noise", torch.arange(0), (3,)).shape == (0, 3)
