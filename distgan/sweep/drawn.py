"""From drawn values to a trial: its folder, its settings, and the steps at which it is scored."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distgan import config
from distgan.errors import UserError
from distgan.run import Run
from distgan.sweep.files import CONFIRM, SEARCH, SweepFiles
from distgan.sweep.trial import (
    Trial,
    active_values,
    evaluation_steps,
    failed_evaluations,
    take_over_checkpoint,
    wait_until_free,
)


def prepare_trial(
    drawn: Mapping[str, Any], home: Run, settings: config.Config, identifier: str, checkpoint: Any
) -> tuple[Trial, list[int]]:
    """The trial, its folder ready to go on, and the steps at which it is scored."""
    folder = trial_folder(drawn, home, settings, identifier)
    folder.mkdir(parents=True, exist_ok=True)
    wait_until_free(Run(folder))
    trial = Trial(folder)
    if "confirm" in drawn:
        return trial, [trial.settings.train.steps]
    values = trial_values(drawn, settings)
    try:
        own = settings.with_values(values)
    except UserError as error:  # values that are right each, and wrong together
        trial.open(settings.with_values({}), values, SweepFiles(home.folder).shared)
        if not trial.looks:
            trial.keep(
                failed_evaluations(evaluation_steps(settings)[0], settings.sweep.objectives, str(error))
            )
        return trial, evaluation_steps(settings)
    trial.open(own, values, SweepFiles(home.folder).shared)
    if checkpoint is not None:
        with checkpoint.as_directory() as place:
            take_over_checkpoint(trial, own, values, Path(place))
    return trial, evaluation_steps(settings)


def trial_folder(drawn: Mapping[str, Any], home: Run, settings: config.Config, identifier: str) -> Path:
    """Named by the values, so that a sweep begun again finds it; where values are exchanged, by Ray."""
    if "confirm" in drawn:
        return SweepFiles(home.folder).trial(CONFIRM, drawn["confirm"])
    if settings.sweep.scheduler == "pbt":
        return SweepFiles(home.folder).trial(SEARCH, identifier)
    content = json.dumps(trial_values(drawn, settings), sort_keys=True)
    return SweepFiles(home.folder).trial(SEARCH, hashlib.sha256(content.encode()).hexdigest()[:8])


def trial_values(drawn: Mapping[str, Any], settings: config.Config) -> dict[str, Any]:
    """The drawn values that count, as YAML knows them."""
    return active_values({name: plain_value(value) for name, value in drawn.items()}, settings)


def plain_value(value: Any) -> Any:
    """A drawn value as YAML knows it: no numpy number; six digits, so that a config can be read."""
    value = value.item() if hasattr(value, "item") else value
    return float(f"{value:.6g}") if isinstance(value, float) else value
