"""The argument of every stage and of every command on a run: settings, run folder and processes."""

from dataclasses import dataclass, replace

from distgan import config
from distgan.parallel.processes import Parallel
from distgan.run import Run


@dataclass(frozen=True)
class PipelineContext:
    """Settings, run folder and processes, passed through the stages as one argument."""

    settings: config.Config
    run: Run
    parallel: Parallel

    def with_settings(self, settings: config.Config) -> "PipelineContext":
        return replace(self, settings=settings)


@dataclass(frozen=True)
class Shape:
    """Series a split, and what one series is."""

    train: int
    held_out: int
    reference: int
    length: int
    channels: int
    labels: int = 0  # different ones
    attribute_numbers: int = 0  # released of each group for the attributes of bank.by
    attribute_width: int = 0  # numbers of a condition for them, if no value is too rare
    validation: int = 0
