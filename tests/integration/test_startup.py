"""Commands start at once, in any locale, and end quietly when their reader leaves."""

import os
import subprocess
import sys
import time
from pathlib import Path

from distgan import cli, errors
from tests.helpers.settings import ROOT

HEAVY = {"torch", "pandas", "sklearn", "matplotlib", "ray", "zarr", "scipy", "pyarrow", "faiss", "accelerate"}


def test_configs_and_output_are_utf8_in_a_locale_of_ascii(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("# Wärme\ndata: {units: °C}\n", encoding="utf-8")
    code = """
import sys
from pathlib import Path
from distgan import config, errors
from distgan.files import write_text, read_text
def work():
    settings = config.load("c.yaml")
    write_text(Path("out.yaml"), "# \\u00fc\\n" + settings.to_yaml())
    assert config.load("out.yaml").data.units == settings.data.units == "\\u00b0C"
    print(settings.data.units)
sys.exit(errors.answer(work))
"""
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **plain}, cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8") == "°C\n"


GOOD = ["", "--help", "--version", "train", "train --help", "prepare", "reference", "completion bash"]
GOOD += [f"{name} -h" for name in cli.distgan.commands]


MISTAKES = [
    "nonsense",
    "trian",
    "train --confg x",
    "release",
    "plan --length x",
    "train train.stepz=1",
    "train data.source=nowhere.csv",
    "train --stages gan",
    "generate nowhere",
    "evaluate nowhere",
    "evaluate --real nowhere.csv --synthetic nowhere.csv",
    "release nowhere",
    "export nowhere",
    "denoise nowhere a.csv b.csv",
    "compare a b",
    "inspect nowhere",
    "plan --config nowhere.yaml",
    "sweep --config nowhere.yaml",
]


def test_mistakes_and_help_import_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import sys
from distgan.cli import main
for line in {[*GOOD, *MISTAKES]!r}:
    sys.argv = ["distgan", *line.split()]
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    heavy = sorted({HEAVY!r} & set(sys.modules))
    print("CALL", line, "->", code, *heavy)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    found = [line for line in done.stdout.decode("utf-8").splitlines() if line.startswith("CALL")]
    wanted = [f"CALL {line} -> {0 if line in GOOD else 2}" for line in (*GOOD, *MISTAKES)]
    assert found == wanted, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_is_no_mistake() -> None:
    shell = f"{sys.executable} -m distgan.cli reference | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, cwd=ROOT)
    assert done.stderr == b"" and done.returncode in (0, errors.BROKEN_PIPE)
    assert time.monotonic() > 0
