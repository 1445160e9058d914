"""Texts that are no tables, by how they begin: JSON, XML, HTML, SQL, NEM13, EDIFACT, archives of series."""

import re
from collections.abc import Sequence
from pathlib import Path

from distgan.errors import UserError

OTHER_TEXTS = (
    (
        r"\{\s*[\"}]|\[\s*[\[{]",
        "JSON; write it as CSV or Parquet, e.g. with pandas: read_json(…).to_csv(…)",
    ),
    (
        r"(?i)<\?xml|<(feed|espi|ns\d*:)",
        "XML, as Green Button or ENTSO-E give it; export CSV, or write its readings as a table",
    ),
    (
        r"(?i)<(!doctype\s+html|html|head|body|table|div|meta)\b",
        "a web page (HTML), as some portals name .csv or .xls; open it in a spreadsheet and save it as CSV "
        "or .xlsx",
    ),
    (
        r"(?i)(/\*|--)?.*?\b(insert\s+into|create\s+table)\b\s",
        "a dump of SQL commands; export the table as CSV or Parquet",
    ),
    (
        r"100,NEM13|250,\w{10,11},",
        "a NEM13 file of accumulated readings, a few a year; give interval data (NEM12)",
    ),
    (
        r"UNA.{6}\s*UNB\+|UNB\+",
        "an EDIFACT message, such as MSCONS; export its readings as a table with id, time and value",
    ),
    (
        r"version https://git-lfs",
        "a pointer of Git LFS, not the data; fetch the file itself (git lfs pull)",
    ),
)


def refuse_other_text(path: Path, head: bytes) -> None:
    """Refuse text of another kind than a table.

    Args:
        head: the first bytes of the file.

    Raises:
        UserError: they are text of another kind than a table; says how to make one of it.
    """
    text = head.decode(errors="replace").lstrip("\ufeff \t\r\n")
    for pattern, what in OTHER_TEXTS:
        if re.match(pattern, text):
            raise UserError(f"{path} is {what}")


def refuse_archive_of_series(path: Path, lines: Sequence[bytes]) -> None:
    """
    Args:
        lines: the first ones.

    Raises:
        UserError: a line begins as those of .tsf, .ts and .arff files do.
    """
    for raw in lines:
        if re.match(rb"(?i)@(relation|problemname|attribute|timestamps|data\s*$)", raw):
            raise UserError(
                f"{path} is an archive of series (.ts or .arff), which is not read; name it .tsf if it is "
                "one of those, or write it as a table with id, time and value, or series of one "
                "length as an NPY array [series, steps], "
                "e.g. with the Python packages aeon or sktime"
            )
