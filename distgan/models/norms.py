"""The root-mean-square norm, with a backward pass of its own that reads and writes about half as much.

On a CPU the networks of this package wait for memory, not for products: passes over features count.

Shapes: B series, N tokens, D width; x has any leading dimensions.
"""

from typing import Any

import torch
from torch import Tensor

from distgan.objectives.derivatives import is_twice_differentiable

SMALL = 1e-6


def normalise(x: Tensor, gain: Tensor | None = None) -> Tensor:
    """Return x / rms(x) · gain over the last dimension; the mean square is taken in float32.

    Args:
        gain: (D,), or (B, 1, D) with x (B, N, D); 1 without it.
    """
    # The functions below have no second derivative.
    if x.dtype not in (torch.float32, torch.float64) or is_twice_differentiable():
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + SMALL)
        normal = x * scale.to(x.dtype)
        return normal if gain is None else normal * gain
    if gain is None:
        return _Normalise.apply(x)[0]  # type: ignore[no-untyped-call,no-any-return]
    return _NormaliseAndMultiply.apply(x, gain)[0]  # type: ignore[no-untyped-call,no-any-return]


def find_scale(x: Tensor) -> Tensor:
    """Return 1 / rms(x), (..., 1)."""
    return torch.rsqrt(torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1] + SMALL)


class _Normalise(torch.autograd.Function):
    """y = r x, r = 1 / rms(x); dx = r dy - r³ mean(x dy) x. Returns y and r."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        scale = find_scale(x)
        return x * scale, scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Tensor:
        x, scale = ctx.saved_tensors
        inner = (x * grad).sum(-1, keepdim=True)
        return torch.addcmul(grad * scale, x, inner * (scale**3 / -x.shape[-1]))


class _NormaliseAndMultiply(torch.autograd.Function):
    """y = r x g, r = 1 / rms(x); dx = r g dy - r³ mean(x g dy) x; dg = Σ r x dy. Returns y and r."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        scale = find_scale(x)
        return x * scale * gain, scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor | None]:
        x, gain, scale = ctx.saved_tensors
        product = x * grad
        grad_gain = None
        if gain.dim() == 1:
            inner = (product @ gain)[..., None]
            if ctx.needs_input_grad[1]:
                grad_gain = scale.flatten() @ product.flatten(0, -2)
        else:
            inner = product @ gain.transpose(1, 2)
            if ctx.needs_input_grad[1]:
                grad_gain = scale.transpose(1, 2) @ product
        return torch.addcmul(grad * gain * scale, x, inner * (scale**3 / -x.shape[-1])), grad_gain
