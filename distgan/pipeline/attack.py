"""Collect the inputs of the attacks from a run: real series by owner, encoder, bank, networks, synthetic
series.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from distgan import config, models
from distgan.anonymity import dp
from distgan.anonymity.bank import Bank
from distgan.anonymity.groups import Members
from distgan.anonymity.statics import AttributeColumn, encode_columns
from distgan.data.store.private_table import read_table
from distgan.data.store.reader import Store
from distgan.engine import checkpoint
from distgan.errors import parsing
from distgan.evaluation.attacks import battery, tracing
from distgan.evaluation.attacks.attack_data import AttackData, DescribedSeries, Embed, Side
from distgan.evaluation.attacks.released import ReleasedSeries, describe_misses
from distgan.evaluation.results import PrivacyResult
from distgan.files import read_json
from distgan.memory import measure_host_memory
from distgan.pipeline.attribute_cells import select_training_statics
from distgan.pipeline.build_bank import assign_non_members
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.requested_attributes import plan_series
from distgan.pipeline.train_encoder import load_encoder, load_vae
from distgan.pipeline.train_gan import count_labels, load_generator
from distgan.pipeline.training_data import TrainingData, number_owners, read_owners
from distgan.rng import make_keyed_generator
from distgan.run import Run

Judge = Callable[[Tensor, Tensor, Tensor], np.ndarray]  # series, mask, condition -> [n]
MOST_TRACING = 0.65  # of a release, whatever the bank's own limit
MOST_SYNTHETIC = 10_000  # synthetic series that a report attacks
SEPARATOR = "\x1f"  # of the cells of a row
COPIES = 8  # of the attacked series in memory at a time, at most


@dataclass(frozen=True)
class Target:
    """The subject of an attack.

    Attributes:
        synthetic: [n, L, C] the released series, or a random sample of them.
        num_released: how many series the release has.
        released: all of them, where copied windows (P1) are searched in more than the sample.
        traced: the attack on the bank, as it was run; by default what the run's folder holds.
        said: a sentence on the size of the sample.
    """

    synthetic: np.ndarray
    num_released: int
    released: ReleasedSeries | None = None
    traced: list[tracing.Attack] | None = None
    said: str = ""

    @staticmethod
    def sample_of(context: PipelineContext) -> "Target":
        """Return the run's synthetic series, or a random sample of them that fits into memory."""
        store = Store.open(context.run.need(context.run.synthetic, "generate"))
        everything, chosen = ReleasedSeries((store,)), context.settings.evaluate
        room = measure_host_memory() // (COPIES * 4 * store.length * store.channels)
        most = max(chosen.max_series, min(MOST_SYNTHETIC, room))
        rows = everything.choose(most, make_keyed_generator(chosen.seed, 0, "attacked synthetic"))
        said = ""
        if len(rows) < store.num_series:
            said = (
                f"The attacks used {len(rows):,} of the {store.num_series:,} synthetic series, drawn at "
                f"random (evaluate.seed {chosen.seed}). {describe_misses(len(rows))}; distgan release "
                "searches all series for copied windows (P1)."
            )
        return Target(everything.read_rows(rows), store.num_series, said=said)


