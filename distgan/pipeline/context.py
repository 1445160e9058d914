"""What every stage and every command on a run takes: the settings, the run's folder, and the processes."""

from dataclasses import dataclass, replace

from distgan import config
from distgan.parallel.processes import Parallel
from distgan.run import Run


@dataclass(frozen=True)
class PipelineContext:
    """Travels through the stages as one argument."""

    settings: config.Config
    run: Run
    parallel: Parallel

    def with_settings(self, settings: config.Config) -> "PipelineContext":
        return replace(self, settings=settings)
