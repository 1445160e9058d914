"""The documents hold: commands parse, files that they name exist, terms are the standard ones."""

import configparser
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from distgan import config

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [ROOT / name for name in ("benchmarks", "configs", "distgan", "launch", "tests")]
READMES = [ROOT / "README.md", *(path for folder in FOLDERS for path in sorted(folder.rglob("README.md")))]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
PAGES = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "benchmarks" / "results").glob("*.md")),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
PROGRAMS = ("distgan", "accelerate", "python", "make", "sbatch", "torchrun", "sudo", ".venv/bin/python")
HARDWARE = ("sbatch", "sudo", "gpu-8.yaml", "nodes-2.yaml")
OF_THE_READER = ("configs/mine.yaml", "runs/sweep/best.yaml", "CONFIG")  # files that a reader makes
LONGEST = {ROOT / "README.md": 180}
TERMS = {  # what the documents must not say -> the standard term (patterns without false alarms)
    r"\bstrangers?\b": "non-member",
    r"\bhold-?outs?\b": "held-out",
    r"\bthe seeds\b": "the upstream TTS-GAN fork",
    r"\b(is|are|was|were|be) told\b|\btold (to|by|its|their|with)\b": "passed, printed, given",
    r"\blevels? and spreads?\b": "location and scale",
    r"\b(?<!-)floors?\b": "minimum group size, or baselines",
    r"\busefulness\b": "utility",
    r"\btracing\b": "membership inference",
    r"\btrainees?\b": "optimized network",
    r"\btraits\b": "descriptors",
    r"\bas dear\b|\bdear(er)?\b": "expensive",
    r"\bfor study only\b": "for research only",
    r"\ba mistake of ours\b": "an internal error",
    r"\ba (series|week|day|home|group|GPU|step|token) a (series|week|day|home|group|GPU|step|token)\b": "per",
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ------------------------------------------------------------------------------- commands in documents


def join_lines(text: str) -> list[str]:
    return text.replace("\\\n", " ").splitlines()


def find_commands() -> Iterator[tuple[str, str]]:
    """Yield (document, command line with its comment) of code blocks, tables, and heads of configs."""
    for path in READMES:
        text = path.read_text()
        for language, block in BLOCK.findall(text):
            if language == "sh":
                yield from ((relative(path), line) for line in join_lines(block) if line.strip())
        for span in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text)):
            words = span.split()
            if (
                words[0] in PROGRAMS
                and len(words) > 1
                and "…" not in span
                and words != ["accelerate", "launch"]
            ):
                yield relative(path), span
    for path in (*CONFIGS, *sorted((ROOT / "launch").glob("*.yaml"))):
        for line in join_lines("\n".join(head(path))):
            if line.removeprefix("#   ").split(" ")[0] in PROGRAMS:
                yield relative(path), re.sub(r" +#? +", " ", line.removeprefix("#   "))


def head(path: Path) -> list[str]:
    """Return the comment lines at the top of a file."""
    lines = path.read_text().splitlines()
    return lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]


COMMANDS = sorted(set(find_commands()))


def parts(line: str) -> list[str]:
    return shlex.split(line, comments=True)


@lru_cache
def help_of(*program: str) -> str:
    done = subprocess.run([sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_options(words: list[str], text: str) -> None:
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in text, f"no option {word}"


def load_overrides(words: list[str]) -> None:
    """Load the config that a command names, under its overrides."""
    place = words.index("--config") + 1 if "--config" in words else None
    given = [word for word in words if re.match(r"[a-z_]+(\.[a-z_]+)*=", word)]
    path = None if place is None or words[place] in OF_THE_READER else words[place]
    config.load(path, given)


def check_distgan(words: list[str]) -> None:
    check_options(words[1:], help_of("-m", "distgan.cli", words[0]))
    load_overrides(words)


def check_training(words: list[str]) -> None:
    check_options(words, help_of("-m", "distgan.train"))
    load_overrides(words)


def check_launch(words: list[str]) -> None:
    script = words.index("distgan/train.py")
    if "--config_file" in words[:script]:
        assert (ROOT / words[words.index("--config_file") + 1]).exists()
    check_training(words[script + 1 :])


def check_program(words: list[str]) -> None:
    """`FILE …` or `-m MODULE …`, run by Python or a shell."""
    if words[0] == "-c":
        compile(words[1], "document", "exec")
    elif words[0] == "-m" and words[1] == "pytest":
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))
    elif words[0] == "-m":
        assert words[1] == "distgan.train", words[1]
        check_training(words[2:])
    else:
        assert (ROOT / words[0]).exists(), words[0]
        check_options(words[1:], (ROOT / words[0]).read_text())


