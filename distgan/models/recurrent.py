"""Recurrent layers: stacks of LSTM or GRU with dropout between them.

Float32 whatever the precision, because an error of one step is the input of all that follow; the outputs have
the dtype of the input. Shapes: B series, L steps, I inputs, H units.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from distgan.objectives.derivatives import use_plain_kernels

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """(B, L, I) -> (B, L, H), or (B, L, 2 H) in both directions; `dropout` behind every layer."""

    def __init__(
        self,
        inputs: int,
        width: int,
        layers: int,
        cell: Literal["lstm", "gru"],
        *,
        both_ways: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        outputs = 2 * width if both_ways else width
        self.layers = nn.ModuleList(
            CELLS[cell](outputs if layer else inputs, width, batch_first=True, bidirectional=both_ways)
            for layer in range(layers)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLI: Tensor) -> Tensor:
        x = x_BLI.float()
        with use_plain_kernels():
            for layer in self.layers:
                x = self.dropout(layer(x)[0])
        return x.to(x_BLI.dtype)


def to_uniform(normal: Tensor) -> Tensor:
    """Return uniform numbers in [0, 1] for standard normal ones: Φ(z), float32 inside."""
    return torch.special.ndtr(normal.float()).to(normal.dtype)
