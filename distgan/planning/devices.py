"""The devices of a plan: public figures of common ones, or this machine's, measured.

Sources: the data sheets of the makers (dense rates, without sparsity; TF32 is off here, so float32 is
the rate without tensor cores). `link` is one direction of a device's share between devices of a machine,
`network` of its share of the machine's adapters: what such machines are commonly sold with, an assumption.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from distgan.errors import UserError
from distgan.models.layers import Transformer, attend
from distgan.parallel.processes import Parallel
from distgan.planning.memory import find_available_memory
from distgan.planning.trace import ATTENTION, MATRIX, OTHER, Trace
from distgan.progress import format_count

ASSUMED = (0.5, 0.35, 0.2)  # shares of the peak that matrix products, attention and convolutions reach
EXPONENTIAL = 8  # bytes that a CPU moves in the time of an exponential of attention (0.8 ns)
BANDWIDTH_SHARE = 0.8  # of the data sheet's, that a long elementwise operation reaches


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        memory: GiB.
        wide, half: floating-point operations a second in float32 and in half precision, at the peak.
        bandwidth, link, network: bytes a second of its memory, to devices of its machine, to other machines.
        shares: of the peak that matrix products, attention and convolutions reach.
        launch: seconds that an operation takes however small it is.
    """

    name: str
    memory: float
    wide: float
    half: float
    bandwidth: float
    link: float
    network: float
    per_machine: int = 8
    source: str = ""
    shares: tuple[float, float, float] = ASSUMED
    launch: float = 8e-6
    measured: bool = False
    on_cpu: bool = field(default=False)


def _make_gpu(
    name: str,
    gib: float,
    products: tuple[float, float],
    bandwidth: float,
    links: tuple[float, float],
    source: str,
) -> Device:
    """Return a GPU from its rates: products (float32, half precision) in TFLOP/s; memory, links in and
    between machines in GB/s.
    """
    (wide, half), (link, network) = products, links
    rates = (wide * 1e12, half * 1e12, BANDWIDTH_SHARE * bandwidth * 1e9, link * 1e9, network * 1e9)
    return Device(name, gib, *rates, source=source)


NVIDIA = "nvidia.com/en-us/data-center"
DEVICES = {
    device.name: device
    for device in (
        _make_gpu("V100-16GB", 16, (15.7, 125), 900, (150, 12.5), f"{NVIDIA}/v100 (SXM2)"),
        _make_gpu("V100-32GB", 32, (15.7, 125), 900, (150, 12.5), f"{NVIDIA}/v100 (SXM2)"),
        _make_gpu("T4-16GB", 15, (8.1, 65), 320, (16, 6), f"{NVIDIA}/tesla-t4"),
        _make_gpu("A10-24GB", 23, (31.2, 125), 600, (32, 6), f"{NVIDIA}/products/a10-gpu"),
        _make_gpu("L4-24GB", 23, (30.3, 121), 300, (32, 6), f"{NVIDIA}/l4"),
        _make_gpu("L40S-48GB", 45, (91.6, 362), 864, (32, 12.5), f"{NVIDIA}/l40s"),
        _make_gpu("A100-40GB", 40, (19.5, 312), 1555, (300, 25), f"{NVIDIA}/a100 (SXM)"),
        _make_gpu("A100-80GB", 80, (19.5, 312), 2039, (300, 25), f"{NVIDIA}/a100 (SXM)"),
        _make_gpu("H100-80GB", 80, (67, 989), 3350, (450, 50), f"{NVIDIA}/h100 (SXM)"),
        _make_gpu("H100-PCIe-80GB", 80, (51, 756), 2000, (64, 25), f"{NVIDIA}/h100 (PCIe)"),
        _make_gpu("H200-141GB", 141, (67, 989), 4800, (450, 50), f"{NVIDIA}/h200 (SXM)"),
        _make_gpu("B200-180GB", 180, (75, 2250), 7700, (900, 50), f"{NVIDIA}/dgx-b200"),
        _make_gpu("RTX4090-24GB", 24, (82.6, 165), 1008, (32, 6), "nvidia.com/geforce (Ada whitepaper)"),
        _make_gpu(
            "MI300X-192GB", 192, (163.4, 1307), 5300, (448, 50), "amd.com/en/products/accelerators/instinct"
        ),
    )
}


def parse_device(text: str, parallel: Callable[[], Parallel]) -> tuple[int, Device]:
    """Parse `8xH100-80GB`, or `auto` for the measured devices of this machine.

    Raises:
        UserError: it does not read so, no such device is known, or this machine's cannot train so.
    """
    if text == "auto":
        try:
            return measure_device(parallel())
        except UserError as error:
            raise UserError(f"{error}; or plan for others: --devices 8xH100-80GB") from None
    found = re.fullmatch(r"(?:([1-9]\d{0,5})\s*x\s*)?(\S+)", text.strip())
    names = {name.lower(): device for name, device in DEVICES.items()}
    if found is None or found[2].lower() not in names:
        raise UserError(
            f"--devices {text!r} is unknown; use auto, or NxNAME with one of "
            f"{', '.join(DEVICES)}, e.g. 8xH100-80GB"
        )
    return int(found[1] or 1), names[found[2].lower()]


