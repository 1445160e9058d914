"""Settings as a message shows them: ready to be pasted behind a command."""

import re
from collections.abc import Sequence


def show_list(names: Sequence[str]) -> str:
    """Return names as the value of a setting: `[a,b]`, in quotes where YAML or a shell needs them."""
    if all(re.fullmatch(r"\w[\w.-]*", name) and not _is_typed(name) for name in names):
        return f"[{','.join(names)}]"
    quoted = ",".join("'" + name.replace("'", "''") + "'" for name in names)
    return '"[' + re.sub(r'([\\"$`])', r"\\\1", quoted) + ']"'


def show_name(name: str) -> str:
    """Return one name as the value of a setting, in quotes where YAML or a shell needs them."""
    shown = show_list([name])
    return shown[1:-1] if shown.startswith("[") else shown.replace("[", "", 1)[::-1].replace("]", "", 1)[::-1]


def show_without(names: Sequence[str], channels: Sequence[str], columns: Sequence[str]) -> str:
    """Return the setting that leaves channels out: those that are columns of a table by their names, others
    by the names of all that stay. Channels of a column of kinds and several of values are named KIND COLUMN.
    """
    if set(names) <= set(columns):
        return f"data.columns.ignore={show_list(names)}"
    if len(columns) > 1 and all(_split_channel(channel, columns) for channel in channels):
        of_columns = [column for column in columns if _are_left_out(names, channels, f" {column}")]
        if {name for name in names if _split_channel(name, of_columns)} == set(names):
            return f"data.columns.ignore={show_list(of_columns)}"
        kinds = list(dict.fromkeys(_split_channel(channel, columns) for channel in channels))
        kept = [kind for kind in kinds if kind not in {_split_channel(name, columns) for name in names}]
        if kept and len(names) == (len(kinds) - len(kept)) * len(columns):
            return f"data.columns.values={show_list(kept)}"
    return f"data.columns.values={show_list([name for name in channels if name not in names])}"


def _split_channel(name: str, columns: Sequence[str]) -> str:
    """Return the kind of a channel named KIND COLUMN, or nothing."""
    return next((name.removesuffix(f" {column}") for column in columns if name.endswith(f" {column}")), "")


def _are_left_out(names: Sequence[str], channels: Sequence[str], end: str) -> bool:
    """Return whether all channels with an end are among the names."""
    return {channel for channel in channels if channel.endswith(end)} <= set(names)


def _is_typed(name: str) -> bool:
    """Return whether YAML reads the bare name as something else than text."""
    return re.fullmatch(r"(?i)null|true|false|yes|no|on|off|y|n|~|[\d._+-]+(e[+-]?\d+)?", name) is not None
