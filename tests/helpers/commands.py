"""Commands called as users call them, and a run folder for them to find."""

import pytest

from distgan import cli, errors


def code_of(*arguments: str) -> int:
    """Exit code of a command, in this process."""
    return errors.answer(lambda: cli.run_command(arguments))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, words: str = "") -> None:
    """The command ends with code 2 and one line that holds `words`."""
    assert code_of(*arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("distgan: ") and said.count("\n") == 1 and len(said) < 1000, said
    assert words in said, said