def check_install(words: list[str]) -> None:
    extras = re.findall(r"\.\[([\w,]+)\]", " ".join(words))
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert extras and set(",".join(extras).split(",")) <= set(settings["options.extras_require"])


def check_command(line: str) -> None:
    """Check that program, files, options and settings of a command line exist."""
    words = parts(line)
    if not words or words[0] in (".", "python3") or words == ["ray", "get-auth-token", "--generate"]:
        return
    program, rest = words[0], words[1:]
    if program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.M), rest[0]
    elif program == "pip":
        check_install(rest)
    elif program == "distgan":
        check_distgan(rest)
    elif program == "accelerate":
        check_launch(rest)
    elif program == "torchrun":
        assert any((ROOT / word).exists() for word in rest if word.endswith(".py"))
    elif program in ("python", ".venv/bin/python"):
        check_program(rest)
    elif program in ("sbatch", "sudo"):
        assert (ROOT / rest[0]).exists(), rest[0]
    else:
        pytest.fail(f"unknown program {program}")


@pytest.mark.parametrize(
    "where, line", COMMANDS, ids=[f"{where}-{number}" for number, (where, _) in enumerate(COMMANDS)]
)
def test_a_command_in_a_document_exists(where: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check_command(line)


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_a_program_that_a_page_runs_exists(path: Path) -> None:
    programs = set(re.findall(r"\bpython ((?:benchmarks|tests|distgan)/[\w/]+\.py)", path.read_text()))
    assert [name for name in sorted(programs) if not (ROOT / name).exists()] == []


def test_commands_in_code_blocks_that_need_hardware_say_so() -> None:
    for path in READMES:
        for language, block in BLOCK.findall(path.read_text()):
            lines = join_lines(block) if language == "sh" else []
            silent = [line for line in lines if any(h in line for h in HARDWARE) and "# needs" not in line]
            assert not silent, f"{relative(path)}: mark with '# needs …': {silent}"


def test_the_front_page_has_the_command_that_integration_runs() -> None:
    (command,) = re.findall(r"^make \w+$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert any(where == "README.md" and line.startswith(command) for where, line in COMMANDS)


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_python_and_yaml_of_a_document_are_valid(path: Path, tmp_path: Path) -> None:
    for language, block in BLOCK.findall(path.read_text()):
        if language == "python":
            compile(block, relative(path), "exec")
        if language == "yaml":
            place = tmp_path / "block.yaml"
            place.write_text(block.replace("base: base.yaml", f"base: {ROOT / 'configs' / 'base.yaml'}"))
            config.load(place)


# ------------------------------------------------------------------------------------- links and terms


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_links_of_a_document_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", BLOCK.sub("", path.read_text()))
    broken = [link for link in links if not re.match(r"\w+://", link) and not (path.parent / link).exists()]
    assert not broken, broken


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_a_document_is_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST.get(path, 150)
    if path == ROOT / "README.md":
        assert len(text.encode()) <= 10_240


def prose(path: Path) -> str:
    """Return the prose of a document: no code; the comments of a config; the meanings of the reference."""
    text = path.read_text()
    if path.suffix == ".yaml":
        return "\n".join(re.findall(r"#(.*)", text))
    if path.name == "REFERENCE.md":
        text = "\n".join(line.rsplit(" | ", 1)[-1] for line in text.splitlines())
    return re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text))


@pytest.mark.parametrize(
    "path", [*READMES, ROOT / "configs" / "REFERENCE.md", *CONFIGS, *PAGES], ids=relative
)
def test_a_document_uses_the_standard_terms(path: Path) -> None:
    for pattern, term in TERMS.items():
        found = re.search(pattern, prose(path), re.I)
        assert found is None, f"{found and found[0]!r}; write {term}"


def test_the_patterns_of_terms_find_what_they_are_for() -> None:
    text = (
        "members and strangers; the hold-out; it is told; a floor of 15; ten times as dear; one column a home"
    )
    found = [pattern for pattern in TERMS if re.search(pattern, text)]
    assert len(found) == 5


# --------------------------------------------------------------------------------------------- configs


@pytest.mark.parametrize("path", CONFIGS, ids=relative)
def test_a_config_opens_with_purpose_needs_time_and_command(path: Path) -> None:
    lines = head(path)
    assert len(lines[0]) > 20 and not lines[0].startswith(("# Needs:", "# Time:"))
    assert [
        word for word in ("# Needs:", "# Time:") if not any(line.startswith(word) for line in lines)
    ] == []
    assert any(where == relative(path) and path.name in line for where, line in COMMANDS)


def test_every_config_is_in_the_table() -> None:
    table = (ROOT / "configs" / "README.md").read_text()
    assert [
        relative(path) for path in CONFIGS if f"({path.relative_to(ROOT / 'configs')})" not in table
    ] == []
