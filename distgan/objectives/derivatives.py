"""Context managers that choose the kernels of layers while a penalty differentiates a network."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

_twice: ContextVar[bool] = ContextVar("twice", default=False)


class twice_differentiable:  # noqa: N801 (read as a verb)
    """Inside, attention can be differentiated twice: the fused kernels cannot, so the plain one is used.

    It may be entered again: a block that recomputes its activations does, once for each derivative.
    """

    def __enter__(self) -> None:
        self.held = contextlib.ExitStack()
        self.held.callback(_twice.reset, _twice.set(True))
        self.held.enter_context(sdpa_kernel(SDPBackend.MATH))

    def __exit__(self, *error: object) -> None:
        self.held.close()


def is_twice_differentiable() -> bool:
    """Return whether this is inside `twice_differentiable`; never in a compiled network, whose derivative
    has none itself.
    """
    return not torch.compiler.is_compiling() and _twice.get()


def use_plain_kernels() -> AbstractContextManager[None]:
    """Return the context of recurrent layers: inside `twice_differentiable` without cuDNN, whose backward
    passes have no derivative.
    """
    return torch.backends.cudnn.flags(enabled=False) if _twice.get() else contextlib.nullcontext()


@contextlib.contextmanager
def disable_dropout(network: nn.Module) -> Iterator[None]:
    """Switch dropout off in the block: a difference of two passes is then of their inputs alone."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Dropout) and layer.training]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()
