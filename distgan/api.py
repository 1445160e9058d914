"""Load a trained run in Python and sample from it. Reads the same files as `generate` and writes nothing."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from distgan import config
from distgan.anonymity.bank import Bank
from distgan.config.training import AttributeValue
from distgan.data.another_year import AnotherYear, find_year
from distgan.data.scaling import Scaler
from distgan.data.static_attributes import convert_cells
from distgan.data.store.metadata import Meta
from distgan.errors import UserError
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.generate import sample_series, tabulate_attributes
from distgan.pipeline.lengths import find_lengths
from distgan.pipeline.output_transform import OutputTransform
from distgan.pipeline.requested_attributes import plan_series
from distgan.pipeline.training_data import open_for_inference, read_scaler
from distgan.preflight import refuse_filter, refuse_no_run
from distgan.run import Run


@dataclass(frozen=True, repr=False)
class Trained:
    """A finished training. `meta` has the time axis, the channels' names and the units of what it samples."""

    run: Run
    settings: config.Config
    bank: Bank
    scaler: Scaler
    meta: Meta

    @classmethod
    def open(cls, run: Run) -> "Trained":
        """Return the finished training of a run folder.

        Raises:
            UserError: the folder is no run, or its training is not finished.
        """
        refuse_no_run(run)
        settings = config.load(run.config)
        refuse_filter(run)
        run.need(run.generator_weights, "gan")
        scaler, meta = read_scaler(run)
        bank = Bank.load(run.need(run.bank, "bank"))
        return cls(run, settings, bank, scaler, meta)

    def __repr__(self) -> str:
        length, channels = self.meta.axis.length, ", ".join(self.meta.channels)
        return f"<Trained {self.run.folder}: {self.settings.model.name}, {length:,} steps of {channels}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that `sample` accepts; empty if groups are not formed by label."""
        return self.bank.label_names

    @property
    def attributes(self) -> dict[str, list[str] | tuple[float | None, float | None]]:
        """Attributes that `sample` accepts, by name: the categories that groups have, or the range of a
        number. What no group states is left out.
        """
        found: dict[str, list[str] | tuple[float | None, float | None]] = {}
        if (statics := self.bank.statics) is None:
            return found
        for place, each in enumerate(statics.columns):
            stated = statics.values[:, place]
            codes = np.unique(stated[~np.isnan(stated)])
            if not len(codes):
                continue
            found[each.name] = (each.low, each.high) if each.is_number else [each.format(c) for c in codes]
        return found

    def sample(
        self,
        count: int = 100,
        seed: int = 0,
        condition: str | int | Mapping[str, AttributeValue] | None = None,
        length: int | None = None,
        start: str | None = None,
        lengths: str = "whole",
        **attributes: AttributeValue,
    ) -> np.ndarray:
        """Return `count` new series in original units: float32 [count, L, C]. The same seed gives the same
        series.

        Series come from the bank's groups in proportion to their series, as from `distgan generate`; with a
        `condition` from the groups of that label, or from the group of that number alone. `length` sets
        another number of steps than the trained one, if the model supports it (timegan, crnn_gan). `start`
        moves series of a year to the year that begins on a date, e.g. "2027-01-01" (as `generate.start`).
        `lengths="as_real"` gives series that begin late or end early as real ones do, NaN outside. Attributes
        that all series are to have are named, e.g. `ev=True`, or given as `condition={"start": "cold"}` where
        a name is one of these arguments or no word of Python; the others are drawn (`sample_attributes`).

        Raises:
            UserError: there is no such label, group, attribute or combination of attributes, one is given
                twice, a number is too small, the model makes its own length alone, the series are not of a
                year, or too few real ones begin late or end early alike.
        """
        allowed, requests = self._read_condition(condition, attributes)
        length = _read_length(length)
        year = self._year(start, length)
        settings = self._make_settings(count, seed, requests)
        chosen = settings.with_values({"generate.lengths": lengths}, "sample").generate
        if length is not None and chosen.lengths != "whole":
            raise UserError("lengths are those of series as trained, and length asks for another; use one")
        transform = OutputTransform(year, find_lengths(chosen.lengths, self.run), chosen.count, chosen.seed)
        parallel = open_for_inference(settings)
        try:
            made = sample_series(PipelineContext(settings, self.run, parallel), self.bank, allowed, length)
        finally:
            parallel.close()  # torch has the caller's threads again
        return transform.apply(made, np.arange(len(made)))

    def sample_attributes(
        self,
        count: int = 100,
        seed: int = 0,
        condition: str | int | Mapping[str, AttributeValue] | None = None,
        **attributes: AttributeValue,
    ) -> pd.DataFrame:
        """Return the attributes of the series that `sample` returns for the same arguments: a row each, in
        columns of booleans (`boolean`), whole numbers (`Int64`), numbers or text, NA where unknown.

        Raises:
            UserError: there is no such group, label, attribute or combination.
        """
        allowed, requests = self._read_condition(condition, attributes)
        settings = self._make_settings(count, seed, requests)
        if self.bank.statics is None:
            return pd.DataFrame(index=range(settings.generate.count))
        plan = plan_series(settings.generate, self.bank, allowed)
        header, rows = tabulate_attributes(plan, self.bank.statics, settings.generate)
        kinds = {column.name: column.kind for column in self.bank.statics.columns}
        cells = pd.DataFrame(rows, columns=header, dtype="str")
        return pd.DataFrame({name: convert_cells(cells[name], kinds.get(name, "boolean")) for name in header})

    def _make_settings(
        self, count: int, seed: int, attributes: Mapping[str, AttributeValue]
    ) -> config.Config:
        """Return the settings of a sample; requests for attributes in the run's config are ignored."""
        asked: dict[str, Any] = {
            "generate.count": operator.index(count),
            "generate.seed": operator.index(seed),
        }
        asked |= {"generate.attributes": dict(attributes), "generate.shares": {}, "generate.table": None}
        return self.settings.with_values(asked, "sample")

    def _read_condition(
        self,
        condition: str | int | Mapping[str, AttributeValue] | None,
        named: Mapping[str, AttributeValue],
    ) -> tuple[np.ndarray | None, dict[str, AttributeValue]]:
        """Return the requested groups, [G] bool or None for all, and the requested attributes.

        Raises:
            UserError: there is no such group or label, or an attribute is given in both ways.
        """
        if not isinstance(condition, Mapping):
            return None if condition is None else self._select_groups(condition), dict(named)
        twice = [name for name in named if name in condition]
        if twice:
            raise UserError(f"attribute {twice[0]!r} is given twice: by name and in condition; give it once")
        return None, {**condition, **named}

    def _select_groups(self, condition: str | int) -> np.ndarray:
        """Return the groups that a condition names: [G] bool."""
        if isinstance(condition, str):
            allowed = np.asarray(self.bank.labels, dtype=object) == condition
        else:
            allowed = np.arange(self.bank.num_groups) == operator.index(condition)
        if not allowed.any():
            labels = f" or a label ({', '.join(self.labels)})" if self.labels else ""
            raise UserError(
                f"there is no condition {condition!r}; use a group from 0 to "
                f"{self.bank.num_groups - 1}{labels}"
            )
        return allowed

    def _year(self, start: str | None, length: int | None) -> AnotherYear | None:
        """Return the year that begins on `start`.

        Raises:
            UserError: it is no date, the series are not of a year, or another length is asked for, too.
        """
        if start is not None and length is not None:
            raise UserError(
                "start moves series of a year, and length asks for another length; use one of them"
            )
        chosen = self.settings.with_values({"generate.start": start}, "sample").generate
        return find_year(self.meta, chosen.start, self.settings.data)

    def times(self, length: int | None = None, start: str | None = None) -> np.ndarray:
        """Return the time stamp of each step: datetime64 [L]. Arguments as of `sample`."""
        length = _read_length(length)
        if (year := self._year(start, length)) is not None:
            return pd.DatetimeIndex(year.axis.list_times()).to_numpy()
        axis = replace(self.meta.axis, length=self.meta.axis.length if length is None else length)
        return pd.DatetimeIndex(axis.list_times()).to_numpy()


def _read_length(length: int | None) -> int | None:
    """Return the length that a caller asked for; None for that of the training.

    Raises:
        UserError: it is no number of steps.
    """
    if length is None:
        return None
    if operator.index(length) < 1:
        raise UserError(f"length is {length}; it must be 1 or more, or be left out")
    return int(length)
