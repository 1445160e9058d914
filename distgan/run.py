"""Paths of the run folder, of a release and of an export (not of a sweep), and records of finished stages.

Stages meet only through these files. A stage is done if its record exists. The record is written last, and
removed when the stage or an earlier one runs again, so a killed stage is not done.
"""

import fcntl
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from distgan.errors import UserError, writing
from distgan.files import quote_path, read_record, write_json

MANIFEST = "manifest.json"  # of a store, a bank or a checkpoint: what it holds, with checksums
STORE_METADATA = "zarr.json"  # of a Zarr group or array
STORE, PRIVATE_TABLE = ".zarr", ".private.csv"  # endings of a store and of the table beside it


def is_store(path: Path) -> bool:
    """Return whether a folder is a store of series or latents, by its manifest alone."""
    return path.is_dir() and (path / MANIFEST).exists()


def locate_private_table(store: Path) -> Path:
    """Return the path of the ids, splits and owners of a store of real series, for the data's owner alone."""
    return store.with_name(f"{store.stem}{PRIVATE_TABLE}")


def locate_store(private_table: Path) -> Path:
    """Return the path of the store that a private table belongs to."""
    return private_table.with_name(f"{private_table.name.removesuffix(PRIVATE_TABLE)}{STORE}")


def locate_readme(place: Path) -> Path:
    """Return the path of the text that describes an exported file."""
    return place.with_name(f"{place.stem}.README.txt")


def locate_labels(place: Path) -> Path:
    """Return the path of the labels of exported series, one a line, in their order."""
    return place.with_name(f"{place.stem}.labels.csv")


def locate_attributes(place: Path) -> Path:
    """Return the path of the attributes of exported series, a row each, in their order."""
    return place.with_name(f"{place.stem}.attributes.csv")


@dataclass(frozen=True)
class ClusterFiles:
    """Files of `Run.clusters`: series by group, and how the groups were made. Private."""

    folder: Path

    @property
    def projection(self) -> Path:
        return self.folder / "projection.safetensors"

    @property
    def points(self) -> Path:
        """Projected latents, one row a series."""
        return self.folder / "points.npy"

    @property
    def groups(self) -> Path:
        """The group of each series."""
        return self.folder / "groups.npy"

    @property
    def facts(self) -> Path:
        return self.folder / "clusters.json"

    @property
    def choice(self) -> Path:
        """The choice of the number of clusters, if it was chosen."""
        return self.folder / "choice.json"

    @property
    def choice_picture(self) -> Path:
        return self.folder / "choice.png"

    @property
    def members(self) -> Path:
        """The series and weights behind each mean of the bank."""
        return self.folder / "members.safetensors"

    @property
    def tracing(self) -> Path:
        """The tracing attack by exposure, as it was run."""
        return self.folder / "tracing.json"


