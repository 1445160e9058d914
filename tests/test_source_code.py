"""What no module may do: text by the locale's encoding, and data that is executed when it is read."""

import ast
import re
from pathlib import Path

from tests.helpers.settings import ROOT


def _text_io_without_encoding(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if any(word.arg in ("encoding", "opener") for word in node.keywords):
            continue
        strings = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        binary = any(isinstance(text, str) and "b" in text and len(text) <= 3 for text in strings)
        own_function = isinstance(node.func, ast.Name) and name in ("read_text", "write_text")
        text_files = name == "open" and isinstance(node.func, ast.Name) and not binary
        methods = name in ("read_text", "write_text", "fdopen", "NamedTemporaryFile", "TextIOWrapper")
        default_binary = name == "NamedTemporaryFile" and not strings
        runs = name in ("run", "Popen", "check_output")
        shell = runs and any(word.arg in ("text", "universal_newlines") for word in node.keywords)
        if text_files or (methods and not own_function and not default_binary and not binary) or shell:
            found.append(f"{path.name}:{node.lineno} {name}")
    return found


def test_no_text_is_read_or_written_by_the_locale() -> None:
    assert [w for path in (ROOT / "distgan").rglob("*.py") for w in _text_io_without_encoding(path)] == []


def test_text_without_an_encoding_is_noticed(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "open('a')\nopen('a', 'w')\np.read_text()\nopen('a', 'rb')\np.write_text('', encoding='utf-8')"
    )
    assert len(_text_io_without_encoding(bad)) == 3


RUNS_CODE = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}  # when it reads data


OBJECTS = (
    "broadcast_object_list",
    "all_gather_object",
    "gather_object",
    "scatter_object_list",
    "send_object_list",
)


def test_nothing_unpickles() -> None:
    for path in (ROOT / "distgan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not RUNS_CODE & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Attribute):
                assert node.attr not in OBJECTS, f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "load":
                assert not any(word.arg == "allow_pickle" and word.value.value for word in node.keywords), (
                    path
                )
                assert ast.unparse(node.func) != "torch.load", f"{path}:{node.lineno}"


def _list_described(text: str) -> list[str]:
    """Return the names that the sections Args and Attributes of a docstring describe."""
    found, inside = [], False
    for line in text.splitlines():
        if line and not line.startswith(" "):
            inside = line in ("Args:", "Attributes:")
        elif inside and (match := re.match(r"    (\w+(?:, \w+)*):", line)):
            found += match[1].split(", ")
    return found


def _list_parts(node: ast.ClassDef | ast.FunctionDef) -> set[str]:
    """Return the parameters of a function, or the fields, methods and attributes of a class."""
    found = {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
    if isinstance(node, ast.ClassDef):
        found |= {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
        found |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        found |= {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    return found


def test_docstrings_describe_parts_that_exist() -> None:
    for path in (ROOT / "distgan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                absent = set(_list_described(ast.get_docstring(node) or "")) - _list_parts(node)
                assert not absent, f"{path}:{node.lineno} {node.name}"


def test_the_docstring_of_a_value_says_what_it_is() -> None:
    """Checks that return nothing may name their errors alone."""
    for path in (ROOT / "distgan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns) != "None":
                opening = (ast.get_docstring(node) or "").partition("\n")[0]
                assert not opening.startswith(("Raises", "Args:")), f"{path}:{node.lineno} {node.name}"


def test_a_part_that_is_gone_is_noticed() -> None:
    (node,) = ast.parse('def f(one):\n    """Do.\n\n    Args:\n        one, two: parts.\n    """').body
    assert isinstance(node, ast.FunctionDef)
    assert set(_list_described(ast.get_docstring(node) or "")) - _list_parts(node) == {"two"}
