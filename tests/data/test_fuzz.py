"""Malformed tables, arrays and stores end in a store or in one clear line.

A few hundred inputs by default; DISTGAN_FUZZ=4000 tries so many of each kind.
"""

import io
import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from distgan import config
from distgan.data.ingest import read
from distgan.data.scaling import Scaler
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.errors import UserError

COUNT = int(os.environ.get("DISTGAN_FUZZ", "60"))
fuzz = limits(
    max_examples=COUNT,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def tried(path: Path, **settings: object) -> None:
    """A store or one line."""
    try:
        raw = read(config.Data(source=str(path), **settings))  # type: ignore[arg-type]
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return
    assert raw.values.ndim == 3 and raw.values.dtype == np.float32 and len(raw.entities) == len(raw.values)
    assert not np.isinf(raw.values).any()


CELLS = st.one_of(
    st.sampled_from(
        ["", "1", "2.5", "1,5", "1.234,5", "-0", "1e400", "nan", "inf", "abc", '"', '"1', "\0", "é"]
    ),
    st.sampled_from(
        ["2013-01-01 00:00", "2013-13-01", "01/02/2013 03:00", "2013-01-01T00:00+01:00", "0000-00-00"]
    ),
    st.floats().map(str),
    st.text(max_size=6),
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Nearly a table: regular stamps and numbers, with some cells, lines and bytes gone wrong."""
    columns, rows = draw(st.integers(1, 4)), draw(st.integers(0, 12))
    mark = draw(st.sampled_from([",", ";", "\t", "|"]))
    lines = [mark.join(["time", *(f"h{i}" for i in range(columns))])]
    stamps = pd.date_range("2013-01-01", periods=rows, freq="h").strftime("%Y-%m-%d %H:%M")
    lines += [
        mark.join([stamp, *(f"{(i * 7 + j) % 5}.5" for j in range(columns))])
        for i, stamp in enumerate(stamps)
    ]
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        cells = lines[place].split(mark)
        cells[draw(st.integers(0, len(cells) - 1))] = draw(CELLS)
        lines[place] = draw(
            st.sampled_from([mark.join(cells), lines[place] + mark, "", mark.join(cells[:-1])])
        )
    content = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines).encode()
    if draw(st.booleans()):
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.binary(max_size=3)) + content[place + draw(st.integers(0, 3)) :]
    return content


@fuzz
@given(
    content=tables(),
    layout=st.sampled_from(["auto", "wide", "long"]),
    more=st.sampled_from(
        [{}, {"timezone": "Europe/London"}, {"resample": config.Resample(step="2h")}, {"cut": "years"}]
    ),
)
def test_tables(tmp_path: Path, content: bytes, layout: str, more: dict[str, object]) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    tried(tmp_path / "a.csv", layout=layout, **more)


@fuzz
@given(data=st.data(), kind=st.sampled_from(["parquet", "npz", "npy"]))
def test_damaged_binary_files(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    table = pd.DataFrame(
        np.random.default_rng(0).normal(size=(24, 3)),
        index=pd.date_range("2013-01-01", periods=24, freq="h", name="t"),
        columns=list("abc"),
    )
    buffer = io.BytesIO()
    if kind == "parquet":
        table.to_parquet(buffer)
    elif kind == "npz":
        np.savez_compressed(buffer, x=table.to_numpy().T, ids=list("abc"), freq="1h", t0="2013-01-01")
    else:
        np.save(buffer, table.to_numpy().T)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, 2 * len(content))) :]
    (tmp_path / f"a.{kind}").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tried(tmp_path / f"a.{kind}")


VALUES = [
    np.zeros((3, 5)),
    np.ones(4),
    np.array([["a"]]),
    np.full((2, 6, 1), np.nan),
    np.eye(4),
    np.zeros((0, 5)),
]


@fuzz
@given(
    x=st.sampled_from([*VALUES, np.arange(24.0).reshape(2, 12), np.array(5.0), np.eye(3, dtype=complex)]),
    freq=st.one_of(st.sampled_from(["1h", "0h", "99999999999999h", "x"]), st.text(max_size=4)),
    t0=st.one_of(st.sampled_from(["2013-01-01", "9999-12-31", "2013-02-30", "-1"]), st.text(max_size=8)),
    ids=st.one_of(st.none(), st.lists(st.text(max_size=3), max_size=4)),
)
def test_odd_arrays(tmp_path: Path, x: np.ndarray, freq: str, t0: str, ids: list[str] | None) -> None:
    more = {} if ids is None else {"ids": np.array(ids, dtype=str)}
    np.savez(tmp_path / "a.npz", x=x, freq=np.array(freq), t0=np.array(t0), **more)
    tried(tmp_path / "a.npz")


@fuzz
@given(data=st.data(), own=st.booleans())
def test_damaged_stores(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, own: bool) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "a.zarr"
    values = np.random.default_rng(0).normal(size=(6, 24, 1)).astype(np.float32)
    if own:
        with StoreWriter(path, Meta(Axis("2013-01-01T00:00:00", 3600, 24), ("a",), "", {}, {})) as writer:
            writer.append(values)
    else:
        zarr.create_array(path, shape=(6, 24, 1), chunks=(2, 24, 1), dtype="float32")[:] = values
    files = sorted(file for file in path.rglob("*") if file.is_file())
    file = files[data.draw(st.integers(0, len(files) - 1))]
    content = bytearray(file.read_bytes())
    action = data.draw(st.sampled_from(["flip", "cut", "delete", "empty", "text"]))
    if action == "flip":
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif action == "cut":
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    if action == "delete":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "text": b"{}"}.get(action, bytes(content)))
    if own:  # nothing damaged is ever given as data; a last newline that went missing harms nothing
        with suppress(UserError):
            store = Store.open(path)
            store.verify()
            np.testing.assert_array_equal(store.read_rows(np.arange(6)), values)
            assert file.suffix == ".json" and action == "cut"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tried(path)


@limits(deadline=None, max_examples=60)
@given(
    transform=st.sampled_from(["none", "sqrt", "log1p"]),
    method=st.sampled_from(["standard", "minmax"]),
    size=st.floats(-3, 6),
    missing=st.floats(0, 0.9),
    seed=st.integers(0, 999),
)
def test_scaling_is_undone_whatever_is_missing(
    transform: str, method: str, size: float, missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.normal(1, 2, (5, 60, 2)) * 10**size).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    values[:, :2] = rng.normal(1, 2, (5, 2, 2)) * 10**size
    scaler = Scaler.fit([values], config.Scaling(transform=transform, method=method))  # type: ignore[arg-type]
    attributes = scaler.compute_attributes(values)
    scaled = scaler.scale(values, attributes)
    np.testing.assert_array_equal(np.isnan(scaled), np.isnan(values))
    assert np.nanmax(np.abs(scaled)) <= 1 + 1e-5
    restored = scaler.restore(scaled, attributes)
    largest = np.nanmax(np.abs(values), axis=1, keepdims=True)
    assert np.nanmax(np.abs(restored - values) / largest) < 2e-5
