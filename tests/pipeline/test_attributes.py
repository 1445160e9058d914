"""Attributes from the source to the samples: groups that state them, series that are asked for by them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import distgan
from distgan import cli, config, errors
from distgan.anonymity import manifest
from distgan.anonymity.bank import Bank
from distgan.anonymity.groups import Members
from distgan.anonymity.statics import AttributeColumn, GroupAttributes
from distgan.data.store.private_table import find_private_table, read_table
from distgan.data.store.reader import Store
from distgan.errors import UserError
from distgan.files import read_json
from distgan.pipeline.attack import SEPARATOR, describe_series
from distgan.pipeline.attribute_report import read_synthetic
from distgan.pipeline.generate import summarise, tabulate_attributes
from distgan.pipeline.margins import meet_margins
from distgan.pipeline.requested_attributes import plan_series
from distgan.pipeline.training_data import TrainingData
from distgan.run import Run
from distgan.train import main
from tests.helpers.described import EVENING, described
from tests.helpers.groups import bank_of
from tests.helpers.runs import copy
from tests.helpers.settings import TINY

ATTRIBUTES = ["data.columns.attributes=[ev,kind,people]", "bank.by=[ev,kind,people]"]


# ---------------------------------------------------------------------------------------------- the requests


def stating(**changes: Any) -> Bank:
    """Six groups: cars in flats, and homes without a car of every kind; people unknown in one."""
    columns = (
        AttributeColumn(name="ev", kind="boolean", categories=["false", "true"]),
        AttributeColumn(name="kind", kind="categorical", categories=["flat", "house", "other"]),
        AttributeColumn(name="people", kind="integer", low=1.0, high=5.0),
    )
    values = np.array(
        [[1, 0, 2.0], [0, 0, 1.5], [0, 1, 2.0], [0, 1, 4.0], [0, 2, np.nan], [np.nan, np.nan, 3.0]]
    )
    deviations = np.where([[0, 0, 1]] & ~np.isnan(values), 0.8, 0.0)
    bank = bank_of(n=600, groups=6)
    assert bank.num_groups == 6
    return Bank(**{**bank.__dict__, "statics": GroupAttributes(columns, values, deviations, bank.sizes)})


def test_a_value_that_is_asked_for_is_the_value_that_is_written() -> None:
    sizes = AttributeColumn(name="size", kind="float", low=0.0, high=2e6)
    for size in (1234567.25, 62.5, 0.1, 3.0):
        assert float(sizes.format(sizes.parse(size))) == size
    assert sizes.format(62.48293103812) == "62.4829"
    cars = AttributeColumn(name="car", kind="categorical", categories=["EV", "ev", "Petrol"])
    assert [cars.parse(name) for name in ("EV", "ev", "petrol")] == [0, 1, 2]
    with pytest.raises(UserError, match="has no value 'Ev'"):
        cars.parse("Ev")


def plan(bank: Bank, **asked: Any) -> pd.DataFrame:
    found = plan_series(config.Generate(**{"count": 100, **asked}), bank)
    assert bank.statics is not None and found.values is not None
    cells = [[c.format(v) for c, v in zip(bank.statics.columns, row)] for row in found.values]
    return pd.DataFrame(cells, columns=bank.statics.names).assign(
        group=found.groups, extrapolated=found.extrapolated
    )


def test_without_a_wish_groups_are_drawn_as_ever() -> None:
    bank, plain = stating(), bank_of(n=600, groups=6)
    found = plan_series(config.Generate(count=100, seed=3), bank)
    np.testing.assert_array_equal(found.groups, plan_series(config.Generate(count=100, seed=3), plain).groups)
    assert found.values is not None and not found.extrapolated.any()
    people = found.values[:, 2]
    assert np.isnan(people[found.groups == 4]).all() and set(people[found.groups == 3]) <= {2, 3, 4, 5}


def test_an_attribute_called_extrapolated_keeps_its_column() -> None:
    bank = stating()
    assert bank.statics is not None
    columns = (bank.statics.columns[0], bank.statics.columns[1].model_copy(update={"name": "extrapolated"}))
    statics = replace(
        bank.statics,
        columns=columns,
        values=bank.statics.values[:, :2],
        deviations=bank.statics.deviations[:, :2],
    )
    chosen = config.Generate(count=4, extrapolate=True)
    header, rows = tabulate_attributes(
        plan_series(chosen, Bank(**{**bank.__dict__, "statics": statics})), statics, chosen
    )
    assert header == ["ev", "extrapolated", "extrapolated (generated)"]
    assert {row[2] for row in rows} == {"false"} and "false" not in {row[1] for row in rows}


def test_wished_attributes_are_those_of_the_groups() -> None:
    found = plan(stating(), attributes={"ev": True})
    assert set(found.group) == {0} and set(found.kind) == {"flat"} and set(found.ev) == {"true"}
    found = plan(stating(), attributes={"ev": "no", "kind": "House", "people": 4})
    assert set(found.people) == {"4"} and set(found.ev) == {"false"}
    counts = Counter(found.group)
    assert set(counts) == {2, 3} and counts[3] > 3 * counts[2]  # 4 people live rather in group 3


def test_a_combination_without_a_group_is_refused_or_marked() -> None:
    with pytest.raises(UserError) as caught:
        plan(stating(), attributes={"ev": True, "kind": "house"})
    text = str(caught.value)
    assert "has ev=true, kind=house; groups have ev=false, kind=house; " in text and "\n" not in text
    assert "ev=true, kind=flat" in text and "generate.extrapolate=true" in text
    found = plan(stating(), attributes={"ev": True, "kind": "house"}, extrapolate=True)
    assert found.extrapolated.all() and set(found.group) == {0} and set(found.kind) == {"house"}
    chosen = config.Generate(count=5, attributes={"ev": True, "kind": "house"}, extrapolate=True)
    assert summarise(chosen, stating()).endswith("5 of them of a combination that no group has")
    assert not plan(stating(), attributes={"ev": True}, extrapolate=True).extrapolated.any()
    with pytest.raises(UserError, match=r"people=9; groups have people=1 to 4; .*people=2 to 5; no people"):
        plan(stating(), attributes={"people": 9})
    found = plan(stating(), attributes={"people": 9}, extrapolate=True)
    assert set(found.group) == {3} and set(found.people) == {"9"} and found.extrapolated.all()


def test_a_range_in_a_message_is_what_a_group_has() -> None:
    bank = stating()
    for people in (1, 2, 3, 4):
        assert set(plan(bank, attributes={"people": people, "ev": True}).group) == {0}
    with pytest.raises(UserError, match=r"ev=true, people=5; groups have .*ev=true, people=1 to 4"):
        plan(bank, attributes={"people": 5, "ev": True})


def test_an_attribute_that_no_group_states_is_named() -> None:
    bank = stating()
    assert bank.statics is not None and bank.statics.list_unstated() == []
    values = bank.statics.values.copy()
    values[:, 1] = np.nan
    statics = replace(bank.statics, values=values)
    bank = Bank(**{**bank.__dict__, "statics": statics})
    assert statics.list_unstated() == ["kind"]
    for asked, message in (
        ({"attributes": {"kind": "flat"}}, "has kind=flat; groups have no kind; choose"),
        ({"shares": {"kind": {"flat": 0.5}}}, "or more states kind; leave kind out"),
        ({"shares": {"ev": 0.5, "kind": {"flat": 0.5}}}, "states ev and kind; leave kind out"),
    ):
        for extrapolate in (False, True):
            if extrapolate and "attributes" in asked:
                continue
            with pytest.raises(UserError, match=message):
                plan(bank, **asked, extrapolate=extrapolate)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"attributes": {"size": 3}},
            r"the groups have no attribute 'size'; they have ev, kind",
        ),
        (
            {"attributes": {"kind": "castle"}},
            "'kind' has no value 'castle' in the groups; they have flat",
        ),
        ({"attributes": {"ev": "perhaps"}}, "'ev' has no value 'perhaps'"),
        ({"attributes": {"people": "many"}}, "'people' is integer, and 'many' is none"),
        ({"shares": {"people": 0.5}}, "'people' is a number, which has no shares"),
        (
            {"shares": {"kind": 0.5}},
            r"'kind' is categorical; write a share .*\{kind: \{flat: 0.5",
        ),
        (
            {"shares": {"ev": 0.5}, "attributes": {"kind": "house"}},
            "has ev=true; groups have .*; shares are of values that groups have",
        ),
        ({"shares": {"ev": {"true": 0.5, "yes": 0.5}}}, "'ev' has two shares for true; give one"),
        ({"shares": {"kind": {"flat": 0.2, "Flat": 0.3}}}, "'kind' has two shares for flat; give one"),
    ],
)
def test_an_impossible_wish_is_one_clear_line(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan(stating(), **asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 7, 100, 997])
def test_shares_are_met_exactly(count: int) -> None:
    found = plan(stating(), count=count, shares={"ev": 0.4})
    assert (found.ev == "true").sum() == round(0.4 * count) and len(found) == count
    assert set(found.ev) <= {"true", "false"}  # a group that states none is left out
    both = {"ev": 0.25, "kind": {"house": 0.5, "other": 0.1}}
    found = plan(stating(), count=count, shares=both)
    assert abs((found.ev == "true").sum() - 0.25 * count) < 1
    assert abs((found.kind == "house").sum() - 0.5 * count) < 1
    assert abs((found.kind == "flat").sum() - 0.4 * count) < 1
    if count == 100:
        assert Counter(found.ev) == {"true": 25, "false": 75}
        assert Counter(found.kind) == {"house": 50, "other": 10, "flat": 40}


def test_shares_that_no_groups_can_meet_are_refused() -> None:
    with pytest.raises(UserError, match="no whole numbers of series meet the shares of ev, kind together"):
        plan(stating(), shares={"ev": 0.6, "kind": {"flat": 0.1}})  # cars are in flats alone


def test_margins_are_met_near_the_proportions() -> None:
    sizes, cells = np.array([10.0, 30, 40, 20]), np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    found = meet_margins(sizes, cells, [{0: 50, 1: 50}, {0: 50, 1: 50}], 100)
    assert found is not None and found[:2].sum() == found[2:].sum() == found[::2].sum() == 50
    # odds ratio of the sizes: (10·20)/(30·40) = 1/6 = x²/(50 - x)²
    assert abs(found[0] - 50 / (1 + 6**0.5)) < 1
    assert meet_margins(sizes[1:3], cells[1:3], [{0: 50, 1: 50}, {0: 60, 1: 40}], 100) is None


def test_a_table_states_every_row(tmp_path: Path) -> None:
    table = tmp_path / "wanted.csv"
    table.write_text("people,ev\n4,no\n,yes\n2,\n,\n", encoding="utf-8")
    found = plan(stating(), count=4, table=str(table))
    assert found.ev.tolist()[:2] == ["false", "true"] and found.group[1] == 0
    assert found.people.tolist()[0] == "4" and found.people.tolist()[2] == "2"
    for text, message in (
        ("people,ev\n4,no\n", r"has 1 row, but generate\.count is 4; set generate\.count=1"),
        ("size\n1\n2\n3\n4\n", "no attribute 'size'"),
        ("ev,kind\nyes,flat\nyes,house\n,\n,\n", r"wanted\.csv, row 2 below .* has ev=true, kind=house"),
        ("ev,people\nyes,2\nyes,3\nno,x\n,\n", r"wanted\.csv, row 3 below the header: .*'x' is none"),
        ("ev,kind\nyes\n", "line 2 has 1 cell, and the header has 2"),
        ("ev,kind\n", "has no row below its header"),
    ):
        table.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            plan(stating(), count=4, table=str(table))


def test_settings_that_exclude_each_other_are_refused() -> None:
    for overrides, message in (
        (
            ["bank.by=[ev]", "privacy.epsilon=2.0", "clusters.count=4"],
            "needs the values of attribute 'ev' beforehand",
        ),
        (["bank.by=[ev]", "bank.by_label=true"], "by and by_label exclude each other"),
        (["bank.by=[ev,ev]"], "by names an attribute twice"),
        (["bank.by=[ev]", "generate.table=''"], "generate.table"),
        (["generate.table=a.csv", "generate.shares={ev: 0.5}"], "table states the attributes"),
        (["generate.shares={ev: 1.5}"], "must be from 0 to 1"),
        (["generate.shares={ev: 0.5}", "generate.attributes={ev: true}"], "both name 'ev'"),
        (["model=tts_cgan"], "tts_cgan is conditional on labels or attributes"),
    ):
        with pytest.raises(UserError, match=message):
            config.load(None, overrides)


@pytest.mark.parametrize("none", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_an_attribute_without_a_value_is_one_line(none: Any) -> None:
    with pytest.raises(UserError, match="people has no value; leave it out for any value"):
        config.load(None).with_values({"generate.attributes": {"people": none}}, "sample")


# ---------------------------------------------------------------------------------------------- the whole way


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny multiscale model through all stages but the report."""
    folder = tmp_path_factory.mktemp("attributes")
    source = described(folder / "homes.npz")
    more = [f"data.source={source}", *ATTRIBUTES, "train.steps=6", "generate.count=30", "encoder.steps=40"]
    stages = ["--stages", "prepare,encoder,encode,cluster,bank,gan,generate"]
    assert main(["--run-dir", str(folder / "run"), *TINY, *more, *stages]) == 0
    return Run(folder / "run")


