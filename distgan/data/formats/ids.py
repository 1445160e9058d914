"""Find the column of a long table that identifies the entity of each reading, by how readings repeat."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from distgan import config
from distgan.data.formats.advice import show_list
from distgan.data.formats.column_names import CHANNEL_NAME, is_entity_name, is_flow_name
from distgan.data.formats.columns import is_text, join_times
from distgan.data.formats.entity_columns import holds_channels, refuse_unclear_channel
from distgan.errors import UserError

MOSTLY_EMPTY = 0.5  # share of cells that stand for the rows below
MAY_REPEAT, NAMED_MAY_REPEAT = 0.02, 0.3  # share of a sample's readings that may stand twice, by the name


SHORT_FORM = re.compile(r"[+-]?\d(?:[.,]\d+)?[eE]\+\d{2,3}")  # 5.41449E+17, as spreadsheets show long numbers


def refuse_short_ids(names: Sequence[str], where: str) -> None:
    """
    Raises:
        UserError: an id has lost digits, so that several entities may have the same.
    """
    for name in names:
        if "+" in name and SHORT_FORM.fullmatch(name):
            raise UserError(
                f"{where}: {name!r} has lost digits in a spreadsheet's short form, and names an entity; "
                "export all digits, as text"
            )


def format_float_ids(ids: np.ndarray, where: str) -> list[str]:
    """Return ids that are stored as floating-point numbers as text, whole ones without a point.

    Raises:
        UserError: one is so large that its last digits are lost.
    """
    large = np.abs(ids) >= 2.0 ** (np.finfo(ids.dtype).nmant + 1)
    if large.any():
        raise UserError(
            f"{where}: ids are floating-point numbers, and {ids[large][0]:.0f} may have lost its last "
            "digits; write them as text or as whole numbers"
        )
    return [str(int(number)) if number.is_integer() else str(number) for number in ids]


class IdFinder:
    """Sampled rows of a table whose time columns are known."""

    def __init__(
        self, path: Path, frame: pd.DataFrame, columns: config.Columns, time: tuple[str, ...]
    ) -> None:
        self.path, self.frame, self.columns, self.time = path, frame, columns, time
        self.stamps = join_times(frame, time)

    def find(self, channel: str | None) -> tuple[tuple[str, ...], str | None]:
        """Return the columns that identify the entity (none if all rows are of one), and the one that names
        the channel, if any.

        Raises:
            UserError: no column or several could identify it; names data.columns.id.
        """
        rest = [name for name in self.frame.columns if name not in self.time and name != channel]
        names = [name for name in rest if self.frame[name].notna().any()]
        asked = {*self.columns.attributes, *(self.columns.values or ())}
        names = [name for name in names if name not in asked]
        words = [name for name in names if is_text(self.frame[name], name)]
        whole = [name for name in names if pd.api.types.is_integer_dtype(self.frame[name])]
        whole = [name for name in whole if is_entity_name(name) or not words]
        whole += [name for name in names if is_entity_name(name) and _is_whole(self.frame[name])]
        able = [*words, *whole]
        found = self._find_only_column(channel, able)
        if found and channel is None and self._is_channel(found):
            found = self._find_name_of_channel(found) or found
            entity = self._find_only_column(found, [name for name in able if is_entity_name(name)])
            pairs = self.frame[[entity, found]].drop_duplicates() if entity is not None else []
            several = entity is not None and len(pairs) > self.frame[entity].nunique()
            return (entity,) if entity is not None and several else (), found
        if found:
            return (found,), channel
        if channel is None:
            for name in words:
                named = (
                    CHANNEL_NAME.search(name.lower())
                    or is_flow_name(name)
                    or holds_channels(self.frame[name])
                )
                if named and (found := self._find_only_column(name, able)):
                    return (found,), name
        elif not self._repeats(self.frame[channel].astype("str")):
            return (), channel
        self._refuse_cells_of_several_rows(names)
        numbers = [name for name in names if pd.api.types.is_integer_dtype(self.frame[name])]
        able = list(dict.fromkeys((*words, *whole, *numbers)))
        shown = ", ".join(repr(name) for name in able) or "no column of words or whole numbers"
        raise UserError(
            f"{self.path}: the column that identifies the entity of a reading is not clear ({shown}); set "
            "data.columns.id to it, or to several that identify it together, data.columns.channel to a "
            "column that names the channel, data.columns.time to all columns of the time, or "
            "data.layout=wide if each column is an entity"
        )

    def _refuse_cells_of_several_rows(self, names: list[str]) -> None:
        """
        Raises:
            UserError: a column of words or times has cells in some rows, which hold for the rows below, too.
        """
        for name in (*self.time, *names):
            cells = self.frame[name]
            text = is_text(cells, name) or name in self.time
            if text and len(cells) > 2 and cells.notna().iloc[0] and cells.notna().mean() <= MOSTLY_EMPTY:
                raise UserError(
                    f"{self.path}: column {name!r} is empty in {cells.isna().sum()} of the first "
                    f"{len(cells)} rows, as where a cell stands for all rows below it; write it into each "
                    "row (pandas: "
                    f"ffill; a spreadsheet: repeat labels), or set data.columns.ignore={show_list([name])}"
                )

    def _is_channel(self, name: str) -> bool:
        """Return whether a column by which readings differ names the channels of one entity.

        Raises:
            UserError: its name says so, and its cells leave it open.
        """
        cells = list(self.frame[name].dropna().astype("str").unique())
        if len(cells) < 2 or self.stamps.nunique() > 0.6 * len(self.stamps):
            return False  # no time stands twice, as it does for two channels
        if is_flow_name(name) or holds_channels(self.frame[name]) or self._find_name_of_channel(name):
            return True
        if CHANNEL_NAME.search(name.lower()) and not is_entity_name(name):
            refuse_unclear_channel(self.path, name, cells)
        return False

    def _find_name_of_channel(self, name: str) -> str | None:
        """Return a column of words that goes with each id of a column and names channels, as of devices."""
        ids = self.frame[name].nunique()
        for other in self.frame.columns:
            if other in (name, *self.time) or not is_text(self.frame[other], other):
                continue
            same = self.frame[other].nunique() == len(self.frame[[name, other]].drop_duplicates()) == ids
            if same and holds_channels(self.frame[other]):
                return str(other)
        return None

    def _repeats(self, *keys: pd.Series) -> bool:
        """Return whether readings of the same keys and time stand twice."""
        copies = self.frame.duplicated()
        few = MAY_REPEAT + 1 / max(1, len(self.frame))
        return bool(pd.concat([*keys, self.stamps], axis=1)[~copies].duplicated().mean() > few)

    def _find_only_column(self, channel: str | None, names: list[str]) -> str | None:
        """Return the one column by which, with time and channel, readings differ."""
        copies = self.frame.duplicated()
        valid = []
        for name in names:
            if name == channel:
                continue
            keys = [self.frame[name].astype("str"), self.stamps]
            keys += [self.frame[channel].astype("str")] if channel is not None else []
            repeated = pd.concat(keys, axis=1)[~copies].duplicated().mean()
            few = MAY_REPEAT + 1 / max(1, len(self.frame)) if not is_entity_name(name) else NAMED_MAY_REPEAT
            recurs = self.frame[name].nunique() <= 0.5 * len(self.frame) or len(self.frame) < 8
            if repeated <= few and (recurs or is_entity_name(name)):
                valid.append(name)
        finest = [name for name in valid if not any(self._is_implied(name, other, valid) for other in valid)]
        named = [name for name in finest if is_entity_name(name)]
        if len(finest) <= 1 or len(named) == 1:
            best = named or finest
            return best[0] if best else None
        return self._find_fullest(finest)

    def _is_implied(self, name: str, other: str, order: list[str]) -> bool:
        """Return whether `other` says more: each of its values goes with one value of `name` alone."""
        if name == other:
            return False
        few, many = self.frame[name].nunique(), self.frame[other].nunique()
        pairs = self.frame[[name, other]].astype("str").drop_duplicates()
        if len(pairs) != many:
            return False
        if few < many:
            return is_entity_name(other) or not is_entity_name(name)
        one, two = is_entity_name(name), is_entity_name(other)  # one to one: the named or the first
        return two if one != two else order.index(other) < order.index(name)

    def _find_fullest(self, names: list[str]) -> str | None:
        """Return the one of the whole numbers that may all be ids that divides the readings into full
        series.
        """
        rows, times = len(self.frame), self.stamps.nunique()
        runs = {
            name: int((self.frame[name].to_numpy()[1:] != self.frame[name].to_numpy()[:-1]).sum()) + 1
            for name in names
        }
        full = {name: rows / (self.frame[name].nunique() * times) for name in names}
        sorted_ = [name for name in names if runs[name] == self.frame[name].nunique() > 1]
        if len(sorted_) == 1:
            return sorted_[0]
        order = sorted(names, key=lambda name: -full[name])
        return order[0] if full[order[0]] >= 4 * full[order[1]] else None


def _is_whole(column: pd.Series) -> bool:
    """Return whether floats are whole numbers, as ids become where some are missing: 1.0, 2.0."""
    return bool(pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all())
