"""A private training is spent as a whole before it begins, once, and repeated by nobody."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from distgan.anonymity.dp.bank import Budget
from distgan.anonymity.dp.ledger import TRAINING, Ledger, Query
from distgan.anonymity.dp.training_ledger import TrainingLedger
from distgan.errors import Mismatch
from tests.helpers.groups import settings_of_privacy

pytest.importorskip("dp_accounting")
BUDGET = Budget(settings_of_privacy(insecure_seed=None, epsilon=4.0), 2)
ENCODER = Query("encoder", 4.0, "data", "settings", rate=0.05, steps=40, kind=TRAINING)


def training_of(place: Path, query: Query = ENCODER) -> TrainingLedger:
    return TrainingLedger(Ledger(place / "ledger.jsonl", place / "privacy"), query)


def test_all_steps_are_spent_before_the_first_and_the_key_comes_back(tmp_path: Path) -> None:
    key = training_of(tmp_path).begin(BUDGET)
    (line,) = training_of(tmp_path).ledger.list_draws()
    assert (line["steps"], line["rate"], line["state"]) == (40, 0.05, "started")
    spent = training_of(tmp_path).ledger.compute_spent(BUDGET.delta)
    assert spent == line["epsilon_so_far"] > 0
    assert training_of(tmp_path).begin(BUDGET) == key  # after a kill: the same coins and noise
    assert training_of(tmp_path).ledger.compute_spent(BUDGET.delta) == spent
    place = training_of(tmp_path).ledger.find_key_file("encoder")
    assert place.stat().st_mode & 0o077 == 0
    assert key.hex() not in (tmp_path / "ledger.jsonl").read_text()


def test_a_finished_training_has_no_key_and_is_not_repeated(tmp_path: Path) -> None:
    training_of(tmp_path).begin(BUDGET)
    assert training_of(tmp_path).find_result() is None
    training_of(tmp_path).finish("digest")
    training_of(tmp_path).finish("digest")
    assert training_of(tmp_path).find_result() == "digest"
    assert len(training_of(tmp_path).ledger.read_entries()) == 2
    assert not training_of(tmp_path).ledger.find_key_file("encoder").exists()
    with pytest.raises(Mismatch, match="a second training would spend the budget twice"):
        training_of(tmp_path).begin(BUDGET)
    with pytest.raises(Mismatch, match="was trained to other weights"):
        training_of(tmp_path).finish("another")


@pytest.mark.parametrize("change", [{"data": "other"}, {"settings": "other"}])
def test_another_training_takes_no_spent_steps(tmp_path: Path, change: dict) -> None:
    training_of(tmp_path).begin(BUDGET)
    for done in (False, True):
        with pytest.raises(Mismatch, match="spend the budget twice"):
            training_of(tmp_path, replace(ENCODER, **change)).begin(BUDGET)
        if not done:
            training_of(tmp_path).finish("digest")


def test_a_lost_or_changed_key_ends_the_training(tmp_path: Path) -> None:
    key = training_of(tmp_path).begin(BUDGET)
    place = training_of(tmp_path).ledger.find_key_file("encoder")
    place.write_bytes(bytes(32))
    with pytest.raises(Mismatch, match="its key"):
        training_of(tmp_path).begin(BUDGET)
    place.write_bytes(key)
    assert training_of(tmp_path).begin(BUDGET) == key


def test_a_copy_of_the_run_does_not_go_on_with_the_same_noise(tmp_path: Path) -> None:
    """Else two trainings, on other devices, have the same noise, and their difference none."""
    one, two, moved = tmp_path / "one", tmp_path / "two", tmp_path / "moved"
    key = training_of(one).begin(BUDGET)
    shutil.copytree(one, two)
    with pytest.raises(Mismatch, match="is a copy"):
        training_of(two).begin(BUDGET)
    one.rename(moved)
    assert training_of(moved).begin(BUDGET) == key
    training_of(moved).finish("digest")
    shutil.copytree(moved, one)
    assert training_of(one).find_result() == "digest"  # what is done may be copied


def test_a_key_without_a_line_was_used_by_nobody(tmp_path: Path) -> None:
    """A kill between the two."""
    training = training_of(tmp_path)
    training.ledger.results.mkdir()
    training.ledger.find_key_file("encoder").write_bytes(bytes(32))
    assert training.begin(BUDGET) != bytes(32)


def test_trainings_and_sums_share_one_budget(tmp_path: Path) -> None:
    training_of(tmp_path).begin(BUDGET)
    alone = training_of(tmp_path).ledger.compute_spent(BUDGET.delta)
    second = replace(ENCODER, name="discriminator", steps=400, multiplier=1.0)
    with pytest.raises(Mismatch, match=r"would be spent, above privacy\.epsilon 4"):
        training_of(tmp_path, second).begin(BUDGET)
    assert not training_of(tmp_path, second).ledger.find_key_file("discriminator").exists()
    training_of(tmp_path, replace(second, multiplier=8.0)).begin(BUDGET)
    ledger = training_of(tmp_path).ledger
    assert alone < ledger.compute_spent(BUDGET.delta) <= BUDGET.epsilon
    assert ledger.list_draws("sums") == []
