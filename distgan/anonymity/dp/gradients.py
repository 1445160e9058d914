"""The gradient of a training step as a noisy sum over owners (DP-SGD: Abadi et al. 2016).

Each step takes every owner with probability q, independently (`PoissonSampling`). Of each owner taken, one
gradient is computed: that of the mean loss over some of its series, which depends on nothing but the owner's
own series and id, the weights so far, and public numbers. It is clipped at a length C and rounded toward 0 to
whole grid steps, U of them to the length C. The whole numbers are summed over owners and processes, which is
exact in any order, and discrete Gaussian noise is added once (lattice.py). One owner more or less changes the
sum by a vector of whole numbers that is at most U long, so the step is the mechanism of mechanism.py, on a
Poisson sample, with the multiplier `lattice.SCALE` / U.

**Length on the grid.** Let n be the number of weights, u = 2^-24, ν the float64 norm of a float32 gradient g;
|ν − ‖g‖| <= 2^-52 n ‖g‖ in any order of summation. With s = min(1, C/ν) · (U/C) · (1 − `MARGIN`), rounded to
float32, each yᵢ = gᵢ·s has an error of a factor 1 + 3u at most, or is less than a step, and rounding toward 0
makes nothing longer: ‖trunc y‖ <= U (1 − MARGIN)(1 + 2^-52 n)(1 + 3u) <= U for n < 2^31, as MARGIN = 2^-20. A
gradient that is not finite counts as 0.

**Whoever else is taken.** Owners are computed in chunks of one size, filled up with the last owner (whose
copies are not added): kernels go by the batch's size, and an owner's gradient must not change, not even in
its last bits, with how many others there are. That it does not change with its place in a chunk either is
taken as given. It held to the bit on a CPU for the networks of configs/private.yaml and private_gan.yaml;
gradients of layers with 8 features differed by up to 1e-4 of their own length.

Shapes: B series, G owners, W series of an owner, N weights.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from distgan.anonymity.dp import accounting, lattice
from distgan.anonymity.dp.lattice import Stream
from distgan.anonymity.dp.mechanism import Spending
from distgan.memory import measure_host_memory

MARGIN = 2.0**-20
FEWEST_OWNERS, MOST_OWNERS = 16, 64  # of a chunk, whose gradients are in memory together
MOST_NUMBERS = 1 << 22  # of the gradients of a chunk that may have up to four times as many owners
BYTES = 24  # a weight and owner, while its gradient is computed and put on the grid
WORDS = 2**64


class OwnerLoss(Protocol):
    """A loss that is a mean over owners of losses of each owner's own series.

    Attributes:
        scalars: names of all scalars that `compute_owner_loss` returns.
    """

    scalars: Sequence[str]

    def make_inputs(self, batch: Any) -> tuple[Tensor, ...]:
        """Return the input of the loss for each series of a batch, (B, ...) each, made without gradients."""

    def compute_owner_loss(
        self, network: Callable[..., Any], step: int, *inputs: Tensor
    ) -> dict[str, Tensor]:
        """Return scalars of one owner's series, inputs (W, ...): "loss", and what is shown."""


class Reduction(Protocol):
    """The processes of a sum."""

    rank: int
    world_size: int

    def add_up(self, numbers: Tensor) -> None:
        """Sum whole numbers over processes, in place."""


@dataclass(frozen=True)
class PoissonSampling:
    """The choice of a step's owners: each by a coin of its own, from the secret stream."""

    stream: Stream
    rate: float
    owners: int

    def __call__(self, step: int) -> np.ndarray:
        """Return the owners of a step, ascending: int64."""
        words = self.stream.read_words("owners", step, 0, self.owners)
        return np.flatnonzero(words < np.uint64(math.floor(self.rate * WORDS)))


@dataclass(frozen=True)
class Clipping:
    """The conversion of one owner's gradient to whole numbers: `unit` grid steps to the length `length`."""

    length: float
    unit: int

    def sum_on_grid(self, gradients_GN: Tensor) -> tuple[Tensor, Tensor]:
        """Clip each owner's gradient, put it on the grid, and add up: (G, N) float32 -> int64 (N,), and which
        owners were clipped, (G,) float32.

        Whole numbers of the grid are exact in float32, and their sum in float64: every partial sum is a whole
        number below 2^53.
        """
        assert len(gradients_GN) * self.unit < 2**53, "float64 cannot add up so many gradients exactly"
        norms_G = torch.stack(  # row by row: no float64 copy of all of them
            [torch.linalg.vector_norm(gradient_N, dtype=torch.float64) for gradient_N in gradients_GN]
        )
        finite_G = torch.isfinite(norms_G)
        if not bool(finite_G.all()):
            gradients_GN = torch.where(finite_G[:, None], gradients_GN, 0.0)
        factors_G = (self.length / norms_G).clamp(max=1) * (self.unit / self.length) * (1 - MARGIN)
        factors_G = torch.where(finite_G & (norms_G > 0), factors_G, 0.0).float()
        total_N = torch.zeros(gradients_GN.shape[1], dtype=torch.float64, device=gradients_GN.device)
        for gradient_N, factor in zip(gradients_GN, factors_G):  # row by row: no copy of all of them
            total_N += (gradient_N * factor).trunc_()
        return total_N.to(torch.int64), (norms_G > self.length).float()


