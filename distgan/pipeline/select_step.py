"""The choice of a GAN's step on the validation split: what `train.select` asks for."""

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from distgan import models, rng
from distgan.anonymity.bank import Bank
from distgan.data.store.private_table import VALIDATION, read_table
from distgan.engine.selection import Evaluation, Rule, Selector
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.sampler import Sampler
from distgan.pipeline.training_data import number_owners, open_series, read_scaler, select_rows
from distgan.rng import make_keyed_generator

if TYPE_CHECKING:
    from distgan.evaluation.metrics.validation import Validation  # with sklearn, a second to import

SCORE = "train.select.score"


def make_selector(context: PipelineContext) -> Selector | None:
    """Return the choice that the settings ask for, or None. The validation series are read when they are
    first needed, by rank 0 alone.

    Raises:
        UserError: there is no such score.
    """
    chosen = context.settings.train.select
    if chosen.score is None:
        return None
    from distgan.evaluation.metrics.validation import check_score

    check_score(chosen.score, SCORE)
    scorer = StepScorer(context, chosen.score)
    rule = Rule(
        chosen.score,
        chosen.every,
        chosen.patience,
        sampler=lambda networks: models.join_sampler(context.settings, networks),
        score=scorer.score,
    )
    return Selector(rule, context.parallel)


class StepScorer:
    """Scorer that generates series from the same noise at each evaluation."""

    def __init__(self, context: PipelineContext, name: str) -> None:
        self.context, self.name = context, name
        self.validation: Validation | None = None

    def score(self, step: int, sampler: nn.Module) -> float:
        """Return the loss of the series that `sampler` generates after `step` updates.

        Raises:
            UserError: there are too few validation series.
        """
        if self.validation is None:
            self.validation = self.read_validation()
        settings = self.context.settings
        seed = int(rng.make_keyed_generator(settings.seed, 0, "validation").integers(2**62))
        asked = {"count": settings.train.select.series, "seed": seed, "table": None}
        scaler, _ = read_scaler(self.context.run)
        chosen = settings.generate.model_copy(update={**asked, "attributes": {}, "shares": {}})
        series = Sampler.from_bank(sampler, scaler, chosen, Bank.load(self.context.run.bank))
        made = series.generate(np.arange(chosen.count), chosen.batch_size)
        return self.validation.compute_loss(self.name, made)

    def read_validation(self) -> "Validation":
        """Measure the validation series beside training series; of many, a random part."""
        from distgan.evaluation.metrics.validation import Validation

        run, seed = self.context.run, self.context.settings.seed
        data, table = open_series(run), read_table(run.private_table)
        rows = {}
        for split in ("train", VALIDATION):
            found = select_rows(data, table, split, run)
            most = min(len(found), self.context.settings.train.select.series)
            draw = make_keyed_generator(seed, 0, f"validation {split}")
            rows[split] = np.sort(draw.choice(found, most, replace=False))
        owners = number_owners(table, data, rows[VALIDATION])
        train, real = (data.read_rows(found) for found in rows.values())
        steps_per_day, count = data.meta.axis.steps_per_day, self.context.settings.train.select.series
        return Validation(train, real, owners, steps_per_day=steps_per_day, count=count, seed=seed)


def describe_choice(selector: Selector, steps: int) -> str:
    """Return a line on the chosen step, its score, an early end, and the cost of the evaluations."""
    best, done = selector.best, selector.evaluations
    if best is None:
        return f"{selector.rule.name} had no value on the validation series, so the last step is kept"
    ended = done[-1].step
    early = f", stopped early at step {ended:,}" if ended < steps else ""
    return (
        f"kept step {best.step:,} by {selector.rule.name} {best.loss:.4g} on the validation series"
        f"{early} ({len(done)} evaluations, {describe_cost(done)})"
    )


def describe_cost(done: list[Evaluation]) -> str:
    """Return `12 s, 3.4 % of the training's time`."""
    scoring, training = sum(found.seconds for found in done), sum(found.training for found in done)
    share = scoring / max(scoring + training, 1e-9)
    return f"{scoring:.3g} s, {share:.1%} of the training's time"


def collect_choice(selector: Selector, steps: int) -> dict[str, Any]:
    """Return what the stage's record keeps of the choice."""
    best = selector.best
    return {
        "score": selector.rule.name,
        "step": None if best is None else best.step,
        "loss": None if best is None else best.loss,
        "text": describe_choice(selector, steps),
        "evaluations": selector.collect_facts()["selection"],
    }