def list_steps(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint, whole or not, in order."""
    found = [re.fullmatch(r"step-(\d+)", path.name) for path in folder.glob("step-*")]
    return sorted(int(match[1]) for match in found if match)


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
        """The store of real series (its ids and splits: `private_table`). Never needed by `generate`."""
        return self.folder / "series.zarr"

    @property
    def private_table(self) -> Path:
        return locate_private_table(self.series)

    @property
    def left_out_windows(self) -> Path:
        """Numbers of the windows with too many missing values, beside the store."""
        return self.series.with_name("series.windows.npy")

    @property
    def scaler(self) -> Path:
        """The inverse of the scaling, units, channels, time axis: all that `generate` knows of the data."""
        return self.folder / "scaler.json"

    @property
    def scaler_tensors(self) -> Path:
        """What the scaler has learned of all series together: data.scaling.marginal and whitening."""
        return self.folder / "scaler.safetensors"

    @property
    def encoder(self) -> Path:
        return self.folder / "encoder"

    @property
    def encoder_weights(self) -> Path:
        """Encoder and decoder."""
        return self.encoder / "vae.safetensors"

    def public_weights(self, network: str) -> Path:
        """Return the path of the weights that a network of a private training begins with."""
        return self.folder / "public" / f"{network}.safetensors"

    @property
    def latents(self) -> Path:
        return self.folder / "latents.zarr"

    def latent_parts(self, weights: str) -> Path:
        """Return the folder of parts of latents by the encoder with this digest, until they are whole."""
        return self.folder / f"latents.parts-{weights}"

    def list_latent_parts(self) -> list[Path]:
        """Return the parts' folders of any encoder that are there."""
        return sorted(self.folder.glob(self.latent_parts("*").name))

    @property
    def clusters(self) -> Path:
        return self.folder / "clusters"

    @property
    def cluster_files(self) -> ClusterFiles:
        return ClusterFiles(self.clusters)

    @property
    def cluster_work(self) -> Path:
        """Files that the processes leave for rank 0 while they cluster."""
        return self.folder / "clusters.work"

    def projected_points(self, rank: int) -> Path:
        return self.cluster_work / f"points-{rank}.npy"

    def cluster_labels(self, rank: int) -> Path:
        return self.cluster_work / f"labels-{rank}.npy"

    @property
    def bank(self) -> Path:
        return self.folder / "bank"

    @property
    def ledger(self) -> Path:
        """The privacy ledger: the spending of every private release; lines are only appended."""
        return self.folder / "privacy-ledger.jsonl"

    @property
    def noisy_sums(self) -> Path:
        """Noisy sums of every private release, and the end of the ledger; reused and never drawn again."""
        return self.folder / "privacy"

    @property
    def gan(self) -> Path:
        return self.folder / "gan"

    @property
    def generator_weights(self) -> Path:
        return self.gan / "generator.safetensors"

    @property
    def zero_thresholds(self) -> Path:
        """Thresholds below which generated values are exactly 0; absent without data.zeros."""
        return self.generator_weights.with_name("zeros.json")

    @property
    def synthetic(self) -> Path:
        return self.folder / "synthetic.zarr"

    @property
    def synthetic_moved(self) -> Path:
        """The synthetic series in the year of generate.start; absent without one."""
        return self.folder / "synthetic.moved.zarr"

    def synthetic_staging(self, key: str) -> Path:
        """Return the folder of shards of an unfinished generation; `key` tells what they are made from."""
        return self.folder / f"{self.synthetic.name}.parts-{key}"

    def list_synthetic_staging(self) -> list[Path]:
        """Return the staging folders of any key that are there."""
        return sorted(self.folder.glob(self.synthetic_staging("*").name))

    @property
    def synthetic_labels(self) -> Path:
        """The labels of the synthetic series, one a line, where the bank goes by label."""
        return locate_labels(self.synthetic)

    @property
    def synthetic_attributes(self) -> Path:
        """The attributes of the synthetic series, a row each, where groups go by attributes."""
        return locate_attributes(self.synthetic)

    @property
    def release_ledger(self) -> Path:
        """Every attempt to release series of this run; lines are only ever added."""
        return self.folder / "releases.jsonl"

    @property
    def released(self) -> Path:
        """Copies of released series, which the attacks on later releases include. Private."""
        return self.folder / "releases"

    def released_copy(self, digest: str) -> Path:
        """Return the path of the copy of series with such a digest."""
        return self.released / f"{digest[:16]}.zarr"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def scores(self) -> Path:
        return self.folder / "report.json"

    @property
    def classification(self) -> Path:
        """Value of the series to a classifier."""
        return self.folder / "classification.json"

    @property
    def release_verdict(self) -> Path:
        """The verdict on a release, as JSON; the page has the same name with `.html`."""
        return self.folder / "release-verdict.json"

    @property
    def release_folder(self) -> Path:
        """The folder of a release by default."""
        return self.folder / "release"

    @property
    def exported(self) -> Path:
        """The folder of plain weights by default."""
        return self.folder / "export"

    @property
    def bank_map(self) -> Path:
        """The picture of all series' latents and the groups' means. Private."""
        return self.folder / "bank-map.private.png"

    @property
    def logs(self) -> Path:
        """Logs of trackers on this machine, as TensorBoard's events: one folder a stage."""
        return self.folder / "logs"

    @property
    def private(self) -> tuple[Path, ...]:
        """Paths that only the owner of the data may read."""
        parts = (self.series, self.scaler, self.encoder, self.latents, self.clusters, self.bank, self.ledger)
        more = (self.noisy_sums, self.gan, self.report, self.scores, self.logs, self.config, self.records)
        tables = (self.private_table, self.scaler_tensors, self.left_out_windows, self.release_verdict)
        return *parts, *more, *tables, self.release_verdict.with_suffix(".html"), self.release_ledger

    def metrics(self, stage: str) -> Path:
        """Return the path of the metrics: one JSON object a line, one line a report of `stage`'s training."""
        return self.folder / stage / "metrics.jsonl"

    def trackers(self, stage: str) -> Path:
        """Return the path of the run's ids in trackers, and the last step that was sent to them."""
        return self.logs / stage / "trackers.json"

    def checkpoints(self, stage: str) -> Path:
        """Return the folder of the checkpoints of a trained stage."""
        return self.folder / stage / "checkpoints"

    @property
    def records(self) -> Path:
        """One JSON file for each stage that is done."""
        return self.folder / "done"

    def record(self, stage: str) -> Path:
        """Return the path of the record of a finished stage."""
        return self.records / f"{stage}.json"

    @property
    def shared(self) -> Path:
        """The run that all trials start from, of the folder of a sweep."""
        return self.folder / "shared"

    @property
    def lock_file(self) -> Path:
        return self.folder / ".lock"

    def read_record(self, stage: str) -> dict[str, Any] | None:
        """Return what `stage` recorded when it finished, or None while it has not."""
        path = self.record(stage)
        return read_record(path) if path.exists() else None

    def finish(self, stage: str, **facts: Any) -> None:
        """Record `stage` as done, with a few facts worth showing."""
        write_json(self.record(stage), facts)

    def format_command(self, stages: str = "") -> str:
        """Return the command that runs `stages` again, or all, with the settings of the run."""
        only = f" --stages {stages}" if stages else ""
        return f"distgan train --config {quote_path(self.config)} --run-dir {quote_path(self.folder)}{only}"

    def need(self, path: Path, stage: str) -> Path:
        """Return `path` if it is there.

        Raises:
            UserError: it is not; names the stage that makes it.
        """
        if not path.exists():
            command = self.format_command(stage)
            raise UserError(f"no {path.name} in {self.folder}; run that stage first: {command}")
        return path

    def lock(self) -> IO[str]:
        """Hold the run folder for this process until the returned file is closed or the process ends.

        Raises:
            UserError: another live process holds it, or the folder cannot be written.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.lock_file, "a+", encoding="utf-8")  # noqa: SIM115 (held open: it is the lock)
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


@dataclass(frozen=True)
class ReleaseFolder:
    """Paths of a release folder."""

    folder: Path

    @property
    def synthetic(self) -> Path:
        return Run(self.folder).synthetic

    @property
    def synthetic_labels(self) -> Path:
        return Run(self.folder).synthetic_labels

    @property
    def synthetic_attributes(self) -> Path:
        return Run(self.folder).synthetic_attributes

    @property
    def bank_manifest(self) -> Path:
        """The groups behind the generator's conditions: sizes, tracing bounds."""
        return self.folder / "bank-manifest.json"

    @property
    def verdict(self) -> Path:
        """Every attack tried, and checksums; the page has the same name with `.html`."""
        return self.folder / "verdict.json"

    @property
    def readme(self) -> Path:
        return self.folder / "README.txt"


@dataclass(frozen=True)
class ExportFolder:
    """Paths of plain weights that were taken out of a run."""

    folder: Path

    def weights(self, network: str) -> Path:
        return self.folder / f"{network}.safetensors"

    @property
    def config(self) -> Path:
        return Run(self.folder).config

    @property
    def facts(self) -> Path:
        return self.folder / "export.json"


@dataclass(frozen=True)
class HubFolder(Run):
    """Paths of an exported generator: the files that sampling reads, under the names of the Hub."""

    @property
    def generator_weights(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def hub_config(self) -> Path:
        """The kind of model, for the Hub."""
        return self.folder / "config.json"

    @property
    def card(self) -> Path:
        return self.folder / "README.md"


def open_folder(folder: Path) -> Run:
    """Return the map of a folder to sample from: a run's, or an exported generator's."""
    hub = HubFolder(folder)
    return hub if hub.generator_weights.exists() else Run(folder)
