"""Shapes of series on the networks' scale: location 0 and scale 1, or from -1 to 1, with gradients."""

import torch
from torch import Tensor

FLAT = 1e-3  # a generated shape of less scale is taken for flat, and not blown up to scale 1


def keep_gradient(values: Tensor, changed: Tensor) -> Tensor:
    """Return what was changed, with the gradient of what was not."""
    return values + (changed - values).detach()


def standardise_shapes(shapes_BLC: Tensor, mask: Tensor) -> Tensor:
    """Return shapes of mean 0 and deviation 1 over measured places."""
    count = mask.sum(1, keepdim=True).clamp(min=1)
    centred = shapes_BLC - (shapes_BLC * mask).sum(1, keepdim=True) / count
    variance = (centred.square() * mask).sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + FLAT**2)


def fill_shapes(shapes_BLC: Tensor, mask: Tensor) -> Tensor:
    """Return shapes from -1 to 1 over measured places."""
    low = torch.where(mask > 0, shapes_BLC, 1).amin(1, keepdim=True)
    high = torch.where(mask > 0, shapes_BLC, -1).amax(1, keepdim=True)
    return (2 * shapes_BLC - low - high) / (high - low).clamp(min=FLAT)
