"""The notebooks in `distgan/examples` run from the first cell to the last, and hold what they print and draw.

    PYTHONPATH=. python tests/test_notebooks.py [NAME ...]    # runs them and writes their outputs again

Cells run in one process without Jupyter: a line `!distgan …` runs this checkout's command, `%%writefile NAME`
writes the cell into a file, the value of a cell's last expression is its result, and figures become PNG.
"""

import ast
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "distgan" / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
LARGEST = 150_000  # bytes of a notebook with its outputs
COMMAND = 'distgan() { "$PYTHON" -m distgan.cli "$@"; }\n'


def run_notebook(path: Path, folder: Path) -> dict[str, Any]:
    """Run a notebook in `folder` and return it with the outputs of its cells."""
    matplotlib.use("Agg")
    notebook = json.loads(path.read_text())
    names: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    with contextlib.chdir(folder):
        for number, cell in enumerate(code, start=1):
            cell["execution_count"] = number
            cell["outputs"] = run_cell("".join(cell["source"]), names, number)
    return notebook


def run_cell(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    if source.startswith("!"):
        return [stream(run_command("\n".join(line.removeprefix("!") for line in source.splitlines())))]
    if source.startswith("%%writefile "):
        first, _, content = source.partition("\n")
        name = first.removeprefix("%%writefile ")
        Path(name).write_text(content + "\n")
        return [stream(f"Writing {name}\n")]
    tree, text, result = ast.parse(source), io.StringIO(), None
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(text):
        exec(compile(tree, f"cell {number}", "exec"), names)
        if last is not None:
            result = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    outputs = [stream(text.getvalue())] if text.getvalue() else []
    outputs += [{"output_type": "display_data", "metadata": {}, "data": data} for data in draw_figures()]
    if result is not None:
        shown = {"text/plain": lines(repr(result))}
        if hasattr(result, "to_html"):
            shown["text/html"] = lines(result.to_html(border=0))
        number_of = {"execution_count": number, "metadata": {}}
        outputs.append({"output_type": "execute_result", "data": shown, **number_of})
    return outputs


def run_command(line: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", "-ec", COMMAND + line],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def draw_figures() -> list[dict[str, str]]:
    """Return the open figures as PNG, and close them."""
    from matplotlib import pyplot as plt

    found = []
    for number in plt.get_fignums():
        file = io.BytesIO()
        plt.figure(number).savefig(file, dpi=70)
        found.append({"image/png": base64.b64encode(file.getvalue()).decode()})
    plt.close("all")
    return found


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": lines(text)}


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def outputs_of(notebook: dict[str, Any]) -> list[list[str]]:
    """Return the kinds of outputs of each code cell."""
    cells = (cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    return [[output["output_type"] for output in cell["outputs"]] for cell in cells]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_outputs_are_kept(path: Path, tmp_path: Path) -> None:
    assert outputs_of(run_notebook(path, tmp_path)) == outputs_of(json.loads(path.read_text()))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_has_a_picture(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    notebook = json.loads(path.read_text())
    assert any("display_data" in kinds for kinds in outputs_of(notebook))
    assert str(ROOT) not in path.read_text() and "/tmp/" not in path.read_text()


if __name__ == "__main__":
    for each in [path for path in NOTEBOOKS if path.stem in sys.argv[1:] or not sys.argv[1:]]:
        with tempfile.TemporaryDirectory() as place:
            done = run_notebook(each, Path(place))
        each.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n")
        print(each.name, each.stat().st_size, "bytes")
