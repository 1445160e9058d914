"""Train the best trial and the unchanged config on fresh seeds, since a search also selects for luck."""

import shutil
from pathlib import Path

from distgan import config
from distgan.run import Run
from distgan.sweep.files import CONFIRM, SweepFiles
from distgan.sweep.results import BEST, DEFAULT, Result, make_best_config
from distgan.sweep.trial import Trial, make_shared


def prepare_confirmation(settings: config.Config, root: Run, found: Result) -> list[str]:
    """Make folders `confirm/NAME`, ready to be trained; a fresh seed draws its own splits, weights and noise.

    Returns:
        The names: best-seed-1, default-seed-1, …
    """
    both = {BEST: make_best_config(settings, found, ""), DEFAULT: settings.with_values({})}
    names = []
    for seed in range(settings.seed + 1, settings.seed + 1 + settings.sweep.confirm):
        shared = SweepFiles(root.folder).locate_shared(seed)
        make_shared(settings.model_copy(update={"seed": seed}), shared)
        for label, own in both.items():
            name = f"{label}-seed-{seed}"
            folder = SweepFiles(root.folder).locate_trial(CONFIRM, name)
            mine = own.model_copy(update={"seed": seed})
            remove_other(folder, mine)
            folder.mkdir(parents=True, exist_ok=True)
            Trial(folder).open(mine, {"seed": seed}, shared)
            names.append(name)
    return names


def remove_other(folder: Path, settings: config.Config) -> None:
    """Remove a confirmation of other settings: more trials found a better one."""
    trial = Trial(folder)
    if not trial.files.config.exists():
        return
    old = trial.settings
    if (old.identity, old.train.steps) != (settings.identity, settings.train.steps):
        shutil.rmtree(folder)
