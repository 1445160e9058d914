"""Folders that are no run's, and what a command advises for stages that are not done."""

import re
from pathlib import Path

import pytest

from distgan import cli, config, errors
from distgan.errors import UserError
from distgan.preflight import check_earlier, make_tokens, open_run
from distgan.run import HubFolder, Run


@pytest.mark.parametrize("command", ["generate", "evaluate", "release", "export", "inspect"])
def test_an_export_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """And no command advises to train it: its source is not included."""
    folder = HubFolder(tmp_path / "shared")
    folder.folder.mkdir()
    folder.config.write_text("model: mlp_gan")
    folder.generator_weights.write_bytes(b"weights")
    assert errors.answer(lambda: cli.run_command([command, str(folder.folder)])) == 2
    output = capsys.readouterr()
    assert "is an export, which has no stages; sample from it with distgan.load" in output.err
    assert "distgan train" not in output.err + output.out
    (folder.folder / "model.safetensors").unlink()
    assert open_run(str(folder.folder), command).config == folder.config


def test_the_stage_that_is_missing_is_made_with_the_settings_at_hand(tmp_path: Path) -> None:
    """Not with those of a config that the folder holds of an earlier try."""
    run, now = Run(tmp_path), config.load(None, ["model=mlp_gan", "encoder.patch=3", "data.units=a b"])
    run.finish("prepare", summary="done", token=make_tokens(now)["prepare"])
    command = f"distgan train --config {run.config} --run-dir {run.folder} --stages encoder"
    for text, end in (
        (now.to_yaml(), command),
        ("{model: mlp_gan, data: {units: a b}}", f"{command} encoder.patch=3"),
        ("{model: mlp_gan, encoder: {patch: 3}}", f"{command} 'data.units=\"a b\"'"),
        ("{model: tts_gan}", ": --stages encoder"),  # too much is another
    ):
        run.config.write_text(text)
        with pytest.raises(UserError, match=f"run that stage first.*{re.escape(end)}$"):
            check_earlier("encode", now, run)
