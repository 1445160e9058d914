"""Discrete Gaussian noise for millions of numbers a step, from one secret key, and the key's stream of bits.

**Stream.** A training draws a key of 256 bits from the operating system and expands it by SHAKE-256, apart
for each purpose, step and block. A step that is repeated after a kill then has the coins and the noise that
it had before, so that nothing is spent twice. Whoever has the key can take the noise away: it is private, and
it is removed when the training is done. As with the operating system's own generator, which expands a key by
ChaCha20, the guarantee assumes that nobody tells the expanded bits from fair ones.

**Noise.** x = k₀ + a·k₁ + a²·k₂ with independent kⱼ ~ N_Z(0, σ₀²), σ₀ = `BASE` = 2a. With S² = σ₀² + a²s²,
τ = σ₀s/S and k ~ N_Z(0, s²), P(k₀ + a·k = x) is proportional to exp(−x²/2S²) · Σⱼ exp(−(j − c)²/2τ²), c
real. By Poisson's summation the sum over j is τ√2π (1 + θ), |θ| <= 2.01 exp(−2π²τ²), and τ > 1.99 at both
compositions, so that x is N_Z(0, `SCALE`²) up to a total variation of 1e-33 (Micciancio and Walter 2017,
"Gaussian Sampling over the Integers", use the same convolution). kⱼ are read off a table of exact
cumulative probabilities: 64 bits choose, and where they meet a boundary, 128 more decide. The table ends at
14 σ₀, beyond which lies 1e-43. A training of 1e11 numbers is then 1e-21 from the definition: `DISTANCE` a
number is counted with the gap of `mechanism.bound_rounding_gap`.
"""

import hashlib
import secrets
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

RATIO = 1 << 12  # a
BASE = 2 * RATIO  # σ₀
LEVELS = 3
SCALE = BASE * sum(RATIO ** (2 * level) for level in range(LEVELS)) ** 0.5  # deviation, in grid steps: 2^37
TAIL = 14  # σ₀ that the table reaches
BITS = 192  # of a cumulative probability
DISTANCE = 1e-32  # total variation of one number from N_Z(0, SCALE²), generously
BLOCK = 1 << 16  # numbers that are drawn from one stretch of the stream
KEY_BYTES = 32


class Stream:
    """Bits from a secret key, apart for each (purpose, step, block)."""

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, "a key has 256 bits"
        self._key = key

    def read(self, purpose: str, step: int, block: int, size: int) -> bytes:
        """Return `size` bytes, the same ones for the same place."""
        place = f"distgan\0{purpose}\0{step}\0{block}\0".encode()
        return hashlib.shake_256(self._key + place).digest(size)

    def read_words(self, purpose: str, step: int, block: int, count: int) -> np.ndarray:
        """Return uint64 [count]."""
        return np.frombuffer(self.read(purpose, step, block, 8 * count), "<u8")


def make_key(insecure_seed: int | None = None) -> bytes:
    """Return a key from the operating system's generator; for tests, one that follows from a seed."""
    if insecure_seed is None:
        return secrets.token_bytes(KEY_BYTES)
    return hashlib.sha256(f"insecure {insecure_seed}".encode()).digest()


# ------------------------------------------------------------------------------------------------- noise


def add_noise(sums: np.ndarray, stream: Stream, step: int, part: tuple[int, int] = (0, 1)) -> None:
    """Add N_Z(0, `SCALE`²) to whole numbers in place: int64 [n].

    Args:
        part: (rank, processes): of all blocks this process adds every `processes`-th, so that the sum over
            processes has the noise once, and the same noise for any number of processes.
    """
    assert sums.dtype == np.int64 and sums.ndim == 1, (sums.dtype, sums.shape)
    rank, processes = part
    for block in range(rank, -(-len(sums) // BLOCK), processes):
        inside = sums[block * BLOCK : (block + 1) * BLOCK]
        inside += draw_noise(stream, step, block, len(inside))


def draw_noise(stream: Stream, step: int, block: int, count: int) -> np.ndarray:
    """Return independent N_Z(0, `SCALE`²): int64 [count]."""
    total = np.zeros(count, np.int64)
    for level in reversed(range(LEVELS)):
        words = stream.read_words(f"noise {level}", step, block, count)
        total = total * RATIO + _look_up(words, _yield_bits(stream, step, block, level))
    return total


def _yield_bits(stream: Stream, step: int, block: int, level: int) -> Iterator[int]:
    """Yield further bits, for draws that 64 bits leave open: one in 1e14."""
    number = 0
    while True:
        yield int.from_bytes(stream.read(f"further {level} {number}", step, block, (BITS - 64) // 8), "big")
        number += 1


def _look_up(words: np.ndarray, further: Iterator[int]) -> np.ndarray:
    """Return N_Z(0, `BASE`²) by inversion: uint64 [n] -> int64 [n]."""
    firsts, ends = _make_table()
    found = np.searchsorted(firsts, words)  # boundaries surely below
    for place in np.flatnonzero(firsts[np.minimum(found, len(firsts) - 1)] == words):
        value = (int(words[place]) << (BITS - 64)) + next(further)
        while found[place] < len(ends) and ends[found[place]] <= value:
            found[place] += 1
    return found - TAIL * BASE


@lru_cache
def _make_table() -> tuple[np.ndarray, list[int]]:
    """Return the cumulative probabilities P(k < -T + 1), …, P(k < T), T = `TAIL`·`BASE`, times 2^`BITS`:
    their first 64 bits, uint64 [2T], and all.

    Weights come from one exponential by products: with w(j) = exp(−j²/2σ²), w(j + 1) = w(j) r(j) and
    r(j + 1) = r(j) exp(−1/σ²). Each product loses less than 2^-`guard`.
    """
    guard = BITS + 64
    one = 1 << guard
    step = _expand_exponential(1, BASE**2, guard)  # exp(−1/σ²)
    ratio = _expand_exponential(1, 2 * BASE**2, guard)  # exp(−1/2σ²)
    weights = [one]
    for _ in range(TAIL * BASE):
        weights.append(weights[-1] * ratio >> guard)
        ratio = ratio * step >> guard
    total = 2 * sum(weights) - one
    ends, below = [], 0
    for k in range(-TAIL * BASE, TAIL * BASE):
        below += weights[abs(k)]
        ends.append((below << BITS) // total)
    return np.array([end >> (BITS - 64) for end in ends], np.uint64), ends


def _expand_exponential(numerator: int, denominator: int, bits: int) -> int:
    """Return exp(−numerator / denominator) · 2^bits by its series; the argument is small."""
    term, total, order = 1 << bits, 1 << bits, 0
    while term:
        order += 1
        term = term * numerator // (denominator * order)
        total += -term if order % 2 else term
    return total