def with_efficiency(device: Device, efficiency: float | None) -> Device:
    """Return the device with another share of its peak for matrix products; the others keep their ratio to
    it.
    """
    if efficiency is None:
        return device
    factor = efficiency / device.shares[0]
    return replace(device, shares=tuple(min(1.0, factor * share) for share in device.shares))  # type: ignore[arg-type]


def measure_device(parallel: Parallel) -> tuple[int, Device]:
    """Measure this machine's GPUs, or its CPU as one process uses it, in a few seconds."""
    device = parallel.device
    cuda = device.type == "cuda"
    wide = _measure_products(device, torch.float32)
    layers, attention, launch = _measure_layers(device), _measure_attention(device), _measure_launch(device)
    # Half precision is slower on CPUs without AMX.
    half = _measure_products(device, torch.float16) if cuda else wide / 5
    name = torch.cuda.get_device_name(device) if cuda else f"CPU, {format_count(parallel.threads, 'thread')}"
    return (torch.cuda.device_count() if cuda else 1), Device(
        name,
        find_available_memory(parallel),
        wide,
        half,
        bandwidth=_measure_bandwidth(device, layers, attention, launch),
        link=25e9 if cuda else 1e9,
        network=12.5e9 if cuda else 1e9,
        per_machine=max(1, torch.cuda.device_count()),
        source="measured here",
        shares=(layers / wide, attention / wide, _measure_convolution(device) / wide),
        launch=launch,
        measured=True,
        on_cpu=not cuda,
    )


def time_call(
    work: Callable[[], object],
    device: torch.device,
    repeats: int = 5,
    clock: Callable[[], float] | None = None,
) -> float:
    """Return the seconds of one call, the best of a few after a warm-up. By `clock`; by default, on a CPU,
    the process's own time, over its threads.
    """
    own = clock is None and device.type == "cpu"
    clock = clock or (time.process_time if own else time.perf_counter)
    best = float("inf")
    for _ in range(1 + repeats):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, clock() - started)
    return best / (torch.get_num_threads() if own else 1)


def _measure_products(device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of products of square matrices, 1/s: the peak of a device."""
    size = 1024 if device.type == "cpu" else 8192
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / time_call(lambda: a @ a, device)


def _measure_layers(device: torch.device) -> float:
    """Return the rate of a linear layer with its gradients, 1/s."""
    x = torch.randn(1460, 192, device=device, requires_grad=True)
    weight = torch.randn(512, 192, device=device, requires_grad=True)

    def work() -> None:
        y = torch.nn.functional.linear(x, weight)
        torch.autograd.grad(y, (x, weight), y)

    return 3 * 2 * 1460 * 192 * 512 / time_call(work, device)


def _measure_attention(device: torch.device) -> float:
    """Return the rate of the products alone, 1/s: on a CPU the exponentials take a time of their own, about
    0.8 ns each.
    """
    q, k, v = (torch.randn(4, 4, 365, 32, device=device, requires_grad=True) for _ in range(3))

    def work() -> None:
        y = attend(q, k, v)
        torch.autograd.grad(y, (q, k, v), y)

    flops = 7 * 2 * 4 * 4 * 365**2 * 32  # 2 products forward, 5 backward
    scores = flops / (4 * 32) if device.type == "cpu" else 0.0
    return flops / max(1e-9, time_call(work, device) - scores * 0.8e-9)


def _measure_convolution(device: torch.device) -> float:
    picture = torch.randn(8, 16, 183, 12, device=device, requires_grad=True)
    kernel = torch.randn(32, 16, 3, 3, device=device, requires_grad=True)

    def work() -> None:
        y = torch.nn.functional.conv2d(picture, kernel, stride=2, padding=1)
        torch.autograd.grad(y, (picture, kernel), y)

    return 3 * 2 * 8 * 92 * 6 * 32 * 16 * 9 / time_call(work, device)


def _measure_bandwidth(device: torch.device, products: float, attention: float, launch: float) -> float:
    """Return the bytes a second of the operations beside a block's products, from the rest of a block's
    time.
    """
    big = device.type != "cpu"
    networks = Transformer(768 if big else 128, 2, 12 if big else 4).to(device)
    tokens = torch.randn(32 if big else 8, 365, 768 if big else 128, device=device)

    def work() -> None:
        networks(tokens).sum().backward()

    with Trace(device.type) as trace:
        work()
    kinds, _, flops, moved, scores = (np.array(column) for column in zip(*trace.operations))
    spent = flops[kinds == MATRIX].sum() / products + flops[kinds == ATTENTION].sum() / attention
    rest = time_call(work, device) - spent - launch * len(kinds) * (not big)
    bytes_moved = moved[kinds == OTHER].sum() + (0 if big else EXPONENTIAL * scores.sum())
    return float(bytes_moved / max(rest, 0.1 * spent))


def _measure_launch(device: torch.device) -> float:
    """Return the seconds of an operation however small, with the Python around it: those of a tiny block."""
    networks = Transformer(8, 4, 2).to(device)
    tokens = torch.randn(1, 4, 8, device=device)

    def work() -> None:
        networks(tokens).sum().backward()

    with Trace(device.type) as trace:
        work()
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    return time_call(work, device, 20) * threads / len(trace.operations)
