"""One owner moves the sums by no more than the claimed sensitivity, whoever else is there."""

import numpy as np
import pytest

from distgan.anonymity.dp import contributions
from distgan.anonymity.dp.bank import Moments, sum_moments
from distgan.anonymity.dp.mechanism import UNIT
from distgan.errors import UserError
from tests.helpers.groups import budget_of, settings_of_privacy, whole_sums, wild_entities


@pytest.mark.parametrize("seed", range(12))
def test_neighbouring_databases_have_sums_no_further_apart_than_claimed(seed: int) -> None:
    """In whole numbers, whichever entity is taken away, wherever the others then stand in the arrays."""
    rng = np.random.default_rng(seed)
    entities, dim, channels = 12, int(rng.integers(1, 7)), int(rng.integers(1, 4))
    data = wild_entities(rng, entities, dim, channels)
    directions = np.linalg.qr(rng.standard_normal((dim, dim)))[0][:, : max(1, dim - 1)].astype(np.float32)
    everybody = whole_sums(data, np.arange(entities), directions, 4)
    bounds = contributions.compute_moments_sensitivity(), contributions.compute_groups_sensitivity(channels)
    claimed = [round(16 * bound**2) * UNIT**2 // 16 for bound in bounds]  # Δ², whole
    assert claimed == [33 * UNIT**2 // 16, (2 + 4 * channels) * UNIT**2]
    for gone in range(entities):
        fewer = whole_sums(data, np.delete(np.arange(entities), gone), directions, 4)
        for one, other, bound in zip(everybody, fewer, claimed):
            assert 0 < sum((a - b) ** 2 for a, b in zip(one, other)) <= bound


def test_an_entity_can_reach_the_claimed_sensitivity() -> None:
    """The bound is tight: no noise is wasted."""
    points, attributes = contributions.round_points(np.array([[3.0, 4.0]]), 5.0), np.ones((1, 8))
    vectors = contributions.make_group_vectors(points, attributes)
    assert contributions.square_lengths(vectors)[0] == pytest.approx(10 * UNIT**2, rel=1e-8)
    (moments,) = contributions.make_moment_vectors(contributions.round_points(np.array([[5.0, 0.0]]), 5.0))
    assert contributions.square_lengths(moments)[0] == pytest.approx(33 / 16 * UNIT**2, rel=1e-8)


def test_products_of_a_point_are_rounded_toward_zero() -> None:
    """Rounding down would make small negative ones longer."""
    half = UNIT // 2
    (moments,) = contributions.make_moment_vectors(np.array([[3, -5], [half + 1, -half]]))
    assert moments[:, 3:].tolist() == [[0, 0, 0], [UNIT // 4 + 1, -(UNIT // 4), UNIT // 4]]


def test_each_series_is_clipped_before_its_entity_is_averaged() -> None:
    means = contributions.average_entities(np.array([[8.0, 0.0], [0.0, 1.0]]), np.array([0, 0]), 2.0)
    np.testing.assert_allclose(means, [[1.0, 0.5]])


def test_squared_lengths_are_exact() -> None:
    rows = np.random.default_rng(0).integers(-(2**31), 2**31, (50, 9))
    assert contributions.square_lengths(rows).tolist() == [sum(int(x) ** 2 for x in row) for row in rows]


def test_an_entitys_numbers_do_not_depend_on_who_else_is_there() -> None:
    """To the bit: a rounding that others change would be a change of others."""
    rng = np.random.default_rng(3)
    latents = rng.standard_normal((257, 13)).astype(np.float32)
    directions = np.linalg.qr(rng.standard_normal((13, 13)))[0][:, :5].astype(np.float32)
    centroids = rng.standard_normal((40, 5))

    def numbers(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        points = contributions.make_entity_points(latents[rows], np.arange(len(rows)), directions, 3.0)
        cells = contributions.find_nearest_cells(points, centroids)
        return points, cells, contributions.round_points(points, 3.0)

    everybody = numbers(np.arange(257))
    for rows in (np.arange(1, 257), rng.permutation(257)[:100], np.array([77])):
        for found, expected in zip(numbers(rows), everybody):
            np.testing.assert_array_equal(found, expected[rows])


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match="NaN or infinity"):
        contributions.average_entities(np.array([[1.0, np.inf]]), np.array([0]), 1.0)
    with pytest.raises(UserError, match="locations or scales"):
        contributions.average_attributes(np.full((1, 1, 2), np.nan), np.array([0]), settings_of_privacy())


def test_moments_are_those_of_the_latents_but_for_noise() -> None:
    latents = np.random.default_rng(0).standard_normal((20000, 3)) * [2, 1, 0.5] + [1, 0, 0]
    budget = budget_of(clip=20.0, delta=1e-6)
    moments = sum_moments(contributions.average_entities(latents, np.arange(20000), 20.0), budget)
    mean, covariance = Moments.from_tensors(moments.to_tensors()).compute_mean_and_covariance(20.0)
    assert moments.count == pytest.approx(20000, abs=200)
    np.testing.assert_allclose(mean, [1, 0, 0], atol=0.05)
    np.testing.assert_allclose(covariance, np.diag([4, 1, 0.25]), atol=0.5)
