"""Whatever lies where a command reads or writes: one line and an exit code, at once, and nothing for others
to read.
"""

import ast
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distgan import cli, errors, files
from distgan.config import DEEPEST, load
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.private_table import private_table, read_table, write_table
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.errors import Diverged, UserError
from distgan.pipeline.training_data import read_scaler
from distgan.run import Run
from distgan.train import main
from tests.helpers.settings import ROOT, TINY

HEAVY = {"torch", "pandas", "sklearn", "matplotlib", "ray", "zarr", "scipy", "pyarrow", "faiss", "accelerate"}


def code_of(*arguments: str) -> int:
    """Exit code of a command, in this process."""
    return errors.answer(lambda: cli.command(arguments))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, words: str = "") -> None:
    """The command ends with code 2 and one line that holds `words`."""
    assert code_of(*arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("distgan: ") and said.count("\n") == 1 and len(said) < 1000, said
    assert words in said, said


# ------------------------------------------------------------------------------------------------ UTF-8


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


# ---------------------------------------------------------------------------------------------- configs


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(50 << 20)


CONFIGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "deep list": (lambda p: p.write_text("a: " + "[" * 5000), "nested deeper"),
    "deep mapping": (lambda p: p.write_text("".join(" " * i + "a:\n" for i in range(300))), "nested deeper"),
    "deep flow mapping": (lambda p: p.write_text("{a: " * 5000), "nested deeper"),
    "bomb": (lambda p: p.write_text("a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]\n"), "anchors"),
    "50 MB": (_sparse, "more than"),
    "digits": (lambda p: p.write_text("seed: " + "9" * 5000), "5000 digits"),
    "large number": (lambda p: p.write_text(f"train: {{steps: {2**70}}}"), "64 bits"),
    "infinite": (lambda p: p.write_text("train: {learning_rate: 1e999}\n"), "config"),
    "pipe": (_fifo, "is a pipe"),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "device": (lambda p: p.symlink_to("/dev/zero"), "is a device"),
    "loop": (lambda p: p.symlink_to(p), "symbolic links"),
    "dangling": (lambda p: p.symlink_to(p.with_name("gone")), "missing"),
    "latin-1": (lambda p: p.write_bytes("data: {units: °C}".encode("latin-1")), "UTF-8"),
    "binary": (lambda p: p.write_bytes(bytes(range(256)) * 10), "UTF-8"),
    "control characters": (lambda p: p.write_bytes(b"seed: \x01\x02"), "config"),
    "empty": (lambda p: p.write_text(" \n"), "is empty"),
    "list": (lambda p: p.write_text("- a\n- b\n"), "reads as a list"),
    "word": (lambda p: p.write_text("hello"), "reads as a str"),
    "number as key": (lambda p: p.write_text("1: 2\n"), "1"),
    "null as key": (lambda p: p.write_text("null: 2\n"), "config"),
    "nested number as key": (lambda p: p.write_text("train: {1: 2}\n"), "config"),
    "wrong tag": (lambda p: p.write_text("seed: !!timestamp abc\n"), "tag"),
    "python tag": (lambda p: p.write_text("seed: !!python/object/apply:os.getcwd []\n"), "python/object"),
    "binary tag": (lambda p: p.write_text("seed: !!binary é\n", encoding="utf-8"), "config"),
    "base of a list": (lambda p: p.write_text("base: [a]\n"), "there is no config"),
    "base with NUL": (lambda p: p.write_text('base: "a\\0b"\n'), "NUL"),
    "model of a list": (lambda p: p.write_text("model: {name: [1]}\n"), "model"),
    "half a character": (
        lambda p: p.write_text('run_dir: "\\ud800"\n'),
        "characters that this file system does not allow",
    ),
    "empty run_dir": (lambda p: p.write_text("run_dir: ''\n"), "run_dir is empty"),
    "blank run_dir": (lambda p: p.write_text("run_dir: '  '\n"), "run_dir is empty"),
    "long run_dir": (lambda p: p.write_text(f"run_dir: {'r' * 300}\n"), "too long"),
    "long path": (lambda p: p.write_text(f"run_dir: {'r/' * 3000}\n"), "too long"),
    "NUL in run_dir": (lambda p: p.write_text('run_dir: "a\\0b"\n'), "NUL"),
    "NUL in source": (lambda p: p.write_text('data: {source: "a\\0b.csv"}\n'), "NUL"),
    "long source": (lambda p: p.write_text(f"data: {{source: {'s' * 300}.csv}}\n"), "too long"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_of_any_kind_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = CONFIGS[name]
    path = tmp_path / "config.yaml"
    make(path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    refused(capsys, "train", "--config", str(path), "--dry-run", words=words)
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=" + "9" * 5000, "5000 digits"),
        ("data.units=" + "[" * 5000, "nested deeper"),
        (".".join("a" * 5000) + "=1", "so deep"),
        ("a" * 20000 + "=1", "unknown key"),
        ("data.units=[" + "1, " * 5000 + "1]", "data.units"),
        (f"train.steps={10**30}", "64 bits"),
        ("run_dir=", "run_dir"),
        ("=1", "is not of the form key.sub=value"),
    ],
)
def test_an_override_of_any_size_is_one_line(
    override: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, "train", "--dry-run", override, words=words)


def test_a_chain_of_bases_ends(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.yaml").write_text(f"base: {number + 1}.yaml\n")
    with pytest.raises(UserError, match="base spans more"):
        load(tmp_path / "0.yaml")
    assert DEEPEST > 10


# ------------------------------------------------------------------------------------ paths of commands

PATHS = {"empty": ("", "empty"), "NUL": ("a\0b", "NUL"), "long": ("x" * 300, "too long")}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--config", "PATH"],
        ["train", "--run-dir", "PATH", "seed=1"],
        ["generate", "PATH"],
        ["evaluate", "PATH"],
        ["evaluate", "--real", "PATH", "--synthetic", "PATH"],
        ["release", "PATH"],
        ["export", "PATH"],
        ["denoise", "PATH", "a.csv", "b.csv"],
        ["denoise", "a", "b.csv", "PATH"],
        ["compare", "PATH", "PATH"],
        ["compare", "a", "b", "--out", "PATH"],
        ["inspect", "PATH"],
        ["plan", "--config", "PATH"],
        ["sweep", "--config", "PATH"],
    ],
    ids=lambda arguments: "-".join(arguments[:2]),
)
def test_a_path_that_can_be_none_is_one_line(
    path: str,
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    text, words = PATHS[path]
    refused(capsys, *(text if each == "PATH" else each for each in arguments), words=words)
    assert list(tmp_path.iterdir()) == []


def test_an_export_replaces_only_what_it_may(
    stored: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write_text(stored.config, load(None, [f"run_dir={stored.folder}"]).to_yaml())
    (tmp_path / "old.csv").write_text("mine")
    (tmp_path / "old.labels.csv").write_text("mine")
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "file.zarr").write_text("mine")
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "gone")
    for place, force, words in (
        ("old.csv", False, "add --force"),
        ("old.parquet", False, "old.labels.csv exists already"),
        ("dangling.csv", False, "add --force"),
        ("new.txt", False, "must be one of .csv, .parquet, .zarr"),
        ("new", True, "must be one of"),
        ("folder.zarr", True, "is a folder that distgan did not write"),
        ("file.zarr", True, "is a file, and a .zarr store is a folder"),
        ("run/series.zarr", True, "is part of the run"),
    ):
        options = ["--out", str(tmp_path / place), *(["--force"] if force else [])]
        refused(capsys, "generate", str(stored.folder), *options, words=words)
    refused(capsys, "generate", str(stored.folder), "--force", words="--force needs --out")
    assert (tmp_path / "old.csv").read_text() == "mine" and Store.open(stored.series).num_series == 6


