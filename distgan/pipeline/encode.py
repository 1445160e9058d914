"""encoder/ and the training series -> latents.zarr: a mean and a log-variance for every training series.

The series are cut into parts, the same ones whatever the number of processes, which the processes take in
turn. A part is a small store of latents, whole or absent; what an interrupted encode has finished is kept.
Rank 0 joins the parts in order.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distgan import config
from distgan.data.store.latents import LatentStore, LatentWriter, count_part_rows
from distgan.errors import UserError
from distgan.files import remove_folders
from distgan.models.vae import Encoder
from distgan.pipeline.context import PipelineContext, Shape
from distgan.pipeline.train_encoder import load_encoder
from distgan.pipeline.training_data import TrainingData
from distgan.progress import Progress, format_count
from distgan.run import Run


def run(context: PipelineContext) -> dict[str, Any]:
    """Encode the training series on all processes; return the record of the stage."""
    data = TrainingData.open(context.run)
    encoder = load_encoder(context.settings, context.run, data.store).to(context.parallel.device).eval()
    size, dim = context.settings.encoder.batch_size, context.settings.encoder.latent_dim
    place = locate_parts(context.run)
    parts = plan_parts(data.num_series, size, place)
    context.parallel.run_on_main(lambda: remove_folders(context.run.list_latent_parts(), place))
    mine = [
        part
        for part in list(parts.items())[context.parallel.rank :: context.parallel.world_size]
        if not is_complete(*part)
    ]
    kept = len(parts) - int(context.parallel.sum_values(np.array([len(mine)]))[0])
    with Progress(
        "encode", sum(len(rows) for _, rows in mine), "series", context.parallel.is_main
    ) as progress:
        for part, rows in mine:
            write_part(part, rows, data, encoder, context.settings.encoder, context.parallel.device)
            progress.advance(len(rows))
    context.parallel.wait_for_all()
    context.parallel.run_on_main(lambda: join_parts(list(parts), context.run.latents, dim))
    context.parallel.run_on_main(lambda: remove_folders(context.run.list_latent_parts()))
    went_on = f"; {kept} of {len(parts)} parts were done before" if kept else ""
    numbers = format_count(dim, "number")
    return {"summary": f"{data.num_series} latents of {numbers}, mean and log-variance{went_on}"}


def locate_parts(run: Run) -> Path:
    """Return a folder named after the encoder's weights, so that parts of another are never taken."""
    weights = hashlib.sha256((run.encoder_weights).read_bytes()).hexdigest()[:12]
    return run.latent_parts(weights)


def plan_parts(num_series: int, batch_size: int, place: Path) -> dict[Path, range]:
    """Return which training series each part holds: whole batches, so that batches are always the same."""
    rows = count_part_rows(num_series, batch_size)
    return {
        place / f"part-{number:06d}": range(first, min(first + rows, num_series))
        for number, first in enumerate(range(0, num_series, rows))
    }


def is_complete(place: Path, rows: range) -> bool:
    """Return whether an earlier try has finished this part, and it is as it was written."""
    if not place.exists():
        return False
    try:
        part = LatentStore.open(place)
        part.verify()
    except UserError:
        return False
    return part.num_series == len(rows)


@torch.inference_mode()
def write_part(
    place: Path,
    rows: range,
    data: TrainingData,
    encoder: Encoder,
    chosen: config.Encoder,
    device: torch.device,
) -> None:
    """Encode some training series and write their latents as one part."""
    with LatentWriter(place, chosen.latent_dim) as writer:
        for first in range(rows.start, rows.stop, chosen.batch_size):
            series, mask = data.read_scaled(first, min(first + chosen.batch_size, rows.stop))
            writer.append(*embed(encoder, series, mask, chosen.batch_size, device))


@torch.inference_mode()
def embed(
    encoder: Encoder, series: Tensor, mask: Tensor, size: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Return means and log-variances of at most `size` series: (B, L, C), (B, L, C) -> [B, d] each.

    A shorter batch is filled up with its last series: kernels go by the batch's size, and a series' latent
    must not change, not even in its last bits, with how many others there are (anonymity/dp).
    """
    count = len(series)
    rows = torch.arange(size).clamp(max=count - 1)
    mean, logvar = encoder(series[rows].to(device), mask[rows].to(device))
    return mean[:count].cpu().numpy(), logvar[:count].cpu().numpy()


def join_parts(parts: list[Path], path: Path, dim: int) -> None:
    """Join all parts in order as one store; a block at a time."""
    with LatentWriter(path, dim) as writer:
        for place in parts:
            for _, mean, logvar in LatentStore.open(place).iterate_blocks():
                writer.append(mean, logvar)


def describe(settings: config.Config, shape: Shape) -> str:
    return f"embeds {shape.train} series into {format_count(settings.encoder.latent_dim, 'number')} each"
