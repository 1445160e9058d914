"""A model family from outside of the package: one file in the working directory, or an installed package."""

import ast
import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import distgan
from distgan import cli, config, errors, models
from distgan.commands import release
from distgan.data.store.reader import Store
from distgan.engine import checkpoint
from distgan.errors import UserError
from distgan.objectives.adversarial import Conditions
from distgan.run import Run
from tests.helpers.households import population
from tests.helpers.settings import ROOT, TINY

EXAMPLE = ROOT / "tests" / "examples" / "own_gan.py"
PLAIN = [text for text in TINY if not text.startswith("model.")]
LENGTHS = ["encoder.steps=2", "train.steps=6", "evaluate.pictures=false"]
TRAIN = ["train", "--config", "mine.yaml", "--run-dir", "run"]

FILTER = """
from distgan import config
from distgan.models.nr_gan import Game, build
class OwnFilter(config.NrGan):
    name: str = config.key("own_filter.py", "a filter")
"""
LEAST = """
from distgan import config
class Least(config.Family):
    width: int = config.key(4, "hidden units", ge=1)
def build(settings, length, channels, condition_dim, labels=0): ...
"""


def answer(*arguments: str) -> int:
    """Exit code of a command, in this process."""
    return errors.answer(lambda: cli.run_command(arguments))