def run_attacks(
    context: PipelineContext,
    *,
    most: int,
    target: Target,
    progress: Callable[[str], None] = lambda line: None,
) -> PrivacyResult | None:
    """Return the battery's result for a run; None if nobody was held out to compare with.

    Args:
        most: owners of each side, at most.
    """
    bank = Bank.load(context.run.need(context.run.bank, "bank"))
    sides = sample_sides(context, most)
    if not sides["held_out"].num_series:
        return None
    members, non_members, reference = (side.store.read_rows(side.rows) for side in sides.values())
    table = read_table(context.run.private_table)
    owners = [number_owners(table, sides[name].store, sides[name].rows) for name in ("train", "held_out")]
    inside, beside = assign_groups(context, bank, sides["train"], sides["held_out"])
    guarantee = bank.guarantee
    attack_data = AttackData(
        Side.from_series(members, owners[0], inside),
        Side.from_series(non_members, owners[1], beside),
        reference,
        target.synthetic,
        sides["train"].store.meta.axis.steps_per_day,
        embed=make_embedding(context, sides["train"]),
        traced=load_tracing(context.run) if target.traced is None else target.traced,
        static_auc=float(max(bank.tracing_auc)),
        tracing_limit=min(bank.settings.max_tracing_auc, MOST_TRACING),
        guaranteed_auc=None if guarantee is None else guarantee.tracing_bound,
        epsilon=None if guarantee is None else guarantee.epsilon,
        delta=context.settings.privacy.delta,
        white_box=score_white_box(context, bank, (sides["train"], inside), (sides["held_out"], beside)),
        seed=context.settings.evaluate.seed,
        released=target.released,
        by_value=find_owners_by_value(
            context.settings, bank, (sides["train"], owners[0]), (sides["held_out"], owners[1])
        ),
        described=describe_series(context.settings, bank, sides["train"], sides["held_out"]),
    )
    claims = [*state_guarantees(bank, context.settings), *battery.CLAIMS, *state_requests(context.settings)]
    proof = find_proof(context.settings)
    found = battery.run(attack_data, claims=claims, progress=progress, proof=proof)
    evidence = found.evidence.model_copy(update={"released": target.num_released})
    return found.model_copy(update={"evidence": evidence, "sample": target.said})


def find_proof(settings: config.Config) -> str:
    """Return what is proved of the synthetic series, in words, if it makes evidence of thousands unnecessary:
    they are private end to end, at no more than `release.max_epsilon`, and with noise that nobody can repeat.
    """
    privacy = settings.privacy
    if not privacy.end_to_end or privacy.epsilon is None or privacy.insecure_seed is not None:
        return ""
    return dp.state_proof(privacy) if privacy.epsilon <= settings.release.max_epsilon else ""


def state_guarantees(bank: Bank, settings: config.Config) -> list[str]:
    """Return the guarantee of the bank, or of the whole run, as a sentence."""
    if bank.guarantee is None:
        return [
            f"Every condition of the generator is a mean of at least {bank.minimum_group_size} entities, "
            f"and none carries more than {100 * bank.settings.max_share:g} % of its group's load."
        ]
    means = (
        f"Every condition of the generator is a mean with noise, of {bank.minimum_group_size} entities or "
        "more by a count with noise; all have the same weight, and no limit is set on what share of the "
        "load one carries."
    )
    return [means, *dp.list_claims(settings, bank.guarantee.clip), *_state_raised_limit(settings)]


def _state_raised_limit(settings: config.Config) -> list[str]:
    """Return a sentence on a limit of the gate that was raised by a setting, if it counts."""
    usual, chosen = config.Config().release.max_epsilon, settings.release.max_epsilon
    if not settings.privacy.end_to_end or chosen <= usual:
        return []
    return [
        f"release.max_epsilon was raised to {chosen:g}: by default only an epsilon of {usual:g} or less "
        f"makes {battery.EVIDENCE:,} members and non-members as evidence unnecessary."
    ]


def state_requests(settings: config.Config) -> list[str]:
    """Return a sentence on attributes that a table asked for, as written there, if one did."""
    if settings.generate.table is None:
        return []
    return [
        "The table of attributes repeats what generate.table asks for, numbers as written there. The rows of "
        "that table must not be those of real people: an attack (P1) finds many members' rows in it, and may "
        "miss a few."
    ]


def load_tracing(run: Run) -> list[tracing.Attack]:
    """Return the attacks on the means of the bank that the stage `bank` ran."""
    path = run.cluster_files.tracing
    fields = tracing.Attack.__dataclass_fields__
    found_scores = read_json(path) if path.exists() else []
    with parsing(path):
        rows = [{"members": row.get("entities"), **row} for row in found_scores]  # as it was called before
        return [tracing.Attack(**{name: row[name] for name in fields}) for row in rows]


# ------------------------------------------------------------------------------------------------- who is who


