"""Principal directions of the latents, on which a condition is projected."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distgan.anonymity.groups import ROWS_AT_ONCE
from distgan.errors import UserError
from distgan.files import read_tensors, write_tensors

Blocks = Callable[[], Iterator[np.ndarray]]
Reduce = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Projection:
    """The latents' principal directions: latents [n, d] -> projected points [n, K]."""

    centre: np.ndarray  # [d] float32
    directions: np.ndarray  # [d, K] float32, orthonormal
    explained: float  # share of the latents' variance along them

    def __call__(self, latents: np.ndarray) -> np.ndarray:
        """Project [n, d] -> [n, K] float32."""
        return ((latents - self.centre) @ self.directions).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the projection for the owner of the data: it belongs to the encoder, not to the bank."""
        tensors = {"centre": self.centre, "directions": self.directions}
        write_tensors(path, tensors | {"explained": np.array([self.explained])})

    @staticmethod
    def load(path: Path) -> "Projection":
        tensors = read_tensors(path)
        return Projection(tensors["centre"], tensors["directions"], float(tensors["explained"][0]))


def fit_projection(
    latents: np.ndarray | Blocks, condition_dim: int, reduce: Reduce = lambda array: array
) -> Projection:
    """Fit the `condition_dim` directions in which latents [n, d] vary most, each with its largest entry
    positive.

    Args:
        latents: all of them, or what gives this process' blocks anew at each call. Sums are of whole
            multiples of a grid, so the same blocks give the same directions on any number of processes.
        reduce: sums a float64 array over processes.

    Raises:
        UserError: latents are narrower than the condition, not finite, or all the same.
    """
    blocks = _iterate_blocks(latents) if isinstance(latents, np.ndarray) else latents
    total, dim, exponent = _measure_points(blocks, condition_dim, reduce)
    room = exponent + math.ceil(math.log2(max(total, 1))) - 52  # as many bits as float64 adds without error
    sums = np.zeros(dim)
    for block in blocks():
        sums += np.rint(block / np.float64(2.0**room)).sum(axis=0)
    centre = (reduce(sums) * 2.0**room / max(total, 1)).astype(np.float32)
    grid = 2.0 ** (room + exponent + 2)  # moving can double a value; this one is of squares
    scatter = np.zeros((dim, dim))
    for block in blocks():
        centred = np.asarray(block, np.float64) - centre
        scatter += np.rint(centred.T @ centred / grid)
    scatter = reduce(scatter) * grid
    if not np.trace(scatter) > 0:
        raise UserError(
            "all latents are the same: the encoder has collapsed; train it longer or lower encoder.beta"
        )
    return Projection(centre, *find_principal_directions(scatter, condition_dim))


def find_principal_directions(scatter: np.ndarray, condition_dim: int) -> tuple[np.ndarray, float]:
    """Return the first directions of a scatter matrix [d, d] as [d, K] float32, and their share of its
    trace.
    """
    variances, vectors = np.linalg.eigh(scatter)
    directions = vectors[:, ::-1][:, :condition_dim]
    largest = directions[np.argmax(np.abs(directions), axis=0), np.arange(condition_dim)]
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    variances = np.maximum(variances[::-1], 0)  # noise can make small ones negative
    explained = float(variances[:condition_dim].sum() / max(variances.sum(), 1e-300))
    return np.ascontiguousarray(directions, dtype=np.float32), min(explained, 1.0)


def _iterate_blocks(latents: np.ndarray) -> Blocks:
    starts = range(0, len(latents), ROWS_AT_ONCE)
    return lambda: (latents[start : start + ROWS_AT_ONCE] for start in starts)


def _measure_points(blocks: Blocks, condition_dim: int, reduce: Reduce) -> tuple[int, int, int]:
    """Return the points of all processes, their width, and the exponent of two above their largest value."""
    seen, reach = np.zeros(4), np.zeros(300)
    for block in blocks():
        finite = np.isfinite(block)
        seen += len(block), finite.size - finite.sum(), 0, 0
        seen[2:] = block.shape[1], 1
        reach[np.frexp(np.abs(block[finite]).max(initial=0))[1] + 150] = 1
    total, broken, widths, holders = reduce(seen)
    if broken:
        raise UserError(
            "latents contain NaN or infinity; run the stage encoder again with a lower encoder.learning_rate"
        )
    dim = int(widths / max(holders, 1))
    if condition_dim > dim:
        raise UserError(
            f"bank.condition_dim is {condition_dim}, above encoder.latent_dim {dim}; set it to {dim} or less"
        )
    return int(total), dim, int(np.flatnonzero(reduce(reach)).max(initial=150)) - 150
