"""The upstream TTS-GAN fork's networks, written plainly, against ours at the same shapes: time and memory of
a step.

The baseline is what its code has: attention that keeps the whole L x L matrix, the exact gradient penalty
of WGAN-GP, a generator forward for each network's update, and a moving average parameter by parameter. Ours
are the same layers with fused attention and finite differences on a quarter of the batch, also under
`wgangp`, and the default model with more than 3 M weights in its generator's transformers, whose tokens are
days where the fork's generator has one for each step. The fork's own run had LSGAN and no penalty, as
`configs/tts_gan_fork.yaml` has: the rows without penalty compare those two. Dropout inside attention is left
out on all sides, since fused attention on a CPU refuses it.

    python benchmarks/tts_gan_fork.py [--smoke] [--length 2190] [--batch 1 4] [--longest]
"""

import argparse
import math
from typing import Any

import torch
import torch.nn.functional as F
from common import alone, finish, measure, show
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

CONDITION = 8
DEFAULT = ["model.generator.width=256", "model.discriminator.width=256", "model.patch=24"]


class PlainAttention(nn.Module):
    """Attention with its matrix in memory, scaled by the root of the whole width: (B, N, E) -> (B, N, E)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.queries, self.keys, self.values, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (
            layer(x).view(b, n, self.heads, -1).transpose(1, 2)
            for layer in (self.queries, self.keys, self.values)
        )
        energy = torch.einsum("bhqd,bhkd->bhqk", q, k)
        weights = F.softmax(energy / math.sqrt(self.width), dim=-1)
        return self.out(torch.einsum("bhqk,bhkd->bhqd", weights, v).transpose(1, 2).reshape(b, n, -1))


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = PlainAttention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.first(x)))
        return x + self.dropout(self.mlp(self.second(x)))


class PlainGenerator(nn.Module):
    def __init__(
        self, length: int, noise: int = 100, width: int = 10, depth: int = 3, heads: int = 5
    ) -> None:
        super().__init__()
        self.shape = (length, width)
        self.lift = spectral_norm(nn.Linear(noise + CONDITION, length * width))
        scales = ((1, 2 * heads), (2, heads), (4, max(1, heads // 2)))
        self.positions = nn.ParameterList(nn.Parameter(torch.zeros(1, length // r, width)) for r, _ in scales)
        self.branches = nn.ModuleList(
            nn.Sequential(*(PlainBlock(width, h, 0.5) for _ in range(depth))) for _, h in scales
        )
        self.head = spectral_norm(nn.Conv2d(width, 1, 1))

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        x = F.leaky_relu(self.lift(torch.cat([noise, condition], 1)), 0.2).view(-1, *self.shape)
        merged = torch.zeros_like(x)
        for position, branch, weight in zip(self.positions, self.branches, (1.0, 0.2, 0.1)):
            pooled = F.adaptive_avg_pool1d(x.transpose(1, 2), position.shape[1]).transpose(1, 2)
            y = branch(pooled + position)
            merged = merged + weight * F.interpolate(
                y.transpose(1, 2), size=self.shape[0], mode="linear"
            ).transpose(1, 2)
        return torch.tanh(self.head(merged.transpose(1, 2)[:, :, None, :]))[:, 0, 0, :, None]


class PlainDiscriminator(nn.Module):
    def __init__(self, length: int, patch: int = 15, width: int = 50, depth: int = 3, heads: int = 5) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(patch, width)
        self.start = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 1 + length // patch, width))
        self.encoders = nn.ModuleList(
            nn.Sequential(*(PlainBlock(width, heads, 0.1) for _ in range(d)))
            for d in (max(1, depth // 2), depth)
        )
        self.verdicts = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1)) for _ in range(2)
        )

    def forward(self, series: Tensor, condition: Tensor) -> Tensor:
        x = self.embed(series.reshape(len(series), -1, self.patch))
        x = torch.cat([self.start.expand(len(x), -1, -1), x], 1) + self.position
        return sum(v(e(x).mean(1)) for v, e in zip(self.verdicts, self.encoders)) / 2


def plain(length: int, batch: int, repeats: int, penalised: bool = True) -> dict[str, Any]:
    """The fork's step, one network after the other, as plain code writes it: WGAN-GP, or LSGAN without
    penalty.
    """
    torch.manual_seed(0)
    generator, discriminator = PlainGenerator(length), PlainDiscriminator(length)
    averages = [parameter.detach().clone() for parameter in generator.parameters()]
    g_adam = torch.optim.Adam(generator.parameters(), 2.2e-4)
    d_adam = torch.optim.Adam(discriminator.parameters(), 1e-4)
    series, condition = 0.5 * torch.randn(batch, length, 1), torch.randn(batch, CONDITION)

    def penalty(fake: Tensor) -> Tensor:
        share = torch.rand(batch, 1, 1)
        between = (share * series + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(between, condition).sum(), between, create_graph=True)
        return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()

    def step() -> None:
        fake = generator(torch.randn(batch, 100), condition).detach()
        d_adam.zero_grad()
        on_fake, on_real = discriminator(fake, condition), discriminator(series, condition)
        if penalised:
            d_loss = on_fake.mean() - on_real.mean() + 10 * penalty(fake)
        else:
            d_loss = (on_fake.square().mean() + (on_real - 1).square().mean()) / 2
        d_loss.backward()
        d_adam.step()
        g_adam.zero_grad()
        verdict = discriminator(generator(torch.randn(batch, 100), condition), condition)
        (-verdict.mean() if penalised else (verdict - 1).square().mean()).backward()
        g_adam.step()
        for average, parameter in zip(averages, generator.parameters()):
            average.copy_(0.9999 * average + 0.0001 * parameter.detach().cpu())

    return {**measure(step, repeats), "parameters": sum(p.numel() for p in generator.parameters())}


def ours(length: int, batch: int, repeats: int, overrides: list[str]) -> dict[str, Any]:
    """The same step by the project's own objective, update and average."""
    from steps import stepper

    from distgan.models.layers import Transformer

    step = stepper([*overrides, f"train.batch_size={batch}"], length)
    generator = step.networks["generator"]
    inside = [module for module in generator.modules() if isinstance(module, Transformer)]
    return {
        **measure(step, repeats),
        "parameters": sum(p.numel() for p in generator.parameters()),
        "in_transformers": sum(p.numel() for module in inside for p in module.parameters()),
    }


