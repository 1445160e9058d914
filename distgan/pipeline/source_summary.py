"""`distgan inspect FILE`: how a source is read, its values, and suspicions about them.

The same lines open `prepare`. They show least and largest values, which are single people's: they are for
the owner's own console. The store and the report keep counts only.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distgan import config
from distgan.data import ingest
from distgan.data.checks.columns import find_odd_columns
from distgan.data.checks.fit import format_step
from distgan.data.checks.survey import Channel
from distgan.data.checks.suspicions import SourceFacts, Suspicion, list_suspicions, mask_id
from distgan.data.formats.column_names import is_entity_name, match_owner_name
from distgan.data.formats.understood import Understood
from distgan.data.ingest_cache import open_cache_folder
from distgan.data.static_attributes import count_entities
from distgan.errors import UserError
from distgan.progress import format_count, format_digits, format_exact

OPENING = 3  # ids that are shown, masked
CHANNELS = 12  # that are shown
QUANTILE = 0.999
ON_MISSING = " (data.max_missing; data.start_ragged keeps series that begin late or end early)"
SHOWN_TOGETHER = config.Bank().min_members  # entities with a value of an attribute that is shown
LENIENT = 0.999  # data.max_missing, to look at what prepare would refuse


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    source: str
    settings: config.Config


def parse(positional: Sequence[str], path: str | None = None) -> Options:
    """Return what the arguments SOURCE [key.sub=value ...] and the config file `path` ask for.

    Raises:
        UserError: there is not exactly one source, or a setting is wrong.
    """
    sources = [each for each in positional if not _is_override(each)]
    if len(sources) != 1:
        raise UserError(
            f"distgan inspect describes one source at a time, and {len(sources)} are given; "
            "e.g. distgan inspect homes.csv data.units=kWh"
        )
    settings = config.load(path, [each for each in positional if _is_override(each)])
    data = settings.data.model_copy(update={"source": sources[0]})
    return Options(sources[0], settings.model_copy(update={"data": data}))


def examine(options: Options) -> tuple[str, dict[str, Any]]:
    """Return the content of a source and the suspicions about it, as text and as a tree.

    Raises:
        UserError: the source cannot be read.
    """
    with open_cache_folder(None) as place:
        found, refusal = open_leniently(options.settings, place)
        suspicions = find_suspicions(options.settings, found)
        return "\n".join(describe(found, suspicions, refusal)), make_tree(found, suspicions, refusal)


def _is_override(argument: str) -> bool:
    return "=" in argument and not Path(argument).expanduser().exists()


def open_leniently(settings: config.Config, place: Path) -> tuple[ingest.Series, str]:
    """Open a source even where `prepare` would refuse all of its series; the refusal, if there is one."""
    data = settings.data.model_copy(update={"unusable": "drop"})
    try:
        return ingest.open_source(data, place, survey=True), ""
    except UserError as error:
        lenient = data.model_copy(update={"max_missing": LENIENT, "cut": "whole"})
        try:
            return ingest.open_source(lenient, place, flat=True, survey=True), str(error)
        except UserError:
            raise error from None


def find_suspicions(settings: config.Config, found: ingest.Series) -> list[Suspicion]:
    """Return what is suspicious about the source of `found`, which was opened with a survey."""
    assert found.survey is not None
    source = found.source
    return list_suspicions(
        SourceFacts(
            found.survey,
            source.meta,
            found.meta,
            settings,
            source.entities,
            source.understood,
            found.copies,
            find_odd_columns(source, found.survey, settings.data),
        )
    )


# --------------------------------------------------------------------------------------------------- in words


def describe(found: ingest.Series, suspicions: Sequence[Suspicion], refusal: str = "") -> list[str]:
    """Return the lines for the owner's console; ids are masked."""
    source, meta = found.source, found.source.meta
    axis, entities = meta.axis, found.source.entities
    ids = ", ".join(mask_id(name) for name in entities[:OPENING])
    times = axis.list_times()
    clock = str(meta.provenance.get("clock", ""))
    lines = [
        *_format_understood(source.understood),
        f"series     {len(entities):,} of {axis.length:,} steps, of "
        f"{format_count(len(set(source.owners)), 'owner')} "
        f"(ids {ids})",
        f"channels   {_format_first(meta.channels, CHANNELS)}",
        (
            f"time       stamps from {times[0]} count the steps"
            if meta.is_nominal
            else f"time       {times[0]} to {times[-1]}, every {format_step(axis.step_seconds)}"
        )
        + (f"; clock: {clock}" if clock else ""),
        f"used       {found.num_series:,} series of {found.meta.axis.length:,} steps"
        + ("" if meta.is_nominal else f" of {format_step(found.meta.axis.step_seconds)}")
        + (f", in {meta.units}" if meta.units else ""),
    ]
    assert found.survey is not None
    when = "before data.reduce: " if found.meta.axis.step_seconds != axis.step_seconds else ""
    for name, channel in list(zip(meta.channels, found.survey.channels))[:CHANNELS]:
        lines.append(_format_values(channel, name if len(meta.channels) > 1 else "", when))
    lines += format_attributes(found)
    lines += [
        f"left out   {count:,} {reason}{ON_MISSING if reason.endswith('% missing') else ''}"
        for reason, count in found.left_out.items()
        if count
    ]
    lines += [f"refused    {refusal}"] if refusal else []
    lines += format_suspicions(suspicions)
    return [*lines, "These lines show single series' values: they are for the owner of the data only."]


