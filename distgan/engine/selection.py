"""Choose the step whose generator is kept, by a score on the validation split; stop early.

Checkpoints hold the evaluations so far and the weights of the best one, so a run that was killed between two
evaluations makes the same choice as an uninterrupted one.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from distgan.parallel.processes import Parallel

Networks = dict[str, nn.Module]
SELECTED = "selected"  # the weights of the best evaluation in a checkpoint


@dataclass(frozen=True)
class Evaluation:
    """The loss on the validation split after `step` updates; None where it is not finite.

    `seconds` is the time of this evaluation, `training` that of the steps before it since the last one, both
    on rank 0.
    """

    step: int
    loss: float | None
    seconds: float = 0.0
    training: float = 0.0


@dataclass(frozen=True)
class Rule:
    """The rule by which the step is chosen.

    Attributes:
        name: of the score, as in `train.select.score`.
        every: steps between two evaluations, counted from 0; so a longer training repeats those of a shorter.
        patience: evaluations in a row without a better one after which training ends; 0 never ends it.
        sampler: joins the networks to the module whose weights are kept.
        score: called on rank 0 with the step and that module in evaluation mode; returns a loss, 0 is best.
    """

    name: str
    every: int
    patience: int
    sampler: Callable[[Networks], nn.Module]
    score: Callable[[int, nn.Module], float]


class Selector:
    """The evaluations of one training, and the weights of the best one, which rank 0 keeps in CPU memory."""

    def __init__(self, rule: Rule, parallel: Parallel) -> None:
        self.rule, self.parallel = rule, parallel
        self.evaluations: list[Evaluation] = []
        self.weights: dict[str, Tensor] = {}
        self.since = time.monotonic()

    @property
    def best(self) -> Evaluation | None:
        return find_best(self.evaluations)

    @property
    def is_finished(self) -> bool:
        """Return whether training ends because `patience` evaluations in a row were not better."""
        return is_over(self.evaluations, self.rule.patience)

    def evaluate(self, step: int, networks: Networks) -> float:
        """Score the networks after `step` updates, and keep them if none was better; return the loss.

        All processes call it together and get the same loss. It does not change the random numbers of the
        training.
        """
        sampler = self.rule.sampler(networks)
        begun = time.monotonic()

        def score_main() -> dict[str, float | None]:
            loss = self.rule.score(step, sampler)
            seconds = round(time.monotonic() - begun, 3)
            training = round(begun - self.since, 3)
            return {"loss": loss if math.isfinite(loss) else None, "seconds": seconds, "training": training}

        found: Any = self.parallel.run_on_main(score_main)
        self.evaluations.append(Evaluation(step, **found))
        if self.best is not None and self.best.step == step and self.parallel.is_main:
            self.weights = copy_weights(sampler)
        self.since = time.monotonic()
        return math.nan if found["loss"] is None else float(found["loss"])

    def collect_state(self) -> dict[str, dict[str, Tensor]]:
        """Return the tensors that a checkpoint adds to its files."""
        return {SELECTED: self.weights} if self.weights else {}

    def collect_facts(self) -> dict[str, Any]:
        """Return what a checkpoint adds to its facts."""
        return {"selection": [asdict(found) for found in self.evaluations]}

    def restore(self, facts: Mapping[str, Any], state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Continue from a checkpoint; evaluations of later steps are dropped and repeated."""
        self.evaluations = [Evaluation(**found) for found in facts.get("selection", [])]
        self.weights = dict(state.get(SELECTED, {})) if self.parallel.is_main else {}
        self.since = time.monotonic()

    def fill(self, sampler: nn.Module) -> None:
        """Load the weights of the best evaluation, if one was finite, into the `sampler` of rank 0."""
        if self.weights:
            sampler.load_state_dict(self.weights)


def find_best(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """Return the first evaluation with the smallest loss; None where no loss is finite."""
    finite = [found for found in evaluations if found.loss is not None]
    return min(finite, key=lambda found: (found.loss, found.step), default=None)


def is_over(evaluations: Sequence[Evaluation], patience: int) -> bool:
    """Return whether the best evaluation is `patience` evaluations ago, or more."""
    if patience == 0 or not evaluations:
        return False
    best = find_best(evaluations)
    since = [found for found in evaluations if best is None or found.step > best.step]
    return len(since) >= patience


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of all parameters and buffers in CPU memory, by name."""
    return {
        name: torch.empty_like(tensor, device="cpu").copy_(tensor.detach())
        for name, tensor in network.state_dict().items()
    }
