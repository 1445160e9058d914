"""Audit of private training steps in one run each: what an attacker proves of ε, against what the ledger
says.

    python benchmarks/dp_audit.py --runs 20

Canaries are owners whose gradient is one coordinate (Steinke, Nasr and Jagielski 2023, "Privacy auditing with
one (1) training run"). A coin decides for each whether it is among the owners. The attacker sees every noisy
gradient, adds up each canary's coordinate, and guesses the highest to be in and the lowest to be out. From
the number of right guesses follows a lower bound of ε, at 95 %. It must stay below the accounted ε in
every run, and must exceed it where the implementation is broken on purpose: noise divided by ten, no
clipping, all owners taken in every step (while the accountant is given a sampling rate). The last line is
JSON.
"""

import argparse
from typing import Any

import numpy as np
import torch
from common import finish, show
from torch import Tensor, nn

from distgan.anonymity.dp import accounting, mechanism
from distgan.anonymity.dp.gradients import NoisyGradient, OwnersOfStep, PoissonSampling
from distgan.anonymity.dp.lattice import SCALE, Stream, make_key
from distgan.anonymity.dp.mechanism import Spending
from distgan.data.loader import Batch
from distgan.data.owner_loader import OwnerBatch
from distgan.evaluation.attacks.rates import bound_epsilon

CANARIES, GUESSES = 1000, 200
RATE, STEPS, DELTA = 0.15, 16, 1e-6
FAULTS = ("none", "noise / 10", "no clipping", "no sampling")
CONFIDENCE = 0.95


class OneProcess:
    rank, world_size = 0, 1

    def add_up(self, numbers: Tensor) -> None:
        pass


class CanaryLoss:
    """⟨w, v⟩ · 10 of an owner's series v, so that its gradient is 10 v."""

    scalars = ("loss",)

    def make_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        return (batch.series,)

    def compute_owner_loss(self, network: Any, step: int, *inputs: Tensor) -> dict[str, Tensor]:
        return {"loss": 10 * network(inputs[0][:, :, 0]).mean()}


def noisy_gradients(inside: np.ndarray, spending: Spending, fault: str) -> np.ndarray:
    """Return the noisy gradients of all steps, [STEPS, CANARIES], of the canaries that are owners."""
    owners, stream = np.flatnonzero(inside), Stream(make_key())
    take = PoissonSampling(stream, spending.rate, len(owners))
    made = NoisyGradient(
        nn.Linear(CANARIES, 1, bias=False),
        CanaryLoss(),
        spending,
        1.0,
        OwnersOfStep(1, 1),
        (stream, OneProcess()),
    )
    unit = made.clipping.unit
    assert unit * spending.multiplier <= SCALE
    if fault == "noise / 10":
        made.clipping = type(made.clipping)(1.0, 10 * unit)
    if fault == "no clipping":
        made.clipping = type(made.clipping)(10.0, 10 * unit)  # ten times as long as accounted
    seen = []
    for step in range(STEPS):
        taken = owners if fault == "no sampling" else owners[take(step)]
        series = torch.zeros(len(taken), CANARIES, 1)
        series[torch.arange(len(taken)), torch.from_numpy(taken), 0] = 1
        places = torch.arange(len(taken))
        batch = Batch(series, torch.ones_like(series), places, places, step)
        _, gradient = made(OwnerBatch(batch, batch, step))
        seen.append(gradient["weight"][0].double().numpy())
    return np.stack(seen)


def audit(spending: Spending, fault: str, seed: int) -> float:
    """Return the lower bound of ε that one run proves."""
    inside = np.random.default_rng([seed, 1]).random(CANARIES) < 0.5
    scores = noisy_gradients(inside, spending, fault).sum(axis=0)
    order = np.argsort(scores)
    half = GUESSES // 2
    right = int(inside[order[-half:]].sum() + (~inside[order[:half]]).sum())
    return bound_epsilon(GUESSES, right, CANARIES, DELTA, 1 - CONFIDENCE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--smoke", action="store_true", help="one run, to see that it works")
    parser.add_argument("--epsilon", type=float, default=2.0)
    arguments = parser.parse_args()
    arguments.runs = 1 if arguments.smoke else arguments.runs
    torch.set_num_threads(1)
    spending = Spending(accounting.find_noise(RATE, STEPS, arguments.epsilon, DELTA), RATE, STEPS)
    accounted = mechanism.compose_epsilon([spending], DELTA)
    rows = []
    for fault in FAULTS:
        found = [audit(spending, fault, run) for run in range(arguments.runs)]
        beyond = sum(each > accounted for each in found)
        rows.append(
            {
                "fault": fault,
                "accounted": accounted,
                "proved, mean": float(np.mean(found)),
                "proved, most": max(found),
                "runs beyond": f"{beyond} of {arguments.runs}",
            }
        )
    show(f"{CANARIES} canaries, {STEPS} steps at rate {RATE}, noise {spending.multiplier:.3g}", rows)
    finish(1, accounted=accounted, rows=rows)


if __name__ == "__main__":
    main()
