"""Export the plain weights of a run's newest checkpoint, without optimizer state, for other programs."""

from pathlib import Path

import safetensors.torch

from distgan import config
from distgan.engine import checkpoint
from distgan.engine.selection import SELECTED
from distgan.errors import UserError
from distgan.files import refuse_standing, whole_folder, write_json, write_text
from distgan.run import ExportFolder, Run

STAGE = "gan"
AVERAGE = ".average"


def export(run: Run, out: Path | None = None) -> str:
    """Write `out` (by default `RUN/export/`): one safetensors file per network, the config and a note.

    The generator is its moving average of that step, whichever step `train.select` keeps. A discriminator,
    or a generator that is fitted to series directly, was trained on real ones and must not be published.
    Optimiser state is not read.

    Raises:
        UserError: something stands at `out`, the run has no checkpoint, or all are damaged.
    """
    folder, place = run.checkpoints(STAGE), out or run.exported
    refuse_standing(place)
    found = checkpoint.load_latest(folder, wanted=lambda name: not name.endswith((".optimiser", ".scaler")))
    if found is None:
        raise UserError(
            f"{folder} holds no checkpoint; run {run.format_command()}, or wait for its first checkpoint"
        )
    averaged = {name.removesuffix(AVERAGE): name for name in found.state if name.endswith(AVERAGE)}
    plain = {name: name for name in found.state if not name.endswith(AVERAGE) and name != SELECTED}
    chosen = plain | averaged
    with whole_folder(place) as temporary:
        made = ExportFolder(temporary)
        for name, file in chosen.items():
            made.weights(name).write_bytes(safetensors.torch.save(found.state[file]))
        write_text(made.config, config.from_tree(found.facts["config"]).to_yaml())
        facts = {
            key: found.facts[key] for key in ("identity", "series", "distgan", "torch") if key in found.facts
        }
        write_json(made.facts, {"step": found.step, "averaged": sorted(averaged), **facts})
    return f"{', '.join(sorted(chosen))} of step {found.step:,} in {place}"
