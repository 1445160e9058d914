"""Trials without Ray: shared stages, exact exchange of weights, divergence."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from distgan import config
from distgan.engine import checkpoint
from distgan.errors import NcclFailure, UserError
from distgan.files import read_json
from distgan.run import Run
from distgan.sweep import results, runner, trial
from distgan.sweep.files import SweepFiles
from distgan.sweep.trial import Trial
from tests.helpers.settings import SHORT
from tests.helpers.sweeps import RATE, overrides, settings


@pytest.fixture(scope="module")
def shared(homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[config.Config, Path]:
    """Settings of a sweep and its home, whose shared stages are made."""
    home = tmp_path_factory.mktemp("sweep") / "home"
    home.mkdir()
    more = (*SHORT, "train.steps=6", "train.max_skips=2", f"run_dir={home}")
    chosen = settings(home, RATE, *overrides(homes_csv, *more), interval=3)
    trial.make_shared(chosen, SweepFiles(home).shared)
    return chosen, home


def begin(shared: tuple[config.Config, Path], name: str, rate: float) -> Trial:
    chosen, home = shared
    values = {"train.generator_rate": rate}
    (home / "trials" / name).mkdir(parents=True)
    found = Trial(home / "trials" / name)
    found.open(chosen.with_values(values), values, Run(home / "shared"))
    return found


def weights(found: Trial, step: int) -> dict[str, dict[str, Any]]:
    return checkpoint.load(found.run.checkpoints("gan"), step).state


def same(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> bool:
    return one.keys() == other.keys() and all(
        one[file].keys() == other[file].keys()
        and all(one[file][name].equal(other[file][name]) for name in one[file])
        for file in one
    )


def test_trials_share_stages_and_are_evaluated_twice_as_one_run_would_be(
    shared: tuple[config.Config, Path],
) -> None:
    home = shared[1]
    whole, parts = begin(shared, "whole", 1e-3), begin(shared, "parts", 1e-3)
    assert parts.run.series.is_symlink() and parts.run.series.samefile(home / "shared" / "series.zarr")
    evaluations = list(trial.continue_trial(parts, [3, 6], ["fidelity"]))
    assert [evaluation.step for evaluation in evaluations] == [3, 6]
    assert evaluations[1].scores == next(trial.continue_trial(whole, [6], ["fidelity"])).scores
    assert same(weights(whole, 6), weights(parts, 6))
    assert read_json(parts.run.record("prepare")) == read_json(home / "shared" / "done" / "prepare.json")
    # Again: evaluations are read from the record, and nothing is trained.
    written = parts.run.record("gan").stat().st_mtime_ns
    assert list(trial.continue_trial(parts, [3, 6], ["fidelity"])) == evaluations
    assert parts.run.record("gan").stat().st_mtime_ns == written


def test_an_exchange_is_exact_and_goes_on_with_its_own_values(
    shared: tuple[config.Config, Path], tmp_path: Path
) -> None:
    chosen = shared[0]
    donor, taker = begin(shared, "donor", 1e-3), begin(shared, "taker", 2e-4)
    list(trial.continue_trial(donor, [3], ["fidelity"]))
    list(trial.continue_trial(taker, [3, 6], ["fidelity"]))
    given = weights(donor, 3)
    trial.offer_checkpoint(donor, 3, tmp_path)
    values = {"train.generator_rate": 5e-4}
    own = chosen.with_values(values)
    trial.take_over_checkpoint(taker, own, values, tmp_path)
    # Weights of both networks, their optimisers' moments, the average: every bit.
    assert {"generator", "generator.optimiser", "generator.average"} <= given.keys()
    assert {"discriminator", "discriminator.optimiser"} <= given.keys()
    assert checkpoint.list_steps(taker.run.checkpoints("gan")) == [3]
    assert same(weights(taker, 3), given)
    assert checkpoint.load(taker.run.checkpoints("gan"), 3).facts["identity"] == own.identity
    assert [evaluation.step for evaluation in taker.evaluations] == [3]
    assert taker.record["exchanges"] == [{"step": 3, "of": "donor", "values": values}]
    list(trial.continue_trial(taker, [3, 6], ["fidelity"]))
    assert (
        taker.settings.train.generator_rate == 5e-4
        and checkpoint.list_steps(taker.run.checkpoints("gan"))[-1] == 6
    )
    assert not same(weights(taker, 6), given)
    # A donor that is ahead: there is nothing to look at in between.
    late = begin(shared, "late", 1e-4)
    trial.offer_checkpoint(taker, 6, tmp_path / "ahead")
    trial.take_over_checkpoint(late, own, values, tmp_path / "ahead")
    assert [evaluation.step for evaluation in trial.continue_trial(late, [3, 6], ["fidelity"])] == [6]
    # Its own newest state changes nothing; a damaged offer is refused.
    trial.offer_checkpoint(taker, 6, tmp_path / "own")
    trial.take_over_checkpoint(taker, own, values, tmp_path / "own")
    assert [evaluation.step for evaluation in taker.evaluations] == [3, 6]
    file = next((tmp_path / "step-3").glob("generator.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="does not match its checksum"):
        trial.take_over_checkpoint(taker, own, values, tmp_path)


def test_a_trial_that_diverges_is_worst_and_over(shared: tuple[config.Config, Path]) -> None:
    lost = begin(shared, "lost", 1e30)
    (evaluation,) = trial.continue_trial(lost, [3, 6], ["fidelity"])
    assert evaluation.lost and "not finite" in evaluation.gate
    assert [*trial.continue_trial(lost, [3, 6], ["fidelity"])] == [evaluation]


def test_a_checkpoint_that_no_longer_fits_is_not_counted_against_the_values(
    shared: tuple[config.Config, Path],
) -> None:
    """As after an update of the program in the middle of a sweep."""
    found = begin(shared, "older", 1e-3)
    evaluations = list(trial.continue_trial(found, [3], ["fidelity"]))
    found.set(found.settings.with_values({"train.generator_rate": 2e-3}))
    with pytest.raises(UserError, match="choose another run_dir"):
        list(trial.continue_trial(found, [3, 6], ["fidelity"]))
    assert found.evaluations == evaluations and not evaluations[0].lost


def test_an_objective_without_a_value_ends_the_sweep(shared: tuple[config.Config, Path]) -> None:
    home = shared[1]
    for name in ("channels", "metrics.nosuchthing"):
        found = begin(shared, name, 1e-3)
        (evaluation,) = trial.continue_trial(found, [3, 6], [name])
        assert evaluation.hopeless and evaluation.lost
        with pytest.raises(UserError, match=f"objectives {name} .*; start again in a new run_dir=PATH"):
            results.refuse_hopeless(Run(home), 6)
        shutil.rmtree(found.run.folder)
    results.refuse_hopeless(Run(home), 6)


def test_another_sweep_in_the_same_folder_is_refused(shared: tuple[config.Config, Path]) -> None:
    chosen, home = shared
    runner.claim_folder(chosen, Run(home))
    free = chosen.model_copy(update={"sweep": chosen.sweep.model_copy(update={"retries": 5})})
    runner.claim_folder(free, Run(home))
    other = chosen.model_copy(update={"sweep": chosen.sweep.model_copy(update={"interval": 2})})
    with pytest.raises(UserError, match=r"to another sweep \(sweep\.interval was 3, now 2"):
        runner.claim_folder(other, Run(home))


def test_gpus_that_cannot_meet_are_not_counted_against_the_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise NcclFailure("two processes share a GPU")

    found = Trial(tmp_path)
    found.write(values={}, looks=[])
    monkeypatch.setattr(trial, "train_and_score", fail)
    with pytest.raises(NcclFailure):
        list(trial.continue_trial(found, [3], ["fidelity"]))
    assert not found.evaluations
