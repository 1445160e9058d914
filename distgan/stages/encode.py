"""encoder/ and the training series -> latents.zarr: a mean and a log-variance for every training series."""

from typing import Any

import torch

from distgan import config
from distgan.data.store import LatentWriter
from distgan.parallel import Parallel
from distgan.runs import Run
from distgan.stages.common import TrainingData
from distgan.stages.encoder import load_encoder
from distgan.stages.prepare import Shape


def run(settings: config.Config, folder: Run, parallel: Parallel) -> dict[str, Any]:
    data = TrainingData.open(folder)
    encoder = load_encoder(settings, folder, data.store).to(parallel.device).eval()
    size = settings.encoder.batch_size
    with LatentWriter(folder.latents, settings.encoder.latent_dim) as writer, torch.inference_mode():
        for first in range(0, data.num_series, size):
            series, mask = data.scaled(first, first + size)
            mean, logvar = encoder(series.to(parallel.device), mask.to(parallel.device))
            writer.append(mean.cpu().numpy(), logvar.cpu().numpy())
    return {"summary": f"{data.num_series} latents of {settings.encoder.latent_dim} numbers"}


def describe(settings: config.Config, of: Shape) -> str:
    return f"embeds {of.train} series into {settings.encoder.latent_dim} numbers each"
