"""Imports point down only, lazy ones included; heavy libraries have one home; functions stay short."""

import ast
import re
from collections import Counter
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
        "memory",
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
    {"__main__"},
]
LAYER = {unit: height for height, units in enumerate(LAYERS) for unit in units}
GROUND_ORDER = [
    "errors",
    "files",
    "csvtext",
    "rng",
    "progress",
    "memory",
    "run",
    "config",
    "preflight",
    "arguments",
    "command_line",
]
HOMES = {
    "yaml": {"config.loading", "config.schema"},
    "zarr": {"data.store.format", "data.store.rows", "data.store.writer", "data.formats.zarrs"},
    "xarray": {"data.formats.cf"},
    "h5py": {"data.formats.netcdf"},
    "openpyxl": {"data.formats.xlsx"},
    "loky": {"data.workers"},
    "faiss": {"anonymity.faiss_backend"},
    "dp_accounting": {"anonymity.dp.mechanism"},
    "opendp": {"anonymity.dp.mechanism"},
    "accelerate": {"parallel.processes", "parallel.trackers"},
    "deepspeed": {"parallel.zero"},
    "bokeh": {"evaluation.plots.interactive"},
    "ray": {"sweep.ray_backend"},
    "optuna": {"sweep.ray_backend"},
    "holidays": {"data.holidays"},
}
LONGEST_FUNCTION, LONGEST_FILE = 60, 450  # lines
MOST_PARAMETERS = 6  # beside self and cls; what travels together is a dataclass
MANY_PARAMETERS = {  # functions that may have more, and why
    "objectives.losses.compute_evidence_lower_bound": "an equation with its symbols",
}
FILE_NAME = re.compile(
    r"[\w*.-]*[A-Za-z][\w*-]*\.(json|jsonl|zarr|safetensors|csv|html|npz|npy|parquet|png|txt|yaml)"
)
FILE_HOMES = {  # of names of files that a run, a release, a sweep or a cache holds
    "run",
    "sweep.files",
    "engine.training",  # beside the checkpoints
    "anonymity.manifest",  # the bank
    "anonymity.dp.ledger",  # beside the drawn sums
    "data.ingest_cache",
    "data.store.staging",  # of an unfinished store
    "data.formats.containers",  # of what was unpacked
    "data.formats.members",  # of tables of other systems
    "data.formats.auckland",  # of an installed package
    "cli",  # of a page in the working folder
    "commands.denoise",  # of a temporary store
}
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


def imported_modules(path: Path, names: set[str]) -> set[str]:
    """Modules that the file imports anywhere; of `from a import b` a.b, if that is a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {whole if whole in names else str(node.module) for whole in inner.values()}
    return found & names


def test_no_modules_import_one_another_in_a_circle() -> None:
    """Lazy imports and those for type checkers included."""
    names = {f"distgan.{name}": path for path in MODULES if (name := module_name(path)) != "__init__"}
    targets = {name: imported_modules(path, set(names)) - {name} for name, path in names.items()}
    reached = {name: set(found) for name, found in targets.items()}
    for through in names:  # Warshall's closure
        for found in reached.values():
            if through in found:
                found |= reached[through]
    assert {name: sorted(targets[name]) for name, found in reached.items() if name in found} == {}


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


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_functions_have_few_parameters(path: Path) -> None:
    many = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            count = sum(argument.arg not in ("self", "cls") for argument in given)
            name = f"{module_name(path)}.{node.name}"
            many += [f"{name}: {count}"] if count > MOST_PARAMETERS and name not in MANY_PARAMETERS else []
    assert many == []


def test_files_hold_one_idea() -> None:
    lengths = {module_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    long = {name: length for name, length in lengths.items() if length > LONGEST_FILE}
    assert not long, long


def file_names(tree: ast.AST) -> Iterator[str]:
    """Names of files that the code spells out, with a star for what is put in; not those in docstrings."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "*" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            text = node.value
        if FILE_NAME.fullmatch(text):
            yield text


def test_the_name_of_an_artefact_stands_once() -> None:
    names = {module_name(path): list(file_names(ast.parse(path.read_text("utf-8")))) for path in MODULES}
    assert {module: found for module, found in names.items() if found and module not in FILE_HOMES} == {}
    times = Counter(name for found in names.values() for name in found)
    assert [name for name, count in times.items() if count > 1] == []
    assert {"report.json", "series.zarr", "points-*.npy", "trial.json"} <= set(
        names["run"] + names["sweep.files"]
    )


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_no_module_imports_a_private_name(path: Path) -> None:
    names = [
        imported
        for _, imported in imports(path)
        if imported.startswith("distgan.") and re.match("_[^_]", imported.rpartition(".")[2])
    ]
    assert names == []


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
