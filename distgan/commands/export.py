"""`distgan export --networks`: plain weights out of a run's newest checkpoint."""

from pathlib import Path

from distgan.command_line import Result
from distgan.engine.export import export
from distgan.files import read_json
from distgan.run import ExportFolder, Run


def run(run: Run, place: Path | None) -> Result:
    """Write the weights to `place`, by default RUN/export.

    Raises:
        UserError: as `engine.export.export`.
    """
    text = export(run, place)
    out = place or run.exported
    return Result(text, {"out": str(out), **read_json(ExportFolder(out).facts)})
