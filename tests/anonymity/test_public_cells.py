"""Attributes under differential privacy: public cells, in which one entity changes one sum by one entity."""

import numpy as np
import pytest
import torch

from distgan import config
from distgan.anonymity.bank import Bank
from distgan.anonymity.conditioning import Conditioner
from distgan.anonymity.dp import contributions
from distgan.anonymity.dp.bank import Budget, sum_cells
from distgan.anonymity.dp.ledger import Head
from distgan.anonymity.manifest import find_violations
from distgan.anonymity.private_bank import assign_members, choose_cells, find_groups, make_private_bank
from distgan.anonymity.public_cells import PublicCells, share_first, translate_cells
from distgan.data.static_attributes import StaticAttribute, make_attribute
from distgan.errors import UserError

LISTED = {"ev": ("false", "true"), "people": ("1", "2", "3")}
PRIVACY = {"epsilon": 8, "delta": 1e-5, "insecure_seed": 3, "categories": LISTED}
SETTINGS = config.load(None, []).with_values(
    {"bank.by": ["ev", "people"], "bank.condition_dim": 2, "clusters.count": 2}
    | {f"privacy.{name}": value for name, value in PRIVACY.items()},
    "test",
)


def people_of(entities: int, seed: int = 0) -> list[StaticAttribute]:
    rng = np.random.default_rng(seed)
    ev = rng.choice(["true", "false"], entities, p=[0.3, 0.7])
    people = rng.choice(["1", "2", "3", "9"], entities, p=[0.45, 0.45, 0.02, 0.08])
    return [make_attribute("ev", list(ev)), make_attribute("people", list(people))]


def test_how_cells_are_written_depends_on_no_other_entity() -> None:
    """One odd cell changes the kind that is found for all, and must not move anybody else."""
    plain, odd = make_attribute("n", ["1", "2", "1"]), make_attribute("n", ["1", "2", "1", "2.5"])
    words = make_attribute("n", ["1", "2", "1", "many"])
    truths = make_attribute("n", ["1", "0", "1"])
    assert (plain.kind, odd.kind, words.kind, truths.kind) == ("integer", "float", "categorical", "boolean")
    for each in (plain, odd, words):
        assert translate_cells(each, ("1", "2")).cells[:3].tolist() == ["1", "2", "1"]
    assert translate_cells(odd, ("1", "2")).cells[3] == translate_cells(words, ("1", "2")).cells[3] == ""
    assert translate_cells(truths, ("0", "1", "2")).cells.tolist() == ["1", "0", "1"]
    for cells in (["1", "0", ""], ["yes", "no", ""], ["true", "false", "perhaps"]):
        found = translate_cells(make_attribute("n", cells), ("false", "true"))
        assert found.cells.tolist() == ["true", "false", ""] and found.kind == "boolean"


@pytest.mark.parametrize(
    ("categories", "cells"),
    [
        (("yes", "no", "unknown"), ["yes", "No", "unknown", "Y", "1", "", "0.0", "never"]),
        (("True", "False", "maybe"), ["true", "False", "maybe", "TRUE", "perhaps"]),
        (("1", "no", "2"), ["1", "no", "2", "01", "1.00", "+1", "-0", "true"]),
        (("0", "1"), ["0", "1", "-0", "+1", "1.00", "1e0", "2", "yes", "no"]),
        (("0", "1", "2", "2.5"), ["0", "-0", "-0.0", "2", "2.50", "002", "nan", "inf"]),
    ],
)
def test_a_cell_is_read_alone_whatever_the_other_cells_are(
    categories: tuple[str, ...], cells: list[str]
) -> None:
    """Truths among listed words were unknown until some other entity's cell was no truth."""
    for cell in cells:
        others = [[], ["word"], ["yes"], ["no"], ["1", "0"], ["yes", "no", "2.5"], ["2.5"], ["-0"], ["7"]]
        read = {
            str(translate_cells(make_attribute("n", [cell, *context]), categories).cells[0])
            for context in (*others, *([other] for other in cells))
        }
        assert len(read) == 1, (cell, read)
    listed = translate_cells(make_attribute("n", list(categories)), categories).cells.tolist()
    assert listed == (["false", "true"] if categories == ("0", "1") else list(categories))


