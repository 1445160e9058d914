"""Seconds and bytes of one training step: counts (trace.py) x rates (devices.py)."""

import math
from dataclasses import dataclass

import numpy as np

from distgan import config
from distgan.parallel.zero import BUCKET
from distgan.planning.devices import EXPONENTIAL, Device
from distgan.planning.trace import OTHER, ImaginaryProcesses, Work, count_parameters, trace_step

LATENCY = 15e-6  # seconds of a message, for each doubling of the processes; assumed
LINK_SHARE = 0.75  # of a link's rate that a large message reaches; assumed
PASSES = {"adam": 28, "average": 12, "gradient": 12}  # bytes a parameter that an update reads and writes
BOUNDS = ("products", "memory", "launches", "update", "messages")


@dataclass(frozen=True)
class Series:
    """The series of a training. `count` may be unknown: 0."""

    length: int
    channels: int
    count: int = 0


@dataclass(frozen=True)
class Step:
    """Seconds of one step by operation, and bytes that a process sends."""

    products: float
    memory: float
    launches: float
    update: float
    messages: float
    sent: float

    @property
    def seconds(self) -> float:
        return self.products + self.memory + self.launches + self.update + self.messages

    @property
    def bound(self) -> str:
        """The operations that take most of the time."""
        return max(BOUNDS, key=lambda name: getattr(self, name))


def estimate_work(settings: config.Config, series: Series, count: int) -> Work:
    """Return the work of a pass over `count` series, on the line through two counts, so that many can be
    estimated.
    """
    stride = round(1 / settings.objective.penalty.fraction)
    if count % stride:  # the penalty's share is rounded up
        return trace_step(settings, series.length, series.channels, count)
    few, more = (trace_step(settings, series.length, series.channels, stride * many) for many in (2, 4))
    return few.scale_to(count, more)


def estimate_seconds(work: Work, device: Device) -> tuple[float, float, float]:
    """Return the seconds of products, memory and launches: each operation takes the slowest of its parts, and
    counts there.
    """
    peak = np.where(work.half, device.half, device.wide)
    share = np.array([*device.shares, 1.0])[work.kinds]
    computing = np.where(work.kinds == OTHER, 0.0, work.flops / (peak * share))
    moving = np.where(work.kinds == OTHER, work.bytes / device.bandwidth, 0.0)
    if device.on_cpu:  # it launches and computes in turn, and the exponentials of attention show
        launching = np.full(len(computing), device.launch)
        moving = moving + work.scores * EXPONENTIAL / device.bandwidth
        return tuple(float((part * work.counts).sum()) for part in (computing, moving, launching))  # type: ignore[return-value]
    slowest = np.argmax([computing, moving, np.full(len(computing), device.launch)], axis=0)
    parts = np.maximum(np.maximum(computing, moving), device.launch) * work.counts
    return tuple(float(parts[slowest == place].sum()) for place in range(3))  # type: ignore[return-value]


def estimate_step(settings: config.Config, series: Series, devices: int, device: Device, work: Work) -> Step:
    """Return a step of the whole batch: `work` for each micro-batch of a device, then the updates."""
    parallel = ImaginaryProcesses(settings.engine, devices)
    times = math.ceil(settings.train.batch_size / devices / work.series)
    products, memory, launches = (times * part for part in estimate_seconds(work, device))
    update = sent = messages = 0.0
    for name, count in count_parameters(settings, series.length, series.channels).items():
        updates, zero = work.updates.get(name, 0.0), parallel.choose_stage(name)
        shared = devices if zero else 1
        passes = PASSES["adam"] / shared + PASSES["gradient"]
        passes += PASSES["average"] / shared if name in work.averaged else 0
        update += updates * count * passes / device.bandwidth
        volume, parts = estimate_traffic(
            settings, count, zero, devices, Rounds(times, updates, work.gathers.get(name, 0.0))
        )
        sent += volume
        messages += parts * LATENCY * math.log2(devices) if devices > 1 else 0.0
    slow = device.network if devices > device.per_machine else device.link
    return Step(products, memory, launches, update, messages + sent / (LINK_SHARE * slow), sent)


@dataclass(frozen=True)
class Rounds:
    """The rounds of a network in a step: micro-batches (`times`), updates, and passes of a micro-batch over
    its weights (`gathers`).
    """

    times: int
    updates: float
    gathers: float


def estimate_traffic(
    settings: config.Config, count: int, zero: int, devices: int, rounds: Rounds
) -> tuple[float, float]:
    """Return the bytes that a process sends of a network of `count` numbers in a step, and the number of
    messages.

    Without ZeRO one ring all-reduce an update: 2 (N - 1) / N of the float32 gradients. Stages 1 and 2 reduce
    after every micro-batch and gather weights once; stage 3 gathers them for every pass.
    """
    if devices == 1:
        return 0.0, 0.0
    part, wide = (devices - 1) / devices, 4 if settings.engine.precision == "fp32" else 2
    if zero == 0:
        return rounds.updates * 2 * part * 4 * count, rounds.updates
    gathered = rounds.updates if zero < 3 else rounds.gathers * rounds.times
    sent = rounds.updates * rounds.times + gathered
    return sent * part * wide * count, sent * math.ceil(count / BUCKET)
