"""The state of a training between two steps: one step, checkpoints, resuming and rollbacks."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import distgan
from distgan import rng
from distgan.engine import checkpoint
from distgan.engine.collapse_monitor import CollapseMonitor
from distgan.engine.ema import make_average
from distgan.engine.selection import Selector
from distgan.errors import Diverged, UserError, parsing
from distgan.files import read_record, write_json
from distgan.objectives.base import Objective, Phase
from distgan.parallel.optimized_network import OptimizedNetwork
from distgan.parallel.processes import Parallel
from distgan.run import Run, list_steps

log = logging.getLogger(__name__)

ROLLBACKS = "rollbacks.json"  # beside the checkpoints: how often training went back
OnReport = Callable[[int, dict[str, float]], None]
OnSample = Callable[[int, dict[str, nn.Module]], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Rate:
    """Learning rate and beta2 of one network's Adam in one step."""

    learning_rate: float
    beta2: float


@dataclass(frozen=True)
class Schedule:
    """Length, rates and intervals of a training. Steps count from 0; `every` counts finished steps; 0 is
    never.

    Args:
        batch_size: series per step over all processes.
        rates: for each network, its rate in a step; a network left out keeps its own.
        decay: what averages keep of themselves in a step (see `ema.compute_decay`).
        clip: largest gradient norm; 0 does not clip.
        micro_batch: series per process and forward pass, whose gradients add up; 0 is all at once.
        max_skips: steps in a row that may be skipped, for values that are not finite, before a rollback.
        max_rollbacks: returns to the last checkpoint, each at half the rates of the time before.
    """

    steps: int
    batch_size: int
    rates: Callable[[int], Mapping[str, Rate]]
    decay: Callable[[int], float] = lambda step: 0.0
    clip: float = 0.0
    report_every: int = 50
    sample_every: int = 0
    checkpoint_every: int = 200
    keep_last: int = 2
    keep_every: int = 0
    micro_batch: int = 0
    max_skips: int = 20
    max_rollbacks: int = 2


@dataclass(frozen=True)
class Job:
    """What is trained in a run, and the callbacks that receive its progress.

    Attributes:
        facts: JSON kept in every checkpoint; if it has an "identity" or "inputs", a checkpoint of others is
            refused.
        on_report: called on every process with the step and the means of its line.
        on_sample: called on every process with the networks to sample from; gives figures by name, or None.
        select: chooses the step whose weights are kept, and holds them; None keeps the last.
    """

    run: Run
    stage: str
    seed: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    on_report: OnReport | None = None
    on_sample: OnSample | None = None
    select: Selector | None = None


class SpoiledError(Exception):
    """Too many steps in a row were skipped, all for values that are not finite."""

    def __init__(self, step: int, phase: str) -> None:
        super().__init__(f"the loss or gradient of phase {phase} is not finite since step {step}")


def saves_in_background(device: torch.device) -> bool:
    """Return whether a thread writes checkpoints during training: only if the networks are not on the CPU."""
    return device.type != "cpu"