def test_a_source_that_may_never_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    refused(capsys, "train", f"data.source={tmp_path}/pipe.csv", words="is a pipe")
    refused(capsys, "train", f"data.source={tmp_path}", words="is a pipe")
    refused(capsys, "train", "data.source=/dev/zero", words="is a device")
    refused(capsys, "evaluate", "--real", f"{tmp_path}/pipe.csv", "--synthetic", "x", words="is a pipe")


# -------------------------------------------------------------------------------------- damaged records


@pytest.fixture
def stored(tmp_path: Path) -> Run:
    """A run folder that holds a store of six series, their table and a scaler."""
    run = Run(tmp_path / "run")
    meta = Meta(Axis("2013-01-01T00:00:00", 3600, 24), ("kWh",), "kWh", {}, {})
    with StoreWriter(run.series, meta) as writer:
        writer.append(np.ones((6, 24, 1), np.float32))
    names = [f"home-{number}" for number in range(6)]
    write_table(private_table(run.series), names, names, ["train"] * 6)
    scaler = {"transform": "none", "method": "standard", "unit": 1.0, "bound": 2.0, "lower_bound": None}
    files.write_json(run.scaler, {"scaler": scaler, "meta": meta.to_dict()})
    return run


def test_a_private_table_cut_anywhere_is_refused(stored: Run) -> None:
    place = private_table(stored.series)
    whole = place.read_bytes()
    assert len(read_table(place).entities) == 6
    for length in range(len(whole)):
        place.write_bytes(whole[:length])
        with pytest.raises(UserError, match="private"):
            read_table(place)


