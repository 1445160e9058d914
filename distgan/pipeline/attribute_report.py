"""The part of a report that compares synthetic and real series by attribute."""

import csv
import io
from pathlib import Path

import numpy as np

from distgan import config
from distgan.anonymity.bank import Bank
from distgan.anonymity.statics import GroupAttributes
from distgan.csvtext import unescape_cell
from distgan.data.export import name_ids
from distgan.data.store.private_table import SPLITS, Table
from distgan.data.store.reader import Store
from distgan.data.windows import Windows
from distgan.errors import UserError
from distgan.evaluation.attribute_results import ByAttribute
from distgan.evaluation.metrics.by_attribute import Comparison, DescribedSeries, compare_by_attribute
from distgan.files import quote_path, read_text
from distgan.pipeline.attribute_cells import choose_statics, translate
from distgan.pipeline.training_data import number_owners
from distgan.run import Run


def compare_attributes(
    run: Run,
    settings: config.Config,
    table: Table,
    data: Store | Windows,
    rows: dict[str, np.ndarray],
    series: dict[str, np.ndarray],
) -> ByAttribute | None:
    """Compare the series of a report by the attributes of the bank; None where it has none.

    Args:
        rows: of each split and of `synthetic`, the series that are compared.
        series: their values [n, L, C].

    Raises:
        UserError: the table of synthetic attributes is missing or damaged.
    """
    bank = Bank.load(run.need(run.bank, "bank"))
    statics = bank.statics
    if statics is None or not len(rows["held_out"]):
        return None
    real = {
        name: DescribedSeries(
            series[name],
            describe_rows(statics, settings, table, data, rows[name]),
            number_owners(table, data, rows[name]),
        )
        for name in SPLITS[:2]
    }
    cells = read_synthetic(run.synthetic_attributes, statics)
    made = {name: own[rows["synthetic"]] for name, own in cells.items()}
    synthetic = DescribedSeries(series["synthetic"], made, np.arange(len(rows["synthetic"])))
    return compare_by_attribute(
        Comparison(
            real["train"],
            real["held_out"],
            synthetic,
            frozenset(column.name for column in statics.columns if column.is_number),
            bank.minimum_group_size,
            data.meta.axis.list_times() if data.meta.has_common_days else None,
            data.meta.axis.steps_per_day,
        )
    )


def describe_rows(
    statics: GroupAttributes,
    settings: config.Config,
    table: Table,
    data: Store | Windows,
    rows: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return attributes of some real series as cells, categories as the bank has them: name -> [n] str."""
    series = data.find_series(rows) if isinstance(data, Windows) else rows
    chosen = translate(settings, choose_statics(settings.bank.by, table.statics, table.labels))
    values = statics.read([each.take(series) for each in chosen])
    return {
        column.name: np.array([column.format(value) for value in values[:, place]], dtype=str)
        for place, column in enumerate(statics.columns)
    }


def read_synthetic(path: Path, statics: GroupAttributes) -> dict[str, np.ndarray]:
    """Return the attributes of all synthetic series as cells: name -> [n] str.

    Raises:
        UserError: the table is missing, or is not that of this bank.
    """
    if not path.exists():
        raise UserError(f"{path} is missing; run distgan generate {quote_path(path.parent)} again")
    header, *lines = csv.reader(io.StringIO(read_text(path), newline=""))
    names = [unescape_cell(cell) for cell in header]
    if names[:1] == [name_ids(statics.names)]:  # tables of earlier versions have no ids
        names, lines = names[1:], [line[1:] for line in lines]
    if names[: len(statics.names)] != list(statics.names):
        raise UserError(
            f"{path} has the attributes {', '.join(names)}; run distgan generate "
            f"{quote_path(path.parent)} again"
        )
    columns = zip(*lines) if lines else [()] * len(names)
    return {
        name: np.array([unescape_cell(cell) for cell in column], dtype=str)
        for name, column in zip(names, columns)
        if name in statics.names
    }
