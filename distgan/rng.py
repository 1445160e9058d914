"""Random numbers that depend on (seed, step, purpose, sample) alone.

Two processes that share a batch draw what one process would, and a resumed run draws what an uninterrupted
one would, because no generator carries state from one call to the next. `sample` is the position in the
global batch.
"""

import math
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

MANY = 1 << 17  # numbers that several threads draw: about a millisecond's work
MOST_THREADS = 8


def make_keyed_generator(seed: int, step: int, purpose: str, sample: int = 0) -> np.random.Generator:
    """Return a fresh counter-based generator (Philox 4x64) for one (seed, step, purpose, sample)."""
    key = np.array([seed, zlib.crc32(purpose.encode())], dtype=np.uint64)
    counter = np.array([0, 0, sample, step], dtype=np.uint64)  # the low words count within this stream
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def draw_keyed_normal(
    seed: int,
    step: int,
    purpose: str,
    samples: Tensor,
    shape: tuple[int, ...],
    device: torch.device | None = None,
) -> Tensor:
    """Return standard normal numbers, one row per sample: (B,) -> (B, *shape), float32, on `device`, by
    default that of `samples`. Samples on the CPU are read without waiting for any device.
    """

    def draw(rng: np.random.Generator, row: np.ndarray) -> None:
        rng.standard_normal(dtype=np.float32, out=row)

    return _draw_rows(draw, (seed, step, purpose), samples, shape, device)


def draw_keyed_uniform(
    seed: int,
    step: int,
    purpose: str,
    samples: Tensor,
    shape: tuple[int, ...],
    device: torch.device | None = None,
) -> Tensor:
    """Return numbers in [0, 1), one row per sample: (B,) -> (B, *shape), float32, on `device` as of
    `draw_keyed_normal`.
    """

    def draw(rng: np.random.Generator, row: np.ndarray) -> None:
        rng.random(dtype=np.float32, out=row)

    return _draw_rows(draw, (seed, step, purpose), samples, shape, device)


def _draw_rows(
    draw: Callable[[np.random.Generator, np.ndarray], None],
    key: tuple[int, int, str],
    samples: Tensor,
    shape: tuple[int, ...],
    device: torch.device | None,
) -> Tensor:
    place = device or samples.device
    # From memory that is not pinned, a GPU's driver copies only after all that it was given before.
    rows = torch.empty((len(samples), *shape), device="cpu", pin_memory=place.type == "cuda")
    work = list(zip(rows.view(len(samples), math.prod(shape)).numpy(), samples.tolist()))

    def fill(first: int) -> None:
        for row, sample in work[first::threads]:
            draw(make_keyed_generator(*key, sample), row)

    threads = min(torch.get_num_threads(), MOST_THREADS) if rows.numel() >= MANY else 1
    if threads == 1:
        fill(0)
    else:  # a GPU takes as long for a step as one core for its noise
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(threads)))
    return rows.to(place, non_blocking=True)


def derive_torch_seed(seed: int, step: int, purpose: str, rank: int = 0) -> int:
    """Return a seed for torch's own generator, for layers that draw from it (dropout)."""
    return int(make_keyed_generator(seed, step, purpose, rank).integers(2**63))
