"""How well a classifier finds the attributes of a run's series, over several draws from its generator.

One draw and one set of held-out owners are two sources of error. The table has both: the deviation over
draws, and the standard error over owners, also of the difference on the same owners. References say what a
generator could reach: a classifier trained on some of the real owners, and one trained on series whose
features are normal with each value's mean and one covariance within values. Where few owners are held out,
the training owners are more: real series classified by a classifier of other training owners, and by one
trained on synthetic series, whose generator has seen them, which favours it.

Shapes: n series, F features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

import distgan
from distgan import config
from distgan.anonymity.bank import Bank
from distgan.data.store.private_table import read_table
from distgan.evaluation.metrics.by_attribute import average_over_classes
from distgan.evaluation.metrics.classification import ALPHAS, Encoder
from distgan.pipeline.attribute_report import describe_rows
from distgan.pipeline.training_data import number_owners, open_series, select_rows
from distgan.run import Run

SHARES = (0.75, 0.5)  # of the training owners
REPEATS = 20  # of a reference
FOLDS = 10  # of a cross-validation, at most


@dataclass(frozen=True)
class Side:
    """Standardised features [n, F], values of one attribute [n] and owners [n]."""

    features: np.ndarray
    values: np.ndarray
    owners: np.ndarray

    def take(self, rows: np.ndarray) -> "Side":
        return Side(self.features[rows], self.values[rows], self.owners[rows])


def recognise(fitted: Side, tested: Side) -> np.ndarray:
    """Return whether a classifier of one side recognises each series of the other: [n] of 0 and 1."""
    model = RidgeClassifierCV(ALPHAS, class_weight="balanced").fit(fitted.features, fitted.values)
    right: np.ndarray = (model.predict(tested.features) == tested.values).astype(float)
    return right


def cross_validate(side: Side, repeats: int) -> list[np.ndarray]:
    """Return whether classifiers of other owners recognise each series: `repeats` arrays [n] of 0 and 1."""
    counts = [len(np.unique(side.owners[side.values == value])) for value in np.unique(side.values)]
    found = []
    for seed in range(repeats):
        folds = StratifiedGroupKFold(max(2, min(FOLDS, *counts)), shuffle=True, random_state=seed)
        right = np.zeros(len(side.values))
        for fitted, tested in folds.split(side.features, side.values, side.owners):
            right[tested] = recognise(side.take(fitted), side.take(tested))
        found.append(right)
    return found


def draw_normal(train: Side, count: int, rng: np.random.Generator) -> Side:
    """Draw series whose features are normal, with each value's mean and the covariance within values."""
    kinds, codes = np.unique(train.values, return_inverse=True)
    means = np.stack([train.features[codes == code].mean(0) for code in range(len(kinds))])
    spread = np.linalg.svd(train.features - means[codes], full_matrices=False)
    axes = spread.Vh * spread.S[:, None] / len(codes) ** 0.5
    drawn = np.arange(count) % len(kinds)
    return Side(means[drawn] + rng.standard_normal((count, len(axes))) @ axes, kinds[drawn], np.arange(count))


def draw_owners(train: Side, share: float, rng: np.random.Generator) -> Side:
    """Draw a share of the owners of each value, at least one."""
    chosen = [
        rng.permutation(own)[: max(1, round(share * len(own)))]
        for own in (np.unique(train.owners[train.values == value]) for value in np.unique(train.values))
    ]
    return train.take(np.flatnonzero(np.isin(train.owners, np.concatenate(chosen))))


