"""Freed memory goes back to the system while blocks of a store are read."""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distgan import memory
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter

HOLES = """
import numpy as np
from distgan.memory import TRIMMED_BYTES, HeapTrimmer

def measure():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

pairs = [(np.ones(10_000), np.ones(300)) for _ in range(1500)]  # 80 KB that are freed, 2 KB that stay
kept, before = [small for _, small in pairs], measure()
del pairs
freed, heap = measure(), HeapTrimmer()
heap.count(TRIMMED_BYTES - 1)
waits = measure()
heap.count(1)
print(before - freed, before - waits, before - measure())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_holes_between_results_go_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    freed, waits, trimmed = map(float, done.stdout.split())
    assert freed < 20, freed  # MiB: the C library keeps the holes, so the test shows something
    assert waits < 20 and trimmed > 90, (waits, trimmed)


def test_a_pass_over_a_store_trims_after_so_many_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trims: list[int] = []
    monkeypatch.setattr(memory, "trim_heap", lambda: trims.append(1))
    monkeypatch.setattr(memory, "TRIMMED_BYTES", 100_000)
    meta = Meta(Axis("2013-01-01T00:00:00", 3600, 100), ("load",), "kWh", {"source": "made"}, {})
    values = np.random.default_rng(0).random((1000, 100, 1), dtype=np.float32)
    with StoreWriter(tmp_path / "series.zarr", meta) as writer:
        writer.append(values)
    store = Store.open(tmp_path / "series.zarr")
    gc.collect()
    rows = np.arange(0, 1000, 2)
    np.testing.assert_array_equal(np.concatenate(list(store.select_part(rows, 100))), values[::2])
    assert len(trims) == 1  # 200,000 bytes in five blocks of 40,000: after the third, and two are left
    trims.clear()
    np.testing.assert_array_equal(np.concatenate([block for _, block in store.iterate_blocks(100)]), values)
    assert len(trims) == 3  # 400,000 bytes in ten blocks: after the third, sixth and ninth
