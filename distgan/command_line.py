"""How the commands are built on Click: shared options, help with examples and exit codes, one-line errors.

A command returns a `Result`. Without --json its text goes to standard output; with --json its tree does, and
everything that the work prints on the way goes to standard error.
"""

import difflib
import json
import math
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, TypeVar

import rich_click as click
from click.exceptions import Exit, MissingParameter, NoArgsIsHelpError, NoSuchCommand, NoSuchOption
from click.shell_completion import CompletionItem, get_completion_class, shell_complete

from distgan import progress
from distgan.errors import EXIT_CODES, UserError, escape_controls

Function = TypeVar("Function", bound=Callable[..., Any])
WIDEST = 100  # columns of help
CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "rich_help_config": {
        "theme": "default-slim",
        "max_width": WIDEST,
        "arguments_panel_title": "Other",
    },
}


@dataclass(frozen=True)
class Result:
    """Result of a command: text for people, a tree for programs, and the error that it ends with."""

    text: str
    tree: Any = None
    error: UserError | None = None


class Command(click.RichCommand):
    """A command whose help ends with examples and exit codes.

    Args:
        examples: command lines that work, the shortest first.
        codes: exit codes that it may end with, besides 0, 1 and 2.
    """

    def __init__(
        self, *args: Any, examples: Sequence[str] = (), codes: Sequence[int] = (), **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.examples, self.codes = tuple(examples), (0, 1, 2, *codes, 130)

    def format_epilog(self, ctx: click.RichContext, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override]
        from rich.padding import Padding
        from rich.text import Text

        width = formatter.console.width - 2
        lines = [line for example in self.examples for line in wrap_command(example, width)]
        codes = [f"{code:>3}  {EXIT_CODES[code]}" for code in self.codes]
        for title, shown in (("Examples", lines), ("Exit codes", codes)):
            formatter.write(Text(f"{title}:", style="bold"))
            formatter.write(Padding(Text("\n".join(shown)), (0, 0, 1, 2)))

    def invoke(self, ctx: click.Context) -> None:
        """Run the command and print its result.

        Raises:
            UserError: of the command, or the one that its result carries.
        """
        if ctx.params.pop("as_json", False):
            with redirect_stdout(sys.stderr):
                result = super().invoke(ctx)
            print(json.dumps(make_finite(result.tree), indent=2, allow_nan=False))
        elif (result := super().invoke(ctx)) is not None and result.text:
            print(escape_controls(result.text), end="" if result.text.endswith("\n") else "\n")
        if result is not None and result.error is not None:
            raise result.error


class Group(click.RichGroup):
    """The commands. They are listed in the order in which they are added."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def make_finite(tree: Any) -> Any:
    """Return a tree with null for NaN and infinity, which JSON does not have."""
    if isinstance(tree, dict):
        return {name: make_finite(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [make_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def wrap_command(line: str, width: int) -> list[str]:
    """Return a command line as lines of at most `width` columns, as a shell takes them."""
    lines = textwrap.wrap(
        line, width - 2, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [f"{part} \\" for part in lines[:-1]] + lines[-1:]


def run(command: click.RichCommand, arguments: Sequence[str], name: str) -> None:
    """Parse `arguments` and run the command. Help and version are printed here.

    Raises:
        UserError: the arguments are wrong, or what the command raises.
    """
    try:
        with command.make_context(name, [str(argument) for argument in arguments]) as ctx:
            command.invoke(ctx)
    except Exit:
        return
    except NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else "")
    except click.UsageError as error:
        called = str(arguments[0]) if arguments else ""
        if isinstance(command, Group) and called in command.commands:
            name = f"{name} {called}"
        raise UserError(explain(error, name)) from None


def explain(error: click.UsageError, name: str) -> str:
    """Return one line: what is wrong with the call, what was probably meant, and an example."""
    ctx = error.ctx
    command = ctx.command_path if ctx is not None else name
    examples = getattr(ctx.command, "examples", ()) if ctx is not None else ()
    example = f", e.g. {examples[0]}" if examples else ""
    if isinstance(error, NoSuchOption):
        known = [text for each in ctx.command.get_params(ctx) for text in each.opts] if ctx else []
        options = [text for text in known if text.startswith("--")]
        return f"{command} has no option {error.option_name}; {_suggest(error.option_name, options)}"
    if isinstance(error, NoSuchCommand):
        known = list(ctx.command.commands) if ctx is not None and isinstance(ctx.command, Group) else []
        return f"{command} has no command {error.command_name[:80]!r}; {_suggest(error.command_name, known)}"
    if isinstance(error, MissingParameter) and error.param is not None:
        names = error.param.opts[:1] if isinstance(error.param, click.Option) else []
        what = (error.param.metavar or "a value").split()[0]
        return f"{command} needs {' '.join([*names, what])}{example}"
    text = error.format_message().rstrip(".")
    return f"{command}: {text[:1].lower()}{text[1:]}; see {command} --help"


def _suggest(given: str, known: Sequence[str]) -> str:
    """Return the nearest of what is known, or all of it."""
    near = difflib.get_close_matches(given, known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"


# ------------------------------------------------------------------------------------------- shell completion


ASKED = "_DISTGAN_COMPLETE"  # a variable that the scripts set


def make_completion_script(command: click.RichCommand, shell: str) -> str:
    """Return the script that makes bash, zsh or fish complete `distgan`."""
    made = get_completion_class(shell)
    assert made is not None, shell
    return made(command, {}, "distgan", ASKED).source()


def is_completing() -> bool:
    """Return whether a shell asks for completions."""
    return ASKED in os.environ


def complete(command: click.RichCommand) -> int:
    """Print the completions that a shell asks for in the environment; return the exit code."""
    return shell_complete(command, {}, "distgan", ASKED, os.environ[ASKED])


class AnyPath(click.ParamType):
    """A path as it was typed; the command checks it. `kind`: what the shell completes, "file" or "dir"."""

    name = "path"

    def __init__(self, kind: str = "file") -> None:
        self.kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type=self.kind)]


class Setting(click.ParamType):
    """`key.sub=value`; the shell completes the key."""

    name = "setting"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from distgan.config.reference import iterate_reference

        if "=" in incomplete:
            return []
        names = [name for name, *_ in iterate_reference() if "[]" not in name and name.startswith(incomplete)]
        return [CompletionItem(f"{name}=") for name in names]


class Stages(click.ParamType):
    """Names of stages, separated by commas; the shell completes the last one."""

    name = "stages"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from distgan.config import STAGES

        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{name}") for name in STAGES if name.startswith(last)]


FILE, FOLDER, SETTING, STAGES = AnyPath("file"), AnyPath("dir"), Setting(), Stages()


# --------------------------------------------------------------------------------------------- shared options


def argument(name: str, **settings: Any) -> Callable[[Function], Function]:
    """Return `click.argument`, shown among the arguments, which stand before the options."""
    return click.argument(name, panel="Arguments", **settings)


def run_argument() -> Callable[[Function], Function]:
    return argument("run", type=FOLDER, metavar="RUN", required=True, help="Run folder.")


def overrides_argument(what: str) -> Callable[[Function], Function]:
    return argument("overrides", nargs=-1, type=SETTING, metavar="[KEY.SUB=VALUE]...", help=what)


def config_option(required: bool = False) -> Callable[[Function], Function]:
    text = "YAML file with settings, or the name of a shipped one: demo is configs/demo.yaml."
    return click.option(
        "--config", type=FILE, metavar="FILE", required=required, panel="Settings",
        help=text if required else f"{text} [default: none; every setting has a default]",
    )  # fmt: skip


def output_options(as_json: bool = False) -> Callable[[Function], Function]:
    """Add --quiet and --verbose; and --json, which the command need not know, where its output is data."""

    def decorate(function: Function) -> Function:
        options = [
            click.option(
                "-q", "--quiet", is_flag=True, expose_value=False, callback=_set_quiet,
                help="Print results, warnings and errors, and no progress.",
            ),
            click.option(
                "-v", "--verbose", is_flag=True, expose_value=False, callback=_set_verbose,
                help="Print progress every 2 seconds, log messages, and the traceback of an error.",
            ),
        ]  # fmt: skip
        if as_json:
            options.append(
                click.option(
                    "--json", "as_json", is_flag=True,
                    help="Print the result as JSON on standard output, all other lines on standard error.",
                )
            )  # fmt: skip
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _set_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    progress.set_verbosity(quiet=value)


def _set_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    progress.set_verbosity(verbose=value)
