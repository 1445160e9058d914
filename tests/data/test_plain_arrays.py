"""NPY and NPZ files in every order and type give numpy's own values; everything else is one line."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distgan import config
from distgan.data.formats import arrays
from distgan.data.ingest import Raw, read
from distgan.errors import UserError


def load(source: Path, **settings: Any) -> Raw:
    return read(config.Data(source=str(source), **settings))


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).gamma(20, size=shape)


@pytest.mark.parametrize("slab", [100, 1000, 1 << 20])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<i2", ">i4", "u1", "i8", "f2"])
@pytest.mark.parametrize("shape", [(7, 30), (7, 30, 3), (7, 30, 1)])
def test_any_order_of_bytes_and_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype: str, order: str, slab: int
) -> None:
    monkeypatch.setattr(arrays, "SLAB_BYTES", slab)
    values = np.asarray(numbers(*shape), dtype=dtype, order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", x=values)
    for name in ("a.npy", "a.npz"):
        found = load(tmp_path / name).values
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values.reshape(7, 30, -1).astype(np.float32))


def test_yes_and_no_are_numbers(tmp_path: Path) -> None:
    values = numbers(5, 40) > 20
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(load(tmp_path / "a.npy").values[:, :, 0], values)


def test_missing_and_infinite_values(tmp_path: Path) -> None:
    values = numbers(5, 40)
    values[1, 3], values[2, 5], values[3, 1] = np.nan, -9999, np.inf
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(UserError, match="1 of 5 series are infinite"):
        load(tmp_path / "a.npy")
    raw = load(tmp_path / "a.npy", unusable="drop", missing_values=(-9999.0,), max_missing=0.5)
    assert raw.left_out == {"infinite": 1}
    assert np.isnan(raw.values[1, 3]) and np.isnan(raw.values[2, 5]) and np.isnan(raw.values).sum() == 2


def test_a_year_of_rows_is_refused_or_read_as_told(tmp_path: Path) -> None:
    values = numbers(8760, 20)
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(UserError, match=r"data\.layout=wide .* data\.accept=\[transposed\]"):
        load(tmp_path / "a.npy")
    by_columns = load(tmp_path / "a.npy", layout="wide").values
    np.testing.assert_array_equal(by_columns[:, :, 0], values.T.astype(np.float32))
    by_rows = load(tmp_path / "a.npy", accept=("transposed",)).values
    np.testing.assert_array_equal(by_rows[:, :, 0], values.astype(np.float32))
    np.save(tmp_path / "b.npy", values.T)
    np.testing.assert_array_equal(load(tmp_path / "b.npy").values, by_columns)


@pytest.mark.parametrize("rows", [17_544, 26_280, 26_304, 35_064, 52_608, 87_648])
def test_so_are_several_years_of_rows(tmp_path: Path, rows: int) -> None:
    """Of hours, half hours and ten minutes, with the leap days that they have."""
    np.save(tmp_path / "a.npy", np.zeros((rows, 2), np.float32))
    with pytest.raises(
        UserError, match=rf"{rows} rows are the steps of whole years, .*set data\.layout=wide"
    ):
        load(tmp_path / "a.npy")


def test_columns_are_series_where_the_layout_says_so(tmp_path: Path) -> None:
    values = numbers(30, 4, 2)
    for order in "CF":
        np.savez(tmp_path / "a.npz", x=np.asarray(values, order=order), ids=list("abcd"), channels=["p", "q"])
        raw = load(tmp_path / "a.npz", layout="wide")
        np.testing.assert_array_equal(raw.values, values.transpose(1, 0, 2).astype(np.float32))
        assert raw.entities == list("abcd") and raw.meta.channels == ("p", "q")


def records() -> np.ndarray:
    return np.zeros(4, dtype=[("kwh", "f4"), ("degrees", "f4")])


def appended() -> bytes:
    file = io.BytesIO()
    np.save(file, numbers(3, 20))
    np.save(file, numbers(3, 20))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.array([[1, 2], [3, None]], dtype=object), "holds Python objects"),
        (records(), "holds records of kwh, degrees; save one array of numbers"),
        (np.array([["a", "b"]]), "numbers .* are wanted"),
        (np.zeros((2, 3), complex), "numbers .* are wanted"),
        (np.zeros((2, 3), "M8[s]"), "numbers .* are wanted"),
        (np.zeros(9), "numbers .* are wanted"),
        (np.float64(3), "not a readable NPY array|numbers .* are wanted"),
        (np.zeros((2, 0)), "numbers .* are wanted"),
        (np.zeros((2, 3, 4, 5)), "numbers .* are wanted"),
        (appended(), "bytes follow the array .*several arrays were appended"),
        (appended()[:300], "not a readable NPY array"),
        (b"\x93NUMPY\x01\x00", "not a readable NPY array"),
        (b"", "is empty"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "a.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(UserError, match=said) as error:
        load(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_an_archive_of_other_arrays_names_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", data=numbers(3, 20))
    with pytest.raises(UserError, match=r"has no array x, only data; save the series as np\.savez\(file, x="):
        load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=numbers(3, 20), ids=["a", "b"])
    with pytest.raises(UserError, match=r"b\.npz: 2 ids for an array of shape"):
        load(tmp_path / "b.npz")


def test_an_archive_that_is_damaged_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=numbers(30, 20))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match="not a readable NPZ file"):
        load(tmp_path / "a.npz")


def test_an_array_is_read_without_its_suffix(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbers(3, 20))
    (tmp_path / "a.npy").rename(tmp_path / "a.dat")
    assert load(tmp_path / "a.dat").values.shape == (3, 20, 1)


def test_header_of_version_2(tmp_path: Path) -> None:
    values = numbers(3, 20)
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, values, version=(2, 0))
    np.testing.assert_array_equal(load(tmp_path / "a.npy").values[:, :, 0], values.astype(np.float32))


def test_a_declared_size_beyond_the_file_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 8760), }".ljust(117) + b"\n"
    (tmp_path / "a.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(80)
    )
    with pytest.raises(UserError, match="not a readable NPY array"):
        load(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "x.npy")
    with pytest.raises(UserError, match=r"a\.npz"):
        load(tmp_path / "a.npz")


def test_resampling_is_for_tables(tmp_path: Path) -> None:
    values = np.random.default_rng(0).gamma(2, size=(4, 96, 1)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=values, freq="30min", t0="2013-01-01")
    source = str(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"set data.reduce.factor=4 data.reduce.method=mean"):
        read(config.Data(source=source, resample=config.Resample(step="2h")))
    found = read(config.Data(source=source, resample=config.Resample(step="30min")))
    np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize("name", ["mask", "scale_factor"])
def test_arrays_that_change_values_are_not_passed_over(tmp_path: Path, name: str) -> None:
    values = numbers(7, 30, 1)
    np.savez(tmp_path / "a.npz", x=values, **{name: np.ones(7)}, other=np.ones(3))
    with pytest.raises(UserError, match=rf"array '{name}' may change what the values of x mean"):
        load(tmp_path / "a.npz")
    found = load(tmp_path / "a.npz", columns={"ignore": [name]})
    np.testing.assert_array_equal(found.values, values.astype(np.float32))
