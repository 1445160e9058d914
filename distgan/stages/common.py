"""What the stages share: a run's training series, scaled, and its networks' weights as files."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from tqdm import tqdm

from distgan import config
from distgan.data.loader import Loader
from distgan.data.scaling import Scaler
from distgan.data.store import Meta, Store, private_table, read_table
from distgan.errors import UserError
from distgan.files import read_json, write_bytes
from distgan.parallel import Parallel
from distgan.runs import Run

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class TrainingData:
    """The training rows of the store (or another split's), with their scaler and levels. `rows[i]` is where
    training series i stands.
    """

    store: Store
    rows: np.ndarray
    entities: np.ndarray
    scaler: Scaler
    attributes: np.ndarray

    @classmethod
    def open(cls, folder: Run, splits: tuple[str, ...] = ("train",)) -> "TrainingData":
        """
        Raises:
            UserError: the run has no store yet, or it is damaged.
        """
        store = Store.open(folder.need(folder.series, "prepare"))
        table = read_table(private_table(folder.series))
        rows = np.sort(np.concatenate([table.rows(split) for split in splits]))
        scaler, _ = read_scaler(folder)
        attributes = np.empty((0, store.channels, 2))
        if len(rows):
            attributes = np.concatenate([scaler.attributes(block) for block in store.part(rows)])
        return cls(store, rows, np.asarray(table.entities)[rows], scaler, attributes)

    @property
    def num_series(self) -> int:
        return len(self.rows)

    @property
    def entity_codes(self) -> np.ndarray:
        """A number for the entity behind each training series: (n,) int64."""
        return np.unique(self.entities, return_inverse=True)[1]

    def scaled(self, first: int, end: int) -> tuple[Tensor, Tensor]:
        """Training series first..end: scaled with 0 for missing, and the mask, each (n, L, C)."""
        values = self.scaler.scale(self.store.rows(self.rows[first:end]), self.attributes[first:end])
        return torch.from_numpy(np.nan_to_num(values)), torch.from_numpy(~np.isnan(values)).float()

    def loader(self, batch_size: int, settings: config.Config, parallel: Parallel) -> Loader:
        return Loader(
            self.store,
            self.rows,
            self.scaler,
            self.attributes,
            batch_size=batch_size,
            seed=settings.seed,
            rank=parallel.rank,
            world_size=parallel.world_size,
        )


class Progress:
    """How far rank 0's share of long work is: a bar on a terminal, else a line twice a minute.

    `with Progress("encode", 5000, "series", parallel) as progress: progress.advance(32)`
    """

    SECONDS = 30.0  # between lines

    def __init__(self, label: str, total: int, unit: str, parallel: Parallel) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self.shown, self.told = parallel.is_main and total > 0, time.monotonic()
        self.bar: tqdm | None = None
        if self.shown and sys.stderr.isatty():
            self.bar = tqdm(total=total, desc=label, unit=f" {unit}", dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def advance(self, number: int = 1) -> None:
        self.done += number
        if self.bar is not None:
            self.bar.update(number)
        elif self.shown and time.monotonic() - self.told > self.SECONDS:
            print(f"{self.label:<9} {self.done:,} of {self.total:,} {self.unit}", flush=True)
            self.told = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()


def read_scaler(folder: Run) -> tuple[Scaler, Meta]:
    """How to undo the scaling, and the axis, channels and units of the series."""
    tree = read_json(folder.need(folder.scaler, "prepare"))
    return Scaler.from_dict(tree["scaler"]), Meta.from_dict(tree["meta"])


def save_network(network: nn.Module, path: Path) -> None:
    """The network's weights as one safetensors file, whole or absent."""
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
            f"{path} does not hold this network's weights ({str(error).splitlines()[0]})"
        ) from None
    return network
