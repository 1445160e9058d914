"""Text rows of thousands of cells, parsed as one long column.

pandas spends more time on a column than on its cells where rows are few and columns many. All cells that are
numbers are therefore parsed below each other, by the same parser and with the same marks, and laid out as a
block; columns of anything else are parsed as columns.
"""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

FEWEST_COLUMNS = 2000  # of a table that is parsed this way
MOST_APART = 64  # columns that hold no numbers
WHOLE = re.compile(rb"\s*[+-]?[0-9]+\s*")
NUMBER = re.compile(rb"\s*[+-]?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
Parse = Callable[[bytes, list[str]], pd.DataFrame]  # text lines and the names of their cells -> columns


def parse_folded(
    content: bytes, names: list[str], separator: str, text: tuple[str, ...], parse: Parse
) -> pd.DataFrame | None:
    """Return the rows of a text table as `parse` reads them, or None where it has to read them itself.

    Args:
        content: whole lines.
        text: columns that hold no numbers, as far as is known.
    """
    mark = separator.encode()
    lines = [line for line in content.split(b"\n") if line.strip()]
    if b'"' in content or len(mark) != 1 or not lines:
        return None
    if any(line.count(mark) != len(names) - 1 for line in lines):
        return None
    known = {*text}
    first = lines[0].rstrip(b"\r").split(mark)
    apart = [
        column
        for column, (name, cell) in enumerate(zip(names, first))
        if name in known or (cell.strip() and not NUMBER.fullmatch(cell))
    ]
    if len(apart) > MOST_APART:
        return None
    return _parse_lines(lines, names, mark, apart, parse)


def _parse_lines(
    lines: list[bytes], names: list[str], mark: bytes, apart: list[int], parse: Parse
) -> pd.DataFrame | None:
    there, beside = np.ones(len(names), bool), []
    there[apart] = False
    whole, parts = np.flatnonzero(there), []
    # The number of columns apart, where they come before all others.
    first = len(apart) if apart == list(range(len(apart))) else None
    for line in lines:
        if first is not None:
            *cells, rest = line.rstrip(b"\r").split(mark, first)
            beside.append(mark.join(cells))
            parts.append(rest.replace(mark, b"\n"))
        else:
            cells = line.rstrip(b"\r").split(mark)
            beside.append(mark.join(cells[column] for column in apart))
            for column in reversed(apart):
                del cells[column]
            parts.append(b"\n".join(cells))
        if len(whole):  # columns in which all cells are whole numbers stay so
            cells = parts[-1].split(b"\n")
            whole = whole[[WHOLE.fullmatch(cells[place]) is not None for place in _find_places(whole, apart)]]
    numbers = parse(b"\n".join(parts) + b"\n", ["number"])["number"]
    if not pd.api.types.is_numeric_dtype(numbers.dtype) or pd.api.types.is_bool_dtype(numbers.dtype):
        return None
    block = numbers.to_numpy().reshape(len(lines), -1)
    if block.size != len(lines) * int(there.sum()):
        return None
    kept = [name for name, chosen in zip(names, there) if chosen]
    frame = pd.DataFrame(block.astype(np.float64, copy=False), columns=kept, copy=False)
    counted = [names[column] for column in whole.tolist()]
    if counted:
        integers = block[:, _find_places(whole, apart)].astype(np.int64)
        frame = pd.concat([frame.drop(columns=counted), pd.DataFrame(integers, columns=counted)], axis=1)
    if apart:
        words = parse(b"\n".join(beside) + b"\n", [names[column] for column in apart])
        if len(words) != len(lines):
            return None
        frame = pd.concat([words, frame], axis=1)
    return frame[names]


def _find_places(columns: np.ndarray, apart: list[int]) -> np.ndarray:
    """Return where columns stand once those in `apart` are removed."""
    return columns - np.searchsorted(np.array(apart, np.int64), columns)
