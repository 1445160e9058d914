"""Every command, option and setting that a message names exists, in the command that can print it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from distgan import cli, config
from tests.helpers.settings import ROOT
from tests.test_documents import TERMS

OPTIONS = {
    name: {text for parameter in command.params for text in parameter.opts} | {"--help"}
    for name, command in cli.distgan.commands.items()
}
KEYS = [name.replace("[]", "") for name, *_ in config.iterate_reference()]
SECTIONS = sorted({key.split(".")[0] for key in KEYS if "." in key})
# Whose messages may name an option by itself: the command that runs them has it.
PRINTED_BY = {
    "arguments": set(OPTIONS),
    "cli": set(OPTIONS),
    "command_line": set(OPTIONS),
    "train": {"train", "prepare"},
    "run": {"train"},  # a part of `Run.format_command`
    "preflight": {"train"},
    "commands.evaluate_files": {"evaluate"},
    "commands.inspect": {"inspect"},
    "planning.devices": {"plan"},
    "planning.stage_table": {"plan"},
}
OF_OTHERS = {"--multi_gpu", "--num_processes", "--logdir", "--xla_force_host_platform_device_count"}
PROSE = {"store", "reads", "writes", "wrote", "did", "is", "has"}  # words after "distgan" that are no command
FILES = ("safetensors", "json", "jsonl", "yaml", "html", "npy", "zarr", "csv", "py", "png", "private")
FORMER = {"data.scaling.lower_bound"}  # names of settings that are read as others
PURPOSES = ("floor ", "usefulness ")  # of random numbers: other words would draw other numbers


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string of a module with a space in it, docstrings left out; {} for a value."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(v) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for v in node.values}
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            text = node.value
        if " " in text and id(node) not in docs:
            yield node.lineno, text


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "distgan").with_suffix("").parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "distgan").rglob("*.py"))}


def wrong_names(module: str, text: str) -> list[str]:
    """The commands, options and settings in one message that do not exist where it is printed."""
    wrong = []
    command = ""
    text = text.replace("distgan/train.py", "distgan train")
    for word in re.finditer(r"\bdistgan ([a-z]+)\b|(?<![\w-])(--[a-z][\w-]*)|[;:]\s", text):
        if word[1]:
            command = word[1] if word[1] in OPTIONS else ""
            wrong += [word[0]] if word[1] not in OPTIONS and word[1] not in PROSE else []
        elif word[2]:
            owners = {command} if command else PRINTED_BY.get(module, set())
            known = any(word[2] in OPTIONS[name] for name in owners)
            wrong += [f"{command} {word[2]}"] if not known and word[2] not in OF_OTHERS else []
        elif word[0].startswith(";"):
            command = ""
    for key in re.findall(rf"(?<![\w./])((?:{'|'.join(SECTIONS)})(?:\.[a-z_0-9]+)+)(?![\w/])", text):
        prefix = any(name == key or name.startswith(f"{key}.") for name in KEYS)
        free = key in FORMER or key.startswith("sweep.space.") or key.endswith(FILES)
        wrong += [key] if not prefix and not free else []
    return wrong


@pytest.mark.parametrize("module", MODULES)
def test_what_a_message_names_exists(module: str) -> None:
    found = [(line, wrong_names(module, text)) for line, text in sentences(MODULES[module])]
    assert [f"{module}:{line} {wrong}" for line, wrong in found if wrong] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_message_uses_the_standard_terms(module: str) -> None:
    texts = [(line, text) for line, text in sentences(MODULES[module]) if not text.startswith(PURPOSES)]
    found = [
        f"{module}:{line} {match[0]!r}; write {term}"
        for line, text in texts
        for pattern, term in TERMS.items()
        if (match := re.search(pattern, re.sub(r"`[^`]*`", "", text), re.I))
    ]
    assert found == []


def test_a_wrong_name_is_noticed() -> None:
    assert wrong_names("pipeline.generate", "run that stage first (--stages gan)") == [" --stages"]
    assert wrong_names("pipeline.generate", "run distgan train --config a.yaml --stages gan") == []
    assert wrong_names("pipeline.generate", "run distgan generate RUN --stages gan") == ["generate --stages"]
    assert wrong_names("run", "run distgan trian") == ["distgan trian"]
    assert wrong_names("run", "raise bank.min_member; see data.splits") == ["bank.min_member"]
