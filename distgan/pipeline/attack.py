"""What a run gives to the attacks: real series by owners, encoder, bank, networks, synthetic series."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from distgan import config, models
from distgan.anonymity import dp
from distgan.anonymity.bank import Bank
from distgan.anonymity.groups import Members
from distgan.data.store.private_table import private_table, read_table
from distgan.data.store.reader import Store
from distgan.engine import checkpoint
from distgan.errors import parsing
from distgan.evaluation.attacks import battery, tracing
from distgan.evaluation.attacks.attack_data import Embed, Scene, Side
from distgan.files import read_json
from distgan.parallel.processes import Parallel
from distgan.pipeline.build_bank import TRACING, assign_non_members
from distgan.pipeline.train_encoder import load_encoder, load_vae
from distgan.pipeline.train_gan import count_labels
from distgan.pipeline.training_data import TrainingData, owner_codes, read_owners
from distgan.rng import keyed_generator
from distgan.run import Run

MOST_TRACING = 0.65  # of a release, whatever the bank's own limit


@dataclass(frozen=True)
class Target:
    """What is attacked, where it is not what lies in the run's folder: synthetic series [n, L, C], and the
    attack on the bank as it was run.
    """

    synthetic: np.ndarray | None = None
    traced: list[tracing.Attack] | None = None


def run_attacks(
    settings: config.Config,
    folder: Run,
    parallel: Parallel,
    *,
    most: int,
    target: Target = Target(),
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any] | None:
    """The battery's result for a run; None if nobody was held out to compare with.

    Args:
        most: owners of each side, at most.
    """
    bank = Bank.load(folder.need(folder.bank, "bank"))
    sides = {
        name: sample_owners(TrainingData.open(folder, (name,)), folder, name, most, settings.evaluate.seed)
        for name in ("train", "holdout", "reference")
    }
    if not sides["holdout"].num_series:
        return None
    members, strangers, reference = (side.store.rows(side.rows) for side in sides.values())
    table = read_table(private_table(folder.series))
    owners = [owner_codes(table, sides[name].store, sides[name].rows) for name in ("train", "holdout")]
    inside, beside = assign_groups(settings, folder, parallel, bank, sides["train"], sides["holdout"])
    synthetic = Store.open(folder.need(folder.synthetic, "generate"))
    promise = bank.promise
    scene = Scene(
        Side.of(members, owners[0], inside),
        Side.of(strangers, owners[1], beside),
        reference,
        synthetic.rows(np.arange(synthetic.num_series)) if target.synthetic is None else target.synthetic,
        synthetic.meta.axis.steps_per_day,
        embed=make_embedding(settings, folder, parallel, sides["train"]),
        traced=load_tracing(folder) if target.traced is None else target.traced,
        static_auc=float(max(bank.tracing_auc)),
        tracing_limit=min(bank.settings.max_tracing_auc, MOST_TRACING),
        promised_auc=None if promise is None else promise.tracing_bound,
        epsilon=None if promise is None else promise.epsilon,
        delta=settings.privacy.delta,
        white_box=score_white_box(
            settings, folder, parallel, bank, (sides["train"], inside), (sides["holdout"], beside)
        ),
        seed=settings.evaluate.seed,
    )
    return battery.run(scene, claims=[*state_guarantees(bank), *battery.CLAIMS], progress=progress)


def state_guarantees(bank: Bank) -> list[str]:
    """What the bank promises, in words."""
    if bank.promise is None:
        return [
            f"Every condition of the generator is a mean of at least {bank.floor} entities, and none carries "
            f"more than {bank.settings.max_share:.0%} of its group's load."
        ]
    means = (
        f"Every condition of the generator is a mean with noise, of {bank.floor} entities or more by a count "
        "with noise; all have the same weight, and no limit is set on what share of the load one carries."
    )
    return [means, dp.COVERED, dp.NOT_COVERED]


def load_tracing(folder: Run) -> list[tracing.Attack]:
    path = folder.clusters / TRACING
    fields = tracing.Attack.__dataclass_fields__
    told = read_json(path) if path.exists() else []
    with parsing(path):
        return [tracing.Attack(**{name: row[name] for name in fields}) for row in told]


# ------------------------------------------------------------------------------------------------- who is who


def sample_owners(data: TrainingData, folder: Run, purpose: str, most: int, seed: int) -> TrainingData:
    """Random owners, at most `most`, and of each so many of its series that there are at most `most` or one
    each.
    """
    if data.num_series <= most:
        return data
    owners = read_owners(data, folder)
    rng = keyed_generator(seed, 0, f"attacked {purpose}")
    chosen = rng.permutation(int(owners.max()) + 1)[:most]
    order = rng.permutation(data.num_series)
    order = order[np.isin(owners[order], chosen)]
    turn = pd.Series(order).groupby(owners[order]).cumcount().to_numpy()  # among its owner's series
    keep = np.sort(order[turn < max(1, most // len(chosen))])
    return replace(data, rows=data.rows[keep], entity_codes=data.entity_codes[keep])


def assign_groups(
    settings: config.Config,
    folder: Run,
    parallel: Parallel,
    bank: Bank,
    train: TrainingData,
    holdout: TrainingData,
) -> tuple[np.ndarray, np.ndarray]:
    """The group of each member's series, and the one each stranger's would be in."""
    members = Members.load(folder.need(folder.clusters / "members.safetensors", "bank"))
    places = np.searchsorted(TrainingData.open(folder).rows, train.rows)
    return members.groups[places], assign_non_members(settings, folder, parallel, holdout, members, bank)[1]


# --------------------------------------------------------------------------------------------- the networks


def make_embedding(settings: config.Config, folder: Run, parallel: Parallel, data: TrainingData) -> Embed:
    """The run's encoder, with level and spread, which it does not see: [n, L, C] -> [n, d + 2C]."""
    encoder = load_encoder(settings, folder, data.store).to(parallel.device).eval()
    scaler = data.scaler
    size = settings.encoder.batch_size

    @torch.inference_mode()
    def embed(series: np.ndarray) -> np.ndarray:
        found = []
        for first in range(0, len(series), size):
            values = series[first : first + size]
            attributes = scaler.attributes(values)
            scaled = torch.from_numpy(scaler.scale(values, attributes)).to(parallel.device)
            mask = ~scaled.isnan()
            latents = encoder(scaled.nan_to_num(), mask.float())[0].cpu().numpy()
            numbers = tracing.own_numbers(latents, attributes)
            found.append(numbers[:, : latents.shape[1] + 2 * attributes.shape[1]])  # not their squares
        return np.concatenate(found) if found else np.empty((0, 0))

    return embed


