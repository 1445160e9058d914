"""The end of a run: the verdict, where things are, the next two commands; and `distgan inspect RUN`."""

import json
import shlex
from pathlib import Path

import pytest

from distgan import cli, config
from distgan.errors import UserError
from distgan.files import write_json
from distgan.pipeline.run_summary import format_run_summary, suggest_next
from distgan.preflight import make_tokens
from distgan.run import Run

ANSWERS = [
    {"question": "Are they good?", "short": "Yes"},
    {"question": "Are they safe?", "short": "Not known"},
]


def make_run(place: Path, done: tuple[str, ...], *overrides: str) -> tuple[config.Config, Run]:
    """A run folder with the records of the stages `done`, as if they had been run."""
    settings = config.load(None, [f"run_dir={place}", *overrides])
    run = Run(place)
    run.record("prepare").parent.mkdir(parents=True)
    run.config.write_text(settings.to_yaml())
    for name in done:
        run.finish(name, token=make_tokens(settings)[name], summary=f"{name} was done")
    return settings, run


def test_a_finished_run_ends_with_verdict_places_and_two_commands(tmp_path: Path) -> None:
    settings, folder = make_run(tmp_path / "run", config.STAGES)
    write_json(folder.scores, {"answers": ANSWERS})
    folder.report.write_text("page")
    folder.synthetic.mkdir()
    lines = format_run_summary(settings, folder).splitlines()
    assert lines[1:3] == ["verdict   Are they good? Yes.", "          Are they safe? Not known."]
    assert f"report    {folder.report}" in lines and f"series    {folder.synthetic}" in lines
    assert not any(line.startswith("weights") for line in lines)  # which are not there
    assert lines[-2].split() == ["next", "distgan", "release", str(folder.folder)]
    assert len(lines) <= 14


@pytest.mark.parametrize(
    ("done", "overrides"),
    [(config.STAGES, ()), (("prepare", "encoder"), ()), (("prepare", "gan"), ("model=nr_gan",))],
)
@pytest.mark.parametrize("place", ["run", "Häuser 2013's; $HOME"])
def test_the_next_commands_exist(
    tmp_path: Path, done: tuple[str, ...], overrides: tuple[str, ...], place: str
) -> None:
    settings, folder = make_run(tmp_path / place, done, *overrides)
    commands = suggest_next(settings, folder)
    assert len(commands) == 2
    for line in commands:
        name, *words = shlex.split(line)[1:]
        assert any(str(folder.folder) == word for word in words)  # as one word of a shell
        with cli.distgan.commands[name].make_context(name, words):
            pass


def test_a_missing_stage_is_named_with_the_command_that_runs_it(tmp_path: Path) -> None:
    """Whatever command prints it: `distgan generate` has no --stages."""
    settings, folder = make_run(tmp_path / "run", ("prepare", "encoder"))
    messages = []
    with pytest.raises(UserError) as missing:
        folder.need(folder.synthetic, "generate")
    messages.append((str(missing.value), "generate"))
    with pytest.raises(UserError) as undone:
        cli.run_command(["generate", str(folder.folder)])
    messages.append((str(undone.value), "encode"))
    for message, stage in messages:
        words = shlex.split(message.partition("distgan train ")[2])
        with cli.distgan.commands["train"].make_context("train", words) as ctx:
            assert ctx.params["stages"] == stage and ctx.params["run_dir"] == str(folder.folder)
            assert ctx.params["config"] == str(folder.config)
    with pytest.raises(UserError, match="leave that override out"):
        cli.run_command(["generate", str(folder.folder), "encoder.width=32"])
    assert settings.run_dir == str(folder.folder)


def test_inspect_says_what_of_a_run_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, folder = make_run(tmp_path / "run", ("prepare", "encoder"))
    cli.run_command(["inspect", str(folder.folder)])
    lines = capsys.readouterr().out.splitlines()
    assert "encoder    encoder was done" in lines and "encode     not done" in lines
    assert lines[-2] == f"next       {folder.format_command()}"
    cli.run_command(["inspect", str(folder.folder), "--json"])
    tree = json.loads(capsys.readouterr().out)
    assert [name for name, stage in tree["stages"].items() if stage["done"]] == ["prepare", "encoder"]


def test_a_report_of_earlier_series_is_not_offered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, folder = make_run(tmp_path / "run", config.STAGES[:-1])
    folder.report.write_text("page")
    assert "report    " not in format_run_summary(settings, folder)
    cli.run_command(["inspect", str(folder.folder)])
    said = capsys.readouterr().out
    assert f"note       {folder.report} is of earlier series or settings" in said
    assert f"report     {folder.report}" not in said