def measure_recovery(folder: Run, draws: int) -> list[dict[str, Any]]:
    """Return the rows of a table for each attribute that is no number and has two values on every side."""
    settings, bank = config.load(folder.config), Bank.load(folder.bank)
    assert bank.statics is not None, "the groups of this run go by no attributes"
    data, table = open_series(folder), read_table(folder.private_table)
    generator = distgan.load(folder.folder)
    rows = {split: select_rows(data, table, split, folder) for split in ("train", "held_out")}
    series = {split: data.read_rows(own) for split, own in rows.items()}
    encode, count = Encoder.fit(series["train"]), settings.generate.count
    features = {split: encode(own) for split, own in series.items()}
    scaler, found = StandardScaler().fit(features["train"]), []
    cells = {split: describe_rows(bank.statics, settings, table, data, own) for split, own in rows.items()}
    made = [encode(generator.sample(count, seed)) for seed in range(draws)]
    described = [generator.sample_attributes(count, seed) for seed in range(draws)]
    for column in (each for each in bank.statics.columns if not each.is_number):
        real = {
            split: Side(scaler.transform(features[split]), cells[split][column.name],
                        number_owners(table, data, rows[split]))
            for split in rows
        }  # fmt: skip
        drawn = [
            Side(
                scaler.transform(own),
                np.array([_write(cell) for cell in frame[column.name]]),
                np.arange(count),
            )
            for own, frame in zip(made, described)
        ]
        real, drawn = _keep_common(real, drawn)
        if len(np.unique(real["train"].values)) > 1:
            found += [{"attribute": column.name, **row} for row in _compare(real, drawn)]
    return found


def _write(cell: Any) -> str:
    """Return a cell as the bank writes it: booleans in lower case, "" where unknown."""
    if cell is pd.NA:
        return ""
    return str(cell).lower() if isinstance(cell, bool | np.bool_) else str(cell)


def _keep_common(real: dict[str, Side], drawn: list[Side]) -> tuple[dict[str, Side], list[Side]]:
    """Keep the series whose value is known and occurs on every side."""
    sides = [*real.values(), *drawn]
    common = set.intersection(*({*side.values.tolist()} for side in sides)) - {""}
    kept = [side.take(np.flatnonzero(np.isin(side.values, sorted(common)))) for side in sides]
    return dict(zip(real, kept)), kept[len(real) :]


def _compare(real: dict[str, Side], drawn: list[Side]) -> list[dict[str, Any]]:
    train, held_out, rng = real["train"], real["held_out"], np.random.default_rng(0)

    def describe(pair: str, rights: list[np.ndarray], tested: Side, base: np.ndarray) -> dict[str, Any]:
        """Describe the mean over repeats on one set of owners, and what it lost of `base`."""
        row: dict[str, Any] = {"pair": pair}
        mean, values, owners = np.mean(rights, axis=0), tested.values, tested.owners
        row["accuracy"], row["error over owners"] = average_over_classes(mean, values, owners)
        if len(rights) > 1:
            each = [average_over_classes(right, values, owners)[0] for right in rights]
            row["deviation over draws"] = float(np.std(each, ddof=1))
        if (base != mean).any():
            row["lost"], row["error of lost"] = average_over_classes(base - mean, values, owners)
        return row

    base = recognise(train, held_out)
    onto = [average_over_classes(recognise(train, own), own.values, own.owners)[0] for own in drawn]
    rows = [
        describe("real → held-out", [base], held_out, base),
        {"pair": "real → synthetic", "accuracy": float(np.mean(onto))}
        | ({"deviation over draws": float(np.std(onto, ddof=1))} if len(onto) > 1 else {}),
        describe("synthetic → held-out", [recognise(own, held_out) for own in drawn], held_out, base),
    ]
    for share in SHARES:
        rights = [recognise(draw_owners(train, share, rng), held_out) for _ in range(REPEATS)]
        rows.append(describe(f"{share:.0%} of real owners → held-out", rights, held_out, base))
    count = len(drawn[0].values)
    normal = [recognise(draw_normal(train, count, rng), held_out) for _ in range(REPEATS)]
    rows.append(describe("normal features → held-out", normal, held_out, base))
    others = cross_validate(train, len(drawn))
    base = np.mean(others, axis=0)
    rows.append(describe("real → other training owners", others, train, base))
    rows.append(
        describe("synthetic → training owners", [recognise(own, train) for own in drawn], train, base)
    )
    return rows
