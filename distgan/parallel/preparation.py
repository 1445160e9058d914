"""One network made ready for training by all processes."""

from torch import nn

from distgan.parallel.optimized_network import Adam, OptimizedNetwork
from distgan.parallel.processes import Parallel


def prepare_network(parallel: Parallel, name: str, network: nn.Module, optimizer: Adam) -> OptimizedNetwork:
    """Return `network` on this process's device, with rank 0's weights, and its optimiser.

    The generator and the discriminator are shared out as `engine.zero` says. Other networks, which are
    small, are whole on every process.

    Raises:
        UserError: DeepSpeed is needed and not installed.
    """
    if parallel.choose_stage(name) == 0:
        return OptimizedNetwork(name, network, optimizer, parallel)
    from distgan.parallel.zero import ZeroNetwork

    return ZeroNetwork(name, network, optimizer, parallel)
