"""What a training shows: the console line, metrics.jsonl, TensorBoard, and where its time went.

Values stay on the device until a line is due; then all are averaged over processes and fetched in one go.
"""

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from distgan.errors import writing
from distgan.files import write_bytes
from distgan.parallel import Parallel
from distgan.runs import Run

GIB = 2**30
QUIET = ("gradient_norm", "spread", "accuracy", "loss_scale")  # in the files only


class Telemetry:
    """Collects the values of every step and reports them; only rank 0 writes.

    Args:
        step: updates already done; lines of later steps, of a run that was cut off, are dropped.
        steps: updates in all.
        batch_size: series per update, over all processes.
    """

    def __init__(
        self, run: Run, stage: str, parallel: Parallel, *, step: int, steps: int, batch_size: int
    ) -> None:
        self.parallel, self.steps, self.batch_size = parallel, steps, batch_size
        self.path = run.metrics(stage)
        self.values: dict[str, list[Tensor]] = {}
        self.seconds = {"data": 0.0, "aside": 0.0}
        self.since, self.reported = time.perf_counter(), step
        self.writer: Any = None
        self.bar: tqdm | None = None
        if parallel.is_main:
            _forget_after(run, stage, step)
            self.writer = SummaryWriter(str(run.logs / stage), purge_step=step + 1)
            if sys.stderr.isatty():
                self.bar = tqdm(total=steps, initial=step, desc=stage, unit="step", dynamic_ncols=True)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count the time of the block as "data" (waiting for a batch) or "aside" (saving, plots)."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - begin

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Remember scalars of this step, unread."""
        for name, value in values.items():
            self.values.setdefault(name, []).append(value.detach())

    def stepped(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def report(self, step: int) -> dict[str, float]:
        """Means since the last report over steps and processes, and rates; shown, written and returned."""
        means = self._means()
        elapsed = time.perf_counter() - self.since
        data, training = self.seconds["data"], max(elapsed - self.seconds["aside"], 1e-9)
        done = step - self.reported
        metrics = {
            "series": float(step * self.batch_size),
            **means,
            "series_per_second": done * self.batch_size / training,
            "data_share": data / training,
            **self._memory(),
        }
        metrics = self.parallel.share(metrics)  # rank 0's clock, so that all processes report the same
        if self.parallel.is_main:
            self._write(step, metrics)
            self._show(step, line(means, metrics))
        self.values.clear()
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        self.since, self.reported = time.perf_counter(), step
        return metrics

    def figures(self, step: int, figures: Mapping[str, Any] | None) -> None:
        """matplotlib figures by name, to TensorBoard."""
        if self.writer is not None:
            for name, figure in (figures or {}).items():
                self.writer.add_figure(name, figure, step)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.writer is not None:
            self.writer.close()

    def _means(self) -> dict[str, float]:
        if not self.values:
            return {}
        means = torch.stack([torch.stack(values).float().mean() for values in self.values.values()])
        return dict(zip(self.values, self.parallel.mean(means).tolist(), strict=True))

    def _memory(self) -> dict[str, float]:
        if self.parallel.device.type != "cuda":
            return {}
        return {"peak_memory_gib": torch.cuda.max_memory_allocated(self.parallel.device) / GIB}

    def _write(self, step: int, metrics: Mapping[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a") as file:
                file.write(json.dumps({"step": step, **finite}) + "\n")
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def _show(self, step: int, text: str) -> None:
        if self.bar is not None:
            self.bar.set_postfix_str(text)
        else:
            print(f"step {step}/{self.steps}  {text}", flush=True)


def line(means: Mapping[str, float], metrics: Mapping[str, float]) -> str:
    """`d 0.84  g -0.11  1,930 series/s  21.4 GiB  data 3%`; a phase's loss only if it shows nothing else."""
    shown = []
    for name, value in means.items():
        phase, _, key = name.partition("/")
        if key in QUIET or (key == "skipped" and not value):
            continue
        others = {n.partition("/")[2] for n in means if n.startswith(f"{phase}/")} - {
            "loss",
            *QUIET,
            "skipped",
        }
        if key != "loss" or not others:
            shown.append(f"{phase if key == 'loss' else key} {value:.4g}")
    shown.append(
        f"{metrics['series_per_second']:,.{0 if metrics['series_per_second'] >= 10 else 2}f} series/s"
    )
    if "peak_memory_gib" in metrics:
        shown.append(f"{metrics['peak_memory_gib']:.1f} GiB")
    return "  ".join([*shown, f"data {metrics['data_share']:.0%}"])


def _forget_after(run: Run, stage: str, step: int) -> None:
    """Drop lines of steps that will be done again, and a last line that a kill tore."""
    path = run.metrics(stage)
    if not path.exists():
        return
    old = path.read_bytes()
    kept = b"".join(raw for raw in old.splitlines(keepends=True) if _step_of(raw) <= step)
    if kept != old:
        write_bytes(path, kept)


def _step_of(raw: bytes) -> float:
    try:
        return float(json.loads(raw)["step"]) if raw.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf
