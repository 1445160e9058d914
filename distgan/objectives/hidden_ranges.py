"""Masks that hide beginnings or ends of series from the encoder, which must reconstruct them all the same.

Without them a latent also encodes when a series was measured: series that begin late form groups of their
own, for whose conditions no generator learns a beginning. So the beginning or the end of half of the series
of a batch is hidden, and the reconstruction is compared with all that was measured. The visible part is
standardised by itself, like a series that has no more.

Shapes: B series, L steps, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from distgan import rng
from distgan.data.loader import Batch

HIDDEN = 0.5  # of the series of a batch
LATE, EARLY = 0.4, 0.8  # of these, up to here begin late, and up to here end early; the others do both
FLATTEST = 1e-3  # deviation of a part that is still standardised


@dataclass(frozen=True)
class Hiding:
    """How ends are hidden.

    Attributes:
        shortest: the smallest share of a series that is shown, as of `data.start_ragged`; of series of which
            less would be left nothing is hidden.
        own_scale: each series is standardised by itself, so that what is shown of it is, too
            (`data.scaling.scope=series`).
    """

    shortest: float
    own_scale: bool = True


def hide_ranges(batch: Batch, seed: int, hiding: Hiding) -> tuple[Tensor, Tensor]:
    """Return the series and the mask that the encoder reads: (B, L, C) each."""
    shortest = hiding.shortest
    mask = batch.mask
    length, device = mask.shape[1], mask.device
    drawn = rng.draw_keyed_uniform(seed, batch.step, "hidden range", batch.sample, (4,), device)
    hidden, share, kind, place = drawn.double().unbind(1)  # float32 has no step of its own beyond 2^24
    shown = ((shortest + (1 - shortest) * share) * length).ceil()
    shown = torch.where(hidden < HIDDEN, shown, length)
    first = torch.where(kind < LATE, length - shown, torch.where(kind < EARLY, 0, place * (length - shown)))
    steps = torch.arange(length, device=device)
    inside = (steps >= first.floor()[:, None]) & (steps < (first.floor() + shown)[:, None])
    seen = mask * inside[:, :, None]
    enough = seen.sum(1) >= shortest * length * mask.amax(1)  # every channel that has any
    seen = torch.where(enough.all(1)[:, None, None], seen, mask)
    if not hiding.own_scale:
        return batch.series * seen, seen
    return standardise_alike(batch.series, seen, mask), seen


def standardise_alike(series: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
    """Return series whose seen part has the mean and the deviation that all that is measured had, 0 where not
    seen: (B, L, C) each.
    """
    (mean, deviation), (whole_mean, whole) = _measure(series, seen), _measure(series, mask)
    factor = torch.where(deviation > FLATTEST, whole / deviation.clamp(min=FLATTEST), 1)
    return ((series - mean) * factor + whole_mean) * seen


def _measure(series: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over the mask: (B, 1, C) twice."""
    counts = mask.sum(1, keepdim=True).clamp(min=1)
    mean = (series * mask).sum(1, keepdim=True) / counts
    return mean, ((series - mean).square() * mask).sum(1, keepdim=True).div(counts).sqrt()
