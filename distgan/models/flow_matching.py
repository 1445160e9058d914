"""What rectified flows share: features of the time, preconditioning, and the solver.

x_t = (1 - t) noise + t series, both of deviation 1, has the deviation s = √(t² + (1 - t)²). The best linear
estimate of series - noise is (2t - 1) / s² x_t, and what it leaves has the deviation 1 / s (the
preconditioning of EDM, Karras et al. 2022, for straight paths).

Shapes: B series, T features of t; x of any shape (B, …).
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from distgan import rng

TIME_FEATURES = 32
FASTEST = 64.0  # of the time features, in radians over t from 0 to 1
GOLDEN = (5**0.5 - 1) / 2
SCORED = 8  # pairs of a time and a noise at which a series is scored
UNIT_STEPS, UNIT_SHARE = 100, 0.1  # training steps that set units of readings; the least share of each

FindVelocity = Callable[[Tensor, float], Tensor]


def compute_time_features(time_B: Tensor) -> Tensor:
    """Return sines and cosines of t at geometric rates: (B,) -> (B, T), float32."""
    half = TIME_FEATURES // 2
    powers = torch.arange(half, device=time_B.device, dtype=torch.float32) / (half - 1)
    angles_BT = time_B.float()[:, None] * FASTEST**powers
    return torch.cat([angles_BT.sin(), angles_BT.cos()], dim=1)


def compute_deviation(time_B: Tensor) -> Tensor:
    """Return the deviation of x_t for series and noise of deviation 1: (B,) -> (B, 1, 1), float32."""
    t_B11 = time_B.float()[:, None, None]
    return (t_B11.square() + (1 - t_B11).square()).sqrt()


def estimate_linearly(x_BLC: Tensor, time_B: Tensor) -> Tensor:
    """Return the best linear estimate of the velocity for series and noise of deviation 1: (B, L, C)."""
    t_B11 = time_B.float()[:, None, None]
    return (2 * t_B11 - 1) / compute_deviation(time_B).square() * x_BLC


def draw_even_times(seed: int, step: int, samples: Tensor, device: torch.device) -> Tensor:
    """Return a t for each place in the global batch, the same for any number of processes: (B,).

    They follow one another at the golden ratio from a random start, so that every batch covers (0, 1) evenly
    (low-discrepancy times: Kingma et al. 2021).
    """
    start = rng.draw_keyed_uniform(seed, step, "flow times", torch.zeros(1), ()).double()
    return (start + GOLDEN * samples.double()).frac().float().to(device, non_blocking=True)


def solve(find_velocity: FindVelocity, x: Tensor, solver: str, steps: int) -> Tensor:
    """Return the end of dx/dt = velocity(x, t) from t = 0 to 1.

    Euler: x + h v(x, t). Heun: x + h/2 (v(x, t) + v(x + h v, t + h)), two calls of `find_velocity` a step.
    Of n steps, step i ends at t = sin²(π i / 2n): short steps near the noise, where a series finds its place,
    and near the data, where fine differences are settled.

    Args:
        solver: "euler" or "heun".
    """
    for begin, end in pairwise(math.sin(math.pi * step / (2 * steps)) ** 2 for step in range(steps + 1)):
        slope = find_velocity(x, begin)
        if solver == "heun":
            slope = (slope + find_velocity(x + (end - begin) * slope, end)) / 2
        x = x + (end - begin) * slope
    return x
