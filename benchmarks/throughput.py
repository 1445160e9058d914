"""Series a second of a config's training step, where its time goes, and its share of the machine's matmul
rate.

The series are made up and lie in memory: reading them is measured by loading.py. FLOPs are counted by torch
as it runs one step, and compared with the float32 matmul rate measured in the same run.

    python benchmarks/throughput.py --config configs/demo.yaml --length 8760 [key.sub=value ...]
    torchrun --standalone --nproc_per_node 2 benchmarks/throughput.py --config configs/demo.yaml --length 8760
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from common import finish, peak_gib, show
from steps import Stepper, stepper
from torch.utils.flop_counter import FlopCounterMode


def matmul_rate(device: torch.device, size: int) -> float:
    """Floating-point operations a second of a square float32 product, best of 5."""
    a = torch.randn(size, size, device=device)
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        settle(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(train: Stepper, repeats: int) -> dict[str, float]:
    """Mean wall seconds of each part of a step."""
    totals: dict[str, float] = {}
    device = train.parallel.device
    for _ in range(repeats):
        for name, work in train.parts().items():
            settle(device)
            started = time.perf_counter()
            work()
            settle(device)
            totals[name] = totals.get(name, 0.0) + time.perf_counter() - started
        train.step += 1
    return {name: seconds / repeats for name, seconds in totals.items()}


def flops_of(train: Stepper) -> int:
    with FlopCounterMode(display=False) as counter:
        train()
    return counter.get_total_flops()


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
    flops = flops_of(train)  # also the warm-up
    rate = matmul_rate(train.parallel.device, 256 if options.smoke else 2048)
    parts = timed(train, options.repeats)
    if train.parallel.is_main:
        tell(train, parts, flops, rate, options.threads)
    train.parallel.close()


def tell(train: Stepper, parts: dict[str, float], flops: int, rate: float, threads: int) -> None:
    step = sum(parts.values())
    world = train.parallel.world_size
    series = train.settings.train.batch_size / step
    tokens = -(-train.length // train.settings.model.patch)
    figures: dict[str, Any] = {
        "series_per_second": series,
        "tokens_per_second": series * tokens,
        "step_seconds": step,
        "flops_per_second": flops / step,
        "matmul_share": flops / step / rate,
        "peak_memory_gib": memory(train.parallel.device),
        "processes": world,
    }
    show("Where a step's time goes", [{"part": n, "seconds": s, "share": s / step} for n, s in parts.items()])
    show("Throughput", [{"figure": name, "value": value} for name, value in figures.items()])
    finish(threads, **figures, batch_size=train.settings.train.batch_size, length=train.length)


def memory(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_gib()


if __name__ == "__main__":
    main()
