"""Fingerprints of windows at every offset: polynomial hashes modulo 2^64 of one code a step.

A code is the value's own bits, the value on a coarser grid, or how it compares with the values before it
(which no increasing map changes). Shapes: n rows, T codes a row.
"""

import numpy as np

Array = np.ndarray

BASE = np.uint64(0x9E3779B97F4A7C15 | 1)
LAGS = (1, 2, 3, 4, 5, 6)  # steps back that an order code compares with


def mix(codes: Array) -> Array:
    """Scatter codes over 64 bits (the finaliser of SplitMix64, Steele et al. 2014): uint64 -> uint64."""
    z = codes + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hash_prefixes(mixed: Array) -> Array:
    """Hash the first t codes of every row, P_t+1 = P_t · B + x_t: [n, T] uint64 -> [n, T + 1]."""
    found = np.zeros((mixed.shape[1] + 1, len(mixed)), np.uint64)
    columns = np.ascontiguousarray(mixed.T)
    for step, column in enumerate(columns):
        np.multiply(found[step], BASE, out=found[step + 1])
        found[step + 1] += column
    return np.ascontiguousarray(found.T)


def hash_steps(mixed: Array, steps: int) -> Array:
    """Hash every window of `steps` codes: [n, T] uint64 -> [n, T - steps + 1].

    The hash of codes x_i … x_(i+w-1) is Σ x_(i+j) B^(w-1-j) (Karp and Rabin 1987). By doubling: H of a + b
    codes from i on is H of a codes · B^b + H of b codes from i + a on.
    """
    found, length = mixed, 1
    for bit in format(steps, "b")[1:]:
        found = found[:, :-length] * compute_power(length) + found[:, length:]
        length *= 2
        if bit == "1":
            found = found[:, :-1] * BASE + mixed[:, length:]
            length += 1
    return found


def compute_power(steps: int) -> np.uint64:
    """Return B^steps modulo 2^64."""
    return np.uint64(pow(int(BASE), steps, 2**64))


# ----------------------------------------------------------------------------------------- codes of the steps


def encode_bits(values: Array) -> Array:
    """Return the bits of each value, -0 as 0: [n, L] float32 -> [n, L] uint64."""
    return np.ascontiguousarray(values + np.float32(0)).view(np.uint32).astype(np.uint64)


def encode_grid(values: Array, grid: float) -> Array:
    """Round each value to a multiple of `grid`: [n, L] -> [n, L] uint64."""
    cells = np.rint(np.nan_to_num(values).astype(np.float64) / grid)
    return np.clip(cells, -(2.0**62), 2.0**62).astype(np.int64).view(np.uint64)


def encode_order(values: Array) -> Array:
    """Compare each value with the six before it, three ways each: [n, L] -> [n, L - 6] uint64."""
    most = LAGS[-1]
    now = values[:, most:]
    codes = np.zeros(now.shape, np.uint16)
    for lag in LAGS:
        before = values[:, most - lag : values.shape[1] - lag]
        codes *= 3
        codes += (now > before).view(np.uint8)
        codes += (now >= before).view(np.uint8)
    return codes.astype(np.uint64)
