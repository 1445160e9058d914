"""The projection of latents to conditions: principal directions, in any order, by any number of processes."""

from pathlib import Path

import numpy as np
import pytest

from distgan.anonymity.projection import Projection, fit_projection
from distgan.errors import UserError
from tests.helpers.groups import Ranks


def test_projection_finds_the_principal_directions() -> None:
    rng = np.random.default_rng(0)
    latents = (rng.standard_normal((500, 6)) * [9, 5, 3, 0.1, 0.1, 0.1] + 4).astype(np.float32)
    projection = fit_projection(latents, 3)
    assert projection.explained > 0.99
    np.testing.assert_allclose(projection.directions.T @ projection.directions, np.eye(3), atol=1e-5)
    points = projection(latents)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-3)
    assert np.all(np.diff(points.std(axis=0)) < 0)
    values = np.linalg.svd(latents - latents.mean(axis=0), compute_uv=False) ** 2
    assert projection.explained == pytest.approx(values[:3].sum() / values.sum(), rel=1e-5)


def test_projection_does_not_depend_on_the_order_and_can_be_saved(tmp_path: Path) -> None:
    latents = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
    one, other = fit_projection(latents, 2), fit_projection(latents[::-1], 2)
    np.testing.assert_allclose(one.directions, other.directions, atol=1e-5)
    one.save(tmp_path / "projection.safetensors")
    kept = Projection.load(tmp_path / "projection.safetensors")
    np.testing.assert_array_equal(kept(latents), one(latents))
    assert kept.explained == one.explained


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (np.full((20, 4), np.nan), "NaN"),
        (np.full((20, 4), 3.0), "collapsed"),
        (np.eye(20)[:, :1], "above encoder.latent_dim 1"),
    ],
)
def test_projection_refuses_unusable_latents(latents: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit_projection(latents, 2)


def test_two_processes_project_as_one_does() -> None:
    rng = np.random.default_rng(0)
    blocks = [(rng.standard_normal((100, 5)) * [5, 3, 1, 1, 1] + 2).astype(np.float32) for _ in range(6)]
    ranks = Ranks(2)
    found = ranks.run(
        lambda rank: fit_projection(
            lambda: iter(blocks[:2] if rank == 0 else blocks[2:]), 3, ranks.total(rank)
        )
    )
    one = fit_projection(lambda: iter(blocks), 3)
    for each in found:
        assert isinstance(each, Projection)
        np.testing.assert_array_equal(each.directions, one.directions)
        np.testing.assert_array_equal(each.centre, one.centre)
