"""The wheel: what it holds, and its commands in an empty folder, outside any checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.processes import PATIENCE
from tests.helpers.settings import ROOT

pytestmark = pytest.mark.slow
LEFT_OUT = shutil.ignore_patterns(
    ".*", "*.egg-info", "build", "dist", "runs", "__pycache__", "tests", "benchmarks"
)


def call(command: list[str], place: Path, **environment: str) -> str:
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=place, env=outside | environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, place / "source", ignore=LEFT_OUT)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place)]
    call([sys.executable, "-m", "pip", "wheel", *options, str(place / "source")], place)
    (made,) = place.glob("distgan-*.whl")
    return made


def test_the_wheel_holds_configs_pages_and_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for end in (
        "share/distgan/configs/demo.yaml",
        "share/distgan/configs/data/ausgrid_solar_home.yaml",
        "share/distgan/configs/short/multiscale_stock.yaml",
        "distgan/py.typed",
    ):
        assert any(name.endswith(end) for name in names), end
    for path in (ROOT / "distgan").rglob("*.jinja"):
        assert path.relative_to(ROOT).as_posix() in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]


def test_an_installed_wheel_finds_its_configs_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    packages, empty = tmp_path / "packages", tmp_path / "empty"
    empty.mkdir()
    install = ["install", "--quiet", "--no-deps", "--target", str(packages), str(wheel)]
    call([sys.executable, "-m", "pip", *install], empty)
    program = [sys.executable, "-m", "distgan.cli"]
    said = call([*program, "train", "--config", "demo", "--dry-run"], empty, PYTHONPATH=str(packages))
    assert "series" in said and not list(empty.iterdir())
    where = "import distgan; print(distgan.__file__)"
    assert str(packages) in call([sys.executable, "-c", where], empty, PYTHONPATH=str(packages))
