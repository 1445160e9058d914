"""Reports of a training: console line, metrics.jsonl, trackers and shares of time.

Values stay on the device until a line is due; then all are averaged over processes and fetched in one go.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from distgan.files import append_text, write_bytes
from distgan.parallel.processes import Parallel
from distgan.parallel.trackers import Trackers
from distgan.progress import Progress, say
from distgan.run import Run

GIB = 2**30
# Sections of the config without names of people or places.
SHARED_SETTINGS = ("seed", "encoder", "model", "objective", "train")
QUIET = ("gradient_norm", "spread", "accuracy", "loss_scale")  # in the files only


class Telemetry:
    """Collector of the values of every step, which it reports; only rank 0 writes.

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
        self.trackers: Trackers | None = None
        self.bar: Progress | None = None
        if parallel.is_main:
            last = _drop_lines_after(run, stage, step)
            self.trackers = Trackers(run, stage, parallel.settings, step=step, last=last)
            self.bar = Progress(stage, steps, "steps", done=step, lines=False).__enter__()

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Send the settings of networks, losses and training to the trackers."""
        if self.trackers is not None:
            tree = facts.get("config", {})
            shared = {name: tree[name] for name in SHARED_SETTINGS if name in tree}
            self.trackers.store_settings(flatten(shared))

    @contextmanager
    def measure_time(self, what: str) -> Iterator[None]:
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

    def count_step(self) -> None:
        if self.bar is not None:
            self.bar.advance()

    def report(self, step: int) -> dict[str, float]:
        """Show, write and return the means since the last report over steps and processes, and rates."""
        means = self._compute_means()
        elapsed = time.perf_counter() - self.since
        data, training = self.seconds["data"], max(elapsed - self.seconds["aside"], 1e-9)
        done = step - self.reported
        metrics = {
            "series": float(step * self.batch_size),
            **means,
            "series_per_second": done * self.batch_size / training,
            "data_share": data / training,
            **self._measure_memory(),
        }
        metrics = self.parallel.broadcast_value(metrics)  # rank 0's clock: all processes report the same
        if self.parallel.is_main:
            self._write(step, metrics)
            self._print(step, format_line(means, metrics))
        self.values.clear()
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        self.since, self.reported = time.perf_counter(), step
        return metrics

    def log_figures(self, step: int, figures: Mapping[str, Any] | None) -> None:
        """Send matplotlib figures by name to the trackers."""
        if self.trackers is not None and figures:
            self.trackers.log_figures(step, figures)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if self.trackers is not None:
            self.trackers.close()

    def _compute_means(self) -> dict[str, float]:
        if not self.values:
            return {}
        means = torch.stack([torch.stack(values).float().mean() for values in self.values.values()])
        return dict(zip(self.values, self.parallel.average(means).tolist(), strict=True))

    def _measure_memory(self) -> dict[str, float]:
        if self.parallel.device.type != "cuda":
            return {}
        return {"peak_memory_gib": torch.cuda.max_memory_allocated(self.parallel.device) / GIB}

    def _write(self, step: int, metrics: Mapping[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        append_text(self.path, json.dumps({"step": step, **finite}) + "\n")
        if self.trackers is not None:
            self.trackers.log(step, metrics)

    def _print(self, step: int, text: str) -> None:
        left = f"  {self.bar.left}" if self.bar is not None and self.bar.left else ""
        if self.bar is None or not self.bar.show_figures(text):
            say(f"step {step}/{self.steps}  {text}{left}")


def format_line(means: Mapping[str, float], metrics: Mapping[str, float]) -> str:
    """Return `d 0.84  g -0.11  1,930 series/s  21.4 GiB  data 3%`; a phase's loss only if it shows nothing
    else.
    """
    shown = []
    for name, value in means.items():
        phase, _, key = name.partition("/")
        if key in QUIET or (key == "skipped" and not value):
            continue
        others = {n.partition("/")[2] for n in means if n.startswith(f"{phase}/")}
        others -= {"loss", *QUIET, "skipped"}
        if key != "loss" or not others:
            shown.append(f"{phase if key == 'loss' else key} {value:.4g}")
    rate = metrics["series_per_second"]
    shown.append(f"{rate:,.{0 if rate >= 10 else 2}f} series/s")
    if "peak_memory_gib" in metrics:
        shown.append(f"{metrics['peak_memory_gib']:.1f} GiB")
    return "  ".join([*shown, f"data {metrics['data_share']:.0%}"])


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree's leaves by dotted name; lists and nothing as text, as trackers take numbers and text."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= flatten(value, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return leaves


def _drop_lines_after(run: Run, stage: str, step: int) -> int:
    """Drop lines of steps that will be repeated, and a last line that was cut off by a kill.

    Returns:
        The last step that stood there before; 0 for none.
    """
    path = run.metrics(stage)
    if not path.exists():
        return 0
    old = path.read_bytes()
    lines = [(raw, _parse_step(raw)) for raw in old.splitlines(keepends=True)]
    kept = b"".join(raw for raw, found in lines if found <= step)
    if kept != old:
        write_bytes(path, kept)
    return int(max((found for _, found in lines if math.isfinite(found)), default=0))


def _parse_step(raw: bytes) -> float:
    try:
        return float(json.loads(raw)["step"]) if raw.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf
