"""A damaged record of a run is one line, or its stage is due again."""

import json
from pathlib import Path

import pytest

from distgan import errors, files
from distgan.config import load
from distgan.data.store.private_table import find_private_table, read_table
from distgan.data.store.reader import Store
from distgan.errors import Diverged, UserError
from distgan.pipeline.training_data import read_scaler
from distgan.run import Run
from tests.helpers.commands import refused


def test_a_private_table_cut_anywhere_is_refused(stored: Run) -> None:
    place = find_private_table(stored.series)
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
