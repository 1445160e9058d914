"""Imports only point down, lazy ones included, and heavy libraries stay in their homes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [
    {
        "config",
        "layers",
        "losses",
        "errors",
        "files",
        "csvtext",
        "draws",
        "levels",
        "arguments",
        "preflight",
        "runs",
        "schedules",
        "progress",
    },
    {"models", "data", "clustering", "parallel", "anonymity"},
    {"objectives", "conditions", "evaluation", "near_copies"},
    {"engine", "plan"},
    {"stages"},
    {"train"},
    {"sweep"},
    {"cli"},
]
FLOOR = {unit: height for height, units in enumerate(FLOORS) for unit in units}
GROUND_ORDER = [
    "errors",
    "files",
    "csvtext",
    "draws",
    "levels",
    "schedules",
    "progress",
    "runs",
    "config",
    "preflight",
    "arguments",
    "layers",
    "losses",
]  # within floor 0
HOMES = {
    "yaml": {"config"},
    "zarr": {"data.store", "data.formats.zarrs"},
    "xarray": {"data.formats.cf"},
    "h5py": {"data.formats.netcdf"},
    "openpyxl": {"data.formats.xlsx"},
    "faiss": {"clustering"},
    "dp_accounting": {"anonymity.dp.mechanism"},
    "opendp": {"anonymity.dp.mechanism"},
    "accelerate": {"parallel"},
    "deepspeed": {"parallel.zero"},
    "bokeh": {"evaluation.interactive"},
    "ray": {"sweep.cluster"},
    "optuna": {"sweep.cluster"},
}
MODULES = sorted((ROOT / "distgan").rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import of the file, wherever it stands; `from a import b` also as
    a.b.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "distgan").with_suffix("").parts).removesuffix(".__init__")


def broken(name: str, line: int, imported: str) -> str | None:
    """Why this import may not stand, or None."""
    if not imported.startswith("distgan."):
        return None
    unit, target = name.split(".")[0], imported.split(".")[1]
    if unit == target or target not in FLOOR:
        return None
    if FLOOR[target] < FLOOR[unit]:
        return None
    if FLOOR[unit] == FLOOR[target] == 0 and GROUND_ORDER.index(target) < GROUND_ORDER.index(unit):
        return None
    return f"{name}:{line} (floor {FLOOR[unit]}) imports {imported} (floor {FLOOR[target]})"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_down(path: Path) -> None:
    name = module_name(path)
    if name in ("", "__init__"):
        return
    assert name.split(".")[0] in FLOOR, f"{name} stands on no floor"
    assert [why for line, imported in imports(path) if (why := broken(name, line, imported))] == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_heavy_libraries_have_one_home(path: Path) -> None:
    name = module_name(path)
    strangers = [
        f"{name}:{line} imports {imported}"
        for line, imported in imports(path)
        if (home := HOMES.get(imported.split(".")[0])) and name not in home
    ]
    assert strangers == []


def test_a_broken_floor_is_noticed() -> None:
    assert broken("data.store", 3, "distgan.engine.loop")
    assert broken("conditions", 3, "distgan.evaluation.plots")
    assert not broken("engine.loop", 3, "distgan.parallel")


def test_names_hide_no_module_of_python() -> None:
    """As a script, train.py has its own folder on the path for a moment."""
    import sys

    names = {path.stem for path in (ROOT / "distgan").glob("*.py")} | {
        path.name for path in (ROOT / "distgan").iterdir() if path.is_dir()
    }
    assert not names & set(sys.stdlib_module_names)
