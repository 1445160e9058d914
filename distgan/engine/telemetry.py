"""What a training shows: the console line, metrics.jsonl, TensorBoard, and where its time went.

Values stay on the device until a line is due; then all are averaged over processes and fetched in one go.
"""

import io
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor

from distgan.errors import writing
from distgan.files import append_text, write_bytes
from distgan.parallel.processes import Parallel
from distgan.progress import Progress, say
from distgan.run import Run

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
        self.events: Events | None = None
        self.bar: Progress | None = None
        if parallel.is_main:
            _forget_after(run, stage, step)
            self.events = Events(run.logs / stage, step + 1)
            self.bar = Progress(stage, steps, "steps", done=step, lines=False).__enter__()

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
            self.bar.advance()

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
            self._show(step, format_line(means, metrics))
        self.values.clear()
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        self.since, self.reported = time.perf_counter(), step
        return metrics

    def figures(self, step: int, figures: Mapping[str, Any] | None) -> None:
        """matplotlib figures by name, to TensorBoard."""
        if self.events is not None:
            for name, figure in (figures or {}).items():
                self.events.picture(step, name, figure)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if self.events is not None:
            self.events.close()

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
        append_text(self.path, json.dumps({"step": step, **finite}) + "\n")
        if self.events is not None:
            self.events.numbers(step, metrics)

    def _show(self, step: int, text: str) -> None:
        left = f"  {self.bar.left}" if self.bar is not None and self.bar.left else ""
        if self.bar is None or not self.bar.show_figures(text):
            say(f"step {step}/{self.steps}  {text}{left}")


class Events:
    """TensorBoard's file of events. Its own writer has a thread, which would meet a full disk alone.

    Args:
        step: events of it and later ones, of a run that was cut off, are hidden.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "wb")  # noqa: SIM115
        self._records = RecordWriter(self.file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        values = [Summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
        self._write(Event(step=step, summary=Summary(value=values)))

    def picture(self, step: int, name: str, figure: Any) -> None:
        """A matplotlib figure."""
        png = io.BytesIO()
        figure.savefig(png, format="png")
        width, height = figure.canvas.get_width_height()
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png.getvalue())
        self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)])))

    def close(self) -> None:
        with writing(self.path):
            self.file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with writing(self.path):
            self._records.write(event.SerializeToString())
            self.file.flush()


def format_line(means: Mapping[str, float], metrics: Mapping[str, float]) -> str:
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
