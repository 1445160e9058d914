"""Ends that are hidden from an encoder: which, what is left of the rest, and that latents then move less with
when a series was measured.
"""

import numpy as np
import pytest
import torch

from distgan import config
from distgan.data.loader import Batch
from distgan.models.vae import VAE
from distgan.objectives.hidden_ranges import HIDDEN, Hiding, hide_ranges, standardise_alike
from distgan.objectives.vae import VariationalAutoencoder

LENGTH = 96


def make_batch(count: int, step: int = 0, seed: int = 0, late: float = 0.5) -> tuple[Batch, np.ndarray]:
    """Return a batch of rhythms, of which a share begins in the middle, standardised where measured, and
    which do: [B] bool.
    """
    rng = np.random.default_rng(seed + step)
    hours = np.arange(LENGTH)[None, :, None]
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    season = 1 + rng.choice([-0.8, 0.8], (count, 1, 1)) * np.where(hours < LENGTH // 2, 1, -1)
    values = season * np.sin(2 * np.pi * hours / 12 + phase) + 0.3 * rng.standard_normal((count, LENGTH, 1))
    begins = rng.random(count) < late
    mask = np.where(begins[:, None] & (np.arange(LENGTH) < LENGTH // 2), 0.0, 1.0)[:, :, None]
    counts = mask.sum(1, keepdims=True)
    values = (values - (values * mask).sum(1, keepdims=True) / counts) * mask
    values = 0.4 * values / np.sqrt((values**2).sum(1, keepdims=True) / counts)
    series, there = (torch.from_numpy(each).float() for each in (values, mask))
    sample = torch.arange(count)
    return Batch(series, there, sample, sample, step), begins


def test_half_of_the_series_lose_an_end_and_keep_their_share():
    batch, _ = make_batch(400, late=0)
    _, seen = hide_ranges(batch, 0, Hiding(0.3))
    shares = seen.mean((1, 2))
    assert shares.min() >= 0.3 and 0.4 < (shares < 1).float().mean() < HIDDEN + 0.1
    inside = seen[:, :, 0].diff(dim=1).abs().sum(1)
    assert inside.max() <= 2  # one stretch each
    starts, ends = seen[:, 0, 0], seen[:, -1, 0]
    assert ((starts == 0) & (ends == 1)).any() and ((starts == 1) & (ends == 0)).any()
    assert ((starts == 0) & (ends == 0)).any()


def test_what_is_left_has_the_mean_and_deviation_of_the_series():
    batch, _ = make_batch(50)
    series, seen = hide_ranges(batch, 0, Hiding(0.3))
    counts = seen.sum(1)
    mean = series.sum(1) / counts
    assert mean.abs().max() < 1e-5 and not series[seen == 0].any()
    deviation = ((series - mean[:, None]).square() * seen).sum(1).div(counts).sqrt()
    assert deviation.numpy() == pytest.approx(0.4, rel=1e-4)
    whole = seen.mean((1, 2)) == batch.mask.mean((1, 2))
    assert torch.allclose(series[whole], batch.series[whole], atol=1e-5)


def test_hidden_ranges_do_not_depend_on_the_number_of_processes():
    batch, _ = make_batch(8)
    whole = hide_ranges(batch, 3, Hiding(0.3))
    parts = [hide_ranges(part, 3, Hiding(0.3)) for part in batch.split(3)]
    for place in (0, 1):
        assert torch.equal(torch.cat([part[place] for part in parts]), whole[place])


def test_series_of_the_shortest_share_lose_nothing():
    batch, begins = make_batch(60)
    _, seen = hide_ranges(batch, 0, Hiding(0.5))
    assert torch.equal(seen[begins], batch.mask[begins])  # half is measured: no less may be left


def train_encoder(hiding: Hiding | None, steps: int) -> VAE:
    torch.manual_seed(0)
    settings = config.Encoder(latent_dim=4, width=32, depth=1, decoder_depth=1, heads=2, patch=12, beta=1e-3)
    network = VAE(LENGTH, 1, settings)
    objective = VariationalAutoencoder({"vae": network}, settings, 0, hiding=hiding)
    adam = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(steps):
        adam.zero_grad()
        objective.loss(make_batch(64, step, seed=100)[0])["loss"].backward()
        adam.step()
    return network.eval()


@torch.inference_mode()
def measure_shift(network: VAE) -> float:
    """Return how far latents of series move when only their second half is shown, in variances of series."""
    batch, _ = make_batch(400, seed=7, late=0)
    half = batch.mask.clone()
    half[:, : LENGTH // 2] = 0
    shown = standardise_alike(batch.series, half, batch.mask)
    whole, part = (
        network.encoder(each, mask)[0] for each, mask in ((batch.series, batch.mask), (shown, half))
    )
    return float((part - whole).square().sum(1).mean() / whole.var(0).sum())


@pytest.mark.slow
def test_latents_move_less_with_what_was_measured():
    plain, hidden = (measure_shift(train_encoder(hiding, 600)) for hiding in (None, Hiding(0.3)))
    assert hidden < 0.25 * plain


def test_series_on_one_scale_are_shown_as_they_are() -> None:
    """With data.scaling.scope=dataset a late series keeps its own values, and so does one that is hidden."""
    batch, _ = make_batch(64, seed=5, late=0)
    series, seen = hide_ranges(batch, 0, Hiding(0.3, own_scale=False))
    assert torch.equal(series, batch.series * seen) and seen.sum() < batch.mask.sum()
