"""From `model.name` to the section of a family: shipped, installed, or a file in the working directory.

Shipped sections import nothing heavy, so that a mistake in a config is answered at once. A family from
outside is imported, torch included, when a config names it and not before.
"""

import ast
import hashlib
import importlib.util
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, SerializeAsAny

from distgan.config.base import convert_lists
from distgan.config.families import FAMILIES
from distgan.config.family import FILTER_STAGES, STAGES, Family, OwnLoss, PrivateNetwork
from distgan.errors import UserError, reading
from distgan.files import read_text

GROUP = "distgan.families"  # entry points: NAME = package.module:Section
LARGEST = 1 << 20  # bytes of a family's file
NO_BUILD = (
    "has no function build(settings, length, channels, condition_dim, labels) that returns the networks"
)
RENAMED = {"seed": "tts_gan_fork"}  # older names of shipped families


def find_family(name: object) -> type[Family]:
    """Return the section of the family `name`.

    Raises:
        UserError: there is no such family, or its module cannot be imported or lacks a part.
    """
    if isinstance(name, str):
        if name in FAMILIES:
            return FAMILIES[name]
        if name in RENAMED:
            raise UserError(f"model.name {name!r} is now {RENAMED[name]!r}; write model: {RENAMED[name]}")
        if name.endswith(".py"):
            return _load_file(name)
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if isinstance(name, str) and name in installed:
        return _load_installed(installed[name])
    known = ", ".join([*FAMILIES, *sorted(installed)])
    raise UserError(
        f"model.name {name!r:.80} is not known; one of {known}, or a file of the working directory, NAME.py"
    )


def _load_file(name: str) -> type[Family]:
    """Import a file of the working directory, once, and return the section it defines.

    A folder in the name is refused, so that a run folder from elsewhere cannot supply the code that it names.

    Raises:
        UserError: there is no such file, or it cannot be imported or lacks a part.
    """
    if Path(name).name != name:
        raise UserError(
            f"model.name {name!r:.80} has a folder; a family's file stands in the working directory and is "
            f"named alone: {Path(name).name}"
        )
    with reading(name):
        path = Path.cwd() / name
        if not path.is_file():
            raise UserError(
                f"model.name {name!r:.80}: no such file in {path.parent}; run the command beside it"
            )
    module_name = f"distgan_family_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if module_name not in sys.modules:
        _refuse_other_programs(path, name)
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None  # the name ends with .py
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[module_name]
            raise UserError(f"model.name {name!r:.80}: {_describe(error, path)}") from error
    module = sys.modules[module_name]
    own = [each for each in vars(module).values() if _is_family(each) and each.__module__ == module_name]
    if len(own) != 1:
        raise UserError(
            f"model.name {name!r:.80}: {path.name} defines {len(own)} classes of settings; it needs one "
            "subclass of distgan.config.Family"
        )
    return _check_section(own[0], module, name)


def _refuse_other_programs(path: Path, name: str) -> None:
    """Look at a file without running it: a config from elsewhere may name any program of the directory.

    Raises:
        UserError: it is no Python, or has no `build` at its top level, and so is no family.
    """
    try:
        body = ast.parse(read_text(path, LARGEST)).body
    except (SyntaxError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"model.name {name!r:.80}: {_describe(error, path)}") from None
    imported = {
        alias.asname or alias.name
        for node in body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    if "build" not in imported | defined:
        raise UserError(f"model.name {name!r:.80} {NO_BUILD}")


def _load_installed(point: EntryPoint) -> type[Family]:
    """Import the section that an installed package registers as an entry point of `distgan.families`.

    Raises:
        UserError: it cannot be imported or lacks a part.
    """
    try:
        section = point.load()
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"model.name {point.name!r}: {point.value} cannot be imported ({what})") from error
    if not _is_family(section):
        raise UserError(f"model.name {point.name!r}: {point.value} is no subclass of distgan.config.Family")
    module = importlib.import_module(section.find_module_name())
    return _check_section(section, module, point.name)


def _check_section(section: type[Family], module: ModuleType, name: str) -> type[Family]:
    """Return the section of a family, if it is complete.

    Raises:
        UserError: a part that every family has is missing, or a capability has an impossible value.
    """
    if not callable(getattr(module, "build", None)):
        raise UserError(f"model.name {name!r:.80} {NO_BUILD}")
    if taken := sorted(set(section.model_fields) & Family.__class_vars__):
        raise UserError(
            f"model.name {name!r:.80}: {taken[0]} is the name of a capability and cannot be a key as well; "
            f"rename the key, or write {taken[0]}: ClassVar[…] = …"
        )
    if section.stages not in (STAGES, FILTER_STAGES):
        raise UserError(
            f"model.name {name!r:.80}: stages must be distgan.config.STAGES or distgan.config.FILTER_STAGES"
        )
    if section.own_loss not in get_args(OwnLoss):
        raise UserError(f"model.name {name!r:.80}: own_loss must be 'none', 'generator' or 'all'")
    if section.private_network not in get_args(PrivateNetwork):
        raise UserError(f"model.name {name!r:.80}: private_network must be 'discriminator' or 'generator'")
    return section


def _is_family(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Family) and thing is not Family


def _describe(error: BaseException, path: Path) -> str:
    """Return the place and the kind of a mistake in a family's file, in one line."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno} of {path.name} is no Python: {error.msg}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    where = f"line {lines[-1]} of {path.name}" if lines else path.name
    text = " ".join(str(error).split())[:200]
    return f"{where} raises {type(error).__name__}: {text}"


def _read_family(value: Any) -> Any:
    """Read a tree with a family's name by that family's section."""
    if not isinstance(value, dict):
        return value
    return find_family(value.get("name")).model_validate(convert_lists(value))


Model = Annotated[SerializeAsAny[Family], BeforeValidator(_read_family)]
