"""The contribution of one entity to the sums: a vector of whole numbers that depends on its own series alone.

Public constants, none computed from the data: `UNIT` (grid); the radius (privacy.clip, or the root of
encoder.latent_dim) at which every latent is clipped; privacy.asinh_ratio_range and privacy.log_rms_range, to
which location and scale are clipped; `COUNT_WEIGHT`. Neighbours differ by one entity (add or remove), so the
sensitivity Δ of a sum is the greatest length of one entity's vector, here in grid steps, U = `UNIT`:

- *moments* (for the directions): w·U for the count, w = 1 / `COUNT_WEIGHT`; the point g, Σ gᵢ² <= U²; the
  upper triangle of g·gᵀ / U, each entry rounded toward 0, whose squares sum to at most (Σ gᵢ²)² / U² <= U².
  So Δ² = (w² + 2) U².
- *groups*: U for the count; the projected point, at most U long; per channel two values v and their two
  squares, each at most U in size. So Δ² = (2 + 4C) U², and an entity is in one cell.

A mean over an entity's series lies in the same ball and box as each of them. Rounding is toward 0, which
makes no number larger; that no point is longer than U is checked with whole numbers. The arithmetic goes
column by column, so that an entity's numbers are the same to the bit whoever else is in the array.
"""

import math
from collections.abc import Iterator

import numpy as np

from distgan import config
from distgan.anonymity.attributes import to_ratio_and_log_rms
from distgan.anonymity.code_means import average_by_code
from distgan.anonymity.dp.mechanism import UNIT
from distgan.errors import UserError

COUNT_WEIGHT = 4  # a count of moments is in steps of so many entities: noise on it costs the directions less
ROWS_AT_ONCE = 16_384


def compute_moments_sensitivity() -> float:
    """Return Δ / U of an entity's part in the moments."""
    return math.sqrt(2 + 1 / COUNT_WEIGHT**2)


def compute_groups_sensitivity(channels: int) -> float:
    """Return Δ / U of an entity's part in its group's sums."""
    return math.sqrt(2 + 4 * channels)


# --------------------------------------------------------------------------------------- numbers of an entity


def clip_rows(rows: np.ndarray, radius: float) -> np.ndarray:
    """Shorten rows to `radius` where they are longer: [n, d] -> [n, d] float64."""
    rows = np.asarray(rows, np.float64)
    squares = np.zeros(len(rows))
    for column in rows.T:
        squares += column * column
    return rows * np.minimum(1, radius / np.maximum(np.sqrt(squares), 1e-30))[:, None]


