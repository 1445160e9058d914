"""Slices of a leak through the gate: does what is refused at once pass in slices of thirty or a hundred?

    python benchmarks/slices.py            3,000 members, 3,000 non-members, 12 slices of 30, 3 of 100: hours
    python benchmarks/slices.py --smoke    60 of each, 2 slices of 5 and 1 of 8

A made population goes through prepare, encoder, encode, cluster, bank, gan (the family gaussian) and
generate. Then the generator is replaced by one of which a part of the series are members' with 5 % of noise,
and `distgan release` judges one slice after another, each with a seed of its own: the same code, with the
ledger of releases, as for a user. Beside it stands what the fragment attacks say of each slice alone. One
thread. The last line is JSON.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import finish, show

from distgan import config, train
from distgan.commands import release
from distgan.data.store.reader import Store
from distgan.evaluation.attacks import battery
from distgan.evaluation.attacks.attack_data import AttackData, Side
from distgan.files import write_text
from distgan.pipeline import runner, sampler
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.training_data import TrainingData, open_for_inference
from distgan.rng import draw_keyed_normal, make_keyed_generator
from distgan.run import Run
from tests.leaks import leak_scenarios

STEPS, DAY = 336, 24
NOISE = 0.05  # of a series' deviation, on each leaked one
QUICK = [
    *("encoder.steps=30", "encoder.patch=24", "encoder.width=32", "encoder.depth=1", "encoder.latent_dim=8"),
    *("bank.condition_dim=4", "model=gaussian", "generate.count=30", "engine.threads=1"),
    "data.splits={train: 0.47, held_out: 0.47, reference: 0.06}",
]
Draw = Callable[[sampler.Sampler, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """A slice: how many series, and the seed that they are made with."""

    count: int
    seed: int


def train_run(folder: Path, owners: int) -> Run:
    """Train a run on as many made homes as give about `owners` members and non-members."""
    rng = make_keyed_generator(0, 0, "slices")
    values = leak_scenarios.draw_series(leak_scenarios.draw_homes(round(owners / 0.46), rng), STEPS, rng)
    source = folder / "homes.npz"
    ids = np.array([f"home-{row}" for row in range(len(values))])
    np.savez(
        source, x=values, ids=ids, channels=np.array(["load"]), t0=np.array("2024-01-01"), freq=np.array("1h")
    )
    arguments = ["--run-dir", str(folder / "run"), f"data.source={source}", *QUICK]
    stages = ["--stages", "prepare,encoder,encode,cluster,bank,gan,generate"]
    if train.main([*arguments, *stages]):
        raise SystemExit("the run was not trained")
    return Run(folder / "run")


def leaking(original: Draw, run: Run, share: float) -> Draw:
    """The sampler's `draw`, of which a part of the series, chosen by the noise, are members' with noise."""
    data = TrainingData.open(run)
    copies, attributes = data.read_scaled(0, data.num_series)[0].numpy(), data.attributes

    def draw(self: sampler.Sampler, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        series, levels = (part.copy() for part in original(self, rows))
        width = int(np.prod(series.shape[1:]))
        noise = draw_keyed_normal(self.seed, 0, "leak", torch.from_numpy(rows), (2 + width,)).numpy()
        which = (np.abs(noise[:, :2].astype(np.float64)) * 1e6).astype(np.int64)
        leaks, whom = which[:, 0] % 1000 < 1000 * share, which[:, 1] % len(copies)
        size = NOISE * np.nanstd(copies[whom], axis=1, keepdims=True)
        noisy = copies[whom] + size * noise[:, 2:].reshape(series.shape)
        series[leaks], levels[leaks] = noisy[leaks], attributes[whom][leaks]
        return series.astype(np.float32), levels

    return draw


def judge(run: Run, case: Case) -> dict[str, Any]:
    """Generate one slice, ask the gate, and remember the attempt; and attack the slice alone."""
    asked = {"generate.count": case.count, "generate.seed": case.seed}
    settings = config.load(run.config).with_values(asked, "slices")
    write_text(run.config, settings.to_yaml())
    runner.run(settings, run, ("generate",))
    verdict = release.judge(PipelineContext(settings, run, open_for_inference(settings)))
    if verdict.privacy is not None:
        release.remember(verdict.exit_code, settings, run)
    broken = [check.text for check in verdict.checks if not check.holds]
    privacy = verdict.privacy
    attacks = privacy.attacks if privacy is not None else []
    return {
        "series": case.count,
        "exit code": verdict.exit_code,
        "attacked": sum(filter(None, privacy.attacked.to_json().values())) if privacy is not None else 0,
        "over": ", ".join(each.id for each in attacks if each.outcome == battery.OVER) or str(broken),
        "alone": attack_alone(run) or "passes",
    }


def attack_alone(run: Run) -> str:
    """The fragment attacks that refuse the slice by itself, without earlier ones and without a sample."""
    store = Store.open(run.synthetic)
    sides = [TrainingData.open(run, (name,)) for name in ("train", "held_out")]
    members, others = (Side.from_series(side.store.read_rows(side.rows)) for side in sides)
    made = store.read_rows(np.arange(store.num_series))
    attack_data = AttackData(members, others, made[:0], made, DAY)
    fragment = [attack for attack in battery.BATTERY if attack.id in ("P1", "P2")]
    found = battery.run(attack_data, fragment).attacks
    return ", ".join(each.id for each in found if each.outcome == battery.OVER)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="tiny, in a minute")
    parser.add_argument("--owners", type=int, help="of each side")
    parser.add_argument("--share", type=float, default=0.1, help="of the generator's series that leak")
    given = parser.parse_args()
    owners = given.owners or (60 if given.smoke else battery.EVIDENCE)
    counts = [5, 5, 8] if given.smoke else [30] * 12 + [100] * 3
    with tempfile.TemporaryDirectory() as folder:
        run = train_run(Path(folder), owners)
        original = sampler.Sampler.draw
        sampler.Sampler.draw = leaking(original, run, given.share)  # type: ignore[method-assign]
        try:
            rows = [judge(run, Case(count, seed)) for seed, count in enumerate(counts, 1)]
        finally:
            sampler.Sampler.draw = original  # type: ignore[method-assign]
    show(f"{owners:,} members, {given.share:.0%} of the series are members' with noise", rows)
    refused = sum(row["exit code"] == 3 for row in rows)
    alone = sum(row["alone"] != "passes" for row in rows)
    finish(1, owners=owners, slices=len(rows), slices_refused=refused, slices_refused_alone=alone)


if __name__ == "__main__":
    main()
