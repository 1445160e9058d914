"""Shared by the stages: scaled training series of a run, and files of weights."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from distgan import config
from distgan.data.joint_scaling import JointScaling
from distgan.data.loader import Batching, Loader
from distgan.data.scaling import Scaler
from distgan.data.static_attributes import StaticAttribute
from distgan.data.store.metadata import Meta
from distgan.data.store.private_table import Table, read_table
from distgan.data.store.reader import Store
from distgan.data.windows import Windows
from distgan.errors import Mismatch, UserError, parsing
from distgan.files import read_record, write_bytes, write_json
from distgan.parallel.processes import Parallel
from distgan.run import MANIFEST, Run

Network = TypeVar("Network", bound=nn.Module)


def open_series(run: Run) -> Store | Windows:
    """Return the run's series, or the windows of them that it trains on.

    Raises:
        UserError: the run has no store yet, or it is damaged.
    """
    store = Store.open(run.need(run.series, "prepare"))
    chosen = read_record(run.need(run.scaler, "prepare")).get("windows")
    with parsing(run.scaler):
        return Windows(store, chosen["length"], chosen["stride"]) if chosen else store


def fingerprint_inputs(run: Run, *more: Path) -> str:
    """Return a fingerprint of what a training reads: series, splits, scaler, and `more` files of the run;
    descriptions such as the credit are left out.
    """
    scaler = {name: value for name, value in read_record(run.scaler).items() if name != "meta"}
    manifest = run.series / MANIFEST
    with parsing(manifest):
        values = read_record(manifest, "arrays")["arrays"]["values"]
    content = hashlib.sha256(json.dumps([scaler, values], sort_keys=True).encode())
    for place in (run.private_table, run.left_out_windows, *more):
        if place.exists():
            content.update(f"{place.relative_to(run.folder)}\0".encode() + place.read_bytes())
    return content.hexdigest()[:16]


def digest_latents(run: Run) -> str:
    """Return the digest of what a private release is of."""
    return hashlib.sha256((run.latents / MANIFEST).read_bytes()).hexdigest()[:16]


def find_credit(settings: config.Config, meta: Meta) -> str:
    """Return the credit of the data: that of the present config, else the one stored by `prepare`."""
    return settings.data.credit or str(meta.provenance.get("credit", ""))


def open_for_inference(settings: config.Config) -> Parallel:
    """Return processes for inference in float32, so that networks trained in fp16 run on a CPU."""
    return Parallel(settings.engine.model_copy(update={"precision": "fp32"}))


def select_rows(data: Store | Windows, table: Table, split: str, run: Run) -> np.ndarray:
    """Return the series of one split, or their usable windows: int64, ascending."""
    rows = table.find_rows(split)
    if isinstance(data, Store):
        return rows
    left_out = np.load(run.need(run.left_out_windows, "prepare"))
    return np.setdiff1d(data.list_windows(rows), left_out, assume_unique=True)


def number_owners(table: Table, store: Store | Windows, rows: np.ndarray) -> np.ndarray:
    """Return a number 0 .. E-1 for the owner of each series, or of each window: [n] -> [n]."""
    series = rows if isinstance(store, Store) else store.find_series(rows)
    codes: np.ndarray = np.unique(np.asarray(table.owners)[series], return_inverse=True)[1]
    return codes


def read_owners(data: "TrainingData", run: Run) -> np.ndarray:
    """Return the owner of each training series: [n]."""
    return number_owners(read_table(run.private_table), data.store, data.rows)


def read_entities(data: "TrainingData", run: Run) -> list[str]:
    """Return the id of each entity of the training series, by its number in `entity_codes`: [E]."""
    table = read_table(run.private_table)
    series = data.rows if isinstance(data.store, Store) else data.store.find_series(data.rows)
    names: list[str] = np.unique(np.asarray(table.entities)[series]).tolist()
    return names


def refuse_shared_owners(entities: Sequence[Any] | np.ndarray, owners: Sequence[Any] | np.ndarray) -> None:
    """Refuse owners of several entities: privacy.epsilon protects the entity of each series, with all series
    it has.

    Raises:
        UserError: an owner has several entities, and would be protected less.
    """
    protected, people = len(set(entities)), len(set(owners))
    if people < protected:
        raise UserError(
            f"privacy.epsilon protects an entity with all its series, but {protected} entities "
            f"belong to {people} owners here; keep each owner's series whole (data.cut=whole, no "
            "data.windows), or name no owners"
        )


@dataclass(frozen=True)
class TrainingData:
    """The training rows of the store or of its windows (or another split's), with their scaler. `rows[i]` is
    where training series i stands, `entity_codes[i]` a number for its entity: all windows of a home have one.
    """

    store: Store | Windows
    rows: np.ndarray
    entity_codes: np.ndarray
    scaler: Scaler
    labels: np.ndarray | None = None  # of each training series, where the source tells them
    statics: tuple[StaticAttribute, ...] = ()  # attributes of the entity of each training series

    @classmethod
    def open(cls, run: Run, splits: tuple[str, ...] = ("train",)) -> "TrainingData":
        """Return the series of some splits of a run, ascending by row.

        Raises:
            UserError: the run has no store yet, or it is damaged.
        """
        store = open_series(run)
        table = read_table(run.private_table)
        rows = np.sort(np.concatenate([select_rows(store, table, split, run) for split in splits]))
        scaler, _ = read_scaler(run)
        series = store.find_series(rows) if isinstance(store, Windows) else rows
        codes = np.unique(np.asarray(table.entities), return_inverse=True)[1][series]
        labels = None if table.labels is None else table.labels[series]
        statics = tuple(each.take(series) for each in table.statics)
        return cls(store, rows, np.unique(codes, return_inverse=True)[1], scaler, labels, statics)

    @property
    def num_series(self) -> int:
        return len(self.rows)

    @cached_property
    def attributes(self) -> np.ndarray:
        """Location and scale of every training series, as a whole one, (n, C, 2): a pass over the store."""
        return np.concatenate(
            [
                self.scaler.complete_attributes(
                    self.scaler.compute_attributes(block), torch.from_numpy(~np.isnan(block)).float()
                )
                for block in self.store.select_part(self.rows)
            ]
        )

    def read_scaled(self, first: int, end: int) -> tuple[Tensor, Tensor]:
        """Return training series first..end: scaled with 0 for missing, and the mask, each (n, L, C)."""
        values = self.store.read_rows(self.rows[first:end])
        scaled = self.scaler.scale(values, self.scaler.compute_attributes(values))
        return torch.from_numpy(np.nan_to_num(scaled)), torch.from_numpy(~np.isnan(scaled)).float()

    def make_loader(
        self, batch_size: int, settings: config.Config, parallel: Parallel | None = None
    ) -> Loader:
        """Return the loader of this process's parts of global batches; without `parallel`, of whole ones."""
        return Loader(
            self.store,
            self.rows,
            self.scaler,
            batching=Batching(
                batch_size=batch_size,
                seed=settings.seed,
                rank=0 if parallel is None else parallel.rank,
                world_size=1 if parallel is None else parallel.world_size,
                buffer_shards=self.count_buffer_shards(settings.data.buffer_mib),
            ),
        )

    def count_buffer_shards(self, buffer_mib: int | None) -> int | None:
        """Return how many shards a buffer of so many MiB holds; at least one."""
        if buffer_mib is None:
            return None
        layout = self.store.values.layout
        return max(1, (buffer_mib << 20) // (layout.shard_rows * layout.row_bytes))


def compute_loads(data: TrainingData) -> np.ndarray:
    """Return each training series' total of absolute values, missing ones left out: (n,). Of several channels
    each counts in units of its mean total, so that none decides by its unit.
    """
    blocks = data.store.select_part(data.rows)
    loads = np.concatenate([np.nansum(np.abs(block), axis=1, dtype=np.float64) for block in blocks])
    if loads.shape[1] == 1:
        return loads[:, 0]
    means = loads.mean(axis=0)
    shares: np.ndarray = (loads / np.where(means > 0, means, 1)).sum(axis=1)
    return shares


def read_scaler(run: Run) -> tuple[Scaler, Meta]:
    """Return the scaler, whose inverse undoes the scaling, and the axis, channels and units of the series.

    Raises:
        UserError: there is none, or a part of it is missing, damaged, or of another scaler.
    """
    place = run.need(run.scaler, "prepare")
    with parsing(place, "remove it and run the same command again"):
        tree = read_record(place, "scaler", "meta")
        checksum, joint = tree.get("tensors"), None
        if checksum is not None:
            joint = JointScaling.from_tensors(_read_joint(run, checksum))
        return Scaler.from_dict(tree["scaler"], joint), Meta.from_dict(tree["meta"])


def _read_joint(run: Run, checksum: Any) -> dict[str, Tensor]:
    place = run.need(run.scaler_tensors, "prepare")
    content = place.read_bytes()
    if hashlib.sha256(content).hexdigest() != checksum:
        raise Mismatch(
            f"{place} is not the one that {run.scaler} was written with; restore it from a copy, or train "
            "again in another run_dir"
        )
    return safetensors.torch.load(content)


def write_scaler(run: Run, scaler: Scaler, meta: Meta, **more: Any) -> None:
    """Write what `read_scaler` reads: numbers as JSON, with the checksum of the tensors beside them."""
    tree: dict[str, Any] = {"scaler": scaler.to_dict(), "meta": meta.to_dict(), **more}
    if scaler.joint is not None:
        tensors = {name: value.contiguous() for name, value in scaler.joint.to_tensors().items()}
        content = safetensors.torch.save(tensors)
        write_bytes(run.scaler_tensors, content)
        tree["tensors"] = hashlib.sha256(content).hexdigest()
    write_json(run.scaler, tree)


def save_network(network: nn.Module, path: Path) -> None:
    """Save the network's weights as one safetensors file, whole or absent."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_bytes(path, safetensors.torch.save(tensors))


def load_network(network: Network, path: Path) -> Network:
    """Fill `network` with the weights of a safetensors file.

    Raises:
        UserError: the file is damaged, or of another network.
    """
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise UserError(
            f"{path} does not fit this network ({str(error).splitlines()[0]}); restore it from a "
            "copy, or train again in another run_dir"
        ) from None
    return network
