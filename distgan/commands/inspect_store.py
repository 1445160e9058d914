"""What a store of series holds: what it says of itself, its values, pictures of a few series; never an id."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distgan.data.store.private_table import private_table
from distgan.data.store.reader import Store
from distgan.errors import UserError
from distgan.evaluation.plots import series, style
from distgan.files import write_bytes
from distgan.progress import Progress

PICTURED = 4
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
SAMPLE = 2000  # series that quantiles are taken from, spread over the store


def run(arguments: Sequence[str]) -> str:
    """`STORE [--verify] [--picture FILE.png]`.

    Raises:
        UserError: the arguments are others, it is no store, or it is damaged.
    """
    path, picture, verify = _parse(list(arguments))
    store = Store.open(path)
    lines = []
    if verify:
        shards = store.values.layout.shards
        with Progress(f"verifying {path.name}", shards, "shards") as progress:
            store.verify(lambda shard: progress.advance())
        lines = [f"verified   {store.values.layout.chunks} chunks in {shards} shards: all as written"]
    lines = [describe(path), *lines]
    private = ".private" if private_table(path).exists() else ""  # real series
    place = picture or path.with_name(f"{path.stem}{private}.png")
    draw(store, place)
    return "\n".join([*lines, f"picture    {place}"])


def _parse(arguments: list[str]) -> tuple[Path, Path | None, bool]:
    usage = UserError("usage: distgan inspect STORE [--verify] [--picture FILE.png]")
    verify = "--verify" in arguments
    rest = [argument for argument in arguments if argument != "--verify"]
    picture = None
    if "--picture" in rest:
        at = rest.index("--picture")
        if at + 1 >= len(rest):
            raise usage
        picture = Path(rest[at + 1])
        if picture.suffix.lower() != ".png":
            raise UserError(f"--picture {picture} must end with .png")
        del rest[at : at + 2]
    if len(rest) != 1 or rest[0].startswith("-"):
        raise usage
    return Path(rest[0]), picture, verify


def describe(path: Path) -> str:
    """Read every value of the store once, a block at a time, checksums included.

    Raises:
        UserError: it is no store, or it is damaged.
    """
    store = Store.open(path)
    meta, axis, layout, form = store.meta, store.meta.axis, store.values.layout, store.values.form
    blocks = [_summary(block) for _, block in store.blocks(256)]
    counts, totals, squares, lows, highs = (np.array(column) for column in zip(*blocks))
    measured = counts.sum(axis=0)
    size = store.num_series * store.length
    times = axis.times()
    megabytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 2**20
    lines = [
        f"series     {store.num_series:,} of {store.length:,} steps",
        f"channels   {', '.join(meta.channels)}",
        f"time       {times[0]} to {times[-1]}, every {axis.step_seconds} s"
        + ("" if axis.leap_days else ", without 29 February"),
        f"units      {meta.units or 'not given'}",
        f"stored     {megabytes:,.1f} MiB, {form.dtype}, compressor {form.compressor}, "
        f"{layout.shards} shards of {layout.shard_rows:,} series in chunks of {layout.chunk_rows}, crc32c",
    ]
    quantiles = _quantiles(store)
    for number, channel in enumerate(meta.channels):
        mean = totals[:, number].sum() / max(measured[number], 1)
        deviation = np.sqrt(max(squares[:, number].sum() / max(measured[number], 1) - mean**2, 0.0))
        few = ", ".join(f"{100 * q:g} % {value:.4g}" for q, value in zip(QUANTILES, quantiles[number]))
        name = f" ({channel})" if len(meta.channels) > 1 else ""
        lines += [
            f"values     {lows[:, number].min():g} to {highs[:, number].max():g}, mean {mean:g}, deviation "
            f"{deviation:.4g}{name}",
            f"quantiles  {few}{name}",
            f"missing    {1 - measured[number] / size:.2%}{name}",
        ]
    lines += [
        f"{name:<10} {value}"
        for name, value in _flatten_attributes({"reduction": meta.reduction, **meta.provenance})
    ]
    return "\n".join(lines)


def _flatten_attributes(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Attributes, nested ones as `outer.inner`, empty ones left out."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten_attributes(value, f"{prefix}{name}.")
        elif value not in ("", None):
            yield f"{prefix}{name}", value


def _summary(block: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each channel: measured values, their sum, sum of squares, least, largest."""
    measured = ~np.isnan(block)
    known = np.where(measured, block, 0).astype(np.float64)
    low = np.min(block, axis=(0, 1), where=measured, initial=np.inf)
    high = np.max(block, axis=(0, 1), where=measured, initial=-np.inf)
    return measured.sum(axis=(0, 1)), known.sum(axis=(0, 1)), (known**2).sum(axis=(0, 1)), low, high


def _quantiles(store: Store) -> np.ndarray:
    """Of some series spread over the store, of each channel: [C, quantiles]."""
    few = np.unique(np.linspace(0, store.num_series - 1, min(SAMPLE, store.num_series)).astype(int))
    steps = max(1, len(few) * store.length // 2_000_000)
    values = np.concatenate(
        [store.rows(some)[:, ::steps] for some in np.array_split(few, -(-len(few) // 256))]
    )
    flat = values.reshape(-1, store.channels)
    known = [channel[~np.isnan(channel)] for channel in flat.T]
    return np.array([np.quantile(c, QUANTILES) if len(c) else [np.nan] * len(QUANTILES) for c in known])


def draw(store: Store, place: Path) -> None:
    """A picture of a few series spread over the store, by number."""
    few = np.unique(np.linspace(0, store.num_series - 1, PICTURED).astype(int))
    write_bytes(place, style.render(series.sample_sheet(store.rows(few), style.make_view(store.meta))))
