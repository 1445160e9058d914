"""Source -> series.zarr with its splits, and the scaler fitted on the training series alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from distgan import config
from distgan.data import ingest
from distgan.data.scaling import Scaler
from distgan.data.store import Store, StoreWriter, private_table, read_table, write_table
from distgan.errors import UserError
from distgan.files import write_json
from distgan.parallel import Parallel
from distgan.runs import Run


@dataclass(frozen=True)
class Shape:
    """Series a split, and what one series is."""

    train: int
    holdout: int
    reference: int
    length: int
    channels: int


def run(settings: config.Config, folder: Run, parallel: Parallel) -> dict[str, Any]:
    raw, splits = read(settings)
    with StoreWriter(folder.series, raw.meta) as writer:
        writer.append(raw.values)
    write_table(private_table(folder.series), raw.entities, raw.owners, list(splits))
    scaler = Scaler.fit([raw.values[splits == "train"]], settings.data.scaling)
    write_json(folder.scaler, {"scaler": scaler.to_dict(), "meta": raw.meta.to_dict()})
    counts = {name: int((splits == name).sum()) for name in ("train", "holdout", "reference")}
    owners = {name: len({o for o, s in zip(raw.owners, splits) if s == name}) for name in counts}
    left_out = "".join(f", {count} left out ({reason})" for reason, count in raw.left_out.items() if count)
    length, channels = raw.values.shape[1:]
    return {
        "summary": f"{len(raw.values)} series of {length} x {channels}: {counts['train']} to train on, "
        f"{counts['holdout']} held out, {counts['reference']} for reference, of {sum(owners.values())} "
        f"owners{left_out}",
        "series": counts,
        "owners": owners,
        "left_out": raw.left_out,
    }


def read(settings: config.Config) -> tuple[ingest.Raw, np.ndarray]:
    """The source's series and the split of each.

    Raises:
        UserError: the source is unusable, or a split would be left without enough series.
    """
    raw = ingest.read(settings.data)
    splits = ingest.split(raw.owners, settings.data.splits, settings.seed)
    length = raw.values.shape[1]
    patches = {"encoder.patch": settings.encoder.patch, "model.patch": getattr(settings.model, "patch", 1)}
    for name, patch in patches.items():
        if length < patch:
            raise UserError(
                f"series have {length} steps, fewer than {name} {patch}; set {name} to {length} or less"
            )
    return raw, splits


def shape(settings: config.Config, folder: Run) -> Shape:
    """From the store if it is there, else from the source."""
    if folder.done("prepare") and folder.series.exists():
        store, splits = Store.open(folder.series), read_table(private_table(folder.series)).splits
        length, channels = store.length, store.channels
    else:
        raw, splits = read(settings)
        length, channels = raw.values.shape[1:]
    counts = [int((splits == name).sum()) for name in ("train", "holdout", "reference")]
    return Shape(counts[0], counts[1], counts[2], length, channels)


def describe(settings: config.Config, of: Shape) -> str:
    return (
        f"reads {settings.data.source}: {of.train} series to train on, {of.holdout} held out, {of.reference} "
        f"for reference, each {of.length} x {of.channels}"
    )
