"""Attention forward and backward: fused, its plain fallback, and one that writes the matrix out, as the
upstream fork does.

python benchmarks/attention.py [--smoke] [--tokens 365 730 2190] [--batch 4] [--heads 4] [--width 128]
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from common import alone, finish, measure, show
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    energy = torch.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bhqk,bhkd->bhqd", F.softmax(energy, dim=-1), v)


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(q, k, v)


KINDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fused": F.scaled_dot_product_attention,
    "plain (twice differentiable)": plain,
    "written out": written_out,
}


def case(kind: str, batch: int, heads: int, tokens: int, head_width: int, repeats: int) -> dict[str, Any]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(batch, heads, tokens, head_width, requires_grad=True) for _ in range(3))

    def step() -> None:
        KINDS[kind](q, k, v).sum().backward()

    return measure(step, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[365, 730, 2190])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, figures meaningless")
    options = parser.parse_args()
    if options.smoke:
        options.tokens, options.repeats = [64], 1
    speedups = {}
    for tokens in options.tokens:
        shape = (options.batch, options.heads, tokens, options.width // options.heads, options.repeats)
        found = {kind: alone(case, kind, *shape, threads=options.threads) for kind in KINDS}
        show(f"{tokens} tokens", [{"attention": kind, **one} for kind, one in found.items()])
        speedups[str(tokens)] = found["written out"]["cpu_s"] / found["fused"]["cpu_s"]
    finish(options.threads, fused_speedup=max(speedups.values()), speedups=speedups)


if __name__ == "__main__":
    main()