def test_groups_mix_no_values_and_state_them(run: Run) -> None:
    bank, table = Bank.load(run.bank), read_table(find_private_table(run.series))
    assert manifest.find_violations(run.bank) == [] and bank.statics is not None
    assert bank.statics.names == ("ev", "kind", "people") and bank.labels == ()
    members = Members.load(run.cluster_files.members)
    rows = table.find_rows("train")
    ev = next(each for each in table.statics if each.name == "ev").cells[rows]
    for group, said in enumerate(bank.statics.to_json()):
        inside = members.groups == group
        assert inside.sum() >= bank.minimum_group_size
        if said["ev"] is not None:
            assert set(ev[inside]) == {said["ev"]}
    assert {said["ev"] for said in bank.statics.to_json()} == {"true", "false"}
    assert "castle" not in run.bank.joinpath("manifest.json").read_text(encoding="utf-8")


def test_the_samples_have_attributes_and_levels_go_with_them(run: Run) -> None:
    table = pd.read_csv(run.synthetic_attributes)
    made = Store.open(run.synthetic).read_rows(np.arange(30))[..., 0]
    assert list(table.columns) == ["id", "ev", "kind", "people"] and len(table) == 30
    assert table.id[1] == "synthetic-000001"
    assert table.people.dropna().between(1, 5).all()
    means = made.mean(1)
    assert means[table.ev].mean() > means[~table.ev].mean()


