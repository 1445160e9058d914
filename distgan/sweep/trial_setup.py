"""From sampled values to a trial: its folder, its settings, and the steps at which it is scored."""

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
    list_evaluation_steps,
    make_failed_evaluation,
    select_active_values,
    take_over_checkpoint,
    wait_until_free,
)


def prepare_trial(
    drawn: Mapping[str, Any], root: Run, settings: config.Config, identifier: str, checkpoint: Any
) -> tuple[Trial, list[int]]:
    """Return the trial, its folder ready to go on, and the steps at which it is scored."""
    folder = locate_trial(drawn, root, settings, identifier)
    folder.mkdir(parents=True, exist_ok=True)
    wait_until_free(Run(folder))
    trial = Trial(folder)
    if "confirm" in drawn:
        return trial, [trial.settings.train.steps]
    values = select_trial_values(drawn, settings)
    try:
        own = settings.with_values(values)
    except UserError as error:  # values that are right each, and wrong together
        trial.open(settings.with_values({}), values, SweepFiles(root.folder).shared)
        if not trial.evaluations:
            trial.keep(
                make_failed_evaluation(
                    list_evaluation_steps(settings)[0], settings.sweep.objectives, str(error)
                )
            )
        return trial, list_evaluation_steps(settings)
    trial.open(own, values, SweepFiles(root.folder).shared)
    if checkpoint is not None:
        with checkpoint.as_directory() as place:
            take_over_checkpoint(trial, own, values, Path(place))
    return trial, list_evaluation_steps(settings)


def locate_trial(drawn: Mapping[str, Any], root: Run, settings: config.Config, identifier: str) -> Path:
    """Return a folder named by the values, so that a sweep begun again finds it; where values are exchanged,
    named by Ray.
    """
    if "confirm" in drawn:
        return SweepFiles(root.folder).locate_trial(CONFIRM, drawn["confirm"])
    if settings.sweep.scheduler == "pbt":
        return SweepFiles(root.folder).locate_trial(SEARCH, identifier)
    content = json.dumps(select_trial_values(drawn, settings), sort_keys=True)
    return SweepFiles(root.folder).locate_trial(SEARCH, hashlib.sha256(content.encode()).hexdigest()[:8])


def select_trial_values(drawn: Mapping[str, Any], settings: config.Config) -> dict[str, Any]:
    """Return the drawn values that are in use, as plain numbers and text."""
    return select_active_values({name: simplify_value(value) for name, value in drawn.items()}, settings)


def simplify_value(value: Any) -> Any:
    """Return a drawn value as YAML writes it: no numpy number; six digits, so that a config can be read."""
    value = value.item() if hasattr(value, "item") else value
    return float(f"{value:.6g}") if isinstance(value, float) else value
