"""A trained filter (`nr_gan`) and any series -> the same series, filtered, in their own units and times.

What comes out are the series that went in: real ones stay as private as they were. Of a synthetic store it is
a filter after generation.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from distgan import config
from distgan.command_line import Result
from distgan.csvtext import unescape_cell
from distgan.data import ingest
from distgan.data.export import export
from distgan.data.ingest_cache import open_cache_folder
from distgan.data.scaling import Scaler
from distgan.data.store.metadata import Meta
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError
from distgan.files import refuse_ending, refuse_standing
from distgan.pipeline.train_gan import load_generator
from distgan.pipeline.training_data import open_for_inference, read_scaler
from distgan.preflight import refuse_no_run
from distgan.progress import Progress
from distgan.run import Run

FORMATS = (".zarr", ".csv", ".parquet")


def run(run: Run, source: str, place: Path) -> Result:
    """Filter the series of `source` (whatever data.source takes) into the file or store `place`.

    Series keep their order; ids are not written.

    Raises:
        UserError: the run is no denoiser, the source cannot be read or has other steps, or other channels
            where the run scales by channel, or the place stands already or has an unknown ending.
    """
    refuse_ending(place, "OUT", FORMATS)
    refuse_standing(place)
    refuse_no_run(run, "train one with distgan train --config configs/nr_gan.yaml")
    settings = config.load(run.config)
    if not settings.model.filters:
        able = ", ".join(name for name, family in config.FAMILIES.items() if family.stages != config.STAGES)
        raise UserError(
            f"{run.folder} holds a {settings.model.name}, which generates series; distgan denoise needs "
            f"a model that filters them: {able}; train one with distgan train --config configs/nr_gan.yaml"
        )
    parallel = open_for_inference(settings)
    network = load_generator(settings, run).to(parallel.device).eval()
    scaler, meta = read_scaler(run)
    with open_cache_folder(None) as parts:
        found = open_series(source, settings.data, meta, parts)
        if scaler.knows_channels:
            refuse_other_channels(source, found.meta.channels, meta.channels)
        with tempfile.TemporaryDirectory(dir=parts) as temporary:
            store = place if place.suffix == ".zarr" else Path(temporary) / "filtered.zarr"
            with (
                StoreWriter(store, found.meta) as writer,
                Progress("filtering", found.num_series, "series") as progress,
            ):
                size = settings.generate.batch_size
                for first in range(0, found.num_series, size):
                    values = found.read_rows(first, min(first + size, found.num_series))
                    writer.append(filter_series(values, network, scaler, parallel.device))
                    progress.advance(len(values))
            if store != place:
                export(store, place, "filtered")
    return Result(
        f"{found.num_series} series filtered: {place}", {"series": found.num_series, "out": str(place)}
    )


def open_series(source: str, learned: config.Data, meta: Meta, parts: Path) -> ingest.Series:
    """Open the series of `source`, read as the run read its own, but for the attributes of training series;
    those in the run's steps already are not reduced. Series without times are taken for the run's steps, as
    all are by a run that learned no times and reduced nothing.

    Raises:
        UserError: they cannot be read, or have other steps.
    """
    all_of_it = {"cut": "whole", "windows": config.Windows(), "labels": None, "max_missing": 1.0}
    all_of_it["axis"] = config.TimeAxis()  # of the training series alone
    own = {"source": source, "attributes": None, "reduce": config.Reduce(), "unusable": "error"}
    as_it_is = learned.model_copy(update={**all_of_it, **own})
    found = ingest.open_source(as_it_is, parts, flat=True)
    if (found.meta.is_nominal and not meta.is_nominal) or (meta.is_nominal and learned.reduce.factor == 1):
        return found
    if (
        learned.reduce.factor > 1
        and found.meta.axis.step_seconds * learned.reduce.factor == meta.axis.step_seconds
    ):
        found = ingest.open_source(as_it_is.model_copy(update={"reduce": learned.reduce}), parts, flat=True)
    if found.meta.axis.step_seconds != meta.axis.step_seconds:
        raise UserError(
            f"{source} has steps of {found.meta.axis.step_seconds} s, but the run was trained on "
            f"steps of {meta.axis.step_seconds} s; resample the series to those steps first"
        )
    return found


def refuse_other_channels(source: str, given: Sequence[str], learned: Sequence[str]) -> None:
    """Refuse series that the run's scaler has no numbers for, or those of another channel. The name of a
    single channel does not matter, nor that tables hold names escaped.

    Raises:
        UserError: the channels are not those that the run was trained on, in their order.
    """
    differ = list(map(unescape_cell, given)) != list(map(unescape_cell, learned))
    if len(given) != len(learned) or (len(learned) > 1 and differ):
        raise UserError(
            f"{source} has the channels {list(given)}, but the run scales each of {list(learned)} by "
            "numbers of its own (data.scaling.scope, data.scaling.marginal); give series of these channels, "
            "in this order"
        )


@torch.inference_mode()
def filter_series(
    values: np.ndarray, network: nn.Module, scaler: Scaler, device: torch.device | str = "cpu"
) -> np.ndarray:
    """Filter [n, L, C] in measured units -> the same, float32; what is missing stays missing, what does not
    vary as it is.
    """
    attributes = scaler.compute_attributes(values)
    scaled = scaler.scale(values, attributes)
    series = torch.from_numpy(np.nan_to_num(scaled)).to(device)
    restored = scaler.restore(network(series).float().cpu().numpy(), attributes)
    flat = np.any(ingest.find_unusable(values), axis=1, keepdims=True)
    return np.where(np.isnan(values) | flat, values.astype(np.float32), restored)
