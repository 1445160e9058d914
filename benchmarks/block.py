"""How near a transformer block, forward and backward, comes to the machine's matrix products, and what the
rest is.

Measured: the block, its matrix products alone at their own shapes, its attention alone, and the block
compiled by torch.compile (which wants a C++ compiler). The share is the block's floating-point operations a
second over those of a square float32 product of 1024, the usual peak. What is neither product nor attention
is norms, rotation, gates and sums, which move memory.

    python benchmarks/block.py [--smoke] [--widths 64 128 256] [--tokens 365] [--batch 8]
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from common import alone, finish, in_turns, show
from torch import Tensor, nn

from distgan.models.layers import Block, attend
from distgan.planning import devices


def case(
    width: int, tokens: int, batch: int, repeats: int, peak_size: int, compiling: bool
) -> dict[str, Any]:
    """The best time of the block, and of its parts as shares of it."""
    torch.manual_seed(0)
    heads = max(1, width // 32)
    block = Block(width, heads)
    x = torch.randn(batch, tokens, width, requires_grad=True)
    parts: dict[str, Callable[[], Any]] = {
        "block": with_gradients(block, x),
        "products": products(block, x),
        "attention": attention(batch, heads, tokens, width // heads),
    }
    if compiling:
        parts["compiled"] = with_gradients(torch.compile(block), x)
    best = {name: min(seconds) for name, seconds in in_turns(parts, repeats).items()}
    square = torch.randn(peak_size, peak_size)
    peak = 2 * peak_size**3 / devices.time_call(lambda: square @ square, square.device, repeats)
    flops = 3 * 2 * batch * tokens * sum(w.weight.numel() for w in linears(block))
    flops += 7 * 2 * batch * tokens**2 * width  # attention: two products forward, five backward
    whole = best["block"]
    return {
        "width": width,
        "block_ms": 1e3 * whole,
        "share": flops / whole / peak,
        "products": best["products"] / whole,
        "attention": best["attention"] / whole,
        "rest": 1 - (best["products"] + best["attention"]) / whole,
        **({"compiled": best["compiled"] / whole} if compiling else {}),
        "peak_gflops": peak / 1e9,
    }


def with_gradients(network: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Any]:
    return lambda: network(x).sum().backward()


def linears(block: nn.Module) -> list[nn.Linear]:
    return [layer for layer in block.modules() if isinstance(layer, nn.Linear)]


def products(block: nn.Module, x: Tensor) -> Callable[[], Any]:
    """The linear layers, each on an input of its own."""
    layers = linears(block)
    inputs = [torch.randn(*x.shape[:2], layer.in_features, requires_grad=True) for layer in layers]
    outputs = [torch.randn(*x.shape[:2], layer.out_features) for layer in layers]

    def work() -> None:
        for layer, given, gradient in zip(layers, inputs, outputs):
            layer(given).backward(gradient)

    return work


def attention(batch: int, heads: int, tokens: int, width: int) -> Callable[[], Any]:
    q, k, v = (torch.randn(batch, heads, tokens, width, requires_grad=True) for _ in range(3))
    gradient = torch.randn(batch, heads, tokens, width)
    return lambda: attend(q, k, v).backward(gradient)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--tokens", type=int, default=365)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, figures meaningless")
    options = parser.parse_args()
    shape = (options.tokens, options.batch, options.repeats, 1024, True)
    if options.smoke:
        options.widths, shape = [32], (16, 2, 1, 64, False)  # compiling takes half a minute
    rows = [alone(case, width, *shape, threads=options.threads) for width in options.widths]
    show(
        "A block, forward and backward: share of the peak; parts and compiled form as shares of its time",
        [{key: value for key, value in row.items() if "gib" not in key} for row in rows],
    )
    finish(options.threads, compute_share=rows[-1]["share"], compiled=rows[-1].get("compiled"))


if __name__ == "__main__":
    main()
