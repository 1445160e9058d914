"""The map of a sweep's folder, which is a run's with more in it, and of the folder of a trial."""

from dataclasses import dataclass
from pathlib import Path

from distgan.run import Run

SEARCH, CONFIRM = "trials", "confirm"  # the parts of a sweep


@dataclass(frozen=True)
class SweepFiles:
    """Files of a sweep beside its config, record and lock."""

    folder: Path

    @property
    def shared(self) -> Run:
        """The stages that all trials start from."""
        return Run(Run(self.folder).shared)

    def locate_shared(self, seed: int) -> Run:
        """Return the same for the runs of a confirmation with another seed."""
        return Run(self.folder / f"shared-seed-{seed}")

    def locate_trial(self, part: str, name: str) -> Path:
        """Return the folder of a trial of the search or of the confirmation."""
        return self.folder / part / name

    def list_trials(self, part: str) -> list["TrialFiles"]:
        """Return the trials of a part that have a record, in no order."""
        found = [TrialFiles(place) for place in self.folder.glob(f"{part}/*")]
        return [files for files in found if files.record.exists()]

    @property
    def states(self) -> Path:
        """States of trials, a line an event."""
        return self.folder / "states.jsonl"

    @property
    def table(self) -> Path:
        return self.folder / "trials.parquet"

    @property
    def best(self) -> Path:
        """The best trial's config, ready to be trained."""
        return self.folder / "best.yaml"

    @property
    def page(self) -> Path:
        return self.folder / "sweep.html"

    @property
    def ray(self) -> Path:
        """Ray's own state."""
        return self.folder / "ray"

    @property
    def temporary_note(self) -> Path:
        """Note of where Ray's temporary files are, for the sweep after a kill."""
        return self.ray / "temporary.json"


@dataclass(frozen=True)
class TrialFiles:
    """Files of a trial beside what any run has."""

    folder: Path

    @property
    def record(self) -> Path:
        """The drawn values and every evaluation."""
        return self.folder / "trial.json"

    @property
    def config(self) -> Path:
        """The config of the whole trial; the run's own is of the evaluation at hand."""
        return self.folder / "trial.yaml"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def ray(self) -> Path:
        """Ray Train's own state."""
        return self.folder / "ray"


def locate_origin(offer: Path) -> Path:
    """Return the file beside a checkpoint that trials exchange: of which trial and step it is."""
    return offer / "origin.json"
