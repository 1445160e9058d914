"""`distgan inspect`: a bank, a store of series, an export, a run folder, or a source."""

from distgan.arguments import Inspection
from distgan.command_line import Result
from distgan.commands import inspect_bank, inspect_export, inspect_run, inspect_store
from distgan.errors import UserError
from distgan.pipeline import source_summary
from distgan.preflight import refuse_no_run
from distgan.run import HubFolder, Run, is_store


def run(request: Inspection) -> Result:
    """Describe the path of the request.

    Raises:
        UserError: it cannot be read, is damaged, or an option is of another kind of thing.
    """
    path, alone = request.path, len(request.positional) == 1 and request.config is None
    of_store = request.verify or request.picture is not None
    is_bank = inspect_bank.is_bank(path)  # which has a manifest, as a store has
    if alone and is_store(path) and not is_bank:
        return inspect_store.run(path, request.picture, request.verify)
    if of_store:
        raise UserError(
            f"{path} is no store of series; --verify and --picture need one, e.g. distgan inspect "
            "runs/demo/series.zarr --verify"
        )
    if alone and inspect_export.is_export(path):
        return inspect_export.run(HubFolder(path))
    is_run = Run(path).config.exists()  # or a folder of tables with a config beside them
    if not alone and (is_bank or (is_run and Run(path).records.is_dir())):
        raise UserError(
            f"{path} is {'a bank' if is_bank else 'a run folder'}; --config and settings are of a source of "
            "series, so leave them out"
        )
    if alone and is_bank:
        return inspect_bank.run(path)
    if alone and is_run:
        refuse_no_run(Run(path))
        return inspect_run.run(Run(path))
    return Result(*source_summary.examine(source_summary.parse(request.positional, request.config)))