@dataclass(frozen=True)
class OwnersOfStep:
    """The expected number of owners in a step, over all processes, the number of series of each, and how many
    series of a process may be in one forward pass (None: as many as memory allows).
    """

    expected: int
    series: int
    micro_batch: int | None = None


class NoisyGradient:
    """The gradient of an `OwnerLoss` with noise, for a phase of training.

    Args:
        network: whose gradient it is; without batch statistics, dropout or tied randomness.
        noise: the part of the budget that this training spends.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: OwnerLoss,
        noise: Spending,
        length: float,
        owners: OwnersOfStep,
        draws: tuple[Stream, Reduction],
    ) -> None:
        self.network, self.loss, self.owners = network, loss, owners
        self.stream, self.processes = draws
        self.clipping = Clipping(length, accounting.choose_grid_unit(noise.multiplier))

    def __call__(self, batch: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what is shown of a step, and the mean gradient with noise by name of weight, float32.

        What is shown is for the data's owner alone, since it has no noise: sums over the owners taken,
        divided by the expected number of them.

        Args:
            batch: `owners`, this process's series of the owners taken, W of each in a row; `step`.
        """
        weights = {
            name: weight.detach() for name, weight in self.network.named_parameters() if weight.requires_grad
        }
        number = sum(weight.numel() for weight in weights.values())
        device = next(iter(weights.values())).device
        total_N = torch.zeros(number, dtype=torch.int64, device=device)
        shown = {name: torch.zeros((), device=device) for name in (*self.loss.scalars, "clipped", "owners")}
        for count, inputs in self.split_chunks(batch.owners, number):
            gradients_GN, values = self.compute_per_owner(weights, batch.step, inputs)
            part_N, clipped_G = self.clipping.sum_on_grid(gradients_GN[:count])
            total_N += part_N
            for name, value in {**values, "clipped": clipped_G, "owners": torch.ones_like(clipped_G)}.items():
                shown[name] += value[:count].float().sum()
        total_N = self.add_noise(total_N, batch.step)
        mean_N = (
            total_N.double() * (self.clipping.length / self.clipping.unit / self.owners.expected)
        ).float()
        pieces = mean_N.split([weight.numel() for weight in weights.values()])
        gradient = {
            name: piece.view_as(weight) for (name, weight), piece in zip(weights.items(), pieces, strict=True)
        }
        share = self.processes.world_size / self.owners.expected
        return {name: value * share for name, value in shown.items()}, gradient

    def split_chunks(self, batch: Any, number: int) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """Yield how many owners a chunk has, and the inputs of so many as every chunk has: (G, W, ...) each.

        G depends on public numbers and on the memory for buffers.
        """
        if not len(batch.sample):
            return
        usual = max(FEWEST_OWNERS, self.owners.expected // self.processes.world_size // 2)
        room = measure_host_memory() // 2 // (BYTES * number)
        most = max(MOST_OWNERS, min(4 * MOST_OWNERS, MOST_NUMBERS // number))
        series, limit = self.owners.series, self.owners.micro_batch
        most = most if limit is None else min(most, limit // series)
        size = max(1, min(usual, most, room))
        for part in batch.split(size * series):
            count = len(part.sample) // series
            owners = torch.arange(size).clamp(max=count - 1)
            rows = (owners[:, None] * series + torch.arange(series)).flatten()
            inputs = self.loss.make_inputs(part.take(rows))
            yield count, tuple(values.unflatten(0, (-1, series)) for values in inputs)

    def compute_per_owner(
        self, weights: Mapping[str, Tensor], step: int, inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return each owner's gradient, (G, N), and what is shown of each, (G,)."""

        def compute_loss(weights: dict[str, Tensor], *own: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            values = self.loss.compute_owner_loss(
                lambda *given: functional_call(self.network, weights, given), step, *own
            )
            return values["loss"], {name: value.detach() for name, value in values.items()}

        every = vmap(grad(compute_loss, has_aux=True), in_dims=(None, *[0] * len(inputs)))
        with sdpa_kernel(SDPBackend.MATH):  # vmap has no rule for the fused kernels, and takes them in a loop
            gradients, values = every(dict(weights), *inputs)
        return torch.cat([gradients[name].flatten(1) for name in weights], dim=1), values

    def add_noise(self, total_N: Tensor, step: int) -> Tensor:
        """Sum over processes, adding noise once."""
        own = total_N.cpu().numpy()
        lattice.add_noise(own, self.stream, step, (self.processes.rank, self.processes.world_size))
        total_N = torch.from_numpy(own).to(total_N.device)
        self.processes.add_up(total_N)
        return total_N
