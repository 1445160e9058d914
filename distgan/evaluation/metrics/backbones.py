"""Networks that look at short series for the discriminative and predictive scores: GRU, CNN, transformer.

Each maps series (B, L, C) to one number (B, 1) after the last step, or to one at every step (B, L, 1) that
follows from that step and those before it. The GRU is TimeGAN's (Yoon et al. 2019); published protocols also
score with convolutions and transformers, which see other faults.

Shapes: B series, L steps, C channels, D units.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNEL, DILATIONS = 3, (1, 2, 4)  # together 15 steps
HEADS, BLOCKS = 4, 2


class RecurrentNetwork(nn.Module):
    """A GRU and a linear layer on its last state, or on every state: (B, L, C) -> (B, 1) or (B, L, 1).

    Starts as TensorFlow's GRUCell does: Glorot's uniform weights, 1 in the biases of both gates.
    """

    def __init__(self, channels: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(channels, units, batch_first=True), nn.Linear(units, 1)
        parameter = self.gru.get_parameter
        with torch.no_grad():
            for part, outputs in ((slice(0, 2 * units), 2 * units), (slice(2 * units, None), units)):
                bound = math.sqrt(6 / (channels + units + outputs))
                for name in ("weight_ih_l0", "weight_hh_l0"):
                    parameter(name)[part].uniform_(-bound, bound, generator=generator)
            parameter("bias_ih_l0").zero_()[: 2 * units] = 1
            parameter("bias_hh_l0").zero_()
            nn.init.xavier_uniform_(self.head.weight, generator=generator)
            self.head.bias.zero_()

    def forward(self, series: Tensor, *, last: bool) -> Tensor:
        states = self.gru(series)[0]
        return self.head(states[:, -1] if last else states)


class ConvolutionalNetwork(nn.Module):
    """Causal convolutions of growing dilation and a linear layer on their mean, or on every step."""

    def __init__(self, channels: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        widths = [channels, *[units] * len(DILATIONS)]
        self.layers = nn.ModuleList(
            nn.Conv1d(*pair, KERNEL, dilation=dilation)
            for pair, dilation in zip(itertools.pairwise(widths), DILATIONS)
        )
        self.head = nn.Linear(units, 1)
        _draw_weights(self, generator)

    def forward(self, series: Tensor, *, last: bool) -> Tensor:
        features_BDL = series.transpose(1, 2)
        for layer, dilation in zip(self.layers, DILATIONS):
            features_BDL = functional.relu(layer(functional.pad(features_BDL, ((KERNEL - 1) * dilation, 0))))
        return self.head(features_BDL.mean(2) if last else features_BDL.transpose(1, 2))


class TransformerNetwork(nn.Module):
    """Attention blocks and a linear layer on the mean of all steps, or, each step seeing none after it, on
    every step.
    """

    def __init__(self, channels: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        units = -(-units // (2 * HEADS)) * 2 * HEADS
        self.embed = nn.Linear(channels, units)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                units, HEADS, 2 * units, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(BLOCKS)
        )
        self.norm, self.head = nn.LayerNorm(units), nn.Linear(units, 1)
        _draw_weights(self, generator)

    def forward(self, series: Tensor, *, last: bool) -> Tensor:
        length = series.shape[1]
        features_BLD = self.embed(series)
        features_BLD = features_BLD + _encode_positions(length, features_BLD.shape[2])
        later = None if last else torch.ones(length, length, dtype=torch.bool).triu(1)
        for block in self.blocks:
            features_BLD = block(features_BLD, src_mask=later)
        features_BLD = self.norm(features_BLD)
        return self.head(features_BLD.mean(1) if last else features_BLD)


def _encode_positions(length: int, width: int) -> Tensor:
    """Return sines and cosines of the places (Vaswani et al. 2017): (L, D), D even."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Draw Glorot's uniform weights from the generator alone; biases 0, gains 1."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


BACKBONES: dict[str, type[RecurrentNetwork] | type[ConvolutionalNetwork] | type[TransformerNetwork]] = {
    "gru": RecurrentNetwork,
    "cnn": ConvolutionalNetwork,
    "transformer": TransformerNetwork,
}