@pytest.fixture(scope="module")
def place(homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the example's file, a config, and a run that `distgan train` has finished."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(EXAMPLE, folder)
    tree = "data: {source: %s}\nmodel: {name: own_gan.py, width: 8, discriminator_updates: 2}\n"
    (folder / "mine.yaml").write_text(tree % homes_csv)
    with contextlib.chdir(folder):
        assert answer(*TRAIN, *PLAIN, *LENGTHS) == 0
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ------------------------------------------------------------------------------------- the ordinary commands


def test_family_of_one_file_trains_samples_and_reports(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    run = Run(Path("run"))
    assert json.loads(run.scores.read_text())["fidelity"]
    stored = Store.open(run.synthetic).read_rows(np.arange(12))
    assert stored.shape == (12, 336, 1) and np.isfinite(stored).all()
    np.testing.assert_allclose(distgan.load("run").sample(12), stored, rtol=1e-5, atol=1e-6)
    assert answer("generate", "run", "--out", "made.csv", "generate.seed=1") == 0
    assert Path("made.csv").read_text().count("\n") == 337
    assert answer(*TRAIN, *PLAIN, *LENGTHS) == 0  # again: all is done, and the file's settings are the same
    assert "gan       done already" in capsys.readouterr().out


def test_family_of_one_file_plays_its_own_game_and_its_checkpoints_load(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 6 steps, the generator has 3 updates; the discriminator's are not counted by its file."""
    monkeypatch.chdir(place)
    settings = config.load("run/config.yaml")
    networks = models.build(settings, 336, 1)
    phases = models.make_objective(
        settings, networks, conditions=Conditions(generated=lambda batch: batch.series[:, 0])
    ).phases
    assert [(phase.name, phase.every) for phase in phases] == [("discriminator", 1), ("generator", 2)]
    found = checkpoint.load_latest(Run(Path("run")).checkpoints("gan"))
    assert found is not None and found.step == 6
    networks["discriminator"].load_state_dict(found.state["discriminator"])
    assert networks["generator"].out.weight.shape == (336, 8)


def test_example_has_60_lines_at_most() -> None:
    assert len([line for line in EXAMPLE.read_text().splitlines() if line.strip()]) <= 60


@pytest.mark.slow
def test_family_of_one_file_is_planned_exported_and_attacked(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    plan = ["plan", "--length", "336", "--devices", "8xH100-80GB", "--efficiency", "0.5"]
    assert answer(*plan, "--config", "mine.yaml", *PLAIN) == 0
    assert "own_gan.py on series of 336" in capsys.readouterr().out
    assert answer("export", "run", "weights", "--networks") == 0
    assert answer("export", "run", "shared", "--private") == 2
    assert "is defined outside the package" in capsys.readouterr().err
    assert answer("release", "run") in (3, 4)  # 43 homes are too few to tell, whatever was trained
    run = Run(Path("run"))
    assert [check.broken for check in release.check_rules(config.load(run.config), run)] == [""] * 5


@pytest.mark.slow
def test_family_of_one_file_is_swept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's workers find the file, too: they work in the directory of the command."""
    pytest.importorskip("ray")
    monkeypatch.chdir(place)
    space = "sweep.space={model.discriminator_updates: {choice: [2]}}"
    chosen = ["sweep.trials=1", "sweep.scheduler=none", "sweep.confirm=0", "run_dir=sweep", space]
    command = [
        sys.executable,
        "-m",
        "distgan.cli",
        "sweep",
        "--config",
        "mine.yaml",
        *PLAIN,
        *LENGTHS,
        *chosen,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    saved = config.load(next(Path("sweep").glob("trials/*/trial.yaml")))
    assert saved.model.name == "own_gan.py" and saved.model.model_dump()["discriminator_updates"] == 2


def test_filter_of_one_file_learns_and_filters(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = population(20, 24 * 4).drop(columns="timestamp").ffill().bfill()
    np.savez(
        "noisy.npz",
        x=table.to_numpy("float32").T[:, :, None],
        ids=[f"h{home}" for home in range(20)],
        label=["clean", "noisy"] * 10,
        freq="1h",
        t0="2013-01-07T00:00:00",
    )
    Path("own_filter.py").write_text(FILTER)
    own = ["model=own_filter.py", "model.frame=16", "train.steps=2", "train.batch_size=8", "engine.threads=1"]
    assert answer("train", "--run-dir", "run", "data.source=noisy.npz", *own) == 0
    assert answer("denoise", "run", "noisy.npz", "filtered.zarr") == 0
    assert Store.open(Path("filtered.zarr")).num_series == 20
    assert answer("generate", "run") == 2
    assert "model own_filter.py filters series and has no stage generate" in capsys.readouterr().err


def test_installed_family_is_found_by_its_entry_point(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "their_family.py").write_text(LEAST)
    metadata = here / "their_family-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-family\nVersion: 1.0\n")
    entry = "their_gan = their_family:Least\nbroken = their_family:Most\nnone = their_family:build\n"
    (metadata / "entry_points.txt").write_text(f"[distgan.families]\n{entry}")
    monkeypatch.syspath_prepend(str(here))
    settings = config.load(None, ["model=their_gan", "model.width=7"])
    assert settings.model.model_dump() == {"name": "their_gan", "width": 7}
    assert models.find_module(settings).__name__ == "their_family"
    for name, words in (("broken", "cannot be imported"), ("none", "no subclass of distgan.config.Family")):
        with pytest.raises(UserError, match=f"model.name '{name}': their_family.*{words}"):
            config.load(None, [f"model={name}"])
    with pytest.raises(UserError, match=r"'theirgan' is not known; one of .*, their_gan, or a file"):
        config.load(None, ["model=theirgan"])


# ------------------------------------------------------------------------------------------------- strictness


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.widht=3", "unknown key 'model.widht'; did you mean 'model.width'?"),
        ("model.width=0", "model.width is 0; it must be at least 1"),
        ("model.width=wide", "model.width is 'wide'"),
        ("model.patch=3", "unknown key 'model.patch': another model has it"),
    ],
)
def test_keys_of_a_family_from_outside_are_strict(
    place: Path, monkeypatch: pytest.MonkeyPatch, override: str, words: str
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(UserError) as mistake:
        config.load("mine.yaml", [override])
    assert words in str(mistake.value) and "\n" not in str(mistake.value)


def test_config_of_a_family_from_outside_comes_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    settings = config.load("mine.yaml")
    assert config.Config.model_validate_json(settings.model_dump_json()) == settings
    Path("saved.yaml").write_text(settings.to_yaml())
    assert config.load("saved.yaml") == settings
    wider = config.load("mine.yaml", ["model.width=9"])
    assert wider.identity != settings.identity and config.load("mine.yaml").identity == settings.identity


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def build(:", "line 1 of bad.py is no Python"),
        (
            "def build(): ...\nimport nowhere_at_all",
            "line 2 of bad.py raises ModuleNotFoundError",
        ),
        ("def build(): ...\nraise SystemExit(0)", "line 2 of bad.py raises SystemExit"),
        ("def build(): ...", "defines 0 classes of settings; it needs one subclass of distgan.config.Family"),
        (LEAST + "class Second(Least): ...", "defines 2 classes of settings"),
        (LEAST.replace("def build", "def construct"), "has no function build"),
        (LEAST.replace("width: int", "stages = ('gan',)\n    width: int"), "stages must be distgan.config"),
        (LEAST.replace("width: int", "own_loss = 'some'\n    width: int"), "own_loss must be"),
        (
            LEAST.replace("width: int", "private_network = 'encoder'\n    width: int"),
            "private_network must be",
        ),
        (LEAST.replace("width: int", "stages: int"), "stages is the name of a capability"),
    ],
)
@pytest.mark.filterwarnings("ignore:Field name")
def test_mistake_in_a_familys_file_is_one_line(here: Path, text: str, words: str) -> None:
    Path("bad.py").write_text(text)
    with pytest.raises(UserError) as mistake:
        config.load(None, ["model=bad.py"])
    assert words in str(mistake.value) and "\n" not in str(mistake.value), mistake.value


def test_family_is_loaded_from_the_working_directory_alone(here: Path) -> None:
    """A run folder from elsewhere may not bring code along."""
    (here / "theirs").mkdir()
    (here / "theirs" / "evil.py").write_text("raise SystemExit('it ran')")
    (here / "theirs" / "config.yaml").write_text("model: {name: theirs/evil.py}\n")
    for name in ("theirs/evil.py", "./theirs/evil.py", str(here / "theirs" / "evil.py")):
        with pytest.raises(UserError, match=r"has a folder; .* named alone: evil\.py"):
            config.load(None, [f"model.name={name}"])
    with pytest.raises(UserError, match="has a folder"):
        config.load(here / "theirs" / "config.yaml")
    (here / "cleanup.py").write_text("import pathlib\npathlib.Path('gone').touch()")
    with pytest.raises(UserError, match="has no function build"):
        config.load(None, ["model=cleanup.py"])
    assert not (here / "gone").exists()  # a program that is no family is not run
    for name in ("\0.py", "x" * 300 + ".py"):
        with pytest.raises(UserError) as mistake:
            config.from_tree({"model": {"name": name}})
        assert "\n" not in str(mistake.value)
    with pytest.raises(UserError, match=r"'evil.py': no such file in .*; run the command beside it"):
        config.load(None, ["model=evil.py"])


def test_older_name_of_the_upstream_fork_is_refused_with_the_new_one() -> None:
    with pytest.raises(UserError, match=r"'seed' is now 'tts_gan_fork'; write model: tts_gan_fork"):
        config.load(None, ["model=seed"])


# ------------------------------------------------------------------------------------------ names in the code


def test_only_a_familys_own_files_hold_its_name() -> None:
    """All others ask for capabilities: a family from outside meets the same rules as a shipped one."""
    own = {ROOT / "distgan" / "config" / f"{name}.py" for name in ("families", "baselines", "registry")}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value}"
        for path in sorted((ROOT / "distgan").rglob("*.py"))
        if path not in own and path.parent != ROOT / "distgan" / "models"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in config.FAMILIES
    ]
    assert found == []


@pytest.mark.parametrize("name", config.FAMILIES)
def test_shipped_family_has_its_module(name: str) -> None:
    module = models.find_module(config.load(None, ["bank.by_label=true", f"model={name}"]))
    assert callable(module.build) and Path(str(module.__file__)).parent == ROOT / "distgan" / "models"
