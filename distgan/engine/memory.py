"""What a training will hold in memory, worked out before it starts, and whether the device has it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from distgan import config
from distgan.errors import UserError
from distgan.parallel import Parallel

GIB = 2**30
RESERVE = 1.0  # GiB that the libraries and the allocator take beside tensors


@dataclass(frozen=True)
class Need:
    """GiB of one process on its device, and in the CPU's memory beside it."""

    weights: float
    gradients: float
    optimiser: float
    average: float
    activations: float
    offloaded: float = 0.0

    @property
    def device(self) -> float:
        return self.weights + self.gradients + self.optimiser + self.average + self.activations + RESERVE


def numbers(networks: Mapping[str, nn.Module]) -> dict[str, int]:
    return {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}


def need(
    settings: config.Config,
    sizes: Mapping[str, int],
    parallel: Parallel,
    tokens: int,
    averaged: str = "generator",
) -> Need:
    """Estimate of a training of networks with `sizes` parameters on series of `tokens` tokens.

    Weights and gradients 4 bytes a number (2 where ZeRO trains in half precision), master copy 4, Adam 8,
    average 4; each divided among N processes from its ZeRO stage on. Activations are those that the blocks of
    the larger network keep for backward: about 34 numbers a token, feature and block, of which recomputation
    leaves one.
    """
    engine, world = settings.engine, parallel.world_size
    parts = dict.fromkeys(("weights", "gradients", "optimiser", "average", "offloaded"), 0.0)
    for name, count in sizes.items():
        zero = parallel.stage(name)
        wide = 4 if zero == 0 or engine.precision == "fp32" else 2
        weights = count * wide / (world if zero == 3 else 1)
        optimiser = count * (8 if zero == 0 else 12) / (world if zero else 1)
        parts["weights"] += 0.0 if zero == 3 and engine.offload.parameters == "cpu" else weights
        parts["gradients"] += count * wide / (world if zero >= 2 else 1)
        away = zero and engine.offload.optimizer != "none"
        parts["offloaded" if away else "optimiser"] += optimiser
        if name == averaged:
            parts["offloaded" if away else "average"] += count * 4 / (world if zero else 1)
    series = parallel.micro_batch(settings.train.batch_size)
    parts["activations"] = activations(settings, series, tokens)
    return Need(**{name: value / GIB for name, value in parts.items()})


def activations(settings: config.Config, series: int, tokens: int) -> float:
    """Bytes that one forward pass of `series` series keeps for the backward pass."""
    if not isinstance(settings.model, config.Multiscale):
        return 0.0
    wide = 4 if settings.engine.precision == "fp32" else 2
    generator, critic = settings.model.generator, settings.model.discriminator
    per_block = 2 if settings.engine.checkpoint_activations else 34
    kept = [
        sum(net.width * scale.depth / scale.ratio for scale in net.scales) * tokens * per_block
        for net in (generator, critic)
    ]
    block = (
        max(generator.width, critic.width) * tokens * 34 * 2 * series * wide
    )  # one, while it is recomputed
    both = block + series * (kept[0] + 2 * kept[1]) * wide  # the discriminator sees real and generated series
    penalty = 4 * max(1, series * settings.objective.penalty.fraction) * kept[1] * 4
    return both + penalty


def available(parallel: Parallel) -> float:
    """GiB that this process may take: of its GPU, or its share of the machine's or the container's memory."""
    if parallel.device.type == "cuda":
        return torch.cuda.mem_get_info(parallel.device)[0] / GIB
    here = int(os.environ.get("LOCAL_WORLD_SIZE", parallel.world_size))
    return min(_meminfo(), _container()) / GIB / here


def _meminfo() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024


def _container(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes left under the container's limit, if it has one."""
    try:
        limit = (root / "memory.max").read_text().strip()
        return float("inf") if limit == "max" else float(limit) - float((root / "memory.current").read_text())
    except (OSError, ValueError):
        return float("inf")


def check(
    settings: config.Config, networks: Mapping[str, nn.Module], parallel: Parallel, tokens: int
) -> Need:
    """
    Raises:
        UserError: the device has not the memory; names what is missing and the keys that would make it fit.
    """
    sizes = numbers(networks)
    estimate, has = need(settings, sizes, parallel, tokens), available(parallel)
    if estimate.device <= has:
        return estimate
    raise UserError(
        f"a process needs about {estimate.device:.1f} GiB (weights {estimate.weights:.1f}, gradients "
        f"{estimate.gradients:.1f}, optimiser {estimate.optimiser:.1f}, average {estimate.average:.1f}, "
        f"activations {estimate.activations:.1f}) and {has:.1f} are free on its {parallel.device.type}: "
        f"{estimate.device - has:.1f} GiB are missing; {_advice(settings, sizes, parallel, tokens, has)}"
    )


def _advice(
    settings: config.Config, sizes: Mapping[str, int], parallel: Parallel, tokens: int, has: float
) -> str:
    """The first of ever stronger changes that fits, as overrides."""
    engine = settings.engine
    steps: list[tuple[str, dict[str, object]]] = []
    if parallel.micro_batch(settings.train.batch_size) > 1:
        steps.append(("engine.micro_batch=1", {"micro_batch": 1}))
    if not engine.checkpoint_activations:
        steps.append(("engine.checkpoint_activations=true", {"checkpoint_activations": True}))
    if engine.zero < 3 and parallel.world_size > 1:
        steps.append(("engine.zero=3", {"zero": 3, "discriminator_zero": None}))
    if engine.offload.optimizer == "none" and parallel.device.type != "cpu":
        offload = config.Offload(optimizer="cpu", parameters=engine.offload.parameters)
        steps.append(("engine.offload.optimizer=cpu", {"offload": offload}))
    words: list[str] = []
    for word, change in steps:
        words.append(word)
        engine = engine.model_copy(update=change)
        changed = settings.model_copy(update={"engine": engine})
        if need(changed, sizes, _As(parallel, engine), tokens).device <= has:
            return f"{' '.join(words)} would make it fit"
    tried = f"{' '.join(words)} are not enough: " if words else ""
    return f"{tried}use more processes with engine.zero=3, or smaller model.generator and model.discriminator"


class _As(Parallel):
    """The same processes under other settings, for arithmetic alone."""

    def __init__(self, parallel: Parallel, settings: config.Engine) -> None:
        self.settings, self.world_size, self.device = settings, parallel.world_size, parallel.device
