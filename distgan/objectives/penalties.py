"""Gradient penalties of the discriminator, each with its equation."""

import torch
from torch import Tensor

from distgan.objectives.losses import Discriminator

# Penalties return one number a series, (B,), float32: the squared gradient norm, averaged over the heads.


def penalise_difference(
    discriminator: Discriminator,
    series_BLC: Tensor,
    condition_BK: Tensor,
    direction_BLC: Tensor,
    sigma: float,
) -> Tensor:
    """Return (D(x + σε) - D(x))² / σ² with ε ~ N(0, 1), whose mean over ε is ‖∇ₓD(x)‖² + O(σ²) (Lin et al.
    2025).

    One forward pass of twice the batch, no double backward: it works with fused attention, recomputed
    activations and partitioned weights. Float32 throughout: in bfloat16 the difference is rounding noise.
    """
    series = series_BLC.float()
    both = torch.cat([series, series + sigma * direction_BLC.float()])
    base, moved = discriminator(both, torch.cat([condition_BK, condition_BK]).float()).float().chunk(2)
    return compute_squared_slope(base, moved, sigma)


def compute_squared_slope(base: Tensor, moved: Tensor, sigma: float) -> Tensor:
    """Return (D(x + σε) - D(x))² / σ², averaged over heads: logits (B, H) both -> (B,)."""
    return ((moved - base) / sigma).square().mean(1)


def penalise_gradient(
    discriminator: Discriminator, series_BLC: Tensor, condition_BK: Tensor, mask_BLC: Tensor
) -> Tensor:
    """Return ‖∇ₓD(x)‖² over measured places, by double backward (R1 and R2: Mescheder et al. 2018). Call
    inside `twice_differentiable()`.
    """
    return _compute_gradient(discriminator, series_BLC, condition_BK, mask_BLC).square().sum((-2, -1)).mean(0)


def interpolate(real: Tensor, fake: Tensor, share_B: Tensor) -> Tensor:
    """Return series between a real and a generated one: (B, L, C) twice, (B,) -> (B, L, C)."""
    share = share_B.float()[:, None, None]
    return share * real.float() + (1 - share) * fake.float()


def penalise_distance_to_norm(
    discriminator: Discriminator, series_BLC: Tensor, condition_BK: Tensor, mask_BLC: Tensor, target: float
) -> Tensor:
    """Return (‖∇D(x)‖ - φ)² / φ² over measured places, at x between real and generated series (WGAN-GP,
    Gulrajani et al. 2017). Call inside `twice_differentiable()`.
    """
    gradient = _compute_gradient(discriminator, series_BLC, condition_BK, mask_BLC)
    norm = gradient.square().sum((-2, -1)).add(1e-12).sqrt()
    return ((norm - target) / target).square().mean(0)


def _compute_gradient(
    discriminator: Discriminator, series_BLC: Tensor, condition_BK: Tensor, mask_BLC: Tensor
) -> Tensor:
    """Return ∇ₓ of every head where the mask is 1, differentiable again: (H, B, L, C)."""
    series = series_BLC.detach().float().requires_grad_()
    logits = discriminator(series, condition_BK.float()).float()
    gradients = [
        torch.autograd.grad(logits[:, head].sum(), series, create_graph=True)[0]
        for head in range(logits.shape[1])
    ]
    return torch.stack(gradients) * mask_BLC