def test_python_lists_the_attributes_that_groups_state(run: Run) -> None:
    trained = distgan.load(run.folder)
    statics = trained.bank.statics
    assert statics is not None and list(trained.attributes) == ["ev", "kind", "people"]
    assert trained.attributes["ev"] == ["false", "true"]
    kinds = trained.attributes["kind"]
    assert isinstance(kinds, list) and {each["kind"] for each in statics.to_json()} >= set(kinds)
    for kind in kinds:
        assert trained.sample(1, kind=str(kind)).shape[0] == 1
    values = np.where([True, False, True], statics.values, np.nan)
    nothing = replace(trained, bank=replace(trained.bank, statics=replace(statics, values=values)))
    assert list(nothing.attributes) == ["ev", "people"]


def test_attributes_are_compared_as_they_leave(run: Run) -> None:
    sides = [TrainingData.open(run, (name,)) for name in ("train", "held_out")]
    found = describe_series(config.load(run.config), Bank.load(run.bank), *sides)
    assert found is not None
    cells = [row.split(SEPARATOR) for row in found.released]
    table = pd.read_csv(run.synthetic_attributes, dtype=str, keep_default_na=False)
    assert cells == table.drop(columns="id").to_numpy().tolist()
    assert (len(found.members), len(found.non_members)) == tuple(side.num_series for side in sides)
    assert {row.split(SEPARATOR)[0] for row in found.members} == {"true", "false"}


