"""Rules of a release that no setting lifts, on banks alone; lax limits of a config do not help."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distgan import config
from distgan.anonymity.bank import Bank, make_bank
from distgan.anonymity.group_size import compute_minimum_group_size
from distgan.anonymity.groups import GroupedSeries
from distgan.anonymity.manifest import choose_strictest, find_violations
from distgan.anonymity.statics import AttributeColumn, GroupAttributes
from distgan.commands.hub import hide_unstated, make_public_bank
from distgan.commands.release_rules import check_owners, check_scaling
from distgan.commands.released_verdict import make_public_manifest
from distgan.errors import UserError
from distgan.files import read_json, write_json
from distgan.pipeline.private_ledger import refuse_unaccounted
from distgan.run import Run

LAX = {"min_members": 3, "max_tracing_auc": 0.95}
COLUMNS = (
    AttributeColumn(name="kind", kind="categorical", categories=["flat", "hotel", "house"]),
    AttributeColumn(name="people", kind="integer", low=1, high=5),
)
STATED = np.array([[0.0, 2.5], [2.0, np.nan]])


def bank_of(limits: dict[str, float], attributes: bool = False) -> Bank:
    """Two groups of 60 entities, each of 60 owners."""
    rng = np.random.default_rng(0)
    by = ("kind", "people") if attributes else ()
    settings = config.Bank(condition_dim=2, by=by, **limits)
    location_scale = np.stack([rng.normal(0, 1, (120, 1)), rng.uniform(1, 2, (120, 1))], axis=-1)
    numbers = 3 if attributes else 0
    series = GroupedSeries(
        rng.standard_normal((120, 2)), np.ones(120), np.arange(120) % 2, attribute_numbers=numbers
    )
    bank = replace(make_bank(series, location_scale, settings), owners=(60, 60))
    statics = GroupAttributes(COLUMNS, STATED, np.zeros_like(STATED), bank.sizes)
    return replace(bank, statics=statics if attributes else None)


@pytest.mark.parametrize("limits", [{}, LAX])
def test_owners_behind_a_mean_are_as_many_as_the_default_limits_want(limits: dict[str, float]) -> None:
    """Six numbers of a group want 21: sixty recordings of twenty patients are too few of them."""
    bank = bank_of(limits)
    assert check_owners(replace(bank, owners=(21, 60))) == ""
    assert check_owners(replace(bank, owners=(20, 60))) == (
        "a mean covers 20 effective owners, below the minimum of 21"
    )


@pytest.mark.parametrize(("limits", "stated"), [(LAX, 3), ({"max_tracing_auc": 0.7}, 17), ({}, 31)])
def test_attributes_stated_of_few_are_refused_in_large_groups(
    tmp_path: Path, limits: dict[str, float], stated: int
) -> None:
    """A mean of people may be of three homes in a group of sixty."""
    bank = bank_of(limits, attributes=True)
    bank.save(tmp_path / "bank")
    assert bank.minimum_group_size == stated and find_violations(tmp_path / "bank") == []
    strictest = choose_strictest(bank.settings)
    assert strictest is not None and compute_minimum_group_size(strictest, bank.released) == 31
    said = f"its attributes are stated of {stated} entities, below the minimum of 31"
    assert find_violations(tmp_path / "bank", strictest) == ([said] if stated < 31 else [])


@pytest.mark.parametrize(
    ("scaling", "recorded", "now", "known"),
    [
        ({}, 2, 15, 2),  # learned then, whatever the config says since
        ({}, 15, 2, None),
        ({}, None, 2, 2),  # a run of before it was recorded
        ({}, None, 15, None),
        ({"bound": 6}, 2, 2, None),
        ({"method": "minmax"}, 2, 2, None),  # each series' own range
        ({"method": "minmax", "scope": "dataset"}, 14, 15, 14),
        ({"marginal": "normal_scores", "bound": 6}, 14, 15, 14),
    ],
)
def test_ends_of_the_scaling_that_few_reach_are_refused(
    tmp_path: Path, scaling: dict[str, object], recorded: int | None, now: int, known: int | None
) -> None:
    """Generated series are cut off there."""
    run = Run(tmp_path)
    run.finish("prepare", **({} if recorded is None else {"least_owners": recorded}))
    settings = config.Config(data={"source": "x", "scaling": scaling}, bank={"min_members": now})
    said = f"the scaling ends at values that {known} owners reach, below the minimum of 15"
    assert check_scaling(settings, run).startswith(said if known else "") and not (
        known is None and check_scaling(settings, run)
    )


def test_categories_that_no_group_states_stay(tmp_path: Path) -> None:
    """Forty years of one hotel may have made it a category; no group states it."""
    bank = bank_of({}, attributes=True)
    bank.save(tmp_path / "bank")
    public = make_public_manifest(read_json(tmp_path / "bank" / "manifest.json"))
    assert [each["categories"] for each in public["attributes"]] == [["flat", "house"], []]
    assert [group["attributes"]["kind"] for group in public["groups"]] == ["flat", "house"]
    exported = make_public_bank(bank)
    exported.save(tmp_path / "exported")
    again = Bank.load(tmp_path / "exported").statics
    assert again is not None and again.columns[0].categories == ["flat", "unstated 1", "house"]
    assert again.width == COLUMNS[0].width + COLUMNS[1].width + 2  # the networks' places stay
    np.testing.assert_array_equal(again.values, STATED)
    assert hide_unstated(again).columns == again.columns


# ---------------------------------------------------------------- series that were prepared without a budget


@pytest.mark.parametrize(
    ("merged", "more", "season", "bank_alone", "whole_run"),
    [
        (0, {}, None, "", ""),
        (2, {}, None, "2 owners merged for near copies", "2 owners merged for near copies"),
        (0, {"zeros": {"shares": []}}, None, "", "shares of zeros"),
        (0, {"lengths": {"ranges": []}}, None, "", "where series begin and end"),
        (0, {}, {"means": []}, "", "the course of whole series"),
    ],
)
def test_what_was_learned_before_there_was_a_budget_is_refused(
    tmp_path: Path,
    merged: int,
    more: dict[str, object],
    season: dict[str, object] | None,
    bank_alone: str,
    whole_run: str,
) -> None:
    """`prepare` does not run again when privacy.epsilon is set after it."""
    run = Run(tmp_path)
    run.finish("prepare", merged_owners=merged)
    write_json(run.scaler, {"scaler": {"bound": 6, "season": season}, "meta": {}, **more})
    budget = {"epsilon": 2.0, "delta": 1e-6, "owners": 1000}
    for privacy, words in (
        (config.Privacy(**budget), bank_alone),
        (config.Privacy(**budget, end_to_end=True), whole_run),
    ):
        settings = config.Config().model_copy(update={"privacy": privacy})
        if not words:
            refuse_unaccounted(settings, run)
            continue
        with pytest.raises(UserError, match=f"was prepared without privacy.epsilon and holds.*{words}"):
            refuse_unaccounted(settings, run)
