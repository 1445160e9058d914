"""Series a second of a config's training step, where its time goes, and its share of the machine's matmul
rate.

Any config, engine and number of processes. The series are made up, lie in a store on the disk, and are read
by the training's own loader. `penalty` is what the discriminator's update takes more than without one.
`(communication)` is the all-reduce of every network's gradients, measured apart: a part of the updates above
it. FLOPs are those that a plan counts, beside the float32 matmul rate measured in the same run.

    python benchmarks/throughput.py --config configs/demo.yaml --length 8760 [key.sub=value ...]
    torchrun --standalone --nproc_per_node 2 benchmarks/throughput.py --config configs/demo.yaml --length 8760
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from common import finish, peak_gib, show
from steps import Stepper, stepper

from distgan.data.loader import Batch, Batching, Loader
from distgan.data.scaling import Scaler
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.planning.devices import time_call
from distgan.planning.trace import ATTENTION, CONVOLUTION, MATRIX, trace_step


def matmul_rate(device: torch.device, size: int) -> float:
    """Floating-point operations a second of a square float32 product, best of 5, by the clock."""
    a = torch.randn(size, size, device=device)
    return 2 * size**3 / time_call(lambda: a @ a, device, clock=time.perf_counter)


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def batches(train: Stepper, folder: Path) -> Iterator[Batch]:
    """Batches of a store of made-up series, without end."""
    parallel, rng, batch_size = train.parallel, np.random.default_rng(0), train.settings.train.batch_size
    meta = Meta(Axis("2013-01-01T00:00:00", 3600, train.length), ("load",), "kWh", {"source": "made up"}, {})
    path, shape = folder / "series.zarr", (batch_size, train.length, 1)
    if parallel.is_main:
        with StoreWriter(path, meta) as store:
            for _ in range(4):
                store.append(rng.lognormal(0, 0.5, shape).astype(np.float32))
    parallel.wait_for_all()
    scaler = Scaler("none", "standard", 1.0, 4.0, None)
    batching = Batching(batch_size, seed=0, rank=parallel.rank, world_size=parallel.world_size)
    loader = Loader(Store.open(path), np.arange(4 * batch_size), scaler, batching=batching)
    return loader.iterate_batches()


def clocked(work: Callable[[], Any], device: torch.device) -> float:
    settle(device)
    started = time.perf_counter()
    work()
    settle(device)
    return time.perf_counter() - started


def timed(train: Stepper, found: Iterator[Batch], repeats: int) -> dict[str, float]:
    """Mean wall seconds of each part of a step. Steps with and without a penalty take turns."""
    totals: dict[str, float] = {}
    device, objective = train.parallel.device, train.objective
    penalty = train.settings.objective.penalty.model_copy(update={"kind": "none"})
    without = objective.settings.model_copy(update={"penalty": penalty})
    penalised = without != objective.settings and "penalty" in objective.phases[0].loss(train.batch())

    def add(name: str, spent: float) -> None:
        totals[name] = totals.get(name, 0.0) + spent / repeats

    for _ in range(repeats):
        started = time.perf_counter()
        batch = next(found).to(device, non_blocking=True)
        add("data", time.perf_counter() - started)
        spent = {name: clocked(work, device) for name, work in train.parts(batch).items()}
        if penalised:
            kept, objective.settings = objective.settings, without
            alone = clocked(train.parts(batch)["discriminator"], device)
            objective.settings = kept
            spent = {"discriminator": alone, "penalty": spent.pop("discriminator") - alone, **spent}
        for name, value in spent.items():
            add(name, value)
        train.step += 1
    return totals


def communication(train: Stepper, repeats: int) -> float:
    """Wall seconds of one all-reduce of the gradients of every network that a step updates."""
    if train.parallel.world_size == 1:
        return 0.0
    device = train.parallel.device
    numbers = [sum(p.numel() for p in network.parameters()) for network in train.networks.values()]
    buffers = [torch.zeros(max(1, number), device=device) for number in numbers]
    return (
        sum(clocked(lambda: [dist.all_reduce(b) for b in buffers], device) for _ in range(repeats)) / repeats
    )


def flops_of(train: Stepper) -> float:
    """Of one step, over all processes; recomputed activations count."""
    size = train.parallel.compute_micro_batch(train.settings.train.batch_size)
    work = trace_step(train.settings, train.length, train.channels, size)
    return work.sum_flops(MATRIX, ATTENTION, CONVOLUTION) * train.settings.train.batch_size / size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path)
    parser.add_argument("--length", type=int, default=2190)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, figures meaningless")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    options = parser.parse_intermixed_args()
    if options.smoke:
        options.length, options.repeats = 96, 2
    torch.set_num_threads(options.threads)
    train = stepper(options.overrides, options.length, options.config)
    train()  # warm-up
    rate = matmul_rate(train.parallel.device, 256 if options.smoke else 2048)
    with tempfile.TemporaryDirectory() as made:
        folder = train.parallel.broadcast_value(Path(made))
        found = batches(train, folder)
        parts = timed(train, found, options.repeats)
        messages = communication(train, options.repeats)
        train.parallel.wait_for_all()
        found.close()  # type: ignore[attr-defined]
    if train.parallel.is_main:
        tell(train, parts, messages, flops_of(train), rate, options.threads)
    train.parallel.close()


def tell(
    train: Stepper, parts: dict[str, float], messages: float, flops: float, rate: float, threads: int
) -> None:
    step = sum(parts.values())
    world = train.parallel.world_size
    series = train.settings.train.batch_size / step
    tokens = -(-train.length // getattr(train.settings.model, "patch", 1))
    figures: dict[str, Any] = {
        "series_per_second": series,
        "tokens_per_second": series * tokens,
        "step_seconds": step,
        "flops_per_second": flops / step,
        "matmul_share": flops / step / rate / world,
        "peak_memory_gib": memory(train.parallel.device),
        "processes": world,
    }
    shown = {**parts, "(communication)": messages}
    show("Where a step's time goes", [{"part": n, "seconds": s, "share": s / step} for n, s in shown.items()])
    show("Throughput", [{"figure": name, "value": value} for name, value in figures.items()])
    figures["split"] = {name: round(value, 5) for name, value in shown.items()}
    finish(threads, **figures, batch_size=train.settings.train.batch_size, length=train.length)


def memory(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_gib()


if __name__ == "__main__":
    main()