GARBAGE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"3",
    b"{}",
    b"\xff\xfe\0",
    b"[" * 100000,
    b'{"a": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
def test_a_damaged_record_is_one_line(stored: Run, content: bytes) -> None:
    for place, read in (
        (stored.scaler, lambda: read_scaler(stored)),
        (stored.series / "manifest.json", lambda: Store.open(stored.series)),
        (stored.series / "zarr.json", lambda: Store.open(stored.series)),
    ):
        whole = place.read_bytes()
        place.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read()
        assert str(place.name) in str(caught.value) or str(place.parent) in str(caught.value)
        place.write_bytes(whole)
    read_scaler(stored), Store.open(stored.series)


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
def test_a_damaged_stage_record_is_one_line_or_not_done(
    stored: Run, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write_text(stored.config, load(None, [f"run_dir={stored.folder}"]).to_yaml())
    stored.record("prepare").parent.mkdir()
    stored.record("prepare").write_bytes(content)
    refused(capsys, "generate", str(stored.folder))


def test_every_part_of_a_scaler_may_be_of_another_kind(stored: Run) -> None:
    whole = json.loads(stored.scaler.read_bytes())
    for part in ("scaler", "meta"):
        for key in whole[part]:
            for other in (None, {}, []):
                changed = json.loads(json.dumps(whole))
                changed[part][key] = other
                changed[part].pop(key) if other is None else None
                stored.scaler.write_text(json.dumps(changed), encoding="utf-8")
                try:
                    read_scaler(stored)
                except UserError as error:
                    assert "scaler.json" in str(error)


def test_the_kind_of_an_error_survives(tmp_path: Path) -> None:
    with pytest.raises(Diverged), errors.reading(tmp_path), errors.parsing(tmp_path):
        raise Diverged("it went non-finite")


# ---------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_leaves_nothing_temporary(number: signal.Signals, tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from distgan import errors, files
def work():
    with files.whole_folder(Path("store")) as folder, files.whole_file(Path("table.csv")) as table:
        (folder / "half").write_bytes(b"x")
        table.write_bytes(b"half")
        print("ready", flush=True)
        time.sleep(60)
sys.exit(errors.answer(work))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # under nohup it is inherited as ignored
    )
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    child.send_signal(number)
    said = child.communicate(timeout=30)[1].decode()
    assert child.returncode == (130 if number == signal.SIGINT else 75)
    assert said.count("\n") == 1 and said.startswith("distgan: "), said
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_signal_stays_ignored() -> None:
    code = """
import os, signal, sys
from distgan import errors
def work():
    os.kill(os.getpid(), signal.SIGHUP)
    print("went on")
sys.exit(errors.answer(work))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as nohup starts it
    )
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in errors.SIGNALS]
    assert code_of("--version") == 0
    assert [signal.getsignal(number) for number in errors.SIGNALS] == before


# ---------------------------------------------------------------------------------------- private files


def open_to_others(folder: Path) -> list[str]:
    """Files and folders below `folder`, and itself, that others may read or list."""
    return [
        f"{path} {stat.filemode(path.stat().st_mode)}"
        for path in (folder, *folder.rglob("*"))
        if path.stat().st_mode & 0o077
    ]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_what_prepare_writes_is_its_owners_alone(mask: int, tmp_path: Path, homes_csv: Path) -> None:
    before = os.umask(mask)
    try:
        run = Run(tmp_path / "run")
        assert (
            main(["--run-dir", str(run.folder), *TINY, f"data.source={homes_csv}", "--stages", "prepare"])
            == 0
        )
        assert open_to_others(run.folder) == []
        assert os.umask(mask) == mask  # the caller's is as it was
        run.series.chmod(0o755)
        private_table(run.series).chmod(0o644)
        assert (
            main(["--run-dir", str(run.folder), *TINY, f"data.source={homes_csv}", "--stages", "prepare"])
            == 0
        )
        assert open_to_others(run.folder) == []
    finally:
        os.umask(before)


def test_what_is_published_has_the_users_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with files.private_files(), files.whole_folder(tmp_path / "release") as place:
            files.write_text(place / "a" / "b.csv", "x")
            assert open_to_others(place) == []
            files.publish(place)
        assert stat.S_IMODE((tmp_path / "release").stat().st_mode) == 0o750
        assert stat.S_IMODE((tmp_path / "release" / "a" / "b.csv").stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_litter_of_a_killed_command_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".synthetic.csv.0123.tmp").write_text("half")
    (tmp_path / ".s.zarr.0123.tmp").mkdir()
    (tmp_path / "kept.tmp").write_text("mine")
    files.remove_litter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.tmp"]


# --------------------------------------------------------------------------------------- answers at once


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
