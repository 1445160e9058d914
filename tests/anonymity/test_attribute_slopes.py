"""Location and scale go with numbers such as the people of a home, as within groups of real series."""

from dataclasses import replace

import numpy as np
import pytest

from distgan.anonymity.attribute_slopes import state_slopes
from distgan.anonymity.attributes import to_location_and_scale, to_ratio_and_log_rms
from distgan.anonymity.bank import Bank
from distgan.anonymity.groups import Members, merge_small_groups
from distgan.anonymity.manifest import find_violations
from distgan.anonymity.statics import AttributeColumn, GroupAttributes
from distgan.files import read_json, write_json
from tests.helpers.groups import grouped, household_data, make_bank_of, settings_of_bank

HOMES, PEOPLE = 6000, AttributeColumn(name="people", kind="integer", low=1.0, high=5.0)


def homes(slope: float, unknown: float = 0.0) -> tuple[Bank, Members, np.ndarray, np.ndarray]:
    """A bank of homes whose log_rms rises by `slope` a person; its members; people; levels."""
    rng = np.random.default_rng(9)
    data = household_data(n=HOMES) | {"loads": np.ones(HOMES)}
    people = rng.integers(1, 6, HOMES).astype(float)
    pairs = np.stack([np.full(HOMES, 1.5), slope * people + rng.normal(0, 0.3, HOMES)], axis=1)
    data["attributes"] = to_location_and_scale(pairs)[:, None]
    people[rng.random(HOMES) < unknown] = np.nan
    settings = settings_of_bank(by=["people"])
    members = merge_small_groups(grouped(data), settings, 1)
    data["groups"] = members.groups
    bank = make_bank_of(data, settings)
    inside = [people[members.groups == group] for group in range(bank.num_groups)]
    means = np.array([[np.nanmean(own)] for own in inside])
    deviations = np.array([[np.nanstd(own)] for own in inside])
    statics = GroupAttributes((PEOPLE,), means, deviations, bank.sizes)
    return replace(bank, statics=statics), members, people, data["attributes"]


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_a_larger_home_is_drawn_larger_by_as_much_as_among_real_ones(unknown: float) -> None:
    bank, members, people, levels = homes(0.2, unknown)
    stated = state_slopes(bank, people[:, None], levels, members, np.arange(HOMES))
    groups = np.zeros(4000, np.int64)

    def draw(count: float) -> np.ndarray:
        values = np.full((len(groups), 1), count)
        drawn = stated.draw_attributes(groups, np.random.default_rng(1), values)
        return to_ratio_and_log_rms(drawn)[:, 0]

    one, five = draw(1.0), draw(5.0)
    assert (five[:, 1] - one[:, 1]).mean() == pytest.approx(0.8, rel=0.05)
    assert five[:, 1].std() == pytest.approx(0.3, rel=0.1)  # what people do not explain
    assert (five[:, 0] - one[:, 0]).mean() == pytest.approx(0, abs=0.01)
    plain = to_ratio_and_log_rms(stated.draw_attributes(groups, np.random.default_rng(1)))[:, 0]
    np.testing.assert_allclose(draw(np.nan), plain, atol=1e-6)  # unknown: the whole spread of the group
    assert plain[:, 1].std() == pytest.approx(np.hypot(0.3, 0.2 * np.sqrt(2)), rel=0.1)


def test_the_spread_over_all_homes_stays_that_of_the_group() -> None:
    bank, members, people, levels = homes(0.2)
    stated = state_slopes(bank, people[:, None], levels, members, np.arange(HOMES))
    groups = np.zeros(8000, np.int64)
    values = np.random.default_rng(2).integers(1, 6, (len(groups), 1)).astype(float)
    drawn = to_ratio_and_log_rms(stated.draw_attributes(groups, np.random.default_rng(3), values))[:, 0, 1]
    assert drawn.std() == pytest.approx(stated.attributes_std[0, 0, 1], rel=0.03)
    assert drawn.mean() == pytest.approx(stated.attributes_mean[0, 0, 1], abs=0.02)


def test_numbers_that_say_nothing_and_few_homes_change_nothing() -> None:
    bank, members, people, levels = homes(0.0)
    stated = state_slopes(bank, people[:, None], levels, members, np.arange(HOMES))
    assert stated.statics is not None
    assert np.abs(stated.statics.columns[0].slopes).max() < 0.05
    assert bank.statics is not None
    for number, stated in ((99, False), (100, True)):  # owners of many windows each, in many groups
        found = state_slopes(bank, people[:, None], levels, members, np.arange(HOMES) % number).statics
        assert found is not None and (np.abs(found.columns[0].slopes).max() > 0) == stated


def test_one_home_moves_a_slope_by_little() -> None:
    """However large it is: its deviation is cut off."""
    bank, members, people, levels = homes(0.2)
    odd = levels.copy()
    odd[0] *= 1e6
    slopes = []
    for own in (levels, odd):
        stated = state_slopes(bank, people[:, None], own, members, np.arange(HOMES))
        assert stated.statics is not None
        slopes.append(np.array(stated.statics.columns[0].slopes))
    assert np.abs(slopes[0] - slopes[1]).max() <= 0.003


def test_slopes_are_saved_and_checked(tmp_path) -> None:  # type: ignore[no-untyped-def]
    bank, members, people, levels = homes(0.2)
    stated = state_slopes(bank, people[:, None], levels, members, np.arange(HOMES))
    stated.save(tmp_path / "bank")
    loaded = Bank.load(tmp_path / "bank")
    assert loaded.statics is not None and stated.statics is not None
    assert loaded.statics.columns == stated.statics.columns
    place = tmp_path / "bank" / "manifest.json"
    content = read_json(place)
    content["attributes"][0]["slopes"] *= 2
    write_json(place, content)
    assert any("slope for each channel" in text for text in find_violations(tmp_path / "bank"))
