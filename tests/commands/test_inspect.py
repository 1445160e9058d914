"""`distgan inspect`: attributes, statistics, a picture, and every chunk checked on request; never an id."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distgan import cli
from distgan.commands import inspect_store
from distgan.data.store.format import Form
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.private_table import find_private_table, write_table
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError
from tests.helpers.settings import ROOT


def store(path: Path, form: Form | None = None) -> np.ndarray:
    values = np.random.default_rng(0).gamma(2, size=(30, 24 * 14, 2)).astype(np.float32)
    values[:, 5:10, 1] = np.nan
    provenance = {"source": "homes.csv", "sha256": "ab12", "years": [2019]}
    reduction = {"factor": 2, "method": "sum"}
    meta = Meta(Axis("2019-01-01T00:00:00", 3600, 24 * 14), ("kwh", "heat"), "kWh", provenance, reduction)
    with StoreWriter(path, meta, form or Form()) as writer:
        writer.append(values)
    write_table(find_private_table(path), [f"secret-{i}" for i in range(30)], ["me"] * 30, ["train"] * 30)
    return values


def test_all_that_a_store_says_and_its_statistics(tmp_path: Path) -> None:
    values = store(tmp_path / "series.zarr")
    output = inspect_store.run(tmp_path / "series.zarr", verify=True).text
    for words in (
        "30 of 336 steps",
        "kwh, heat",
        "2019-01-01T00:00:00 to 2019-01-14T23:00:00, every 3600 s, without 29 February",
        "units      kWh",
        "float32, compressor none, 1 shard of 30 series in chunks of 30, crc32c",
        "1.49% (heat)",
        "0.00% (kwh)",
        "reduction.factor 2",
        "sha256     ab12",
        "verified   1 chunks in 1 shards: all as written",
    ):
        assert words in output, (words, output)
    kwh, heat = values[..., 0].astype(float), values[..., 1].astype(float)
    assert f"{kwh.min():g} to {kwh.max():g}, mean {kwh.mean():g}, deviation {kwh.std():.4g}" in output
    assert f"50 % {np.nanmedian(heat):.4g}" in output
    assert "secret" not in output


@pytest.mark.parametrize("form", [Form(), Form("float16"), Form("float32", "zstd")], ids=str)
def test_a_picture_is_drawn_without_ids(tmp_path: Path, form: Form) -> None:
    store(tmp_path / "series.zarr", form)
    inspect_store.run(tmp_path / "series.zarr")
    inspect_store.run(tmp_path / "series.zarr", tmp_path / "other.png")
    for name in ("series.private.png", "other.png"):  # real series
        picture = Image.open(tmp_path / name)
        assert picture.format == "PNG" and picture.width > 400
        assert b"secret" not in (tmp_path / name).read_bytes()
    if form.dtype == "float16":
        lost = Store.open(tmp_path / "series.zarr").meta.provenance["stored_as"]["largest_error"]
        assert f"stored_as.largest_error {lost}" in inspect_store.run(tmp_path / "series.zarr").text


@pytest.mark.parametrize(
    "arguments",
    [[], ["a", "b"], ["--verify"], ["a", "--picture"], ["a", "--picture", "b.jpg"], ["a", "--odd"]],
)
def test_wrong_arguments_are_one_line(arguments: list[str]) -> None:
    with pytest.raises(UserError):
        cli.run_command(["inspect", *arguments])


@pytest.mark.parametrize(("folder", "what"), [("bank", "a bank"), ("run", "a run folder")])
def test_settings_belong_to_a_source(tmp_path: Path, folder: str, what: str) -> None:
    place = tmp_path / folder
    (place / "done").mkdir(parents=True)
    for name in ("manifest.json", "bank.safetensors") if folder == "bank" else ("config.yaml",):
        (place / name).write_text("{}")
    for more in (["data.units=kWh"], ["--config", str(tmp_path / "own.yaml")]):
        with pytest.raises(UserError, match=f"{folder} is {what}; --config and settings are of a source"):
            cli.run_command(["inspect", str(place), *more])


def test_damage_ends_with_2_and_names_the_shard(tmp_path: Path) -> None:
    store(tmp_path / "series.zarr")
    shard = tmp_path / "series.zarr" / "values" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 4
    shard.write_bytes(content)
    command = [sys.executable, "-m", "distgan.cli", "inspect", str(tmp_path / "series.zarr"), "--verify"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "values/c/0/0/0" in done.stderr and done.stderr.count("\n") == 1