LAYERS = ["model.name=tts_gan_fork", "model.patch=15"]
FORK = [*LAYERS, "objective.loss=wgangp"]
AS_RUN = [*LAYERS, "objective.loss=lsgan", "objective.penalty.kind=none"]


def cases(length: int, batch: int, repeats: int, threads: int) -> dict[str, dict[str, Any]]:
    return {
        "fork, plainly": alone(plain, length, batch, repeats, threads=threads),
        "our tts_gan_fork": alone(ours, length, batch, repeats, FORK, threads=threads),
        "our default": alone(ours, length, batch, 3 * repeats, DEFAULT, threads=threads),
        "fork, no penalty": alone(plain, length, batch, repeats, False, threads=threads),
        "our tts_gan_fork.yaml, no penalty": alone(ours, length, batch, repeats, AS_RUN, threads=threads),
    }


def longest(limit_gib: float, threads: int) -> dict[str, int]:
    """The longest of a doubling series of lengths that a step of batch 1 takes within the limit."""
    found = {}
    for name, work in (("fork, plainly", plain), ("our tts_gan_fork", ours)):
        length = 1095
        while True:
            extra = (FORK,) if work is ours else ()
            case = alone(work, length, 1, 1, *extra, threads=threads)
            if "failed" in case or case["memory_gib"] > limit_gib or length >= 35040:
                break
            found[name] = length
            length *= 2
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--length", type=int, default=2190, help="steps; a multiple of 15 and 4's of the fork"
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--longest", action="store_true", help="also the longest series in 16 GiB")
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, figures meaningless")
    options = parser.parse_args()
    if options.smoke:
        options.length, options.batch, options.repeats = 120, [1], 1
    figures: dict[str, Any] = {}
    for batch in options.batch:
        found = cases(options.length, batch, options.repeats, options.threads)
        rows = []
        for name, case in found.items():
            base = found["fork, no penalty" if "no penalty" in name else "fork, plainly"]
            times, share = base["cpu_s"] / case["cpu_s"], case["memory_gib"] / base["memory_gib"]
            rows.append(
                {"batch": batch, "case": name, **case, "times faster": times, "share of memory": share}
            )
        show(f"One training step at {options.length} steps", rows)
        figures |= {
            f"speedup_batch_{batch}": rows[1]["times faster"],
            f"memory_ratio_batch_{batch}": rows[1]["share of memory"],
            f"default_speedup_batch_{batch}": rows[2]["times faster"],
        }
        figures |= {"speedup": rows[1]["times faster"], "memory_ratio": rows[1]["share of memory"]}
        figures["default_speedup"] = rows[2]["times faster"]
        figures["speedup_without_penalty"] = rows[4]["times faster"]
    if options.longest:
        figures["longest_in_16_gib"] = longest(16, options.threads)
    finish(options.threads, **figures)


if __name__ == "__main__":
    main()
