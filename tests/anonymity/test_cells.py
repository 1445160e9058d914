"""No cell of the attributes' joint distribution that a bank states is smaller than the minimum group size."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from distgan import config
from distgan.anonymity.bank import Bank, make_bank
from distgan.anonymity.cells import Cells, CountedEntities, find_cells, fit_column, summarise_groups
from distgan.anonymity.conditioning import Conditioner
from distgan.anonymity.group_size import (
    compute_minimum_group_size,
    count_attribute_numbers,
    count_released_numbers,
)
from distgan.anonymity.groups import GroupedSeries, Members, merge_small_groups
from distgan.anonymity.manifest import find_violations
from distgan.anonymity.statics import GroupAttributes, encode_columns
from distgan.data.static_attributes import StaticAttribute, make_attribute
from distgan.errors import UserError
from distgan.files import read_json, write_json
from tests.helpers.groups import household_data


def bank_by(
    statics: Sequence[StaticAttribute], data: dict[str, Any], **changes: Any
) -> tuple[Bank, Members, Cells]:
    """The bank of households whose groups go by attributes, as the stages cluster and bank make it."""
    names = tuple(each.name for each in statics)
    settings = config.Bank(**({"condition_dim": 2, "min_members": 15, "by": names} | changes))
    numbers = count_attribute_numbers(each.kind for each in statics)
    fewest = compute_minimum_group_size(settings, count_released_numbers(2, 1, numbers))
    entities = data.get("entities", np.arange(len(data["points"])))
    cells = find_cells(statics, CountedEntities(entities, data["loads"], entities, fewest, settings))
    groups = cells.cells * 1000 + data["groups"]
    series = GroupedSeries(data["points"], data["loads"], groups, entities, cells.cells, numbers)
    members = merge_small_groups(series, settings, 1)
    settled = GroupedSeries(data["points"], members.loads, members.groups, entities, cells.cells, numbers)
    bank = make_bank(settled, data["attributes"], settings)
    found = summarise_groups(cells, members, entities, fewest)
    return Bank(**{**bank.__dict__, "statics": found}), members, cells


@st.composite
def odd_attributes(draw: st.DrawFn) -> tuple[list[StaticAttribute], dict[str, Any]]:
    """Households with attributes that are skewed, missing, correlated, constant, or all different."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.integers(60, 500))
    data = household_data(n=n, seed=int(rng.integers(1000)))
    if draw(st.booleans()):
        data["loads"] = rng.lognormal(0, 3, n)
    if draw(st.booleans()):
        data["entities"] = np.unique(rng.integers(0, max(1, n // 2), n), return_inverse=True)[1]
    statics = []
    for number in range(draw(st.integers(1, 3))):
        shape = draw(st.sampled_from(["even", "rare", "zipf", "number", "unique", "copy"]))
        codes = {
            "even": rng.integers(0, 3, n),
            "rare": (rng.random(n) < 0.04).astype(int),
            "zipf": np.minimum(rng.zipf(1.7, n), 30),
            "number": rng.integers(0, 7, n),
            "unique": np.arange(n),
            "copy": np.arange(n) % 2,
        }[shape]
        cells = [f"{code}" if shape == "number" else f"v{code}" for code in codes]
        missing = rng.random(n) < draw(st.sampled_from([0.0, 0.0, 0.05, 0.6]))
        cells = ["" if gone else cell for cell, gone in zip(cells, missing)]
        statics.append(make_attribute(f"a{number}", cells, "integer" if shape == "number" else "categorical"))
    return statics, data


@given(found=odd_attributes())
@hypothesis_settings(max_examples=80, deadline=None)
def test_no_stated_cell_is_smaller_than_the_minimum_group_size(
    found: tuple[list[StaticAttribute], dict[str, Any]],
) -> None:
    statics, data = found
    try:
        bank, members, _ = bank_by(statics, data)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert bank.statics is not None
    fewest, stated = bank.minimum_group_size, bank.statics.to_json()
    assert fewest >= 3.4 * bank.released - 1 and bank.released > 6
    for group, said in enumerate(stated):
        inside = np.flatnonzero(members.groups == group)
        entities = members.entities[inside]
        assert len(set(entities.tolist())) >= fewest
        for each, column in zip(statics, bank.statics.columns):
            own, value = each.cells[inside], said[column.name]
            if isinstance(value, str):  # a category: that of every member, so that groups mix none
                kept = [name for name in column.categories if name != "other"]
                recoded = np.where(np.isin(own, kept), own, "other")
                assert set(recoded) == {value} and (own != "").all()
            elif value is not None:  # a number: of as many entities as a group needs
                assert len(set(entities[own != ""].tolist())) >= fewest
                assert column.low <= value["mean"] <= column.high
    for column, each in zip(bank.statics.columns, statics):
        for category in column.categories:
            chosen = (
                ~np.isin(each.cells, column.categories) if category == "other" else each.cells == category
            )
            chosen = (chosen | ((category == "other") & (each.cells == "other"))) & (each.cells != "")
            assert len(set(members.entities[chosen].tolist())) >= fewest
        if column.is_number:  # nobody's own extremes
            numbers = each.parse_numbers()
            for beyond in (numbers <= column.low, numbers >= column.high):
                assert len(set(members.entities[beyond].tolist())) >= fewest


def test_combinations_that_are_rare_leave_the_last_attribute_unknown() -> None:
    """Of 300 homes 60 have a car, 5 of them a heat pump: with a car, the pump is unknown."""
    data = household_data(n=300)
    ev = make_attribute("ev", ["true"] * 60 + ["false"] * 240)
    pump = make_attribute("pump", (["true"] * 5 + ["false"] * 55) + ["true"] * 100 + ["false"] * 140)
    bank = bank_by([ev, pump], data)[0]
    assert bank.statics is not None
    said = {tuple(group.values()) for group in bank.statics.to_json()}
    # five are too few for a cell, so the smallest other value joins them: here there is only one
    assert said == {("true", None), ("false", "true"), ("false", "false")}
    assert [name.categories for name in bank.statics.columns] == [["false", "true"], ["false", "true"]]


def test_rare_categories_become_other_and_join_the_rarest() -> None:
    cells = ["flat"] * 40 + ["house"] * 50 + ["barn"] * 22 + ["tent"] * 6 + ["boat"] * 3
    kind = make_attribute("kind", cells)
    assert fit_column(kind, np.arange(121), np.arange(121), 20).categories == [
        "flat",
        "house",
        "other",
    ]  # barn joins 9
    assert fit_column(kind, np.arange(121), np.arange(121), 9).categories == [
        "barn",
        "flat",
        "house",
        "other",
    ]
    with pytest.raises(UserError, match=r"'kind' has 0 values that at least 60 training entities have"):
        fit_column(kind, np.arange(121), np.arange(121), 60)
    ev = make_attribute("ev", ["true"] * 5 + ["false"] * 100)
    with pytest.raises(UserError, match="'ev' has 1 values that at least 20"):
        fit_column(ev, np.arange(105), np.arange(105), 20)
    few = make_attribute("area", ["1.5"] * 30 + [""] * 75)
    with pytest.raises(UserError, match="'area' is known of 30 training owners, fewer than twice"):
        fit_column(few, np.arange(105), np.arange(105), 20)


def test_an_owner_of_many_entities_is_one_behind_a_range_and_a_mean() -> None:
    """Ten years of one home, which is far larger than all others."""
    owners = np.concatenate([np.arange(60), np.full(10, 60)])
    area = make_attribute("area", [f"{40 + home}.5" for home in range(60)] + ["990.5"] * 10)
    column = fit_column(area, np.arange(70), owners, 6)
    assert (column.low, column.high) == (45.5, 95.5)  # by entities it would be 990.5
    assert fit_column(area, np.arange(70), np.arange(70), 6).high == 988  # rounded
    with pytest.raises(UserError, match="'area' is known of 61 training owners, fewer than twice"):
        fit_column(area, np.arange(70), owners, 31)
    data = household_data(n=70)
    settings = config.Bank(condition_dim=2, min_members=6, by=("area",))
    counted = CountedEntities(np.arange(70), data["loads"], owners, 6, settings)
    known = np.where(np.arange(70) < 60, "", area.cells)  # the years of that home alone
    cells = find_cells([area], counted)
    values = encode_columns(cells.columns, [replace(area, cells=known)])
    one = Members(data["points"], np.zeros(70, int), np.arange(70), data["loads"], np.full(70, 1 / 70))
    for people, stated in ((np.arange(70), False), (owners, True)):
        found = summarise_groups(replace(cells, values=values), one, people, 6)
        assert np.isnan(found.values[0, 0]) == stated


@pytest.mark.parametrize(
    ("numbers", "kind", "low", "high"),
    [
        ([40 + home * 0.731 for home in range(120)], "float", 54.0, 113.0),  # of two homes: 53.889 and 113.1
        ([1 + home % 5 for home in range(120)], "integer", 1, 5),
        ([1900 + 5 * home for home in range(120)], "integer", 1996, 2400),
        ([0.25] * 60 + [0.5] * 60, "float", 0.25, 0.5),
        ([7.123] * 120, "float", 7.123, 7.123),  # that of everybody
        ([-1e6 - home / 3 for home in range(120)], "float", -1000033.25, -1000006.375),
    ],
)
def test_the_ends_of_a_range_are_no_owners_number(
    numbers: list[float], kind: str, low: float, high: float
) -> None:
    """Twenty owners are at or beyond each, and nobody's own digits stand there."""
    attribute = make_attribute("area", [f"{number}" for number in numbers], kind)
    column = fit_column(attribute, np.arange(120), np.arange(120), 20)
    assert (column.low, column.high) == (low, high)
    found = attribute.parse_numbers()
    assert min((found <= column.low).sum(), (found >= column.high).sum()) >= 20


def test_every_number_counts_for_membership_inference() -> None:
    data = household_data(n=600)
    ev, area = (
        make_attribute("ev", ["true", "false"] * 300),
        make_attribute("area", [f"{40 + home % 97}.5" for home in range(600)]),
    )
    one, *_ = bank_by([ev], data)
    two, *_ = bank_by([ev, area], data)
    assert (one.released, two.released) == (2 + 4 + 1, 2 + 4 + 1 + 2)
    assert two.minimum_group_size > one.minimum_group_size == 24  # 3.4 x 7


def test_a_bank_comes_back_from_its_files_and_a_changed_one_is_noticed(tmp_path: Any) -> None:
    data = household_data(n=600)
    ev = make_attribute("ev", ["true", "false", ""] * 200)
    people = make_attribute("people", [f"{1 + home % 5}" for home in range(600)])
    bank, *_ = bank_by([ev, people], data)
    assert bank.statics is not None
    bank.save(tmp_path / "bank")
    assert find_violations(tmp_path / "bank") == []
    again = Bank.load(tmp_path / "bank").statics
    assert again is not None and again.columns == bank.statics.columns
    np.testing.assert_array_equal(again.values, bank.statics.values)
    np.testing.assert_array_equal(again.deviations, bank.statics.deviations)
    place = tmp_path / "bank" / "manifest.json"
    whole = read_json(place)
    for change, message in (
        (lambda group: group["attributes"].update(ev="maybe"), "'ev' has an unknown category"),
        (lambda group: group["attributes"].pop("people"), "are not those of the bank"),
        (
            lambda group: group["attributes"].update(people={"mean": 99.0, "deviation": 1.0}),
            "within its range",
        ),
    ):
        damaged = read_json(place)
        change(damaged["groups"][0])
        write_json(place, damaged)
        assert any(message in text for text in find_violations(tmp_path / "bank"))
        write_json(place, whole)


def test_networks_are_given_one_hot_or_standardised_values_with_a_mask() -> None:
    columns = (
        fit_column(make_attribute("ev", ["true", "false"] * 20), *2 * [np.arange(40)], 15),
        fit_column(make_attribute("people", [f"{home % 5}" for home in range(40)]), *2 * [np.arange(40)], 15),
    )
    values = np.array([[0, 2.0], [1, 3.0]])
    found = GroupAttributes(columns, values, np.array([[0, 1.0], [0, 1.0]]), np.array([30, 30]))
    assert found.width == 2 + 1 + 2
    given = found.encode(np.array([[0, 2.5], [1, np.nan], [np.nan, 2.5 + np.sqrt(1.25)]]))
    np.testing.assert_allclose(
        given, [[1, 0, 0, 1, 1], [0, 1, 0, 1, 0], [0, 0, 1, 0, 1]], atol=1e-6
    )  # false before true; mean 2.5 and deviation sqrt(1 + .25) over the groups
    drawn = found.draw(np.array([0, 1, 1]), np.array([[9, -50.0], [9, 0.0], [9, 50.0]]))
    low, high = columns[1].low, columns[1].high
    assert drawn.tolist() == [[0, low], [1, 3], [1, high]]


def test_dropout_leaves_any_subset_unknown_alike_for_real_and_generated_series() -> None:
    data = household_data(n=600)
    ev = make_attribute("ev", ["true", "false"] * 300)
    people = make_attribute("people", [f"{1 + home % 5}" if home % 7 else "" for home in range(600)])
    bank, members, _ = bank_by([ev, people], data, attribute_dropout=0.4)
    conditioner = Conditioner(bank, members, statics=[ev, people])
    rows = torch.arange(600)
    place = torch.from_numpy(data["attributes"])
    real, drawn = conditioner.make_real(rows, rows, 3, place), conditioner.make_drawn(rows, rows, 3)
    assert real.shape == (600, 2 + 2 + bank.appended) and bank.appended == 5
    own, made = real[:, 4:].numpy(), drawn[:, 4:].numpy()
    np.testing.assert_array_equal(own[:, 3:], made[:, 3:])  # the masks
    np.testing.assert_array_equal(own[:, :2], made[:, :2])  # a group's category
    known = own[:, 3:]
    assert {tuple(each) for each in known.tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert abs(known[:, 0].mean() - 0.6) < 0.08
    assert not known[::7, 1].any() and abs(known[1::7, 1].mean() - 0.6) < 0.15
    assert (own[known[:, 0] == 1, :2].argmax(1) == (ev.cells[known[:, 0] == 1] == "true")).all()
    told = known[:, 1] == 1
    assert bank.statics is not None
    numbers = np.array([float(cell or np.nan) for cell in people.cells])[told]
    assert np.corrcoef(own[told, 2], numbers)[0, 1] > 0.99 > np.corrcoef(made[told, 2], numbers)[0, 1]
    later = conditioner.make_drawn(rows, rows, 4).numpy()[:, 4:]
    assert (later[:, 3:] != made[:, 3:]).any()  # afresh in every step
