"""A trained run in Python: load it, sample from it. It reads what `generate` reads, and writes nothing."""

import operator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from distgan import config
from distgan.anonymity.bank import Bank
from distgan.data.scaling import Scaler
from distgan.data.store.metadata import Meta
from distgan.errors import UserError
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.generate import sample_batches
from distgan.pipeline.training_data import open_for_inference, read_scaler
from distgan.preflight import refuse_no_run
from distgan.run import Run


@dataclass(frozen=True)
class Trained:
    """A finished training. `meta` has the time axis, the channels' names and the units of what it samples."""

    run: Run
    settings: config.Config
    bank: Bank
    scaler: Scaler
    meta: Meta

    @classmethod
    def open(cls, run: Run) -> "Trained":
        """
        Raises:
            UserError: the folder is no run, or its training is not finished.
        """
        refuse_no_run(run)
        settings = config.load(run.config)
        if "bank" not in settings.stages:
            raise UserError(
                f"{run.folder} holds a {settings.model.name}, which filters series and does not "
                "generate any; use distgan denoise RUN SERIES OUT"
            )
        run.need(run.generator_weights, "gan")
        scaler, meta = read_scaler(run)
        bank = Bank.load(run.need(run.bank, "bank"))
        return cls(run, settings, bank, scaler, meta)

    @property
    def labels(self) -> tuple[str, ...]:
        """What `sample` can be asked for by name; none where groups do not go by label."""
        return self.bank.label_names

    def sample(
        self,
        count: int = 100,
        seed: int = 0,
        condition: str | int | None = None,
        length: int | None = None,
    ) -> np.ndarray:
        """`count` new series in original units: float32 [count, L, C]. The same seed gives the same series.

        Series come from the bank's groups in proportion to their sizes, as from `distgan generate`; with a
        `condition` from the groups of that label, or from the group of that number alone. `length` asks for
        more or fewer steps than were trained on, where the model can (timegan, crnn_gan).

        Raises:
            UserError: there is no such label or group, a number is too small, or the model makes its own
                length alone.
        """
        among = None if condition is None else self._groups(condition)
        if length is not None and operator.index(length) < 1:
            raise UserError(f"length is {length}; it must be 1 or more, or be left out")
        asked = {"generate.count": operator.index(count), "generate.seed": operator.index(seed)}
        settings = self.settings.with_values(asked, "sample")
        parallel = open_for_inference(settings)
        batches = sample_batches(PipelineContext(settings, self.run, parallel), self.bank, among, length)
        return np.concatenate([self.scaler.restore(*batch) for batch in batches])

    def _groups(self, condition: str | int) -> np.ndarray:
        """Which groups a condition names: [G] bool."""
        among = np.arange(self.bank.num_groups) == condition
        if isinstance(condition, str) and self.bank.labels:
            among = np.asarray(self.bank.labels) == condition
        if not among.any():
            labels = f" or a label ({', '.join(self.labels)})" if self.labels else ""
            raise UserError(
                f"there is no condition {condition!r}; use a group from 0 to "
                f"{self.bank.num_groups - 1}{labels}"
            )
        return among

    def times(self, length: int | None = None) -> np.ndarray:
        """The time stamp of each step: datetime64 [L]."""
        axis = replace(self.meta.axis, length=self.meta.axis.length if length is None else length)
        return pd.DatetimeIndex(axis.times()).to_numpy()