@pytest.mark.parametrize("categories", [("n", "f", "x"), ("1", "1.0", "2"), ("yes", "true", "maybe")])
def test_categories_that_mean_the_same_need_cells_as_written(categories: tuple[str, ...]) -> None:
    attribute = make_attribute("heating", list(categories), "categorical")
    with pytest.raises(UserError, match=r"data\.attribute_kinds\.heating=categorical"):
        translate_cells(attribute, categories)
    assert translate_cells(attribute, categories, as_written=True).cells.tolist() == list(categories)


def test_every_entity_lies_in_one_cell_of_its_first_series() -> None:
    statics = share_first(people_of(6), np.array([0, 0, 1, 1, 2, 2]))
    assert all((each.cells[::2] == each.cells[1::2]).all() for each in statics)
    public = PublicCells.from_settings(SETTINGS, 2)
    assert public.number == 3 * 4 * 2 and public.listed == 6
    cells = public.find(
        [make_attribute("ev", ["true", "false", ""]), make_attribute("people", ["2", "9", "1"])],
        np.array([1, 0, 1]),
    )
    np.testing.assert_array_equal(public.read_values(cells), [[1, 1], [0, np.nan], [np.nan, 0]])
    assert (cells % 2).tolist() == [1, 0, 1]


def make(entities: int = 4000) -> tuple[Bank, PublicCells, np.ndarray, list[StaticAttribute], np.ndarray]:
    """A bank of `entities` whose location rises with a car; its cells, who lies where, attributes, points."""
    rng = np.random.default_rng(1)
    points = np.clip(rng.standard_normal((entities, 2)) * 0.5, -1, 1)
    centroids = np.array([[-0.4, 0], [0.4, 0]], np.float32)
    statics = people_of(entities)
    levels = np.stack([1 + 2.0 * (statics[0].cells == "true"), np.ones(entities)], axis=1)[:, None]
    budget = Budget(SETTINGS.privacy, 2)
    public = PublicCells.from_settings(SETTINGS, 2)
    cells = public.find(statics, contributions.find_nearest_cells(points, centroids))
    values = contributions.average_attributes(levels, np.arange(entities), SETTINGS.privacy)
    sums = sum_cells(points, values, cells, public.number, budget)
    bank = make_private_bank(sums, np.ones(2), SETTINGS.bank, budget, Head(1, "0" * 32), public)
    keeps = choose_cells(sums, SETTINGS.bank)
    return bank, public, find_groups(points, cells, keeps, bank, public), statics, points


def test_groups_state_what_their_cell_is_and_nobody_joins_other_values() -> None:
    bank, public, groups, statics, _ = make()
    assert bank.statics is not None and bank.statics.names == ("ev", "people")
    assert bank.sizes.min() >= bank.minimum_group_size and 4 < bank.num_groups < public.number
    own = bank.statics.read(statics)
    stated = bank.statics.values[groups]
    known = ~np.isnan(own) & ~np.isnan(stated)
    assert (own == stated)[known][:, None].mean() > 0.98  # rare combinations alone go elsewhere
    assert (own[:, 0] == stated[:, 0]).all()  # no combination is so rare that a car is lost
    with_car, without = (bank.attributes_mean[bank.statics.values[:, 0] == ev, 0, 0] for ev in (1, 0))
    assert with_car.min() > without.max() + 0.5  # asinh(3) and asinh(1)


