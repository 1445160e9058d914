"""What a private step of the network that reads real series costs beside a plain one, in one run.

    python benchmarks/dp_cost.py --batches 32 128 --length 336
    python benchmarks/dp_cost.py --config configs/private.yaml --batches 500 --length 336

Both take the same loss on the same series, by default that of the default discriminator: the plain step one
backward pass over the batch and Adam; the private one gradients by owner, clipping on the grid, discrete
noise and Adam.
`noise_s` is the noise alone, which does not grow with the batch. CPU seconds, in turns; the last line is
JSON.
"""

import argparse
from typing import Any

import numpy as np
import torch
from common import finish, forget_peak, in_turns, peak_gib, show
from torch import Tensor

from distgan import config, models
from distgan.anonymity.dp import lattice
from distgan.anonymity.dp.gradients import NoisyGradient, OwnersOfStep
from distgan.anonymity.dp.lattice import Stream, make_key
from distgan.anonymity.dp.mechanism import Spending
from distgan.data.loader import Batch
from distgan.data.owner_loader import OwnerBatch
from distgan.objectives.adversarial import Conditions
from distgan.parallel.optimized_network import Adam
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import Parallel

CONDITION = 2 + 4


def condition_of(batch: Batch) -> Tensor:
    return torch.zeros(len(batch.sample), CONDITION)


def load_settings(path: str | None) -> config.Config:
    if path is None:
        return config.from_tree(
            {"bank": {"condition_dim": 4}, "objective": {"loss": "nonsaturating", "penalty": {"fraction": 1}}}
        )
    return config.load(path, ["data.source=none"])


def compare(path: str | None, size: int, length: int, repeats: int) -> dict[str, Any]:
    """Return CPU seconds of both steps for a batch of `size` owners with a series each."""
    settings = load_settings(path)
    torch.manual_seed(0)
    networks, name = models.build(settings, length, 1), settings.model.private_network
    parallel = Parallel(settings.engine.model_copy(update={"threads": 1}))
    network = prepare_network(parallel, name, networks[name], Adam(1e-4))
    conditions = Conditions(condition_of, condition_of)
    game = models.make_owner_game(settings, networks, conditions, condition_of)
    objective = models.make_objective(settings, networks, conditions)
    (phase,) = (each for each in objective.phases if each.network == name)
    series = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (size, length, 1))).float()
    places = torch.arange(size)
    batch = Batch(series, torch.ones_like(series), places, places, 0)
    one = (Stream(make_key()), parallel)
    noisy = NoisyGradient(networks[name], game, Spending(1.0, 0.1), 1.0, OwnersOfStep(size, 1), one)
    number = sum(weight.numel() for weight in networks[name].parameters())
    numbers = np.zeros(number, np.int64)

    def plain() -> None:
        network.minimise(phase.loss(batch)["loss"])

    def private() -> None:
        network.apply(noisy(OwnerBatch(batch, batch, 0))[1])

    def noise() -> None:
        lattice.add_noise(numbers, one[0], 0)

    found = {
        name: float(np.median(each))
        for name, each in in_turns(
            {"plain_s": plain, "private_s": private, "noise_s": noise}, repeats
        ).items()
    }
    before = forget_peak()
    private()
    return {
        "owners": size,
        "weights": number,
        **found,
        "ratio": found["private_s"] / found["plain_s"],
        "ratio without noise": (found["private_s"] - found["noise_s"]) / found["plain_s"],
        "memory_gib": peak_gib() - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="of another network; by default the default discriminator")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--length", type=int, default=336)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it works")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.batches, arguments.length, arguments.repeats = [2], 64, 1
    rows = [
        compare(arguments.config, size, arguments.length, arguments.repeats) for size in arguments.batches
    ]
    show(f"{arguments.config or 'default discriminator'}, series of {arguments.length} steps", rows)
    finish(1, ratio=rows[-1]["ratio"], rows=rows)


if __name__ == "__main__":
    main()
