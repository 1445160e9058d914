"""A sample of the points of all processes, chosen by their content."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from distgan import rng
from distgan.anonymity.faiss_backend import ROWS_AT_ONCE

Blocks = Callable[[], Iterator[np.ndarray]]
Reduce = Callable[[np.ndarray], np.ndarray]


@dataclass
class PointSample:
    """The points with the smallest hashes, without repeats, and how often each occurs; `size` at most."""

    size: int
    seed: int
    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    points: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    def offer(self, points: np.ndarray) -> None:
        hashes = _hash_rows(points, self.seed)
        if len(self.hashes) == self.size:
            low = hashes <= self.hashes[-1]
            hashes, points = hashes[low], points[low]
        self.add(hashes, points, np.ones(len(hashes), np.int64))

    def add(self, hashes: np.ndarray, points: np.ndarray, counts: np.ndarray) -> None:
        if len(hashes):
            self.waiting.append((hashes, points.copy(), counts))
        if sum(len(part[0]) for part in self.waiting) > max(self.size // 2, ROWS_AT_ONCE):
            self._merge_pending()

    def _merge_pending(self) -> None:
        """Merge pending points in one sort; dropped ones can never come back, so the counts stay exact."""
        if not self.waiting:
            return
        held = [(self.hashes, self.points, self.counts)] if len(self.hashes) else []
        hashes, points, counts = (np.concatenate(part) for part in zip(*held, *self.waiting))
        self.waiting = []
        unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        total = np.bincount(inverse, weights=counts).astype(np.int64)
        self.hashes = unique[: self.size]
        self.points = points[first[: self.size]]
        self.counts = total[: self.size]


def _hash_rows(points: np.ndarray, seed: int) -> np.ndarray:
    """Hash each row's bits by a multilinear hash, then the finaliser of SplitMix64: [n, d] float32 -> [n]
    uint64.
    """
    words = (points + np.float32(0)).view(np.uint32).astype(np.uint64)  # + 0: minus zero is zero
    keys = rng.make_keyed_generator(seed, 0, "clustering sample").integers(
        0, 2**64, points.shape[1] + 1, dtype=np.uint64
    )
    mixed = (words * (keys[1:] | np.uint64(1))).sum(axis=1, dtype=np.uint64) + keys[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _draw_rank(reduce: Reduce) -> tuple[int, int]:
    """Return this process's number and the number of processes, from sums alone: each process draws a lot
    until all lots differ.
    """
    while True:
        lot = int.from_bytes(os.urandom(2), "little")
        lots = np.zeros(2**16)
        lots[lot] = 1
        lots = reduce(lots)
        if lots.max() == 1:
            return int(lots[:lot].sum()), int(lots.sum())


def merge_samples(sample: PointSample, dim: int, reduce: Reduce) -> PointSample:
    """Return the sample of all processes together, the same on each."""
    sample._merge_pending()
    number, processes = _draw_rank(reduce)
    if processes == 1:
        return sample
    together = PointSample(sample.size, sample.seed)
    rows = int(reduce(np.array([len(sample.hashes)], np.float64))[0])
    for turn in range(processes):
        packed = np.zeros((min(sample.size, rows), 3 + dim))
        if turn == number:
            held = len(sample.hashes)
            packed[:held, 0] = sample.hashes >> np.uint64(32)
            packed[:held, 1] = sample.hashes & np.uint64(2**32 - 1)
            packed[:held, 2] = sample.counts
            packed[:held, 3:] = sample.points.reshape(held, dim)
        packed = reduce(packed)
        packed = packed[packed[:, 2] > 0]
        high, low = packed[:, 0].astype(np.uint64), packed[:, 1].astype(np.uint64)
        together.add(
            (high << np.uint64(32)) | low, packed[:, 3:].astype(np.float32), packed[:, 2].astype(int)
        )
    together._merge_pending()
    return together


def to_float32(block: np.ndarray) -> np.ndarray:
    """Return a block as contiguous float32, which faiss reads without a copy."""
    return np.ascontiguousarray(block, dtype=np.float32)


def normalise_rows(block: np.ndarray) -> np.ndarray:
    """Scale rows to length one; a row of zeros has no direction and stays."""
    length = np.linalg.norm(np.asarray(block, np.float64), axis=1, keepdims=True)
    return to_float32(block / np.where(length > 0, length, 1))


def sample_points(blocks: Blocks, size: int, seed: int, spherical: bool, reduce: Reduce) -> np.ndarray:
    """Sample at most `size` distinct points of all processes, by their content: [m, d] float32."""
    sample, dim = PointSample(size, seed), 0
    for block in blocks():
        sample.offer(normalise_rows(block) if spherical else to_float32(block))
        dim = block.shape[1]
    widths, holders = reduce(np.array([dim, dim > 0], np.float64))
    return merge_samples(sample, int(widths / max(holders, 1)), reduce).points