def _format_more(count: int, shown: int) -> str:
    return f", … ({count} in all)" if count > shown else ""


def _format_understood(understood: Understood | None) -> list[str]:
    """Return lines on the layout, marks, columns and rows that the reader found."""
    if understood is None:
        return []
    marks = {
        "separator": understood.separator,
        "encoding": understood.encoding,
        "header line": understood.header_line,
        "decimal": understood.decimal,
        "thousands": understood.thousands,
    }
    said = ", ".join(f"{name} {value!r}" for name, value in marks.items() if value)
    columns = {
        "time": understood.time_columns,
        "id": understood.id_columns,
        "channel": [understood.channel_column] if understood.channel_column else [],
        "values": _list_value_columns(understood.value_columns, understood.layout),
        "attributes": understood.attributes,
        "ignored": understood.ignored_columns,
    }
    named = "; ".join(f"{name}: {_format_first(names)}" for name, names in columns.items() if names)
    counts = {
        "equal readings merged": understood.merged_duplicates,
        "readings in conflict": understood.conflicting_duplicates,
        "rows between steps ignored": understood.off_grid_ignored,
        "rows outside of data.axis left out": understood.outside_ignored,
        "rows skipped": len(understood.skipped_rows),
        "repeated headers": understood.repeated_headers,
    }
    lines = {
        "layout": f"{understood.layout}{f' ({said})' if said else ''}",
        "columns": named,
        "times": understood.time_format,
        "units row": _format_first(list(dict.fromkeys(understood.units_row.values()))),
        "rows": ", ".join(f"{count:,} {name}" for name, count in counts.items() if count),
    }
    notes = [("note", note) for note in understood.notes]
    return [f"{name:<10} {value}" for name, value in [*lines.items(), *notes] if value]


def _list_value_columns(columns: Sequence[str], layout: str) -> list[str]:
    """Return value columns by name, or masked where a column is an entity's."""
    return [mask_id(name) if layout.startswith("wide") else name for name in columns]