@torch.inference_mode()
def score_white_box(
    settings: config.Config,
    folder: Run,
    parallel: Parallel,
    bank: Bank,
    *sides: tuple[TrainingData, np.ndarray],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores of members' and strangers' series: the discriminator's verdict (LOGAN: Hayes et al. 2019), and
    how well the autoencoder gives them back.
    """
    vae = load_vae(settings, folder, sides[0][0].store).to(parallel.device).eval()
    critic = load_discriminator(settings, folder, sides[0][0], parallel)
    size = settings.encoder.batch_size
    scores: dict[str, list[np.ndarray]] = {"discriminator": [], "autoencoder": []}
    for data, where in sides:
        told: dict[str, list[np.ndarray]] = {name: [] for name in scores}
        for first in range(0, data.num_series, size):
            series, mask = (each.to(parallel.device) for each in data.scaled(first, first + size))
            again = vae.decoder(vae.encoder(series, mask)[0])
            error = ((again - series).square() * mask).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1)
            told["autoencoder"].append(-error.cpu().numpy())
            if critic is not None:
                part = slice(first, first + size)
                given = torch.from_numpy(bank.given(where[part], data.attributes[part]))
                verdict = critic(series, given.to(parallel.device))
                told["discriminator"].append(verdict.float().mean(1).cpu().numpy())
        for name, found in told.items():
            if found:
                scores[name].append(np.concatenate(found))
    return {name: (found[0], found[1]) for name, found in scores.items() if found}


def load_discriminator(
    settings: config.Config, folder: Run, data: TrainingData, parallel: Parallel
) -> torch.nn.Module | None:
    """Of the newest checkpoint; None where there is none, or it takes no series."""
    known = count_labels(settings, folder)
    network = models.build(settings, data.store.length, data.store.channels, known).get("discriminator")
    if network is None or not settings.model.judges_series:
        return None
    found = checkpoint.load_latest(folder.checkpoints("gan"), wanted=lambda name: name == "discriminator")
    if found is None:
        return None
    network.load_state_dict(found.state["discriminator"])
    return network.to(parallel.device).eval()
