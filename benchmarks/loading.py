"""How fast shuffled series reach training, beside `np.memmap` and beside data that is already in memory.

    python benchmarks/loading.py                    # 10,000 and 100,000 series of 2190 steps; 2 GB of disk
    python benchmarks/loading.py --smoke            # seconds
    python benchmarks/loading.py --series 1000000   # 9 GB more of disk; no memmap beside it
    python benchmarks/loading.py --table 2000       # memory while a CSV of so many homes becomes a store

Every chunk is verified, and levels are learned, in a first pass that is not counted. Then A B A B: batches of
256 random series from a memory map of a plain file, and from the store (`memmap_ratio`, higher is better);
the encoder's steps on batches in memory, and on the loader's (`step_time_ratio`, lower is better). Memory is
the peak of a process of its own above what it held before. The last line is JSON.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from common import alone, finish, show

from distgan import config
from distgan.data import ingest
from distgan.data.loader import Batch, Batching, Loader
from distgan.data.scaling import Scaler
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import ParallelStoreWriter, StoreWriter
from distgan.data.workers import run_in_parallel
from distgan.models.vae import VAE
from distgan.objectives.vae import VariationalAutoencoder

LENGTH, BATCH = 2190, 256
BUFFER_SHARDS = 4
WARM_UP = 3  # pairs of steps that are not counted
ENCODER = config.Encoder(patch=42, width=64, depth=2, latent_dim=8)  # of configs/london.yaml
SCALER = Scaler("none", "standard", 1.0, 4.0, None)


def block(first: int, rows: int, base: np.ndarray) -> np.ndarray:
    """Load-like series: a shared rhythm, a level of their own, noise."""
    rng = np.random.default_rng(first)
    noise = rng.standard_normal((rows, LENGTH), dtype=np.float32)
    return (rng.lognormal(0, 0.4, (rows, 1)).astype(np.float32) * (base + 0.3 * noise))[:, :, None]


def write(folder: Path, series: int, plain: bool) -> tuple[Path, Path]:
    """The store, and the same values as a plain file."""
    path, file = folder / f"{series}.zarr", folder / f"{series}.f32"
    base = (1.5 + np.sin(2 * np.pi * np.arange(LENGTH) / 6)).astype(np.float32)
    meta = Meta(Axis("2013-01-01T00:00:00", 14400, LENGTH), ("load",), "kWh", {"source": "synthetic"}, {})
    with StoreWriter(path, meta) as store, open(file, "wb") as copy:
        for first in range(0, series, 2048):
            values = block(first, min(2048, series - first), base)
            store.append(values)
            if plain:
                copy.write(values.tobytes())
    return path, file


def timed(reads: int, total: int, seed: int, read) -> float:  # type: ignore[no-untyped-def]
    """Series a second over `reads` batches of random rows."""
    rng = np.random.default_rng(seed)
    batches = [rng.integers(0, total, BATCH) for _ in range(reads)]
    started = time.perf_counter()
    for rows in batches:
        read(rows)
    return reads * BATCH / (time.perf_counter() - started)


def reading(path: Path, file: Path, pairs: int, reads: int) -> dict[str, float]:
    store = Store.open(path)
    started = time.perf_counter()
    store.verify()
    verified = store.num_series * LENGTH * 4 / (time.perf_counter() - started) / 1e9
    memmap = np.memmap(file, np.float32, "r", shape=(store.num_series, LENGTH, 1))
    memmap[:: max(1, store.num_series // 1000)].sum()
    rates = []
    for pair in range(-1, pairs):  # the first is warm-up
        for rows in np.array_split(np.arange(store.num_series), 50) if pair < 0 else []:
            memmap[rows]
        one = timed(reads, store.num_series, pair + 1, lambda rows: memmap[rows])
        other = timed(reads, store.num_series, pair + 1, store.read_rows)
        rates += [(one, other)] if pair >= 0 else []
    theirs, ours = np.array(rates).T
    return {
        "memmap_series_per_second": round(float(np.median(theirs))),
        "store_series_per_second": round(float(np.median(ours))),
        "memmap_ratio": round(float(np.median(ours / theirs)), 3),
        "verify_gb_per_second": round(verified, 2),
    }


def training(path: Path, pairs: int) -> dict[str, float]:
    """Steps of the encoder, the quickest training there is here, on one torch thread; and of two matrices,
    far quicker than any, where the reading thread shows.
    """
    store = Store.open(path)
    store.verify()
    rows = np.arange(store.num_series)
    loader = Loader(store, rows, SCALER, batching=Batching(batch_size=BATCH, seed=0))
    for step in range(-(-len(rows) // BATCH)):  # the first pass: locations and scales are learned
        loader.make_batch(step)
    vae = VAE(LENGTH, 1, ENCODER)
    objective = VariationalAutoencoder({"vae": vae}, ENCODER, seed=0)
    matrices = torch.nn.Sequential(torch.nn.Linear(LENGTH, 512), torch.nn.GELU(), torch.nn.Linear(512, 1))
    step = paired(loader, vae, lambda batch: objective.loss(batch)["loss"], pairs)
    quick = paired(loader, matrices, lambda batch: (matrices(batch.series[:, :, 0]) ** 2).mean(), 20 * pairs)
    return {**step, **{f"quick_{name}": value for name, value in quick.items()}}


def paired(
    loader: Loader, network: torch.nn.Module, loss: Callable[[Batch], torch.Tensor], pairs: int
) -> dict[str, float]:
    """A B A B: a step on a batch that is in memory already, and one on the loader's, which makes another
    meanwhile. Single steps in turn, since a shared machine's speed drifts within seconds.
    """
    kept = [loader.make_batch(step) for step in range(8)]
    adam = torch.optim.Adam(network.parameters())

    def seconds(batches: Iterator[Batch]) -> float:
        started = time.perf_counter()
        adam.zero_grad()
        loss(next(batches)).backward()
        adam.step()
        return time.perf_counter() - started

    real, memory = loader.iterate_batches(), cycle(kept)
    times = np.array([(seconds(memory), seconds(real)) for _ in range(pairs + WARM_UP)])
    real.close()
    plain, loaded = times[WARM_UP:].T
    return {
        "step_ms_in_memory": round(1e3 * float(np.median(plain)), 2),
        "step_ms_loader": round(1e3 * float(np.median(loaded)), 2),
        "step_time_ratio": round(float(np.median(loaded / plain)), 3),
    }


def buffered(path: Path) -> dict[str, float]:
    """An epoch through a buffer of four shards, each series read once."""
    store = Store.open(path)
    loader = Loader(
        store,
        np.arange(store.num_series),
        SCALER,
        batching=Batching(batch_size=BATCH, seed=0, buffer_shards=BUFFER_SHARDS),
    )
    started = time.perf_counter()
    for _ in islice(loader.iterate_batches(), -(-store.num_series // BATCH)):
        pass
    layout = store.values.layout
    return {
        "buffer_mib": round(BUFFER_SHARDS * layout.shard_rows * layout.row_bytes / 2**20),
        "store_mib": round(store.num_series * layout.row_bytes / 2**20),
        "epoch_series_per_second": round(store.num_series / (time.perf_counter() - started)),
    }


def measured(folder: Path, series: int, options: argparse.Namespace) -> dict[str, Any]:
    plain = series <= 200_000
    path, file = write(folder, series, plain)
    pairs, reads = (2, 4) if options.smoke else (options.pairs, 100)
    result: dict[str, Any] = {"series": series}
    if plain:
        result |= reading(path, file, pairs, reads) | training(path, pairs)
    return result | in_mib(alone(buffered, path))


def in_mib(case: dict[str, Any]) -> dict[str, Any]:
    """What a process measured, with its peak above what it held before."""
    peak, _ = case.pop("memory_gib"), case.pop("import_gib")
    return case | {"peak_mib": round(1024 * peak)}


def write_table(path: Path, homes: int) -> None:
    """A wide CSV of half-hourly readings of a year, a month of lines at a time."""
    stamps = pd.date_range("2013-01-01", periods=17_520, freq="30min")
    columns = [f"home {number}" for number in range(homes)]
    for first in range(0, len(stamps), 1460):
        rng = np.random.default_rng(first)
        values = rng.gamma(1.5, 0.2, (len(stamps[first : first + 1460]), homes)).round(3)
        frame = pd.DataFrame(values, stamps[first : first + 1460], columns)
        frame.to_csv(path, mode="a", header=first == 0)


def read_table(source: Path, target: Path) -> dict[str, float]:
    """A CSV becomes a store, as the prepare stage does it."""
    started = time.perf_counter()
    found = ingest.open_source(config.Data(source=str(source)), target.with_suffix(".parts"))
    with ParallelStoreWriter(target, found.meta, found.num_series) as writer:
        shards = writer.layout.shards
        run_in_parallel(
            lambda shard: writer.fill(shard, found.read_rows(*writer.layout.find_span(shard))),
            range(shards),
            "writing",
        )
    return {
        "homes": found.num_series,
        "csv_mib": round(source.stat().st_size / 2**20),
        "seconds": round(time.perf_counter() - started, 1),
    }


def reading_a_table(folder: Path, homes: int) -> dict[str, Any]:
    source = folder / "homes.csv"
    write_table(source, homes)
    return in_mib(alone(read_table, source, folder / "homes.zarr"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--table", type=int, metavar="HOMES", help="only this: memory while a CSV is read")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--smoke", action="store_true", help="a few series, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.table or options.smoke:
            table = reading_a_table(Path(folder), options.table or 20)
            show("a table", [table])
            if options.table:
                return finish(1, table=table)
        results = []
        for series in [600] if options.smoke else options.series:
            results.append(measured(Path(folder), series, options))
            print("\n".join(f"{name:<26} {value:>12,}" for name, value in results[-1].items()), end="\n\n")
    last = next((result for result in reversed(results) if "memmap_ratio" in result), {})
    finish(
        1,
        **{name: last[name] for name in ("memmap_ratio", "step_time_ratio") if name in last},
        results=results,
    )


if __name__ == "__main__":
    main()