def _format_first(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + _format_more(len(names), most)


def _format_values(channel: Channel, name: str, when: str) -> str:
    label = f" ({name})" if name else ""
    if not channel.measured:
        return f"values     none{label}"
    about = "about " if channel.sampled < channel.measured else ""  # quantiles are of a sample
    return (
        f"values     {when}{format_digits(channel.low, 6)} to {format_digits(channel.high, 6)}, median "
        f"{about}{format_digits(channel.compute_quantile(0.5))}, "
        f"{100 * QUANTILE:g} % up to {about}{format_digits(channel.compute_quantile(QUANTILE))}; "
        f"{1 - channel.measured / channel.values:.2%} missing, {channel.zeros / channel.measured:.2%} "
        f"zeros{label}"
    )


def format_attributes(found: ingest.Series) -> list[str]:
    """Return a line per attribute: its values with the entities that have them, rare ones together."""
    lines = []
    for name, each in make_attribute_trees(found).items():
        if "different" in each:
            said = f"{format_count(each['different'], 'different value')}, not shown"
        elif "counts" in each:
            said = ", ".join(f"{value} {count:,}" for value, count in each["counts"].items()) or "no value"
        else:
            low, high, place = each["low"], each["high"], f"{SHOWN_TOGETHER}th"
            said = (
                f"{format_exact(low)} ({place} lowest) to {format_exact(high)} ({place} highest), median "
                f"{format_exact(each['median'])}"
            )
        rare = (
            f", other {each['other']:,} in {format_count(each['rare'], 'value')}" if each.get("rare") else ""
        )
        lines.append(f"attribute  {name} ({each['kind']}): {said}{rare}; {each['missing']:,} missing")
    return lines


def make_attribute_trees(found: ingest.Series) -> dict[str, dict[str, Any]]:
    """Return what is shown of each attribute: counts of entities for values that bank.min_members entities
    have, the others as one; of numbers the range that so many entities reach on either side, and the median;
    of ids their number.
    """
    entities, trees = np.asarray(found.entities), {}
    for each in found.statics:
        missing = len(np.unique(entities[each.cells == ""]))
        counts = count_entities(each, entities)
        tree: dict[str, Any] = {"kind": each.kind, "missing": missing}
        if match_owner_name(each.name) is not None or (each.is_number and is_entity_name(each.name)):
            different = len(set(each.cells.tolist()) - {""})
            trees[each.name] = tree | {"kind": "id", "different": different}
            continue
        known = np.array([])
        if each.is_number:
            numbers = each.take(np.unique(entities, return_index=True)[1]).parse_numbers()
            known = np.sort(numbers[~np.isnan(numbers)])
        if each.is_number and len(known) >= 2 * SHOWN_TOGETHER:
            low, high = known[SHOWN_TOGETHER - 1], known[-SHOWN_TOGETHER]
            trees[each.name] = tree | {"low": low, "high": high, "median": float(np.median(known))}
            continue
        common = {value: count for value, count in counts.items() if count >= SHOWN_TOGETHER}
        rare = [count for count in counts.values() if count < SHOWN_TOGETHER]
        trees[each.name] = tree | {"counts": common, "rare": len(rare), "other": sum(rare)}
    return trees


def format_suspicions(suspicions: Sequence[Suspicion]) -> list[str]:
    """Return a line for each: severity, name, what was noticed, and the setting that acts."""
    lines = [f"{each.severity:<10} {each.name}: {each.text}; {each.advice}" for each in suspicions]
    errors = [each.name for each in suspicions if each.severity == "error"]
    if errors:
        lines.append(
            f"{'':<10} prepare refuses the data for each error; if they are right as they are, set "
            f"data.accept=[{','.join(errors)}]"
        )
    return lines


# ---------------------------------------------------------------------------------------------------- as JSON


def make_tree(found: ingest.Series, suspicions: Sequence[Suspicion], refusal: str = "") -> dict[str, Any]:
    """Return the same facts for a program."""
    source, meta = found.source, found.source.meta
    times = meta.axis.list_times()
    assert found.survey is not None
    understood = source.understood or Understood()
    return {
        "source": found.settings.source,
        "understood": {
            **asdict(understood),
            "value_columns": _list_value_columns(understood.value_columns, understood.layout),
            "units_row": sorted(set(understood.units_row.values())),
        },
        "series": len(source.entities),
        "owners": len(set(source.owners)),
        "ids": [mask_id(name) for name in source.entities[:OPENING]],
        "channels": list(meta.channels),
        "steps": meta.axis.length,
        "step_seconds": meta.axis.step_seconds,
        "first": str(times[0]),
        "last": str(times[-1]),
        "clock": meta.provenance.get("clock", ""),
        "units": meta.units,
        "used": {
            "series": found.num_series,
            "steps": found.meta.axis.length,
            "step_seconds": found.meta.axis.step_seconds,
        },
        "values": {
            name: _make_values_tree(channel) for name, channel in zip(meta.channels, found.survey.channels)
        },
        "attributes": make_attribute_trees(found),
        "left_out": {reason: count for reason, count in found.left_out.items() if count},
        "refused": refusal,
        "suspicions": [asdict(each) for each in suspicions],
    }


def _make_values_tree(channel: Channel) -> dict[str, float | None]:
    if not channel.measured:
        return {"missing": 1.0}
    return {
        "min": channel.low,
        "median": channel.compute_quantile(0.5),
        "quantile_999": channel.compute_quantile(QUANTILE),
        "max": channel.high,
        "missing": 1 - channel.measured / channel.values,
        "zeros": channel.zeros / channel.measured,
    }
