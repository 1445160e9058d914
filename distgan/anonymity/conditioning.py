"""The conditions of the networks for each training series."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from distgan.anonymity.bank import Bank
from distgan.anonymity.groups import TOLERANCE, GroupRecords, Members, sum_weighted
from distgan.data.static_attributes import StaticAttribute
from distgan.errors import UserError
from distgan.rng import draw_keyed_normal, draw_keyed_uniform, make_keyed_generator


class Conditioner:
    """The conditions for the training series of a batch: (B, 2C + K + appended) float32, twice.

    `make_real` conditions a series of the data, with its own location and scale: only networks that are
    shown that series see it. `make_drawn` conditions a generated one: location and scale drawn from its
    group, for every step anew. The condition proper is the same in both.

    "mean": its group's mean, as in the bank. "subset": the mean of a random part of its group, drawn afresh
    for every (seed, step, sample): the shortest part of a random order that keeps the bank's minimum size and
    share. The series itself is in that part by chance only. For research only: "probes", the mean of a few
    members, as the upstream fork does; "leave_one_out", the mean of all others, which reveals the left-out
    member.
    """

    def __init__(
        self,
        bank: Bank,
        members: Members,
        *,
        training: str = "mean",
        seed: int = 0,
        statics: Sequence[StaticAttribute] = (),
    ) -> None:
        if bank.num_groups != members.num_groups:
            raise UserError(
                f"the bank has {bank.num_groups} groups, but the members have {members.num_groups}; "
                "remove the folders bank and clusters, and run the same command again"
            )
        self.bank, self.training, self.seed = bank, training, seed
        self._given = statics
        self._fewest = bank.minimum_group_size
        self._groups = members.groups
        if training != "mean":
            self._records = GroupRecords.from_points(members.groups, members.entities, members.loads)
            index = self._records.index
            self._weights = np.bincount(index, weights=members.weights)
            sums = sum_weighted(members.points, np.ones(len(index)), index)
            self._points = (sums / self._records.points[:, None] - bank.centre) / bank.scale

    @cached_property
    def _statics(self) -> np.ndarray | None:
        """Attributes of the training series [n, A], which `make_public` does not look at."""
        return None if self.bank.statics is None else self.bank.statics.read(self._given)

    def make_real(self, rows: Tensor, sample: Tensor, step: int, attributes: Tensor) -> Tensor:
        """Return the conditions of real series.

        Args:
            rows: [B] int64, training rows.
            sample: [B] int64, positions in the global batch.
            attributes: [B, C, 2] their location and scale.
        """
        return self._append_attributes(
            attributes.numpy(), rows, sample, step, self._read_statics(rows, sample, step)
        )

    def make_drawn(self, rows: Tensor, sample: Tensor, step: int) -> Tensor:
        """Return the conditions of generated series; arguments as of `make_real`."""
        shape = self.bank.attributes_mean.shape[1:]
        normal = draw_keyed_normal(self.seed, step, "levels", sample, shape).numpy()
        values = self._draw_statics(rows, sample, step)
        attributes = self.bank.compute_attributes(self._groups[rows.numpy()], normal, values)
        return self._append_attributes(attributes, rows, sample, step, values)

    def _read_statics(self, rows: Tensor, sample: Tensor, step: int) -> np.ndarray | None:
        """Return the networks' attributes of training series, [n, A]; some are left unknown by
        `bank.attribute_dropout`.
        """
        if self._statics is None or self.bank.statics is None:
            return None
        values = self.bank.statics.combine(self._statics[rows.numpy()], self._groups[rows.numpy()])
        return self._drop(values, sample, step)

    def _drop(self, values: np.ndarray, sample: Tensor, step: int) -> np.ndarray:
        """Return attributes [n, A] of which some are left unknown by `bank.attribute_dropout`."""
        share = draw_keyed_uniform(self.seed, step, "attribute dropout", sample, values.shape[1:]).numpy()
        return np.where(share < self.bank.settings.attribute_dropout, np.nan, values)

    def _draw_statics(self, rows: Tensor, sample: Tensor, step: int) -> np.ndarray | None:
        """Draw attributes of generated series, [n, A]: numbers from the group, unknown where those of the
        training series of the batch are.
        """
        own = self._read_statics(rows, sample, step)
        if own is None or self.bank.statics is None:
            return None
        normal = draw_keyed_normal(self.seed, step, "attribute numbers", sample, own.shape[1:]).numpy()
        drawn = self.bank.statics.draw(self._groups[rows.numpy()], normal)
        return np.where(np.isnan(own), np.nan, drawn)

    def make_public(self, sample: Tensor, step: int) -> Tensor:
        """Return conditions without any series: groups drawn by the sizes that the bank states, location and
        scale from the group; a function of the bank, the seed, the step and the places `sample` [B] alone.
        """
        assert self.training == "mean", "a part of a group is of its members"
        shape = self.bank.attributes_mean.shape[1:]
        normal = draw_keyed_normal(self.seed, step, "levels", sample, shape).numpy()
        drawn = draw_keyed_uniform(self.seed, step, "groups", sample, ()).numpy()
        ends = np.cumsum(self.bank.sizes) / self.bank.sizes.sum()
        groups = np.minimum(np.searchsorted(ends, drawn, side="right"), self.bank.num_groups - 1)
        stated = None if self.bank.statics is None else self.bank.statics.values[groups]
        values = None if stated is None else self._drop(stated, sample, step)  # as those of real series are
        return torch.from_numpy(
            self.bank.make_conditions(groups, self.bank.compute_attributes(groups, normal), values)
        )

    def _append_attributes(
        self,
        attributes: np.ndarray,
        rows: Tensor,
        sample: Tensor,
        step: int,
        statics: np.ndarray | None,
    ) -> Tensor:
        groups = self._groups[rows.numpy()]
        given = self.bank.make_conditions(groups, attributes, statics)
        if self.training != "mean":
            means = [
                self._average_records(
                    self._choose_part(row, group, make_keyed_generator(self.seed, step, "subset", position))
                )
                for row, group, position in zip(rows.tolist(), groups.tolist(), sample.tolist())
            ]
            first = 2 * attributes.shape[1]
            given[:, first : first + self.bank.conditions.shape[1]] = np.stack(means)
        return torch.from_numpy(given)

    def _choose_part(self, row: int, group: int, rng: np.random.Generator) -> np.ndarray:
        """Return the records that a series trains on: [m]."""
        if self.training == "subset":
            return self.draw_part(group, rng)
        inside = np.arange(self._records.starts[group], self._records.starts[group + 1])
        if self.training == "probes":
            probes = self.bank.settings.probes
            return rng.choice(inside, probes, replace=len(inside) < probes)
        others = inside[inside != self._records.index[row]]  # leave one out
        return others if len(others) else inside

    def draw_part(self, group: int, rng: np.random.Generator) -> np.ndarray:
        """Return the shortest part of a random order of a group that keeps minimum size and share: [m]
        records.
        """
        first, last = self._records.starts[group], self._records.starts[group + 1]
        size, limit = last - first, self.bank.settings.max_share * (1 + TOLERANCE)
        for count in (4 * self._fewest, size):  # a short beginning nearly always does; groups can be huge
            order = first + rng.choice(size, min(count, size), replace=False)
            weights, carried = self._weights[order], self._weights[order] * self._records.loads[order]
            effective = np.cumsum(weights) ** 2 / np.cumsum(weights**2)
            keeps = effective >= self._fewest * (1 - TOLERANCE)
            keeps &= np.maximum.accumulate(carried) <= limit * np.cumsum(carried)
            if keeps.any():
                return order[: int(np.argmax(keeps)) + 1]
        return np.arange(first, last)

    def _average_records(self, part: np.ndarray) -> np.ndarray:
        weights = self._weights[part]
        return (weights @ self._points[part] / weights.sum()).astype(np.float32)
