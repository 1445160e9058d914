"""Arrays, stores and sources on the web become series."""

import configparser
import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest

from distgan import cli, errors
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.private_table import find_private_table, write_table
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError
from tests.helpers.sources import expect, frame, load


def test_arrays(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 48))
    np.save(tmp_path / "a.npy", values)
    raw = load(tmp_path / "a.npy")
    assert raw.values.shape == (4, 48, 1) and raw.entities == ["0", "1", "2", "3"]
    assert raw.meta.axis == Axis("2001-01-01T00:00:00", 3600, 48, leap_days=True)
    np.savez(
        tmp_path / "a.npz",
        x=values.reshape(2, 48, 2),
        ids=["a", "b"],
        channels=["u", "v"],
        freq="30min",
        t0="2013-01-01T00:00:00+00:00",
        label=[1, 2],
    )
    raw = load(tmp_path / "a.npz")
    assert raw.entities == ["a", "b"] and raw.meta.channels == ("u", "v")
    assert raw.meta.axis == Axis("2013-01-01T00:00:00", 1800, 48, leap_days=True)
    np.savez(tmp_path / "hz.npz", x=values, freq="10 Hz", t0="")
    assert "nominal" in load(tmp_path / "hz.npz").meta.provenance["clock"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.zeros(3)}, "has no array x, only y"),
        ({"x": np.zeros((2, 5)), "ids": ["a"]}, "1 ids for an array of shape"),
        ({"x": np.zeros((2, 5)), "ids": ["a", "a"]}, "'a' stands 2 times"),
        ({"x": np.zeros(5)}, "shape"),
        ({"x": np.array([["a", "b"]])}, "numbers"),
        ({"x": np.zeros((2, 5)), "freq": "1h", "t0": "soon"}, "t0 'soon' is not a time"),
        ({"x": np.eye(5), "freq": "PT30M", "t0": "2013-01-01"}, r"a\.npz: freq 'PT30M' is .* write 30min"),
        ({"x": np.eye(5), "freq": "hourly", "t0": "2013-01-01"}, "freq 'hourly' is no step"),
        ({"x": np.eye(5), "freq": "30 minutes", "t0": "2013-01-01"}, "freq '30 minutes' is no step"),
        ({"x": np.eye(5), "t0": "2013-01-01"}, "freq '' is no step"),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(tmp_path: Path, arrays: dict, message: str) -> None:  # type: ignore[type-arg]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "a.npz")


def test_a_source_on_the_web(tmp_path: Path) -> None:
    """By what setup.cfg installs."""
    frame().to_csv(tmp_path / "homes.csv")
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(quiet, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        expect(load(f"http://127.0.0.1:{server.server_port}/homes.csv"), frame())
        with pytest.raises(UserError, match="cannot be fetched"):
            load(f"http://127.0.0.1:{server.server_port}/none.csv")
    finally:
        server.shutdown()
        server.server_close()
    needs = configparser.ConfigParser()
    needs.read(Path(__file__).parents[2] / "setup.cfg")
    assert "fsspec[http]" in needs["options"]["install_requires"]


def test_an_existing_store_with_its_private_table(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 24, 1)).astype(np.float32)
    meta = Meta(Axis("2019-01-01T00:00:00", 3600, 24), ("load",), "kWh", {"source": "x"}, {})
    path = tmp_path / "series.zarr"
    with StoreWriter(path, meta) as writer:
        writer.append(values)
    assert load(path).entities == ["0", "1", "2"]
    write_table(find_private_table(path), ["a", "b", "c"], ["o", "o", "p"], ["train"] * 3)
    raw = load(path)
    assert (raw.entities, raw.owners, raw.meta) == (["a", "b", "c"], ["o", "o", "p"], meta)
    np.testing.assert_array_equal(raw.values, values)


def test_whose_data_it_is_stays_with_them(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "a.csv")
    assert "credit" not in load(tmp_path / "a.csv").meta.provenance
    raw = load(tmp_path / "a.csv", credit="Somebody, CC BY 4.0")
    with StoreWriter(tmp_path / "series.zarr", raw.meta) as writer:
        writer.append(raw.values)
    assert load(tmp_path / "series.zarr").meta.provenance["credit"] == "Somebody, CC BY 4.0"
    assert load(tmp_path / "series.zarr", credit="Another").meta.provenance["credit"] == "Another"


@pytest.mark.parametrize("form", ["npz", "npy", "store"])
def test_channels_are_chosen_by_name(tmp_path: Path, form: str) -> None:
    values = np.random.default_rng(0).normal(size=(3, 48, 3)).astype(np.float32)
    names = ["channel0", "channel1", "channel2"]
    path = tmp_path / f"a.{form}"
    if form == "store":
        with StoreWriter(
            path, Meta(Axis("2020-01-01T00:00:00", 3600, 48), tuple(names), "", {}, {})
        ) as store:
            store.append(values)
    elif form == "npz":
        np.savez(path, x=values, channels=names)
    else:
        np.save(path, values)
    chosen = load(path, columns={"values": ["channel2", "channel0"]})
    assert chosen.meta.channels == ("channel2", "channel0")
    np.testing.assert_array_equal(chosen.values, values[:, :, [2, 0]])
    rest = load(path, columns={"ignore": ["channel1", "mask"]})
    assert rest.meta.channels == ("channel0", "channel2")
    np.testing.assert_array_equal(rest.values, values[:, :, [0, 2]])
    with pytest.raises(UserError, match=r"values 'heat' is no channel of .*; it has 'channel0', 'channel1'"):
        load(path, columns={"values": ["heat"]})
    with pytest.raises(UserError, match="leaves no channel"):
        load(path, columns={"ignore": names})


def test_a_single_channel_without_a_name_has_any_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(4, 48)))
    assert load(tmp_path / "a.npy", columns={"values": ["kWh"]}).meta.channels == ("value",)


def test_names_of_a_file_give_a_terminal_no_orders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(
        tmp_path / "a.npz", x=np.random.default_rng(0).random((4, 48, 2)), channels=["\x1b[2Jred", "b\x07"]
    )
    command = ["inspect", str(tmp_path / "a.npz")]
    assert errors.answer(lambda: cli.run_command(command)) == 0
    assert errors.answer(lambda: cli.run_command([*command, "data.columns.values=[c, d]"])) == 2
    output = capsys.readouterr()
    assert "\\x1b[2Jred" in output.out and "x1b" in output.err
    assert not {"\x1b", "\x07"} & set(output.out + output.err)