def test_a_lost_entity_trains_with_what_its_group_states_and_it_has() -> None:
    bank, _, groups, statics, points = make()
    members = assign_members(points, groups, np.arange(len(points)), np.ones(len(points)), bank)
    conditioner = Conditioner(bank, members, statics=statics)
    rows = torch.arange(len(points))
    given = conditioner.make_real(rows, rows, 0, torch.ones(len(points), 1, 2)).numpy()
    assert bank.statics is not None
    people = given[:, -bank.statics.width + 2 : -2]
    own = np.array([cell in ("1", "2", "3") for cell in statics[1].cells])
    assert (people[~own] == 0).all()
    places = np.array([int(cell) - 1 if cell in "123" else 0 for cell in statics[1].cells])
    shown = people.sum(axis=1) == 1
    assert shown[own].mean() > 0.7 and (people[shown & own].argmax(axis=1) == places[shown & own]).all()


def test_the_manifest_holds_the_public_values(tmp_path) -> None:  # type: ignore[no-untyped-def]
    bank = make()[0]
    bank.save(tmp_path / "bank")
    assert [text for text in find_violations(tmp_path / "bank") if "insecure_seed" not in text] == []
    loaded = Bank.load(tmp_path / "bank")
    assert loaded.statics is not None and loaded.statics.columns[1].categories == ["1", "2", "3"]


def test_one_entity_changes_one_cell_by_one_entity() -> None:
    """Also by a value that nobody else has, and by a cell that changes the kind of all."""
    rng = np.random.default_rng(2)
    entities, public = 60, PublicCells.from_settings(SETTINGS, 2)
    latent_cells = rng.integers(2, size=entities + 1)
    ev, people = (list(each.cells) for each in people_of(entities))
    before = np.bincount(
        public.find(
            [
                translate_cells(make_attribute(*each), LISTED[each[0]])
                for each in (("ev", ev), ("people", people))
            ],
            latent_cells[:-1],
        ),
        minlength=public.number,
    )
    for added in (("true", "2"), ("perhaps", "2.5"), ("", "many"), ("0", "")):
        columns = (("ev", [*ev, added[0]]), ("people", [*people, added[1]]))
        found = [translate_cells(make_attribute(*each), LISTED[each[0]]) for each in columns]
        after = np.bincount(public.find(found, latent_cells), minlength=public.number)
        assert (after - before).sum() == 1 and (after - before).max() == 1 and (after >= before).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["bank.by=[ev]", "privacy.epsilon=2", "clusters.count=2"], r"privacy.categories=\{ev: \[VALUE"),
        (
            ["privacy.epsilon=2", "clusters.count=2", "privacy.categories={ev: [a, b]}"],
            "bank.by does not name",
        ),
        (["privacy.categories={ev: [false, true]}"], "categories are for privacy.epsilon"),
        (["bank.by=[ev]", "privacy.epsilon=2", "privacy.categories={ev: [a]}"], "two or more different"),
        (["bank.by=[ev]", "privacy.epsilon=2", "privacy.categories={ev: [a, a]}"], "two or more different"),
        (["bank.by=[ev]", "privacy.epsilon=2", "privacy.categories={ev: 3}"], "privacy.categories"),
    ],
)
def test_values_that_are_not_public_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.load(None, settings)


def test_generated_series_have_unknown_attributes_as_often_as_real_ones_and_read_none() -> None:
    """Else the discriminator would know real series by what is unknown of them."""
    bank, _, groups, statics, points = make()
    members = assign_members(points, groups, np.arange(len(points)), np.ones(len(points)), bank)
    rows = torch.arange(len(points))
    public = Conditioner(bank, members).make_public(rows, 3).numpy()  # without attributes of series
    real = Conditioner(bank, members, statics=statics).make_real(rows, rows, 3, torch.ones(len(rows), 1, 2))
    known = [given[:, -2:].mean(axis=0) for given in (public, real.numpy())]
    assert known[0][0] == pytest.approx(1 - bank.settings.attribute_dropout, abs=0.02)
    np.testing.assert_allclose(known[0], known[1], atol=0.03)
    with pytest.raises(UserError, match="no attribute 'ev'"):
        Conditioner(bank, members).make_real(rows, rows, 3, torch.ones(len(rows), 1, 2))
