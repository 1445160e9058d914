"""Texts that stand for a missing value in a cell."""

# beside what pandas takes as missing: as data bases and spreadsheets export it
MISSING: tuple[str, ...] = (
    "Null",
    "NULL",
    "null",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "#NA",
    "NaN",
    "nan",
    "-nan",
    "-NaN",
    "None",
)
MISSING += ("<NA>", "1.#QNAN", "-1.#QNAN", "1.#IND", "-1.#IND", "#N/A N/A", "")
