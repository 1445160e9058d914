"""States of networks whose every number tells the step."""

import torch
from torch import Tensor

from distgan.engine import checkpoint


def state_of(step: int, size: int = 50) -> dict[str, dict[str, Tensor]]:
    """Every number tells its step, so that a mixture of two checkpoints shows."""
    return {
        "generator": {"weight": torch.full((size,), float(step)), "count": torch.tensor(step)},
        "generator.optimiser": {"weight.exp_avg": torch.full((size,), float(step))},
        "generator.average": {},
    }


def is_whole(found: checkpoint.Checkpoint | None) -> bool:
    assert found is not None
    tensors = [tensor for file in found.state.values() for tensor in file.values()]
    return (
        set(found.state) == set(state_of(0))
        and found.facts["step"] == found.step
        and all(bool((tensor == found.step).all()) for tensor in tensors)
    )