def sample_sides(context: PipelineContext, most: int) -> dict[str, TrainingData]:
    """Return the attacked series of members (train) and non-members (held_out), and the attacker's own
    (reference): of at most `most` owners each, at most `most` series, or one an owner.

    Members and non-members have as many series an owner: attacks go by an owner's highest score, or search
    all of an owner's series, and of more series the highest is higher by chance alone.
    """
    run, seed = context.run, context.settings.evaluate.seed
    sides = {name: TrainingData.open(run, (name,)) for name in ("train", "held_out", "reference")}
    limits = [find_series_limit(sides[name], run, most) for name in ("train", "held_out")]
    both = min((limit for limit in limits if limit is not None), default=None)
    own = {"train": both, "held_out": both, "reference": find_series_limit(sides["reference"], run, most)}
    return {
        name: data if (limit := own[name]) is None else sample_owners(data, run, name, most, seed, limit)
        for name, data in sides.items()
    }


def find_series_limit(data: TrainingData, run: Run, most: int) -> int | None:
    """Return how many series of each owner make at most `most` in all, one at least; None: all of them."""
    if data.num_series <= most:
        return None
    return max(1, most // min(most, len(np.unique(read_owners(data, run)))))


def sample_owners(
    data: TrainingData, run: Run, purpose: str, most: int, seed: int, limit: int
) -> TrainingData:
    """Return random owners, at most `most`, and of each at most `limit` of its series, at random."""
    owners = read_owners(data, run)
    rng = make_keyed_generator(seed, 0, f"attacked {purpose}")
    chosen = rng.permutation(int(owners.max(initial=-1)) + 1)[:most]
    order = rng.permutation(data.num_series)
    order = order[np.isin(owners[order], chosen)]
    turn = pd.Series(order).groupby(owners[order]).cumcount().to_numpy()  # among its owner's series
    keep = np.sort(order[turn < limit])
    return replace(
        data,
        rows=data.rows[keep],
        entity_codes=data.entity_codes[keep],
        labels=None if data.labels is None else data.labels[keep],
        statics=tuple(each.take(keep) for each in data.statics),
    )


def assign_groups(
    context: PipelineContext, bank: Bank, train: TrainingData, held_out: TrainingData
) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each member's series, and the one each non-member's would be in."""
    members = Members.load(context.run.need(context.run.cluster_files.members, "bank"))
    places = np.searchsorted(TrainingData.open(context.run).rows, train.rows)
    return members.groups[places], assign_non_members(context, held_out, members, bank)[1]


def find_owners_by_value(
    settings: config.Config, bank: Bank, *sides: tuple[TrainingData, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return for each value of a categorical or boolean attribute which members and non-members have it, [E]
    bool each; for those that as many members as a group needs have.

    Args:
        sides: members and non-members, with the owner of each series.
    """
    if bank.statics is None:
        return {}
    found = []
    for data, owners in sides:
        values = bank.statics.read(select_training_statics(settings, data))
        codes = np.unique(owners, return_inverse=True)[1]
        parts: dict[str, np.ndarray] = {}
        for place, column in enumerate(bank.statics.columns):
            for code, name in enumerate(() if column.is_number else column.categories):
                has = np.bincount(codes, weights=values[:, place] == code) > 0
                parts[f"{column.name} {name}"] = has
        found.append(parts)
    members, non_members = found
    return {
        name: (who, non_members[name])
        for name, who in members.items()
        if who.sum() >= bank.minimum_group_size
    }


def describe_series(
    settings: config.Config, bank: Bank, members: TrainingData, non_members: TrainingData
) -> DescribedSeries | None:
    """Return the attributes of real series and of those to be released, as the released table writes them;
    None where there is none.
    """
    if bank.statics is None:
        return None
    columns = bank.statics.columns
    made = plan_series(settings.generate, bank).values
    assert made is not None
    real = [
        encode_columns(columns, select_training_statics(settings, data)) for data in (members, non_members)
    ]
    rows = [
        np.array([SEPARATOR.join(map(AttributeColumn.format, columns, row)) for row in values])
        for values in (*real, made)
    ]
    return DescribedSeries(*rows)


# --------------------------------------------------------------------------------------------- the networks


def make_embedding(context: PipelineContext, data: TrainingData) -> Embed:
    """Return the run's encoder, with location and scale, which it does not see: [n, L, C] -> [n, d + 2C]."""
    encoder = load_encoder(context.settings, context.run, data.store).to(context.parallel.device).eval()
    scaler = data.scaler
    size = context.settings.encoder.batch_size

    @torch.inference_mode()
    def embed(series: np.ndarray) -> np.ndarray:
        found = []
        for first in range(0, len(series), size):
            values = series[first : first + size]
            attributes = scaler.compute_attributes(values)
            scaled = torch.from_numpy(scaler.scale(values, attributes)).to(context.parallel.device)
            mask = ~scaled.isnan()
            latents = encoder(scaled.nan_to_num(), mask.float())[0].cpu().numpy()
            whole = scaler.complete_attributes(attributes, mask.float().cpu())
            numbers = tracing.stack_entity_numbers(latents, whole)
            found.append(numbers[:, : latents.shape[1] + 2 * attributes.shape[1]])  # not their squares
        return np.concatenate(found) if found else np.empty((0, 0))

    return embed


@torch.inference_mode()
def score_white_box(
    context: PipelineContext,
    bank: Bank,
    *sides: tuple[TrainingData, np.ndarray],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return scores of members' and non-members' series: the discriminator's logits (LOGAN: Hayes et al.
    2019), what the family says of its generator, and the autoencoder's reconstruction error.
    """
    vae = load_vae(context.settings, context.run, sides[0][0].store).to(context.parallel.device).eval()
    judges = load_judges(context, sides[0][0])
    size = context.settings.encoder.batch_size
    scores: dict[str, list[np.ndarray]] = {name: [] for name in (*judges, "autoencoder")}
    for data, where in sides:
        found_scores: dict[str, list[np.ndarray]] = {name: [] for name in scores}
        values = None
        if bank.statics is not None:
            own_statics = bank.statics.read(select_training_statics(context.settings, data))
            values = bank.statics.combine(own_statics, where)
        for first in range(0, data.num_series, size):
            series, mask = (
                each.to(context.parallel.device) for each in data.read_scaled(first, first + size)
            )
            again = vae.decoder(vae.encoder(series, mask)[0])
            error = ((again - series).square() * mask).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1)
            found_scores["autoencoder"].append(-error.cpu().numpy())
            part = slice(first, first + size)
            own = None if values is None else values[part]
            given = torch.from_numpy(bank.make_conditions(where[part], data.attributes[part], own))
            for name, judge in judges.items():
                found_scores[name].append(judge(series, mask, given.to(context.parallel.device)))
        for name, found in found_scores.items():
            if found:
                scores[name].append(np.concatenate(found))
    return {name: (found[0], found[1]) for name, found in scores.items() if found}


def load_judges(context: PipelineContext, data: TrainingData) -> dict[str, Judge]:
    """Return what scores series by the run's networks, by their name: (series, mask, condition) -> [n]."""
    judges: dict[str, Judge] = {}
    discriminator = load_discriminator(context, data)
    if discriminator is not None:
        judges["discriminator"] = lambda series, mask, condition: _read(
            discriminator(series, condition).float().mean(1)
        )
    score = models.find_score(context.settings)
    if score is not None:
        generator = load_generator(context.settings, context.run).to(context.parallel.device).eval()
        judges["generator"] = lambda *given: _read(score(generator, *given))
    return judges


def _read(scores: Tensor) -> np.ndarray:
    found: np.ndarray = scores.float().cpu().numpy()
    return found


def load_discriminator(context: PipelineContext, data: TrainingData) -> torch.nn.Module | None:
    """Return the discriminator of the newest checkpoint; None where there is none, or it takes no series."""
    known = count_labels(context.settings, context.run)
    network = models.build(context.settings, data.store.length, data.store.channels, known).get(
        "discriminator"
    )
    if network is None or not context.settings.model.judges_series:
        return None
    found = checkpoint.load_latest(
        context.run.checkpoints("gan"), wanted=lambda name: name == "discriminator"
    )
    if found is None:
        return None
    network.load_state_dict(found.state["discriminator"])
    return network.to(context.parallel.device).eval()
