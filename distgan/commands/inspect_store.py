"""The content of a store of series: its description, its values, pictures of a few series; never an id."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distgan.command_line import Result
from distgan.data.store.private_table import find_private_table
from distgan.data.store.reader import Store
from distgan.evaluation.plots import series, style
from distgan.files import write_bytes
from distgan.progress import Progress, format_count, format_digits

PICTURED = 4
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
SAMPLE = 2000  # series that quantiles are taken from, spread over the store


def run(path: Path, picture: Path | None = None, verify: bool = False) -> Result:
    """Describe a store and draw a few of its series to `picture`, by default beside the store.

    Raises:
        UserError: it is no store, or it is damaged.
    """
    store = Store.open(path)
    found = summarize(store)
    lines = [describe(store, found)]
    if verify:
        shards = store.values.layout.shards
        with Progress(f"verifying {path.name}", shards, "shards") as progress:
            store.verify(lambda shard: progress.advance())
        lines.append(f"verified   {store.values.layout.chunks} chunks in {shards} shards: all as written")
    private = ".private" if find_private_table(path).exists() else ""  # real series
    place = picture or path.with_name(f"{path.stem}{private}.png")
    draw_series(store, place)
    meta = store.meta
    tree = {
        "store": str(path),
        "series": store.num_series,
        "steps": store.length,
        "step_seconds": meta.axis.step_seconds,
        "start": meta.axis.start,
        "units": meta.units,
        "channels": {name: asdict(each) for name, each in zip(meta.channels, found)},
        "dtype": store.values.form.dtype,
        "bytes": count_bytes(path),
        "verified": verify,
        "picture": str(place),
        "provenance": meta.provenance,
    }
    return Result("\n".join([*lines, f"picture    {place}"]), tree)


@dataclass(frozen=True)
class ChannelSummary:
    """Values of one channel of a store; None where nothing was measured."""

    low: float | None
    high: float | None
    mean: float | None
    deviation: float | None
    missing: float  # share
    quantiles: dict[str, float]  # of a sample, by percent


def count_bytes(path: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def summarize(store: Store) -> list[ChannelSummary]:
    """Read every value of the store once, a block at a time, checksums included.

    Raises:
        UserError: it is damaged.
    """
    parts = []
    with Progress(f"reading {store.path.name}", store.num_series, "series") as progress:
        for _, block in store.iterate_blocks(256):
            parts.append(_summarize_block(block))
            progress.advance(len(block))
    counts, totals, squares, lows, highs = (np.array(column) for column in zip(*parts))
    measured, size, found = counts.sum(axis=0), store.num_series * store.length, []
    for number, quantiles in enumerate(_compute_quantiles(store)):
        if not measured[number]:
            found.append(ChannelSummary(None, None, None, None, 1.0, {}))
            continue
        mean = totals[:, number].sum() / measured[number]
        deviation = np.sqrt(max(squares[:, number].sum() / measured[number] - mean**2, 0.0))
        found.append(
            ChannelSummary(
                float(lows[:, number].min()),
                float(highs[:, number].max()),
                float(mean),
                float(deviation),
                float(1 - measured[number] / size),
                {f"{100 * q:g}": float(value) for q, value in zip(QUANTILES, quantiles)},
            )
        )
    return found


def describe(store: Store, found: Sequence[ChannelSummary]) -> str:
    """Return the store's own description, and a summary of each channel."""
    meta, axis, layout, form = store.meta, store.meta.axis, store.values.layout, store.values.form
    times = axis.list_times()
    lines = [
        f"series     {store.num_series:,} of {store.length:,} steps",
        f"channels   {', '.join(meta.channels)}",
        ("time       nominal: " if meta.is_nominal else "time       ")
        + f"{times[0]} to {times[-1]}, every {axis.step_seconds} s"
        + ("" if axis.leap_days else ", without 29 February"),
        f"units      {meta.units or 'not given'}",
        f"stored     {count_bytes(store.path) / 2**20:,.1f} MiB, {form.dtype}, compressor {form.compressor}, "
        f"{format_count(layout.shards, 'shard')} of {layout.shard_rows:,} series in chunks of "
        f"{layout.chunk_rows}, crc32c",
    ]
    for channel, each in zip(meta.channels, found):
        name = f" ({channel})" if len(meta.channels) > 1 else ""
        if each.low is not None:
            few = ", ".join(f"{part} % {format_digits(value)}" for part, value in each.quantiles.items())
            lines += [
                f"values     {format_digits(each.low, 6)} to {format_digits(each.high, 6)}, mean "
                f"{format_digits(each.mean, 6)}, deviation {format_digits(each.deviation)}{name}",
                f"quantiles  {few}{name}",
            ]
        lines.append(f"missing    {each.missing:.2%}{name}")
    lines += [
        f"{name:<10} {value}"
        for name, value in _flatten_attributes({"reduction": meta.reduction, **meta.provenance})
    ]
    return "\n".join(lines)


def _flatten_attributes(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten attributes: nested ones as `outer.inner`, empty ones left out."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten_attributes(value, f"{prefix}{name}.")
        elif value not in ("", None):
            yield f"{prefix}{name}", value


def _summarize_block(block: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return of each channel the measured values, their sum, sum of squares, least, largest."""
    measured = ~np.isnan(block)
    known = np.where(measured, block, 0).astype(np.float64)
    low = np.min(block, axis=(0, 1), where=measured, initial=np.inf)
    high = np.max(block, axis=(0, 1), where=measured, initial=-np.inf)
    return measured.sum(axis=(0, 1)), known.sum(axis=(0, 1)), (known**2).sum(axis=(0, 1)), low, high


def _compute_quantiles(store: Store) -> np.ndarray:
    """Return quantiles of some series spread over the store, of each channel: [C, quantiles]."""
    few = np.unique(np.linspace(0, store.num_series - 1, min(SAMPLE, store.num_series)).astype(int))
    steps = max(1, len(few) * store.length // 2_000_000)
    values = np.concatenate(
        [store.read_rows(some)[:, ::steps] for some in np.array_split(few, -(-len(few) // 256))]
    )
    flat = values.reshape(-1, store.channels)
    known = [channel[~np.isnan(channel)] for channel in flat.T]
    return np.array([np.quantile(c, QUANTILES) if len(c) else [np.nan] * len(QUANTILES) for c in known])


def draw_series(store: Store, place: Path) -> None:
    """Draw a few series spread over the store, by number."""
    few = np.unique(np.linspace(0, store.num_series - 1, PICTURED).astype(int))
    write_bytes(place, style.render(series.draw_preview(store.read_rows(few), style.make_view(store.meta))))
