"""Columns that were taken for ids of entities, and may describe rows, or say when within a day they are."""

import re

import numpy as np

from distgan.data.formats.advice import show_list, show_name
from distgan.data.formats.column_names import is_entity_name, parse_clock, select_even_clocks
from distgan.data.formats.day_parts import (
    find_day_parts,
    find_elapsed_unit,
    find_hour_parts,
    is_name_of_parts,
)
from distgan.data.formats.entity_columns import refuse_quantities_as_ids
from distgan.data.formats.hour_labels import are_hour_labels
from distgan.data.formats.long import Long
from distgan.data.grid import find_common_step
from distgan.errors import UserError

REGULAR = 0.9  # share of times that stand once, and of steps that are alike, in a table of one row a time
FULL = 0.9  # share of times at which there is a row for each part of the day


def refuse_unclear_ids(table: Long) -> None:
    """Check that a column of ids which was detected, and not set, identifies the entity.

    Rows of one entity repeat the times of another, or lie between them. Where every time stands once, at even
    steps, the column may as well describe the rows of a wide table. Ids must not be quantities.

    Raises:
        UserError: both are possible, and differ; names the settings that decide.
    """
    columns = table.settings.columns
    asked = columns.id is not None or columns.channel is not None
    if asked or not table.table.ids or table.table.channel is not None:
        return
    if len(table.table.ids) == 1:
        name = table.table.ids[0]
        advice = "write the entity and the quantity in a column each, or "
        advice += f"set data.columns.id={show_name(name)} if each is an entity"
        refuse_quantities_as_ids(table.path, f"the ids in column {name!r}", table.ids, advice)
    if table.table.layout == "day_wide":
        _refuse_names_of_days(table)
    if table.table.layout != "long":
        return
    values, rows = table.table.values, _count_rows(table)
    if len(values) == 1 and len(table.ids) == 1:
        return  # one series in either layout
    times = np.unique(table.moments.astype("M8[s]"))
    if len(times) < REGULAR * rows or len(times) < 3:
        return
    steps = np.diff(times).astype(np.int64)
    if (steps == find_common_step(times)).mean() < REGULAR:
        return
    name, shown = table.table.ids[0], ", ".join(values[:3]) + (", …" if len(values) > 3 else "")
    numbers = all(re.fullmatch(r"[+-]?\d+", cell) for cell in table.ids)
    reading = f", or data.layout=wide if it holds readings like {shown}" if numbers else ""
    leave = "," if reading else " or"
    cells = "1 cell" if len(table.ids) == 1 else f"{len(table.ids)} different cells"
    raise UserError(
        f"{table.path}: every time stands once, so column {name!r} ({cells}) "
        f"may identify the entity, or describe the rows of a table with one column per entity ({shown}); "
        f"set data.columns.id={show_name(name)}{leave} data.columns.ignore={show_list([name])} to leave it "
        f"out{reading}"
    )


def _refuse_names_of_days(table: Long) -> None:
    """
    Raises:
        UserError: a row holds a day, and no date stands in two rows, so that ids may describe the days.
    """
    days = _count_rows(table) // len(table.table.offsets)
    dates = np.unique(table.moments.astype("M8[D]"))
    if len(table.ids) == 1 or len(dates) < max(3, days):
        return
    name = table.table.ids[0]
    raise UserError(
        f"{table.path}: every date stands once, so column {name!r} ({len(table.ids)} different cells) may "
        "identify the entity, or describe the days of one entity, as weekdays do; set "
        f"data.columns.id={show_name(name)} or data.columns.ignore={show_list([name])} to leave it out"
    )


def refuse_parts_as_ids(table: Long) -> None:
    """Check that a column of ids which was detected, and not set, does not number the hours of each day, or
    the parts of each hour.

    Raises:
        UserError: it may; names the settings that decide.
    """
    names = table.table.ids
    if table.settings.columns.id is not None or len(names) != 1:
        return
    if table.table.layout == "transposed":
        _refuse_hours_beside_dates(table)
    if table.table.layout != "long":
        return
    name, times = names[0], np.unique(table.moments.astype("M8[s]"))
    if (is_entity_name(name) and not is_name_of_parts(name)) or len(times) < 2:
        return
    kinds = max(1, len(table.kinds))
    if _count_rows(table) < FULL * len(times) * len(table.ids) * kinds or _stand_in_blocks(table):
        return
    show = f"{table.path}: column {name!r} has the {len(table.ids)} cells {table.ids[0]} to {table.ids[-1]}"
    entity = f"data.columns.id={show_name(name)} if it identifies the entity"
    if (times == times.astype("M8[D]")).all() and (many := find_day_parts(table.ids)):
        together = show_list([*table.table.time, name])
        periods = "" if many == 24 else f" and data.date_format=periods:{1440 // many}min"
        words = re.search(r"[^\W\d_]", table.ids[0]) is not None and not are_hour_labels(table.ids)
        write = f"write {table.ids[0]} as a number, and " if words else ""
        raise UserError(
            f"{show} on each date, as hours or other parts of a day have; {write}set "
            f"data.columns.time={together}{periods} if it says when in the day a reading is, or {entity}"
        )
    if (times == times.astype("M8[D]")).all() and (unit := find_elapsed_unit(table.ids)):
        raise UserError(
            f"{show} on each date, as {unit} after midnight have; write each time in one column "
            f"(2013-01-01 00:15), or set {entity}"
        )
    if (times == times.astype("M8[h]")).all() and find_hour_parts(name, table.ids):
        raise UserError(
            f"{show} in each hour, as minutes or other parts of an hour have; write each time in one column "
            f"(2013-01-01 00:15), or set {entity}"
        )


def _refuse_hours_beside_dates(table: Long) -> None:
    """
    Raises:
        UserError: rows are the parts of a day, and columns dates.
    """
    name, times = table.table.ids[0], table.moments.astype("M8[s]")
    clocks = {cell: seconds for cell in table.ids if (seconds := parse_clock(cell)) is not None}
    by_clock = any(":" in cell for cell in clocks) and len(select_even_clocks(clocks)) == len(table.ids)
    numbered = find_day_parts(table.ids) or find_elapsed_unit(table.ids)
    counted = all(cell.isdigit() and int(cell) <= len(table.ids) for cell in table.ids)
    named = is_name_of_parts(name) or not counted
    if (times == times.astype("M8[D]")).all() and len(table.ids) > 1 and (by_clock or (numbered and named)):
        raise UserError(
            f"{table.path}: column {name!r} has the {len(table.ids)} cells {table.ids[0]} to "
            f"{table.ids[-1]}, as hours or other parts of a day have, and the other columns are named by "
            f"dates; swap rows and columns (pandas: table.set_index({name!r}).T), or set "
            f"data.columns.id={show_name(name)} if it identifies the entity"
        )


def _stand_in_blocks(table: Long) -> bool:
    """Return whether all rows of an id follow each other, as those of an entity may, and those of an hour of
    the day do not.
    """
    codes = table.work.map_array(table.names[0], "ids")
    return int(np.count_nonzero(codes[1:] != codes[:-1])) + 1 <= len(table.ids)


def _count_rows(table: Long) -> int:
    return sum(facts["rows"] for facts in table.facts)
