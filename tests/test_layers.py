"""Imports point down only, lazy ones included; heavy libraries have one home; functions stay short."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    {
        "config",
        "errors",
        "files",
        "csvtext",
        "rng",
        "run",
        "progress",
        "preflight",
        "arguments",
        "command_line",
    },
    {"data", "anonymity", "parallel"},
    {"objectives"},
    {"models", "evaluation"},
    {"engine", "planning"},
    {"pipeline"},
    {"train", "api"},
    {"sweep"},
    {"commands"},
    {"cli"},
]
LAYER = {unit: height for height, units in enumerate(LAYERS) for unit in units}
GROUND_ORDER = [
    "errors",
    "files",
    "csvtext",
    "rng",
    "progress",
    "run",
    "config",
    "preflight",
    "arguments",
    "command_line",
]
HOMES = {
    "yaml": {"config.loading", "config.schema"},
    "zarr": {"data.store.format", "data.store.reader", "data.store.writer", "data.formats.zarrs"},
    "xarray": {"data.formats.cf"},
    "h5py": {"data.formats.netcdf"},
    "openpyxl": {"data.formats.xlsx"},
    "faiss": {"anonymity.faiss_backend"},
    "dp_accounting": {"anonymity.dp.mechanism"},
    "opendp": {"anonymity.dp.mechanism"},
    "accelerate": {"parallel.processes"},
    "deepspeed": {"parallel.zero"},
    "bokeh": {"evaluation.plots.interactive"},
    "ray": {"sweep.ray_backend"},
    "optuna": {"sweep.ray_backend"},
}
LONGEST_FUNCTION = 60  # lines
MODULES = sorted((ROOT / "distgan").rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import of the file, wherever it stands; `from a import b` also as
    a.b.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "distgan").with_suffix("").parts).removesuffix(".__init__")


def explain_break(name: str, line: int, imported: str) -> str | None:
    """Why this import may not stand, or None."""
    if not imported.startswith("distgan."):
        return None
    unit, target = name.split(".")[0], imported.split(".")[1]
    if unit == target or target not in LAYER:
        return None
    if LAYER[target] < LAYER[unit]:
        return None
    if LAYER[unit] == LAYER[target] == 0 and GROUND_ORDER.index(target) < GROUND_ORDER.index(unit):
        return None
    if LAYER[unit] == LAYER[target] != 0 and not imports_back(target, unit):
        return None
    return f"{name}:{line} (layer {LAYER[unit]}) imports {imported} (layer {LAYER[target]})"


def imports_back(unit: str, other: str) -> bool:
    """Whether any module of `unit` imports one of `other`: two packages of a layer may not form a circle."""
    return any(
        imported.split(".")[:2] == ["distgan", other]
        for path in MODULES
        if module_name(path).split(".")[0] == unit
        for _, imported in imports(path)
    )


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_down(path: Path) -> None:
    name = module_name(path)
    if name in ("", "__init__"):
        return
    assert name.split(".")[0] in LAYER, f"{name} is in no layer"
    assert [why for line, imported in imports(path) if (why := explain_break(name, line, imported))] == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_heavy_libraries_have_one_home(path: Path) -> None:
    name = module_name(path)
    elsewhere = [
        f"{name}:{line} imports {imported}"
        for line, imported in imports(path)
        if (home := HOMES.get(imported.split(".")[0])) and name not in home
    ]
    assert elsewhere == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_functions_stay_short(path: Path) -> None:
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert long == []


def test_a_broken_layer_is_noticed() -> None:
    assert explain_break("data.store.reader", 3, "distgan.engine.trainer")
    assert explain_break("anonymity.bank", 3, "distgan.evaluation.plots")
    assert not explain_break("engine.trainer", 3, "distgan.parallel")


def test_names_hide_no_module_of_python() -> None:
    """As a script, train.py has its own folder on the path for a moment."""
    import sys

    names = {path.stem for path in (ROOT / "distgan").glob("*.py")} | {
        path.name for path in (ROOT / "distgan").iterdir() if path.is_dir()
    }
    assert not names & set(sys.stdlib_module_names)
