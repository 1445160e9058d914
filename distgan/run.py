"""The run folder: where everything a training makes has its place, and what is already done.

Stages meet only through these files. A stage is done when its record stands; the record is written last, and
taken away when the stage, or one before it, runs again: a killed stage is simply not done.
"""

import fcntl
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from distgan.errors import UserError, writing
from distgan.files import read_record, write_json


@dataclass(frozen=True)
class Run:
    """Paths of one run, e.g. `Run(Path("runs/demo")).bank`."""

    folder: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.folder / "config.yaml"

    @property
    def series(self) -> Path:
        """The store of real series (its ids and splits: `series.private.csv`). Never needed by `generate`."""
        return self.folder / "series.zarr"

    @property
    def scaler(self) -> Path:
        """How to undo the scaling, with units, channels and time axis: all that `generate` knows of the
        data.
        """
        return self.folder / "scaler.json"

    @property
    def encoder(self) -> Path:
        return self.folder / "encoder"

    @property
    def latents(self) -> Path:
        return self.folder / "latents.zarr"

    @property
    def clusters(self) -> Path:
        return self.folder / "clusters"

    @property
    def bank(self) -> Path:
        return self.folder / "bank"

    @property
    def ledger(self) -> Path:
        """What every private release has spent; lines are only ever added."""
        return self.folder / "privacy-ledger.jsonl"

    @property
    def noisy_sums(self) -> Path:
        """What every private release gave, and where the ledger ended: never drawn again, always reused."""
        return self.folder / "privacy"

    @property
    def gan(self) -> Path:
        return self.folder / "gan"

    @property
    def synthetic(self) -> Path:
        return self.folder / "synthetic.zarr"

    @property
    def synthetic_labels(self) -> Path:
        """The labels of the synthetic series, one a line, where the bank goes by label."""
        return self.folder / "synthetic.labels.csv"

    @property
    def release_ledger(self) -> Path:
        """Every attempt to release series of this run; lines are only ever added."""
        return self.folder / "releases.jsonl"

    @property
    def released(self) -> Path:
        """Copies of the series that have left, which later releases are attacked with. Private."""
        return self.folder / "releases"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def scores(self) -> Path:
        return self.folder / "report.json"

    @property
    def logs(self) -> Path:
        """TensorBoard events, one folder a stage."""
        return self.folder / "logs"

    @property
    def private(self) -> tuple[Path, ...]:
        """What only the data's owner may read, and what could be learned from it."""
        parts = (self.series, self.scaler, self.encoder, self.latents, self.clusters, self.bank, self.ledger)
        more = (self.noisy_sums, self.gan, self.report, self.scores, self.logs, self.config)
        records = self.folder / "done"
        return (*parts, *more, records, self.series.with_name(f"{self.series.stem}.private.csv"))

    def metrics(self, stage: str) -> Path:
        """One JSON object a line, one line a report of `stage`'s training."""
        return self.folder / stage / "metrics.jsonl"

    def checkpoints(self, stage: str) -> Path:
        return self.folder / stage / "checkpoints"

    def record(self, stage: str) -> Path:
        return self.folder / "done" / f"{stage}.json"

    def done(self, stage: str) -> dict[str, Any] | None:
        """What `stage` recorded when it finished, or None while it has not."""
        path = self.record(stage)
        return read_record(path) if path.exists() else None

    def finish(self, stage: str, **facts: Any) -> None:
        """Record `stage` as done, with a few facts worth showing."""
        write_json(self.record(stage), facts)

    def command(self, stages: str = "") -> str:
        """Return the command that runs `stages` again, or all, with the settings of the run."""
        only = f" --stages {stages}" if stages else ""
        return f"distgan train --config {self.config} --run-dir {self.folder}{only}"

    def need(self, path: Path, stage: str) -> Path:
        """`path` if it is there.

        Raises:
            UserError: it is not; names the stage that makes it.
        """
        if not path.exists():
            raise UserError(f"no {path.name} in {self.folder}; run that stage first: {self.command(stage)}")
        return path

    def lock(self) -> IO[str]:
        """Hold the run folder for this process until the returned file is closed or the process ends.

        Raises:
            UserError: another live process holds it, or the folder cannot be written.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (held open: it is the lock)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{self.folder} is in use by {file.read().strip() or 'another process'}; wait until it ends"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(
            f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
        )
        file.flush()
        return file
