"""The command line: what every help says, how mistakes are answered, JSON on standard output, completion."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import rich_click as click
from click.shell_completion import ShellComplete

from distgan import cli, command_line, config, errors, progress
from distgan.command_line import Command, Result, wrap_command
from distgan.errors import EXIT_CODES, UserError
from tests.helpers.settings import ROOT

COMMANDS = cli.distgan.commands
OF_DATA = ("generate", "evaluate", "compare", "release", "denoise", "export", "plan", "inspect", "reference")


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    cli.run_command([name, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_arguments_options_defaults_examples_and_codes(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, command = help_of(name, capsys), COMMANDS[name]
    assert text.startswith(f"Usage: distgan {name} ") and command.help is not None
    for parameter in command.params:
        known = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.metavar.split()[0]
        assert known in text and parameter.help, parameter.name  # type: ignore[attr-defined]
        said = parameter.help.lower() if isinstance(parameter.help, str) else ""  # type: ignore[attr-defined]
        has_value = isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.required
        if has_value and name != "inspect" and parameter.name not in ("real", "synthetic"):
            assert said.partition("[default:")[2] in " ".join(text.lower().split()), parameter.name
            assert "[default:" in said, parameter.name
    assert isinstance(command, Command) and command.examples
    assert "Examples:\n" in text and "Exit codes:\n" in text
    for code in command.codes:
        assert re.search(rf"^ +{code}  {re.escape(EXIT_CODES[code])}", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_parse(name: str) -> None:
    """Every example names options that exist, and shows the form of every argument."""
    for example in COMMANDS[name].examples:
        words = shlex.split(example, comments=True)
        words = words[: words.index(">")] if ">" in words else words
        if words[0] in ("accelerate", "eval"):
            continue
        assert words[:2] == ["distgan", name]
        with COMMANDS[name].make_context(f"distgan {name}", words[2:]):
            pass


def test_help_of_train_groups_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("train", capsys)
    places = [text.index(f"\n{title}:") for title in ("Arguments", "Settings", "Run", "Options", "Examples")]
    assert places == sorted(places)
    assert places[1] < text.index("--config") < places[2] < text.index("--stages") < places[3]
    assert all(name in text for name in config.STAGES)  # the option's help lists them by hand


def test_every_command_has_quiet_and_verbose_and_json_where_its_output_is_data() -> None:
    for name, command in COMMANDS.items():
        options = {text for parameter in command.params for text in parameter.opts}
        assert name == "completion" or {"--quiet", "--verbose"} <= options or name == "reference"
        assert ("--json" in options) == (name in OF_DATA), name


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trian", "distgan has no command 'trian'; did you mean train?"),
        ("nonsense", "distgan has no command 'nonsense'; there are train, prepare, generate"),
        ("train --confg x", "distgan train has no option --confg; did you mean --config?"),
        ("release runs/demo --too x", "distgan release has no option --too; did you mean --to?"),
        ("release", "distgan release needs RUN, e.g. distgan release runs/demo"),
        ("sweep", "distgan sweep needs --config FILE, e.g. distgan sweep --config configs/sweep.yaml"),
        ("plan --devices", "distgan plan: option '--devices' requires an argument; see distgan plan --help"),
        ("plan --length x", "distgan plan: invalid value for '--length': 'x' is not a valid integer"),
        ("export a b c", "distgan export: got unexpected extra argument (c); see distgan export --help"),
        ("evaluate", "distgan evaluate needs a run folder or two files, e.g. distgan evaluate runs/demo"),
        ("evaluate --real a.csv", "takes --real FILE together with --synthetic FILE"),
        ("evaluate --real a --synthetic b --task classification", "and no --task"),
        (
            "evaluate runs/demo --out x",
            "--align, --out, --training and --all-held-out belong to distgan evaluate --real FILE",
        ),
        ("generate count=3", "distgan generate needs a run folder before count=3"),
        ("train --stages gan,foo", "--stages: there is no stage 'foo'; the stages are prepare"),
        ("inspect a.csv data.units=kWh --verify", "distgan inspect takes --verify of one store of series"),
        ("completion tcsh", "distgan completion: invalid value for 'bash|zsh|fish': 'tcsh' is not one of"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_next_step(
    line: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        cli.run_command(line.split())
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_json_alone_is_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    class Refused(UserError):
        exit_code = 3

    @click.command("make", cls=Command)
    @command_line.output_options(as_json=True)
    def make() -> Result:
        print("on the way")
        return Result("text", {"a": [1.5, float("nan")]}, Refused("over a limit"))

    assert errors.answer(lambda: command_line.run(make, ["--json"], "make")) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": [1.5, None]}
    assert err == "on the way\ndistgan: over a limit\n"
    assert errors.answer(lambda: command_line.run(make, [], "make")) == 3
    assert capsys.readouterr().out == "on the way\ntext\n"


def test_reference_as_json_is_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run_command(["reference", "--json"])
    schema = json.loads(capsys.readouterr().out)
    assert set(config.Config.model_fields) == set(schema["properties"])


def test_quiet_and_verbose(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("make", cls=Command)
    @command_line.output_options()
    def make() -> Result:
        progress.say("a line of the record")
        progress.say("2 lines, one a warning", quiet="a warning")
        with progress.Progress("work", 2, "parts") as work:
            work.advance()
        return Result("the result")

    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(progress, "FIRST", 2.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    command_line.run(make, ["--quiet"], "make")
    assert capsys.readouterr() == ("a warning\nthe result\n", "")
    command_line.run(make, [], "make")  # the next call is not quiet
    assert capsys.readouterr() == (
        "a line of the record\n2 lines, one a warning\nthe result\n",
        "work: 1 of 2 parts, about 3 s left\n",
    )


def test_verbose_shows_where_an_error_was_raised() -> None:
    for flag, seen in ((), False), (("--verbose",), True):
        done = subprocess.run(
            [sys.executable, "-m", "distgan.cli", "release", "nowhere", *flag],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.returncode == 2
        assert ("Traceback" in done.stderr) == seen
        assert done.stderr.splitlines()[-1].startswith("distgan: nowhere is no run folder")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("distgan re", ["release", "reference"]),
        ("distgan train --st", ["--stages"]),
        ("distgan train --stages prepare,en", ["prepare,encoder", "prepare,encode"]),
        ("distgan train train.st", ["train.steps="]),
        ("distgan evaluate --align ", ["sum", "mean"]),
    ],
)
def test_a_shell_completes(words: str, expected: list[str]) -> None:
    *before, last = words.split(" ")
    shell = ShellComplete(cli.distgan, {}, "distgan", command_line.ASKED)
    found = [each.value for each in shell.get_completions(before[1:], last)]
    assert set(expected) <= set(found) and all(each.startswith(last) for each in found)


def test_a_shell_asks_through_the_environment() -> None:
    asked = {"_DISTGAN_COMPLETE": "bash_complete", "COMP_WORDS": "distgan rel", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "distgan.cli"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **asked},
    )
    assert (done.returncode, done.stdout) == (0, "plain,release\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run_command(["completion", shell])
    script = capsys.readouterr().out
    assert f"_DISTGAN_COMPLETE={shell}_complete" in script and "distgan" in script


def test_a_long_example_is_wrapped_as_a_shell_reads_it() -> None:
    line = "distgan train --config configs/london.yaml data.source=homes.csv run_dir=runs/homes"
    wrapped = wrap_command(line, 60)
    assert len(wrapped) > 1 and max(map(len, wrapped)) <= 60
    script = "printf '%s\\n' " + "\n".join(wrapped)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == line.split()
