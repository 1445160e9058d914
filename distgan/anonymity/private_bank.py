"""The bank made from noisy sums, and the entities that train on each of its conditions."""

import math

import numpy as np

from distgan import config
from distgan.anonymity.bank import Bank
from distgan.anonymity.dp import contributions, mechanism
from distgan.anonymity.dp.bank import Budget, Sums
from distgan.anonymity.dp.ledger import Head
from distgan.anonymity.group_size import compute_minimum_group_size, count_released_numbers
from distgan.anonymity.groups import TOLERANCE, Members
from distgan.anonymity.manifest import DPGuarantee, LedgerHead
from distgan.anonymity.public_cells import PublicCells, count_mismatches
from distgan.anonymity.statics import GroupAttributes
from distgan.errors import UserError


def choose_cells(sums: Sums, settings: config.Bank) -> np.ndarray:
    """Return which cells count enough entities after noise for a group: [k] bool.

    Enough is the minimum group size, and what `max_share` needs of entities that all weigh the same.

    Raises:
        UserError: no cell does.
    """
    channels, dim = sums.attributes.shape[1] // 4, sums.points.shape[1]
    fewest = max(
        compute_minimum_group_size(settings, count_released_numbers(dim, channels, len(settings.by))),
        math.ceil(1 / settings.max_share - TOLERANCE),
    )
    sizes = np.floor(sums.counts)
    if not (sizes >= fewest).any():
        raise UserError(
            f"with noise, the largest of {len(sizes)} groups has {max(sizes):.0f} entities, below "
            f"the minimum group size of {fewest}; lower clusters.count, raise privacy.epsilon, or "
            "add series"
        )
    return sizes >= fewest


def make_private_bank(
    sums: Sums,
    variances: np.ndarray,
    settings: config.Bank,
    budget: Budget,
    head: Head,
    public: PublicCells | None = None,
) -> Bank:
    """Make the bank of the kept cells of noisy sums. Nothing here looks at the entities again.

    Weights are equal: what one entity can change is bounded by clipping and hidden by noise, not by its share
    of the load.

    Args:
        variances: [K], of the points along the directions, from the released moments.
        head: of the ledger, when the sums had been drawn.
        public: what the cells state of attributes, if they do.

    Raises:
        UserError: no cell is kept.
    """
    keeps = choose_cells(sums, settings)
    channels = sums.attributes.shape[1] // 4
    counts, sizes = sums.counts[keeps, None], np.floor(sums.counts[keeps]).astype(np.int64)
    means = contributions.clip_rows(sums.points[keeps] / counts, 1.0) * budget.radius
    centre = (means * counts).sum(axis=0) / counts.sum()
    values = np.clip(sums.attributes[keeps] / counts, -1, 1).reshape(-1, 2, channels, 2)
    low, high = contributions.list_ranges(budget.settings)
    half = (high - low) / 2
    deviation = np.sqrt(np.maximum(values[:, 1] - values[:, 0] ** 2, 0)) * half
    return Bank(
        conditions=((means - centre) / np.sqrt(variances)).astype(np.float32),
        sizes=sizes,
        effective=sizes,
        attributes_mean=(low + (values[:, 0] + 1) * half).astype(np.float32),
        attributes_std=deviation.astype(np.float32),
        centre=centre.astype(np.float32),
        scale=np.sqrt(variances).astype(np.float32),
        largest_share=1 / sizes,
        lowered=np.zeros(len(sizes), np.int64),
        settings=settings,
        guarantee=make_guarantee(budget, head),
        statics=None if public is None or not public.columns else _state_attributes(public, keeps, sizes),
    )


def _state_attributes(public: PublicCells, keeps: np.ndarray, sizes: np.ndarray) -> GroupAttributes:
    values = public.read_values(np.flatnonzero(keeps))
    return GroupAttributes(public.columns, values, np.zeros_like(values), sizes)


def make_guarantee(budget: Budget, head: Head) -> DPGuarantee:
    """Return what the bank's manifest states of its differential privacy."""
    multiplier = mechanism.compose_multipliers([budget.directions_multiplier, budget.sums_multiplier])
    return DPGuarantee(
        epsilon=budget.epsilon,
        delta=budget.delta,
        multiplier=multiplier,
        tracing_bound=mechanism.compute_tracing_bound(multiplier),
        clip=budget.radius,
        insecure=budget.settings.insecure_seed is not None,
        ledger=LedgerHead(lines=head.lines, digest=head.digest),
    )


def find_groups(
    points: np.ndarray,
    cells: np.ndarray,
    keeps: np.ndarray,
    bank: Bank,
    public: PublicCells | None = None,
) -> np.ndarray:
    """Return the group that an entity trains on, or would: its cell's, or where that was left out the nearest
    of those whose attributes fit best.

    Args:
        points: [n, K] of each series its entity's point.
        cells: [n] in 0 .. k-1.
        keeps: [k] bool, see `choose_cells`.

    Returns: [n] int64.
    """
    groups = (np.cumsum(keeps) - 1)[cells]
    lost = np.flatnonzero(~keeps[cells])
    means = bank.conditions.astype(np.float64) * bank.scale + bank.centre
    if public is None or bank.statics is None:
        groups[lost] = contributions.find_nearest_cells(points[lost], means)
        return groups
    combinations = cells[lost] // public.latent_cells
    values = public.list_values()
    for combination in np.unique(combinations):
        rows = lost[combinations == combination]
        misfit = count_mismatches(values[[combination]], bank.statics.values)[0]
        fits = np.flatnonzero(misfit == misfit.min())
        groups[rows] = fits[contributions.find_nearest_cells(points[rows], means[fits])]
    return groups


def assign_members(
    points: np.ndarray, groups: np.ndarray, entities: np.ndarray, loads: np.ndarray, bank: Bank
) -> Members:
    """Return who trains on which condition, in `find_groups`."""
    weights = 1 / np.bincount(groups, minlength=bank.num_groups)[groups]
    return Members(points, groups, entities.astype(np.int64), loads, weights)
