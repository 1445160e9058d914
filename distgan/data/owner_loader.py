"""Batches of a private training: some series of the owners that a step takes, and a public part without any.

Who is taken is decided elsewhere (`anonymity.dp.gradients.PoissonSampling`); here their series are read.
Which of its series stand for an owner, and every random number that goes with them, is keyed by a hash of
the owner's own id: nothing of an owner changes with who else is there.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from distgan.data.loader import Batch, make_ahead, pin
from distgan.data.scaling import Scaler
from distgan.data.store.reader import Readable
from distgan.rng import make_keyed_generator


@dataclass
class OwnerBatch:
    """One process's part of one private step.

    Attributes:
        owners: series of the owners taken, W of each in a row; `sample` is a key of owner and series.
        public: no series of the data: as many places as are generated for the generator's update, all
            measured; `rows` is -1.
    """

    owners: Batch
    public: Batch
    step: int

    @property
    def sample(self) -> torch.Tensor:
        """The places of the public part, which micro-batches divide."""
        return self.public.sample

    def split(self, size: int) -> list["OwnerBatch"]:
        """Return micro-batches of the public part."""
        return [replace(self, public=part) for part in self.public.split(size)]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "OwnerBatch":
        owners, public = (part.to(device, non_blocking) for part in (self.owners, self.public))
        return replace(self, owners=owners, public=public)


@dataclass(frozen=True)
class OwnerBatching:
    """The way owners go into batches.

    Attributes:
        batch_size: generated series of the public part, over all processes.
        series: of an owner in a step.
        take: the owners of a step, ascending, over all processes.
    """

    batch_size: int
    series: int
    seed: int
    take: Callable[[int], np.ndarray]
    rank: int = 0
    world_size: int = 1


def compute_owner_keys(names: Sequence[str]) -> np.ndarray:
    """Return a number below 2^62 for each owner's id, which depends on it alone: int64 [E]."""
    digests = (
        hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, person=b"distgan owner")
        for name in names
    )
    return np.array([int.from_bytes(each.digest(), "big") >> 2 for each in digests], np.int64)


class OwnerLoader:
    """Scaled, masked series of the owners that each step takes.

    Args:
        rows: [n] places in the store of the training series.
        codes: [n] 0 .. E-1, the owner of each.
        keys: [E] a number for each owner, see `compute_owner_keys`.
    """

    def __init__(
        self,
        store: Readable,
        rows: np.ndarray,
        scaler: Scaler,
        codes: np.ndarray,
        keys: np.ndarray,
        batching: OwnerBatching,
    ) -> None:
        self._store, self._rows, self._scaler, self._keys = store, np.asarray(rows), scaler, keys
        self._batching = batching
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(keys)))
        self._own = np.split(order, ends[:-1])  # training series of each owner
        share = batching.batch_size // batching.world_size
        self._public = np.arange(batching.rank * share, (batching.rank + 1) * share)

    def iterate_batches(self, first_step: int = 0) -> Iterator[OwnerBatch]:
        """Yield the batches of steps first_step, first_step + 1, … without end; a thread makes two ahead."""
        return make_ahead(self.make_batch, first_step)

    def make_batch(self, step: int) -> OwnerBatch:
        """Return this process's part of a step: every `world_size`-th of the owners taken."""
        chosen = self._batching
        taken = chosen.take(step)[chosen.rank :: chosen.world_size]
        return OwnerBatch(self.read_series(taken, step), self.make_public(step), step)

    def read_series(self, owners: np.ndarray, step: int) -> Batch:
        """Read some series of each owner: its own order decides which, and short lists begin again."""
        width = self._batching.series
        rows = np.empty(len(owners) * width, np.int64)
        for place, owner in enumerate(owners):
            own, key = self._own[owner], int(self._keys[owner])
            order = make_keyed_generator(self._batching.seed, step, "series of an owner", key).permutation(
                len(own)
            )
            rows[place * width : (place + 1) * width] = own[np.resize(order, width)]
        values = self._store.read_rows(self._rows[rows])
        attributes = self._scaler.compute_attributes(values)
        self._scaler.scale(values, attributes, out=values)
        series = torch.from_numpy(values)
        mask = torch.isnan(series).logical_not_().to(torch.float32)
        torch.nan_to_num_(series, nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        sample = self._keys[np.repeat(owners, width)] + np.tile(np.arange(width), len(owners))
        known = torch.from_numpy(attributes)
        places = torch.from_numpy(rows), torch.from_numpy(sample)
        return Batch(pin(series), pin(mask), *places, step, known)

    def make_public(self, step: int) -> Batch:
        """Return places for generated series: zeros, all measured."""
        shape = (len(self._public), self._store.length, self._store.channels)
        rows, sample = torch.full((shape[0],), -1), torch.from_numpy(self._public.copy())
        return Batch(pin(torch.zeros(shape)), pin(torch.ones(shape)), rows, sample, step)
