"""The memory of a process, estimated before it starts and compared with the device's."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from distgan import config
from distgan.errors import UserError
from distgan.parallel.processes import Parallel
from distgan.parallel.zero import BUCKET
from distgan.planning.trace import ImaginaryProcesses, Work, count_parameters, trace_step

GIB = 2**30
LIBRARIES = {"cpu": 0.55, "cuda": 1.0}  # GiB beside tensors: of a training of tiny networks; assumed
SCATTERED = {"cpu": 1.3, "cuda": 1.1}  # memory by bytes alive: measured with glibc (1.2 to 1.4); assumed
BATCHES = 3  # that the loader has in hand: one trained on, two made ahead


@dataclass(frozen=True)
class Need:
    """GiB of one process on its device, and in the CPU's memory beside it.

    Attributes:
        buffers: batches, and what DeepSpeed collects gradients in.
        activations: all else that a step holds at its worst moment, with the gaps that an allocator leaves.
        libraries: code, and what it keeps for itself.
    """

    weights: float
    gradients: float
    optimiser: float
    average: float
    buffers: float
    activations: float
    libraries: float
    offloaded: float = 0.0

    @property
    def tensors(self) -> float:
        state = self.weights + self.gradients + self.optimiser + self.average
        return state + self.buffers + self.activations

    @property
    def device(self) -> float:
        return self.tensors + self.libraries


def estimate_need(
    settings: config.Config, parallel: Parallel, length: int, channels: int, work: Work | None = None
) -> Need:
    """Estimate the memory of each process in a training on series of `length` steps.

    Weights and gradients 4 bytes a number (2 where ZeRO trains in half precision), master copy 4, Adam 8,
    average 4; each divided among N processes from its ZeRO stage on. Activations are counted (trace.py), or
    taken from `work`.
    """
    engine, world = settings.engine, parallel.world_size
    sizes = count_parameters(settings, length, channels)
    series = parallel.compute_micro_batch(settings.train.batch_size)
    work = work or trace_step(settings, length, channels, series)
    names = ("weights", "gradients", "optimiser", "average", "buffers", "activations", "offloaded")
    parts = dict.fromkeys(names, 0.0)
    for name, count in sizes.items():
        zero = parallel.choose_stage(name)
        wide = 4 if zero == 0 or engine.precision == "fp32" else 2
        weights = count * wide / (world if zero == 3 else 1)
        optimiser = count * (8 if zero == 0 else 12) / (world if zero else 1)
        parts["weights"] += 0.0 if zero == 3 and engine.offload.parameters == "cpu" else weights
        parts["gradients"] += count * wide / (world if zero >= 2 else 1)
        away = zero and engine.offload.optimizer != "none"
        parts["offloaded" if away else "optimiser"] += optimiser
        if name in work.averaged:
            parts["offloaded" if away else "average"] += count * 4 / (world if zero else 1)
        if zero:  # gradients on their way, weights as they are gathered, and the float32 part for Adam
            parts["buffers"] += 2 * wide * min(BUCKET, count) + 4 * count / world
    share = settings.train.batch_size // world
    parts["buffers"] += BATCHES * 2 * 4 * share * length * channels
    parts["activations"] = work.peak * SCATTERED[parallel.device.type]
    libraries = LIBRARIES[parallel.device.type]
    return Need(libraries=libraries, **{name: value / GIB for name, value in parts.items()})


def find_available_memory(parallel: Parallel) -> float:
    """Return the GiB that this process may take: of its GPU, with what torch keeps there of earlier work, or
    its share of the machine's or the container's memory.
    """
    if parallel.device.type == "cuda":
        kept = torch.cuda.memory_reserved(parallel.device) - torch.cuda.memory_allocated(parallel.device)
        return (torch.cuda.mem_get_info(parallel.device)[0] + kept) / GIB
    here = int(os.environ.get("LOCAL_WORLD_SIZE", parallel.world_size))
    return min(_read_meminfo(), _read_container_limit()) / GIB / here


def _read_meminfo() -> float:
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024


def _read_container_limit(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> float:
    """Return the bytes left under the memory limits of this process's control group and of those above it: a
    container's, a batch job's; infinity without one.
    """
    left = [float("inf")]
    with suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, place = line.split(":", 2)
            if controllers in ("", "memory"):
                group = Path(controllers, place.lstrip("/"))
                left += [_read_group(root / folder, controllers == "") for folder in (group, *group.parents)]
    return min(left)


def _read_group(folder: Path, unified: bool) -> float:
    """Return the bytes left under the limit of one control group (`unified`: version 2). Page cache is free:
    the kernel gives it up, so a group that has read large files may stand at its limit.
    """
    limit, used, prefix = (
        ("max", "current", "") if unified else ("limit_in_bytes", "usage_in_bytes", "total_")
    )
    try:
        stat = dict(line.split() for line in _read_text(folder / "memory.stat").splitlines())
        cache = sum(float(stat.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
        most = float(_read_text(folder / f"memory.{limit}").replace("max", "inf"))
        return most - float(_read_text(folder / f"memory.{used}")) + cache
    except (OSError, ValueError):
        return float("inf")


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def check_memory(settings: config.Config, parallel: Parallel, length: int, channels: int) -> Need:
    """Check that the device has the memory.

    Raises:
        UserError: the device has not the memory; names what is missing and the keys that would make it fit.
    """
    estimate, has = estimate_need(settings, parallel, length, channels), find_available_memory(parallel)
    if estimate.device <= has:
        return estimate
    parts = ("weights", "gradients", "optimiser", "average", "buffers", "activations", "libraries")
    listed = ", ".join(f"{part} {getattr(estimate, part):.1f}" for part in parts)
    raise UserError(
        f"a process needs about {estimate.device:.1f} GiB ({listed}) and {has:.1f} are free on its "
        f"{parallel.device.type}: {estimate.device - has:.1f} GiB are missing; "
        f"{_find_advice(settings, parallel, length, channels, has)}"
    )


def _find_advice(settings: config.Config, parallel: Parallel, length: int, channels: int, has: float) -> str:
    """Return the first of ever stronger changes that fits, as overrides."""
    engine = settings.engine
    steps: list[tuple[str, dict[str, object]]] = []
    if parallel.compute_micro_batch(settings.train.batch_size) > 1 and not settings.of_whole_batches:
        steps.append(("engine.micro_batch=1", {"engine.micro_batch": 1}))
    if not engine.checkpoint_activations and settings.model.recomputes:
        steps.append(("engine.checkpoint_activations=true", {"engine.checkpoint_activations": True}))
    if engine.zero < 3 and parallel.world_size > 1:
        steps.append(("engine.zero=3", {"engine.zero": 3, "engine.discriminator_zero": None}))
    if engine.offload.optimizer == "none" and parallel.device.type != "cpu":
        steps.append(("engine.offload.optimizer=cpu", {"engine.offload.optimizer": "cpu"}))
    words: list[str] = []
    for word, change in steps:
        try:
            changed = settings.with_values(change)
        except UserError:  # this model or penalty cannot have it
            continue
        settings = changed
        words.append(word)
        others = ImaginaryProcesses(changed.engine, parallel.world_size, parallel.device.type)
        if estimate_need(changed, others, length, channels).device <= has:
            return f"{' '.join(words)} would make it fit"
    tried = f"{' '.join(words)} are not enough: " if words else ""
    return f"{tried}use more processes with engine.zero=3, or smaller model.generator and model.discriminator"
