"""Discrete Gaussian noise from a key: exact by its table, whole on the lattice, once over processes."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from distgan.anonymity.dp import lattice
from distgan.anonymity.dp.lattice import BASE, BITS, BLOCK, LEVELS, RATIO, SCALE, TAIL, Stream, make_key

STREAM = Stream(make_key(3))


def test_the_table_is_the_cumulative_distribution() -> None:
    """Against exp in double precision, and exactly symmetric up to the last bits."""
    firsts, ends = lattice._make_table()
    k = np.arange(-TAIL * BASE, TAIL * BASE + 1)
    weights = np.exp(-(k.astype(float) ** 2) / (2 * BASE**2))
    expected = np.cumsum(weights)[:-1] / weights.sum()
    assert len(firsts) == len(ends) == 2 * TAIL * BASE
    np.testing.assert_allclose(firsts / 2.0**64, expected, rtol=1e-9, atol=1e-18)
    for place in (0, 1000, TAIL * BASE // 2, TAIL * BASE - 1):
        assert abs((1 << BITS) - ends[place] - ends[-1 - place]) <= 4
    tail = Fraction(ends[0], 1 << BITS)
    assert tail < Fraction(1, 10**42)


def test_the_composition_is_the_wide_discrete_gaussian() -> None:
    """k₀ + a·k₁ of a small lattice, σ₀ = 2a as here, by sums over the whole plane."""
    ratio, reach = 3, 60
    base = 2 * ratio
    k = np.arange(-reach, reach + 1)
    weights = np.exp(-(k**2) / (2 * base**2))
    weights /= weights.sum()
    places = (k[:, None] + ratio * k[None]).ravel()
    found = np.bincount(places + reach * (ratio + 1), weights=np.outer(weights, weights).ravel())
    x = np.arange(-reach * (ratio + 1), reach * (ratio + 1) + 1)
    wanted = np.exp(-(x**2) / (2 * base**2 * (1 + ratio**2)))
    assert np.abs(found - wanted / wanted.sum()).sum() / 2 < 1e-15
    assert RATIO * 2 == BASE
    assert math.isclose(SCALE, BASE * math.sqrt(sum(RATIO ** (2 * level) for level in range(LEVELS))))


def test_drawn_noise_has_the_law_it_is_drawn_by() -> None:
    drawn = lattice.draw_noise(STREAM, 0, 0, 200_000)
    assert stats.kstest(drawn / SCALE, "norm").pvalue > 1e-6
    levels = lattice._look_up(STREAM.read_words("a test", 0, 0, 200_000), iter(()))
    assert stats.kstest(levels / BASE, "norm").pvalue > 1e-6
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.02


def test_low_bits_of_the_noise_are_uniform_and_whole() -> None:
    """The lattice test: noise on the grid of the sums, so the low bits of a sum tell nothing of it."""
    drawn = lattice.draw_noise(STREAM, 1, 0, 100_000)
    for value in (0, 12_345):
        assert stats.kstest(((drawn + value) % 65536) / 65536, "uniform").pvalue > 1e-6
    both = [
        (lattice.draw_noise(STREAM, step, 0, 50_000) + value) % 1024 for step, value in ((2, 0), (3, 777))
    ]
    assert stats.ks_2samp(*both).pvalue > 1e-6


def test_a_word_on_a_boundary_is_decided_by_further_bits() -> None:
    firsts, ends = lattice._make_table()
    place = TAIL * BASE + 5
    word = np.array([firsts[place]], np.uint64)
    rest = ends[place] & ((1 << (BITS - 64)) - 1)
    below = lattice._look_up(word, iter([rest - 1]))[0]
    assert lattice._look_up(word, iter([rest]))[0] == below + 1
    assert below == place - TAIL * BASE


def test_processes_add_the_noise_once_and_alike() -> None:
    alone = np.zeros(3 * BLOCK + 17, np.int64)
    lattice.add_noise(alone, STREAM, 5)
    parts = [np.zeros_like(alone) for _ in range(3)]
    for rank, part in enumerate(parts):
        lattice.add_noise(part, STREAM, 5, (rank, 3))
    np.testing.assert_array_equal(sum(parts), alone)


def test_keys_are_of_the_operating_system_and_steps_apart() -> None:
    assert make_key() != make_key()
    assert make_key(1) == make_key(1) != make_key(2)
    one = STREAM.read("noise 0", 1, 1, 16)
    others = [("noise 0", 1, 11), ("noise 0", 11, 1), ("noise 01", 1, 1), ("owners", 1, 1)]
    assert one not in [STREAM.read(*place, 16) for place in others]
    with pytest.raises(AssertionError):
        Stream(b"short")