class Training:
    """The state of a training between two steps: networks, optimisers, averages, and the step they are at."""

    def __init__(
        self,
        objective: Objective,
        optimized_networks: Mapping[str, OptimizedNetwork],
        parallel: Parallel,
        schedule: Schedule,
        job: Job,
    ) -> None:
        self.objective, self.optimized_networks = objective, optimized_networks
        self.parallel, self.schedule = parallel, schedule
        self.folder, self.seed, self.facts = job.run.checkpoints(job.stage), job.seed, dict(job.facts)
        self.step, self.saved = 0, -1
        self.writer = checkpoint.Writer(background=saves_in_background(parallel.device))
        needed = {phase.network for phase in objective.phases} | set(objective.averaged)
        missing = needed - set(optimized_networks)
        assert not missing, f"no optimized network for {sorted(missing)}"
        self.averages = {name: make_average(optimized_networks[name]) for name in objective.averaged}
        self.selector = job.select
        self.rollbacks = 0
        self.collapse_monitor = CollapseMonitor(parallel.is_main)
        self.reset_skips()
        self.train_mode()

    def reset_skips(self) -> None:
        """Reset the counts of skipped steps, kept on the device: in a row up to now, and the longest row with
        the place where it began (step x phases + phase).
        """
        device = self.parallel.device
        self.row, self.longest = torch.zeros(2, device=device).unbind()
        self.began = torch.zeros((), dtype=torch.float64, device=device)
        self.first = torch.zeros((), dtype=torch.float64, device=device)

    def advance(self, batch: Any) -> dict[str, Tensor]:
        """Do one step: every phase that is due, then the moving averages. Return the scalars to report."""
        step, bad = self.step, torch.zeros((), dtype=torch.bool, device=self.parallel.device)
        assert batch.step == step, f"the loader gave batch {batch.step} at step {step}"
        shown: dict[str, Tensor] = {}
        buffers = [buffer for optimized in self.optimized_networks.values() for buffer in optimized.buffers]
        buffers_before = [buffer.clone() for buffer in buffers]
        factor = 0.5**self.rollbacks
        for name, rate in self.schedule.rates(step).items():
            self.optimized_networks[name].set_rate(factor * rate.learning_rate, rate.beta2)
        for place, phase in enumerate(self.objective.phases):
            if phase.is_due(step):
                values, norm = self.update(phase, batch)
                skipped = ~torch.isfinite(norm)
                self.note_skip(skipped & ~bad, step * len(self.objective.phases) + place)
                bad = bad | skipped
                values = {**values, "gradient_norm": norm, "skipped": skipped.float()}
                shown |= {f"{phase.name}/{name}": value for name, value in values.items()}
        self.row = torch.where(bad, self.row + 1, 0.0)
        self.first = torch.where(self.row > self.longest, self.began, self.first)
        self.longest = torch.maximum(self.longest, self.row)
        # Bad values have entered the statistics of batch normalisation, too.
        for buffer, before in zip(buffers, buffers_before, strict=True):
            buffer.copy_(torch.where(bad, before, buffer))
        for optimized in self.optimized_networks.values():
            optimized.align()
        for average in self.averages.values():
            average.update(self.schedule.decay(step))
        self.step += 1
        return shown

    def update(self, phase: Phase, batch: Any) -> tuple[Mapping[str, Tensor], Tensor]:
        """Minimise one phase's loss over its network while all others are frozen."""
        for name, optimized in self.optimized_networks.items():
            optimized.require_gradients(name == phase.network)
        torch.manual_seed(
            rng.derive_torch_seed(self.seed, self.step, f"phase {phase.name}", self.parallel.rank)
        )
        optimized, size = self.optimized_networks[phase.network], self.schedule.micro_batch
        if phase.gradient is not None:
            values, gradient = phase.gradient(batch)
            return values, optimized.apply(gradient, self.schedule.clip)
        parts = batch.split(size) if 0 < size < len(batch.sample) else [batch]
        losses: Iterable[Mapping[str, Tensor]] = (phase.loss(part) for part in parts)
        if phase.skip is not None:
            losses = list(losses)  # the rule looks at all of them before any gradient
            if phase.skip(self.average_over_processes(_average_micro_batches(losses))):
                zero = torch.zeros((), device=self.parallel.device)
                return _average_micro_batches(losses) | {"frozen": zero + 1}, zero
        every: list[Mapping[str, Tensor]] = []
        for values in losses:
            optimized.backward(values["loss"] / len(parts) if len(parts) > 1 else values["loss"])
            every.append({name: value.detach() for name, value in values.items()})
        norm = optimized.step(self.schedule.clip)
        frozen = {} if phase.skip is None else {"frozen": torch.zeros_like(norm)}
        return _average_micro_batches(every) | frozen | optimized.collect_figures(), norm

    def average_over_processes(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the scalars' means over processes, read from the device."""
        means = self.parallel.average(torch.stack([value.detach().float() for value in values.values()]))
        return dict(zip(values, means.tolist(), strict=True))

    def note_skip(self, skipped: Tensor, place: int) -> None:
        """Note where a row of skipped steps begins."""
        self.began = torch.where(skipped & (self.row == 0), float(place), self.began)

    def check_finite(self) -> None:
        """Check that the longest row of skipped steps is below `max_skips`.

        Raises:
            SpoiledError: too many steps in a row were skipped on all processes, so training must roll back.
        """
        if float(self.longest) >= self.schedule.max_skips:
            step, place = divmod(int(self.first), len(self.objective.phases))
            raise SpoiledError(step, self.objective.phases[place].name)

    def roll_back(self, spoiled: SpoiledError) -> None:
        """Return to the last good checkpoint at half the rates.

        Raises:
            Diverged: the limit of rollbacks is reached, or there is no checkpoint.
        """
        self.finish_saving()
        good, times = list_steps(self.folder), self.schedule.max_rollbacks
        if not good or self.rollbacks >= times:
            why = f"{self.rollbacks} rollbacks did not help" if good else "no checkpoint was saved before"
            raise Diverged(
                f"{spoiled} ({why}; last checkpoint: {f'step {good[-1]}' if good else 'none'}); "
                "lower the learning rate or set train.clip, in a new run_dir"
            ) from None
        rollbacks = self.rollbacks + 1
        self.parallel.run_on_main(lambda: write_json(self.folder / ROLLBACKS, {"rollbacks": rollbacks}))
        self.resume()
        self.reset_skips()
        if self.parallel.is_main:
            log.warning(
                "%s; back to step %d at %g x the learning rates (rollback %d of %d)",
                spoiled,
                self.step,
                0.5**self.rollbacks,
                self.rollbacks,
                times,
            )

    def is_due(self, every: int) -> bool:
        """Return whether the step just finished is the last, or one of each `every`."""
        return self.is_finished or (every > 0 and self.step % every == 0)

    @property
    def is_finished(self) -> bool:
        """Return whether no step is left, or the validation score has not improved for long enough."""
        return self.step >= self.schedule.steps or (self.selector is not None and self.selector.is_finished)

    @property
    def is_selecting(self) -> bool:
        """Return whether the step just finished is to be scored."""
        return self.selector is not None and self.step % self.selector.rule.every == 0

    def select(self) -> dict[str, Tensor]:
        """Score the weights that would be kept at this step; return the scalar to show."""
        assert self.selector is not None
        loss = self.selector.evaluate(self.step, self.collect_networks())
        self.train_mode()
        return {f"validation/{self.selector.rule.name}": torch.tensor(loss, device=self.parallel.device)}

    def collect_networks(self) -> dict[str, nn.Module]:
        """Return the networks to sample from, in evaluation mode."""
        plain = {
            n: optimized.gather_network()
            for n, optimized in self.optimized_networks.items()
            if n not in self.averages
        }
        averaged = {name: average.network for name, average in self.averages.items()}
        return {name: network.eval() for name, network in (plain | averaged).items()}

    def train_mode(self) -> None:
        for optimized in self.optimized_networks.values():
            optimized.plain.train()

    def collect_state(self) -> checkpoint.TensorFiles:
        """Return `generator` (weights as a state_dict), `generator.optimiser`, `generator.average`, …"""
        files: checkpoint.TensorFiles = {}
        for name, optimized in self.optimized_networks.items():
            state = optimized.collect_state()
            files |= {name: state["weights"], f"{name}.optimiser": state["optimiser"]}
            if "scaler" in state:
                files[f"{name}.scaler"] = state["scaler"]
        files |= {f"{name}.average": average.collect_state() for name, average in self.averages.items()}
        return files if self.selector is None else files | self.selector.collect_state()

    def save(self) -> None:
        """Save one checkpoint for all processes, unless this step has one or is skipped while there is an
        earlier one: a rollback must find what was before, also after a signal and a resume.
        """
        if self.saved == self.step:
            return
        in_trouble = 0 < float(self.row) < self.step and not self.is_finished
        if in_trouble and list_steps(self.folder):
            return
        facts = self.facts | {
            "series": self.step * self.schedule.batch_size,
            "world_size": self.parallel.world_size,
            "distgan": distgan.__version__,
            "torch": torch.__version__,
        }
        if self.selector is not None:
            facts |= self.selector.collect_facts()
        state = self.collect_state()
        self.parallel.run_on_main(
            lambda: self.writer.save(
                self.folder, self.step, state, facts, self.schedule.keep_last, self.schedule.keep_every
            )
        )
        self.saved = self.step

    def finish_saving(self) -> None:
        """Wait until what was saved is on the disk, or raise its error on all processes."""
        self.parallel.run_on_main(self.writer.finish)

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, if there is any.

        Raises:
            UserError: all are damaged, or the newest is of another run or beyond the last step.
        """
        found = (
            checkpoint.load_latest(self.folder)
            if self.parallel.world_size == 1
            else self.find_common_checkpoint()
        )
        if found is not None:
            self.load(found)
            path = self.folder / ROLLBACKS
            with parsing(path):
                self.rollbacks = int(read_record(path, "rollbacks")["rollbacks"]) if path.exists() else 0

    def find_common_checkpoint(self) -> checkpoint.Checkpoint | None:
        """Return the newest whole checkpoint that rank 0 finds; the others read and verify the same one."""
        found: list[checkpoint.Checkpoint | None] = []

        def choose_step() -> int | None:
            found.append(checkpoint.load_latest(self.folder))
            return None if found[0] is None else found[0].step

        step = self.parallel.run_on_main(choose_step)
        if self.parallel.is_main:
            return found[0]
        return None if step is None else checkpoint.load(self.folder, step)

    def refuse_other(self, saved: checkpoint.Checkpoint) -> None:
        """
        Raises:
            UserError: the checkpoint is of another run, of other inputs, or beyond the last step.
        """
        identity, saved_identity = self.facts.get("identity"), saved.facts.get("identity")
        if None not in (identity, saved_identity) and identity != saved_identity:
            raise UserError(
                f"{self.folder} belongs to other data, another model or other losses (identity "
                f"{saved_identity}, now {identity}); choose another run_dir"
            )
        inputs, saved_inputs = self.facts.get("inputs"), saved.facts.get("inputs")
        if None not in (inputs, saved_inputs) and inputs != saved_inputs:
            raise UserError(
                f"{self.folder} was trained on other series or conditions than the run now holds; remove "
                "that folder to train from the start, or choose another run_dir"
            )
        if saved.step > self.schedule.steps:
            raise UserError(
                f"{self.folder} is at step {saved.step}, but only {self.schedule.steps} steps are set; raise "
                "the number of steps, or choose another run_dir"
            )

    def load(self, saved: checkpoint.Checkpoint) -> None:
        """Restore networks, optimizers, averages, the step and the selection from a checkpoint.

        Raises:
            UserError: as `refuse_other`, or the checkpoint is of other networks.
        """
        self.refuse_other(saved)
        try:
            for name, optimized in self.optimized_networks.items():
                files = {"weights": name, "optimiser": f"{name}.optimiser", "scaler": f"{name}.scaler"}
                optimized.restore({k: saved.state[f] for k, f in files.items() if f in saved.state})
            for name, average in self.averages.items():
                average.restore(saved.state[f"{name}.average"])
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.folder} belongs to other networks ({reason}); choose another run_dir"
            ) from error
        self.step = self.saved = saved.step
        if self.selector is not None:
            self.selector.restore(saved.facts, saved.state)


def _average_micro_batches(every: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each scalar over micro-batches, without its gradient."""
    return {name: torch.stack([values[name].detach() for values in every]).mean(0) for name in every[0]}
