"""A moving average of a network's weights, which samples better than the weights themselves."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distgan.parallel.optimized_network import OptimizedNetwork

RAMP = 0.05  # of the series seen so far, as in StyleGAN2-ADA (Karras et al. 2020)


def compute_decay(series_seen: int, batch_size: int, half_life: float) -> float:
    """Return the share that the average keeps in an update of `batch_size` series: 0.5 ** (batch_size /
    half-life).

    The half-life, in series, is at most the share `RAMP` of the series seen so far, so that early averages
    forget the weights that training started from. A half-life of 0 keeps nothing: the average is the weights.
    """
    half_life = min(half_life, RAMP * series_seen)
    return 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0


def join_recurrent_weights(network: nn.Module) -> None:
    """Put the weights of each recurrent layer into one piece of a GPU's memory, which a copy does not keep;
    cuDNN would do it again in every call.
    """
    for module in network.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()


class Average:
    """`network`: a copy of the plain network in evaluation mode whose weights trail the original's."""

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        join_recurrent_weights(self.network)
        names = [name for name, value in network.named_parameters() if value.is_floating_point()]
        ours, theirs = dict(self.network.named_parameters()), dict(network.named_parameters())
        self._average = [ours[name].data for name in names]
        self._weights = [theirs[name] for name in names]
        self._source = network

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Compute average <- decay · average + (1 - decay) · weights; buffers (statistics) are copied."""
        weights = [weight.detach() for weight in self._weights]
        if decay > 0:
            torch._foreach_lerp_(self._average, weights, 1.0 - decay)
        else:
            torch._foreach_copy_(self._average, weights)
        for ours, theirs in zip(self.network.buffers(), self._source.buffers(), strict=True):
            ours.copy_(theirs)

    def collect_state(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(dict(state))


class SharedAverage:
    """The average of a network that processes share out: each keeps the average of its own part.

    `network` is gathered when asked for, by all processes together, and is whole on rank 0 alone.
    """

    def __init__(self, optimized: Any) -> None:
        self._optimized = optimized
        self._average = [part.clone() for part in optimized.parts]

    @property
    def network(self) -> nn.Module:
        return self._optimized.gather_network(self._average)

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Compute average <- decay · average + (1 - decay) · weights, for the part of this process."""
        torch._foreach_lerp_(self._average, self._optimized.parts, 1.0 - decay)

    def collect_state(self) -> dict[str, Tensor]:
        """Return the whole average by name on rank 0; all processes call it together."""
        return self._optimized.gather(self._average) | self._optimized.collect_buffers()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load what `collect_state` returned."""
        self._optimized.scatter(state, self._average)


def make_average(optimized: OptimizedNetwork) -> Average | SharedAverage:
    """Return the moving average of a network: of parts if processes partition it."""
    return SharedAverage(optimized) if optimized.partitioned else Average(optimized.plain)