def project(rows: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return the rows' coordinates along directions: [n, d], [d, K] -> [n, K] float64."""
    found = np.zeros((len(rows), directions.shape[1]))
    for column, weights in zip(np.asarray(rows, np.float64).T, directions.astype(np.float64)):
        found += column[:, None] * weights
    return found


def average_entities(latents: np.ndarray, entities: np.ndarray, radius: float) -> np.ndarray:
    """Return the mean of every entity's latents, each clipped at the radius: [n, d], [n] codes -> [E, d]
    float64.

    Raises:
        UserError: latents are not finite.
    """
    if not np.isfinite(latents).all():
        raise UserError(
            "latents contain NaN or infinity; run the stage encoder again with a lower encoder.learning_rate"
        )
    return average_by_code(clip_rows(latents, radius), entities)


def make_entity_points(
    latents: np.ndarray, entities: np.ndarray, directions: np.ndarray, radius: float
) -> np.ndarray:
    """Clip latents, average them by entity, project, clip: [n, d], [n] codes, [d, K] -> [E, K] float32.

    The one way from latents to points, for members and non-members alike: attacks on a bank compare the two.
    """
    means = average_entities(latents, entities, radius)
    return clip_rows(project(means, directions), radius).astype(np.float32)


def find_nearest_cells(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the nearest centroid of every point, the first of equally near ones: [n, K], [k, K] -> [n]
    int64.
    """
    found = np.empty(len(points), np.int64)
    for first in range(0, len(points), ROWS_AT_ONCE):
        part = np.asarray(points[first : first + ROWS_AT_ONCE], np.float64)
        squares = np.zeros((len(part), len(centroids)))
        for column, centres in zip(part.T, centroids.astype(np.float64).T):
            squares += (column[:, None] - centres) ** 2
        found[first : first + len(part)] = np.argmin(squares, axis=1)
    return found


def average_attributes(attributes: np.ndarray, entities: np.ndarray, settings: config.Privacy) -> np.ndarray:
    """Return every entity's asinh_ratio and log_rms (attributes.py), clipped, brought to [-1, 1], and their
    squares.

    [n, C, 2] location and scale, [n] codes -> [E, 4C]: C x (asinh_ratio, log_rms), then C x their squares.

    Raises:
        UserError: a location or scale is not finite.
    """
    low, high = list_ranges(settings)
    values = (to_ratio_and_log_rms(attributes) - low) / (high - low) * 2 - 1
    if np.isnan(values).any():
        raise UserError("locations or scales of the series contain NaN; run the stage prepare again")
    values = np.clip(values, -1, 1).reshape(len(values), -1)
    return average_by_code(np.concatenate([values, values**2], axis=1), entities)


def list_ranges(settings: config.Privacy) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest asinh_ratio and log_rms."""
    low, high = zip(settings.asinh_ratio_range, settings.log_rms_range)
    return np.array(low), np.array(high)


# --------------------------------------------------------------------------------------------------- the grid


def square_lengths(rows: np.ndarray) -> np.ndarray:
    """Return Σ of squares of every row, exactly: int64 [n, d], entries up to 2^31 in size -> [n] Python
    integers.
    """
    high, low = rows >> 16, rows & 0xFFFF
    parts = ((high * high, 32), (high * low, 17), (low * low, 0))
    return sum(part.sum(axis=1).astype(object) * (1 << shift) for part, shift in parts)


def round_points(points: np.ndarray, radius: float) -> np.ndarray:
    """Return points in grid steps, none longer than `UNIT`: [n, K] -> int64 [n, K]. The radius is a length of
    1.
    """
    found = np.trunc(clip_rows(points / radius, 1.0) * UNIT).astype(np.int64)
    longer = square_lengths(found) > UNIT**2
    while longer.any():  # by the rounding of the length: at most a few times
        found[longer] = np.trunc(found[longer] * (1 - 2.0**-40)).astype(np.int64)
        longer = square_lengths(found) > UNIT**2
    return found


def round_values(values: np.ndarray) -> np.ndarray:
    """Return numbers from -1 to 1 in grid steps, rounded toward 0: [...] -> int64 [...]."""
    assert np.abs(values).max(initial=0) <= 1, "numbers beyond 1 have no bounded sensitivity"
    return np.trunc(values * UNIT).astype(np.int64)


def make_moment_vectors(points: np.ndarray) -> Iterator[np.ndarray]:
    """Yield every entity's part in the moments: int64 [n, d] on the grid -> blocks int64 [b, 1 + d +
    d(d+1)/2].

    Count, point, upper triangle of the point's products, row by row.
    """
    rows, columns = np.triu_indices(points.shape[1])
    step = max(1, (1 << 22) // max(1, len(rows)))
    for first in range(0, len(points), step):
        block = points[first : first + step]
        products = block[:, rows] * block[:, columns]  # at most 2^60
        triangle = np.sign(products) * (np.abs(products) // UNIT)
        counts = np.full((len(block), 1), UNIT // COUNT_WEIGHT, np.int64)
        yield np.concatenate([counts, block, triangle], axis=1)


def make_group_vectors(points: np.ndarray, attributes: np.ndarray) -> np.ndarray:
    """Return every entity's part in its group's sums: int64 [n, K] on the grid, [n, 4C] -> int64 [n, 1 + K +
    4C].
    """
    counts = np.full((len(points), 1), UNIT, np.int64)
    return np.concatenate([counts, points, round_values(attributes)], axis=1)
