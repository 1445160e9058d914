"""Attributes in a report: a classifier finds what is there, and rare values have no figures."""

import functools
from dataclasses import replace

import numpy as np

from distgan.evaluation.attribute_results import AttributeValueResult, ByAttribute
from distgan.evaluation.metrics.by_attribute import (
    Comparison,
    DescribedSeries,
    compare_by_attribute,
    compute_balanced_accuracy,
)
from distgan.evaluation.report.writer import format_recovery

HOURS = 24 * 7
TIMES = np.datetime64("2013-01-07", "s") + np.arange(HOURS) * np.timedelta64(3600, "s")
EVENING = (np.arange(HOURS) % 24 >= 18) & (np.arange(HOURS) % 24 < 22)


def homes(count: int, seed: int, charge: float = 2.0) -> DescribedSeries:
    """Homes of which a third charge a car in the evening; people raise the level; ten are castles."""
    rng = np.random.default_rng(seed)
    ev, people = np.arange(count) % 3 == 0, 1 + np.arange(count) % 5
    level = 0.5 * people[:, None] * (1 + 0.3 * np.sin(2 * np.pi * np.arange(HOURS) / 24))
    x = level * rng.gamma(20, 1 / 20, (count, HOURS)) + charge * ev[:, None] * EVENING
    kind = np.where(np.arange(count) < 10, "castle", "flat")
    cells = {
        "ev": np.where(ev, "true", "false"),
        "people": np.where(np.arange(count) % 7 == 0, "", people.astype(str)),
        "kind": kind,
    }
    return DescribedSeries(x[..., None].astype(np.float32), cells, np.arange(count))


@functools.cache
def compare(charge: float) -> ByAttribute:
    made = homes(60, 2, charge)
    sets = Comparison(homes(60, 0), homes(60, 1), made, frozenset({"people"}), 12, TIMES, 24.0)
    return compare_by_attribute(sets)


def test_a_classifier_finds_an_attribute_only_where_it_is() -> None:
    with_it, without = compare(1.9), compare(0.0)
    there, gone = (
        next(each for each in found.attributes if each.name == "ev").recovered for found in (with_it, without)
    )
    assert there is not None and gone is not None and there.chance == 0.5
    assert there.classes == ["false", "true"]
    assert min(there.real_on_real, there.real_on_synthetic, there.synthetic_on_real) > 0.95
    assert gone.real_on_real > 0.95 > 0.65 > gone.real_on_synthetic
    assert gone.synthetic_on_real < 0.8
    people = next(each for each in with_it.attributes if each.name == "people")
    assert people.number and people.recovered is not None and people.values == []
    assert people.recovered.statistic == "correlation" and people.recovered.real_on_real > 0.7
    assert people.mean_real is not None and abs(people.mean_real - 3) < 0.1 and people.known_real < 0.9
    rows = format_recovery(with_it)
    assert [row[0] for row in rows[1:]] == ["ev", "people", "kind"]
    needed = "12 owners trained on, as many held out and as many synthetic series"  # ten are castles
    assert rows[3][1] == f"no figure: needs {needed} with each of two values"


def test_values_have_shares_loads_and_scores_and_rare_ones_none() -> None:
    found = {each.name: each for each in compare(1.9).attributes}
    assert [each.value for each in found["kind"].values] == ["flat"]  # ten castles are too few
    false, true = found["ev"].values
    assert (true.value, true.share_real, true.share_synthetic, true.held_out) == ("true", 0.333, 0.333, 20)
    assert true.evening_real is not None and true.evening_synthetic is not None
    assert 0 < true.evening_real - true.evening_synthetic < 0.2  # a charge of 2 and of 1.9
    assert false.mean_real is not None and false.mean_synthetic is not None
    assert abs(false.mean_real - false.mean_synthetic) < 0.05
    there = next(each for each in compare(0.0).attributes if each.name == "ev").values[1]
    for score in ("value_distance", "daily_profile", "spectrum"):
        near, far, real = true.scores[score], there.scores[score], there.scores_real[score]
        assert near is not None and far is not None and real is not None
        assert far > 2 * max(real, near)  # a car that never charges


def compare_cars(made: DescribedSeries, times: np.ndarray | None) -> list[AttributeValueResult]:
    """Return the results for homes without and with a car, of 36 homes on either side."""
    sides = (homes(36, 0), homes(36, 1), made)
    cars = (replace(side, cells={"ev": side.cells["ev"]}) for side in sides)
    return compare_by_attribute(Comparison(*cars, frozenset(), 6, times, 24.0)).attributes[0].values


def test_as_many_training_as_synthetic_series_are_scored() -> None:
    """The synthetic series are half of the training series: both sets of as many have the same distances."""
    rows = np.arange(36)
    false, true = compare_cars(homes(36, 0).take(rows[(rows % 6 == 0) | (rows % 3 == 1)]), TIMES)
    assert (false.synthetic, true.synthetic) == (12, 6)
    assert false.scores == false.scores_real and true.scores == true.scores_real


def test_there_is_no_evening_where_hours_are_unknown() -> None:
    for value in compare_cars(homes(36, 2), None):
        assert value.evening_real is None and value.evening_synthetic is None
        assert value.mean_real is not None and value.mean_synthetic is not None


def test_figures_and_errors_count_owners_not_their_windows() -> None:
    """Fifteen windows of each of eight homes: 120 series, and fewer owners than any figure needs."""

    def cut(seed: int) -> DescribedSeries:
        few = homes(8, seed)
        return few.take(np.repeat(np.arange(8), 15))

    made = homes(120, 2)
    found = compare_by_attribute(Comparison(cut(0), cut(1), made, frozenset({"people"}), 12, TIMES, 24.0))
    assert [each.recovered for each in found.attributes] == [None, None, None]
    assert all(each.mean_real is None and each.values == [] for each in found.attributes)


def test_error_of_a_balanced_accuracy_by_hand() -> None:
    """Of class a, two owners of three series: one always right, one never; of class b all are right."""
    truth, right = np.array(["a"] * 6 + ["b"] * 4), np.array([1, 1, 1, 0, 0, 0, 1, 1, 1, 1], bool)
    predicted, owners = np.where(right, truth, "c"), np.array([0, 0, 0, 1, 1, 1, 2, 3, 4, 5])
    value, error = compute_balanced_accuracy(truth, predicted, owners)
    assert value == 0.75
    assert error == np.sqrt(2 * 1.5**2 / 6**2) / 2  # a share of .5 whose error is that of two owners
    single = compute_balanced_accuracy(truth, predicted, np.arange(10))[1]
    assert single == np.sqrt(0.5 * 0.5 / 6) / 2  # that of six owners


def test_an_owner_with_series_of_both_classes_counts_once() -> None:
    """Two owners with two series of either class, one always right, one never: an accuracy of two owners."""
    truth, owners = np.array(["a", "a", "b", "b"] * 2), np.repeat([0, 1], 4)
    value, error = compute_balanced_accuracy(truth, np.where(owners == 0, truth, "c"), owners)
    assert value == 0.5 and abs(error - 0.5 / np.sqrt(2)) < 1e-12
