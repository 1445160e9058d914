"""Slopes of location and scale of a series on numeric attributes, such as the number of people in a home.

Groups state the mean of a number and the means of asinh_ratio and log_rms (attributes.py), so without slopes
a home of five people would be as large as a home of one person in the same group. For each number, one slope
for location and one for scale, from a regression within groups over all training entities, are stated for the
whole population: few numbers of many people, each of whom moves them by about 1/n at most, since deviations
are cut off at `FARTHEST`.

Shapes: n series, G groups, A attributes, C channels.
"""

from dataclasses import replace

import numpy as np

from distgan.anonymity.attributes import to_ratio_and_log_rms
from distgan.anonymity.bank import Bank
from distgan.anonymity.groups import Members
from distgan.anonymity.statics import FARTHEST, GroupAttributes

DIGITS = 3  # of a slope, in deviations of location or scale over all groups, for one deviation of the number
OWNERS_PER_SLOPE = 50  # who have the number, at least; with fewer no slope is stated


def state_slopes(
    bank: Bank, values: np.ndarray, location_scale: np.ndarray, members: Members, owners: np.ndarray
) -> Bank:
    """Return a bank whose columns of numbers state their slopes; 0, where too few owners have a number.

    Args:
        values: [n, A] attributes of the training series, NaN where unknown.
        location_scale: [n, C, 2] of the series.
        owners: [n] of the series.
    """
    statics = bank.statics
    if statics is None or not statics.numbers.any():
        return bank
    known = [owners[~np.isnan(values[:, place])] for place in np.flatnonzero(statics.numbers)]
    people = min(len(np.unique(each)) for each in known)
    slopes = np.zeros((len(statics.columns), 2 * location_scale.shape[1]))
    if people >= OWNERS_PER_SLOPE * len(known) * slopes.shape[1]:
        slopes = _regress(statics, values, _standardise(bank, location_scale, members), members)
    rounded = np.round(slopes, DIGITS).reshape(len(slopes), -1, 2)
    columns = [
        column.model_copy(update={"slopes": list(map(tuple, rounded[place].tolist()))})
        if column.is_number
        else column
        for place, column in enumerate(statics.columns)
    ]
    return replace(bank, statics=replace(statics, columns=tuple(columns)))


def _standardise(bank: Bank, location_scale: np.ndarray, members: Members) -> np.ndarray:
    """Return deviations from the group's means, over the population's deviations: [n, C, 2] -> [n, 2C]."""
    _, deviation = bank.population
    found = (to_ratio_and_log_rms(location_scale) - bank.attributes_mean[members.groups]) / deviation
    return np.clip(found, -FARTHEST, FARTHEST).reshape(len(location_scale), -1)


def _regress(
    statics: GroupAttributes, values: np.ndarray, deviations: np.ndarray, members: Members
) -> np.ndarray:
    """Return slopes of standardised location and scale on standardised numbers within groups: [A, 2C]."""
    places = np.flatnonzero(statics.numbers)
    _, scale = statics.population
    numbers = (values - statics.values[members.groups])[:, places] / scale[places]
    numbers = np.clip(np.nan_to_num(numbers), -FARTHEST, FARTHEST)  # unknown: says nothing
    weights = members.weights * statics.sizes[members.groups]  # about one for each entity
    products = (numbers * weights[:, None]).T @ numbers
    slopes = np.zeros((len(statics.columns), deviations.shape[1]))
    if (np.diag(products) > 0).all():
        ridge = 1e-6 * np.trace(products) * np.eye(len(places))
        slopes[places] = np.linalg.solve(products + ridge, (numbers * weights[:, None]).T @ deviations)
    return slopes