def generate(run: Run, *arguments: str) -> int:
    return errors.answer(lambda: cli.run_command(["generate", str(run.folder), *arguments]))


def test_generation_by_attributes_shares_and_table(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(run, "generate.attributes={ev: true}", "--out", str(tmp_path / "cars.csv")) == 0
    assert pd.read_csv(tmp_path / "cars.attributes.csv").ev.all()
    assert "cars.attributes.csv" in (tmp_path / "cars.README.txt").read_text(encoding="utf-8")
    before = Store.open(run.synthetic).read_rows(np.arange(30))
    assert generate(run, "generate.attributes={ev: true, kind: castle}") == 2
    assert "no value 'castle'" in capsys.readouterr().err
    np.testing.assert_array_equal(before, Store.open(run.synthetic).read_rows(np.arange(30)))
    assert generate(run, "generate.attributes={}", "generate.shares={ev: 0.4}") == 0
    assert pd.read_csv(run.synthetic_attributes).ev.sum() == 12
    wanted = tmp_path / "wanted.csv"
    wanted.write_text("ev,people\n" + "true,\nfalse,3\n" * 8, encoding="utf-8")
    assert generate(run, "generate.shares={}", f"generate.table={wanted}") == 0
    found = pd.read_csv(run.synthetic_attributes)
    assert found.ev.tolist() == [True, False] * 8 and found.people.tolist()[1::2] == [3] * 8
    wanted.write_text("ev\n" + "true\n" * 5, encoding="utf-8")  # the same path with other rows is due again
    assert generate(run, f"generate.table={wanted}") == 0
    asked = pd.read_csv(run.synthetic_attributes)
    assert len(asked) == 5 and asked.ev.all()
    wanted.write_text(run.synthetic_attributes.read_text(encoding="utf-8"), encoding="utf-8")  # with its ids
    assert generate(run, f"generate.table={wanted}", "generate.seed=3") == 0
    assert pd.read_csv(run.synthetic_attributes).ev.tolist() == [True] * 5


def test_a_table_of_an_earlier_version_has_no_ids(run: Run, tmp_path: Path) -> None:
    statics = Bank.load(run.bank).statics
    assert statics is not None
    table = pd.DataFrame({"ev": ["true", "false"], "kind": ["flat", ""], "people": [2, 3]})
    table.to_csv(tmp_path / "older.csv", index=False)
    table.insert(0, "id", ["synthetic-000000", "synthetic-000001"])
    table.to_csv(tmp_path / "newer.csv", index=False)
    older, newer = (read_synthetic(tmp_path / name, statics) for name in ("older.csv", "newer.csv"))
    assert older.keys() == newer.keys() == {"ev", "kind", "people"}
    assert all(older[name].tolist() == newer[name].tolist() for name in older)


def test_a_wish_takes_the_place_of_the_one_before_and_is_named(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, wanted = copy(run, tmp_path / "run"), tmp_path / "wanted.csv"
    wanted.write_text("ev\n" + "true\n" * 3, encoding="utf-8")
    groups = Bank.load(mine.bank).num_groups
    for asked, said in (
        ("generate.attributes={ev: true}", " conditions, with ev=true: "),
        ("generate.shares={ev: {true: 0.5}}", f" {groups} conditions, with ev=true in 50 %: "),
        (f"generate.table={wanted}", f" conditions, as {wanted} asks: "),
        ("generate.attributes={people: 3}", " conditions, with people=3: "),
        ("generate.seed=5", " conditions, with people=3: "),  # what no override names stays
    ):
        capsys.readouterr()
        assert generate(mine, asked) == 0
        assert said in capsys.readouterr().out
    assert "with people=3: " in str(mine.read_record("generate"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ev,ev\ntrue,false\n", "has the column 'ev' twice"),
        ("ev;people\ntrue;3\n", "has no commas between its cells"),
    ],
)
def test_a_table_of_wishes_that_can_be_read_in_two_ways_is_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    wanted = tmp_path / "wanted.csv"
    wanted.write_text(text, encoding="utf-8")
    assert generate(run, f"generate.table={wanted}") == 2
    assert said in capsys.readouterr().err
    assert generate(run, "generate.table=none.csv") == 2
    captured = capsys.readouterr().err
    assert "give a CSV table with commas between its cells" in captured and "NetCDF" not in captured


def test_samples_by_attribute_in_python(run: Run) -> None:
    trained = distgan.load(run.folder)
    assert list(trained.attributes) == ["ev", "kind", "people"]
    assert trained.attributes["ev"] == ["false", "true"]
    low, high = trained.attributes["people"]
    assert 1 <= float(low or 0) < float(high or 0) <= 5
    cars, none = trained.sample(12, ev=True), trained.sample(12, ev=False)
    assert cars.mean() > none.mean()
    np.testing.assert_array_equal(cars, trained.sample(12, ev=True))
    table = trained.sample_attributes(12, ev=True)
    assert table.ev.all() and len(table) == 12
    assert [str(table[name].dtype) for name in ("ev", "people")] == ["boolean", "Int64"]
    np.testing.assert_array_equal(cars, trained.sample(12, ev=np.bool_(True)))
    np.testing.assert_array_equal(cars, trained.sample(12, condition={"ev": True}))
    with pytest.raises(UserError, match="'ev' is given twice"):
        trained.sample(3, condition={"ev": True}, ev=False)
    with pytest.raises(UserError, match="no attribute 'start'; they have ev"):
        trained.sample_attributes(3, condition={"start": "cold"})
    none = trained.sample_attributes(12, ev=False)
    assert not none.ev.any() and none.people.dropna().between(1, 5).all()
    group = trained.sample_attributes(6, condition=0)
    assert len(group) == 6 and group.ev.nunique(dropna=False) == 1
    with pytest.raises(UserError, match="ev has no value; leave it out for any value"):
        trained.sample(3, ev=None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the groups have no attribute 'size'; they have ev, kind, people"):
        trained.sample(3, size=4)


def test_an_attribute_that_is_not_there_or_too_rare_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = described(tmp_path / "homes.npz")
    command = ["--run-dir", str(tmp_path / "run"), f"data.source={source}", *TINY, ATTRIBUTES[0]]
    assert main([*command, "bank.by=[pv]"]) == 2
    captured = capsys.readouterr()
    assert "bank.by names 'pv', but the attributes of the series are: ev, kind, people" in captured.err
    assert main([*command, "bank.by=[ev]", "generate.shares={pv: 0.5}"]) == 2
    assert "asks for 'pv', but not bank.by, which names ev" in capsys.readouterr().err
    few = described(tmp_path / "few.npz", 60)
    assert main([*command, f"data.source={few}", "bank.by=[ev]"]) == 2
    captured = capsys.readouterr()
    assert "attribute 'ev' has 1 values that at least 24 training entities have" in captured.err
    assert not (tmp_path / "run" / "series.zarr").exists() and EVENING.any()


@pytest.mark.slow
def test_the_report_compares_by_attribute(run: Run) -> None:
    assert generate(run, "generate.table=null", "generate.shares={}", "generate.count=60") == 0
    command = ["evaluate", str(run.folder), "evaluate.pictures=false"]
    assert errors.answer(lambda: cli.run_command(command)) == 0
    found = read_json(run.scores)["attributes"]
    assert [each["name"] for each in found["attributes"]] == ["ev", "kind", "people"]
    page = run.report.read_text(encoding="utf-8")
    assert '<section id="attributes">' in page and "castle" not in page
