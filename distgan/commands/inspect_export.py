"""`distgan inspect EXPORT`: the model of an exported folder, what its series are, and how to sample them."""

import json
from pathlib import Path

from distgan.api import Trained
from distgan.command_line import Result
from distgan.commands.inspect_bank import describe_attributes
from distgan.data.checks.fit import format_step
from distgan.errors import parsing
from distgan.files import read_json
from distgan.progress import format_count
from distgan.run import HubFolder


def run(folder: HubFolder) -> Result:
    """Describe an export.

    Raises:
        UserError: a file of it is missing or damaged.
        Mismatch: its bank contradicts its manifest.
    """
    with parsing(folder.hub_config):
        facts = dict(read_json(folder.hub_config))
        parameters, maker = int(facts["parameters"]), str(facts["distgan_version"])
    trained = Trained.open(folder)
    axis, meta, bank = trained.meta.axis, trained.meta, trained.bank
    units = f" in {meta.units}" if meta.units else ""
    lines = [
        f"export     {folder.folder}: model {trained.settings.model.name}, {parameters:,} parameters, "
        f"written by distgan {maker}",
        f"series     {axis.length:,} steps of {format_step(axis.step_seconds)} from {axis.start}: "
        f"{', '.join(meta.channels)}{units}",
        f"bank       {format_count(bank.num_groups, 'group')} of {min(bank.sizes)} to {max(bank.sizes)} "
        "entities",
        *([f"labels     {', '.join(trained.labels)}"] if trained.labels else []),
        *describe_attributes(bank),
        "",
        f"next       distgan.load({json.dumps(str(folder.folder))}).sample(100) in Python; verdict, scores "
        f"and limits: {folder.card.name}",
    ]
    tree = {
        **facts,
        "labels": list(trained.labels),
        "attributes": [] if bank.statics is None else bank.statics.to_json(),
        "groups": bank.num_groups,
    }
    return Result("\n".join(lines), tree)


def is_export(folder: Path) -> bool:
    """Return whether `distgan export RUN FOLDER` wrote the folder."""
    hub = HubFolder(folder)
    return hub.generator_weights.exists() and hub.hub_config.exists()
