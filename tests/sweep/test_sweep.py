"""Sweeps: the space and its mistakes, exact exchange, and real sweeps that are killed, crash and go on."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from distgan import config
from distgan.engine import checkpoint
from distgan.errors import UserError
from distgan.files import read_json
from distgan.run import Run
from distgan.sweep import ray_session, results, runner, scores, trial
from distgan.sweep.trial import Evaluation, Trial
from tests.helpers.settings import ROOT, TINY

RATE = {"train.generator_rate": {"loguniform": [1e-4, 2e-3]}}


def settings(tmp_path: Path, space: dict[str, Any], *overrides: str, **chosen: Any) -> config.Config:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"sweep": {"space": space, **chosen}}, sort_keys=False))
    return config.load(path, overrides)


# ------------------------------------------------------------------------------------------------------ space


@pytest.mark.parametrize(
    ("space", "chosen", "words"),
    [
        ({"train.generator_rat": {"choice": [1e-3]}}, {}, "did you mean 'train.generator_rate'"),
        ({"train.batch_size": {"randint": [0, 4]}}, {}, "train.batch_size is 0"),
        ({"train.batch_size": {"choice": [4, "many"]}}, {}, "'many'"),
        ({"encoder.heads": {"choice": [4, 3]}}, {}, "width 64 is not a multiple of heads 3"),
        ({"train.clip": {"uniform": [0, 1], "choice": [1.0]}}, {}, "choice and uniform given"),
        ({"train.clip": {}}, {}, "nothing given"),
        ({"train.clip": {"uniform": [1, 0]}}, {}, "uniform 1 to 0 is empty"),
        ({"train.clip": {"loguniform": [0, 1]}}, {}, "must begin above 0"),
        ({"train.clip": {"lognormal": [0, 1]}}, {}, "unknown key"),
        ({"train.steps": {"choice": [5, 6]}}, {}, "cannot be searched"),
        ({"evaluate.seed": {"choice": [5, 6]}}, {}, "cannot be searched"),
        ({"train.clip": {"choice": [1.0], "when": {"objective.los": ["hinge"]}}}, {}, "'objective.loss'"),
        (
            {"train.clip": {"choice": [1.0], "when": {"seed": [2]}}, "seed": {"choice": [1, 2]}},
            {},
            "`when` asks for 'seed', which stands after it",
        ),
        ({"train.clip": {"grid": [0.5, 1, 2]}}, {"trials": 4}, "multiple of the grid's 3 points; use 6"),
        ({"train.clip": {"grid": [0.5, 1]}}, {"searcher": "tpe"}, "a grid needs searcher random"),
        ({"model.patch": {"choice": [6, 12]}}, {"scheduler": "pbt"}, "model.patch must be of train or"),
        (RATE, {"objectives": ["fidelity", "tracing"]}, "follows one objective"),
        (RATE, {"searcher": "grid"}, "sweep.searcher is 'grid'"),
    ],
)
def test_a_mistaken_space_is_one_line(
    tmp_path: Path, space: dict[str, Any], chosen: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError) as mistake:
        settings(tmp_path, space, **chosen)
    assert words in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_a_search_that_would_draw_many_private_banks_is_refused(tmp_path: Path) -> None:
    for space, refused in (
        (RATE, ""),
        (
            {"train.clip": {"choice": [0.5, 1]}, "bank.condition_dim": {"choice": [1, 2]}},
            r"bank\.condition_dim",
        ),
        ({"privacy.clip": {"choice": [1.0, 2.0]}}, r"privacy\.clip"),
    ):
        plain = settings(tmp_path, space)
        made = plain.model_copy(update={"privacy": config.Privacy(epsilon=2.0)})
        runner.refuse_many_draws(plain, trial.shared_stages(plain))
        if refused:
            with pytest.raises(UserError, match=f"searches {refused}, on which the bank depends"):
                runner.refuse_many_draws(made, trial.shared_stages(made))
        else:
            runner.refuse_many_draws(made, trial.shared_stages(made))


def test_an_unknown_objective_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"'fidelty' is unknown; use one of fidelity, tracing, metrics\.NAME"):
        scores.check_objectives(["fidelty"], 0)
    scores.check_objectives(["fidelity", "spectrum", "metrics.generator/loss"], 0)


@pytest.mark.parametrize("name", ["discriminative", "discriminative_32", "predictive"])
def test_an_objective_that_is_not_evaluated_is_refused_at_once(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} needs evaluate\.critic_steps, e\.g\."):
        scores.check_objectives(["fidelity", name], 0)
    scores.check_objectives(["fidelity", name], 50)


def test_another_model_brings_its_own_keys(tmp_path: Path) -> None:
    space = {
        "model.name": {"choice": ["multiscale", "tts_gan"]},
        "model.dropout": {"uniform": [0.1, 0.4], "when": {"model.name": ["tts_gan"]}},
        "train.clip": {"choice": [0.0, 1.0]},
    }
    chosen = settings(tmp_path, space)
    drawn = {"model.name": "multiscale", "model.dropout": 0.2, "train.clip": 1.0}
    values = trial.active_values(drawn, chosen)
    assert values == {"model.name": "multiscale", "train.clip": 1.0}
    assert chosen.with_values(values).model == config.Multiscale()
    values = trial.active_values({**drawn, "model.name": "tts_gan"}, chosen)
    assert chosen.with_values(values).model == config.TtsGan(dropout=0.2)
    assert chosen.with_values(values).sweep == config.Sweep()


@pytest.mark.parametrize(
    ("chosen", "steps"),
    [
        ({"scheduler": "asha", "interval": 100}, [100, 300, 900]),
        ({"scheduler": "asha", "interval": 100, "reduction": 2}, [100, 200, 400, 800, 900]),
        ({"scheduler": "asha"}, [100, 300, 900]),
        ({"scheduler": "pbt", "interval": 250}, [250, 500, 750, 900]),
        ({"scheduler": "none"}, [900]),
        ({"scheduler": "none", "interval": 450}, [450, 900]),
        ({"scheduler": "asha", "interval": 1000}, [900]),
    ],
)
def test_when_trials_are_scored(tmp_path: Path, chosen: dict[str, Any], steps: list[int]) -> None:
    assert trial.evaluation_steps(settings(tmp_path, RATE, "train.steps=900", **chosen)) == steps


@pytest.mark.parametrize(
    ("key", "last"),
    [
        ("train.clip", "bank"),
        ("bank.min_members", "encode"),
        ("encoder.latent_dim", "prepare"),
        ("seed", None),
    ],
)
def test_stages_before_the_first_searched_key_are_shared(tmp_path: Path, key: str, last: str | None) -> None:
    shared = trial.shared_stages(settings(tmp_path, {key: {"choice": [16, 17]}}))
    assert (shared[-1] if shared else None) == last


def test_optuna_asks_only_for_keys_that_count(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    optuna = pytest.importorskip("optuna")
    from distgan.sweep import ray_backend

    space = {
        "objective.loss": {"choice": ["hinge", "lsgan"]},
        "train.clip": {"uniform": [0.5, 2.0], "when": {"objective.loss": ["lsgan"]}},
        "train.batch_size": {"randint": [4, 6]},
        "model.generator.scales": {"choice": [[{"ratio": 1, "depth": 1}], [{"ratio": 2, "depth": 2}]]},
    }
    chosen = settings(tmp_path, space)
    ask = optuna.trial.FixedTrial(
        {"objective.loss[]": 0, "train.batch_size": 6, "model.generator.scales[]": 1}
    )
    drawn = ray_backend.suggest_values(ask, chosen)
    assert drawn["objective.loss"] == "hinge" and drawn["train.batch_size"] == 6 and "train.clip" not in drawn
    assert chosen.with_values(drawn).model.generator.scales == (config.Scale(ratio=2, depth=2),)


# ----------------------------------------------------------------------------------------------------- scores


def report(
    run: Run,
    model: dict[str, float],
    real: dict[str, float],
    noise: float = 0.0,
    privacy: dict[str, str] | None = None,
) -> Run:
    """A report with the given values; scores left out do not exist for the data."""
    run.folder.mkdir(parents=True, exist_ok=True)
    every = dict.fromkeys(scores.BY_NAME)
    noises = {"real hold-out": dict.fromkeys(every, noise)}
    rows = [
        {"name": "model", "values": {**every, **model}, "noise_to": noises},
        {"name": "real hold-out", "values": {**every, **real}, "noise": dict.fromkeys(every, noise)},
    ]
    facts = {"groups": {"tracing_auc": [0.55, 0.61]}}
    content = {"facts": facts, "fidelity": {"rows": rows}, "privacy": privacy}
    run.scores.write_text(json.dumps(content))
    return run


def test_fidelity_is_the_mean_share_beside_the_bar(tmp_path: Path) -> None:
    real = {"spectrum": 1.0, "acf_short": 0.2, "copies": 0.0}
    run = report(Run(tmp_path), {"spectrum": 3.0, "acf_short": 0.2, "copies": 0.0}, real)
    assert scores.read_objectives(run, ["fidelity"])["fidelity"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    run = report(Run(tmp_path), {"spectrum": 3.0, "acf_short": 0.0, "copies": 0.0}, real, noise=1.0)
    found = scores.read_objectives(run, ["fidelity", "spectrum", "tracing"])
    assert found == pytest.approx({"fidelity": (3 / 6 + 0) / 2, "spectrum": 3.0, "tracing": 0.61})


def test_what_no_trial_can_have_is_told_from_what_one_lacks(tmp_path: Path) -> None:
    run = report(Run(tmp_path), {}, {"spectrum": 1.0})
    with pytest.raises(scores.NoValue, match="channels has no value for these data"):
        scores.read_objectives(run, ["channels"])
    with pytest.raises(UserError, match="spectrum has no value for this trial") as one:
        scores.read_objectives(run, ["spectrum"])
    assert not isinstance(one.value, scores.NoValue)
    for lines, there in (("", "none"), ('{"step": 5, "generator/loss": null}\n', r"metrics\.generator/loss")):
        run.metrics("gan").parent.mkdir(exist_ok=True)
        run.metrics("gan").write_text(lines)
        with pytest.raises(scores.NoValue, match=f"metrics.generator/los is not written .*{there}$"):
            scores.read_objectives(run, ["metrics.generator/los"])


def test_copies_fail_the_gate_and_count_as_worst(tmp_path: Path) -> None:
    values = {"spectrum": 0.1, "nearness": 1.0}
    assert scores.privacy_failure(report(Run(tmp_path), {**values, "copies": 0.0}, {"nearness": 0.9})) == ""
    why = scores.privacy_failure(report(Run(tmp_path), {**values, "copies": 0.25}, {"nearness": 0.9}))
    assert "25.0% near copies" in why
    assert "0.50 times as far" in scores.privacy_failure(
        report(Run(tmp_path), {"nearness": 0.5}, {"nearness": 0.9})
    )
    told = {"outcome": "over", "sentence": "P4 is over its limit."}
    clean = {**values, "copies": 0.0}
    assert (
        scores.privacy_failure(report(Run(tmp_path), clean, {"nearness": 0.9}, privacy=told))
        == told["sentence"]
    )
    few = {"outcome": "insufficient", "sentence": "Too few to tell."}
    assert scores.privacy_failure(report(Run(tmp_path), clean, {"nearness": 0.9}, privacy=few)) == ""
    assert Evaluation(5, {"spectrum": 0.1}, why).counted == {"spectrum": scores.WORST}


def result(number: int, one: float, two: float, step: int = 9, gate: str = "") -> results.Result:
    look = Evaluation(step, {"fidelity": one, "tracing": two}, gate)
    return results.Result(number, Path(str(number)), {}, [look], "ended")


def test_the_best_is_whole_and_counts_and_the_front_is_unbeaten() -> None:
    found = [
        result(1, 0.5, 0.6),
        result(2, 0.4, 0.7),
        result(3, 0.3, 0.5, step=3),
        result(4, 0.1, 0.1, gate="copies"),
        result(5, 0.5, 0.7),
    ]
    assert results.best(found, ["fidelity"], 9).number == 2
    assert results.best(found[2:4], ["fidelity"], 9).number == 3
    with pytest.raises(UserError, match=r"no trial .* valid score \(copies\)"):
        results.best(found[3:4], ["fidelity"], 9)
    assert [one.number for one in results.pareto_front(found, ["fidelity", "tracing"])] == [3]
    assert [one.number for one in results.pareto_front([*found[:2], found[4]], ["fidelity", "tracing"])] == [
        1,
        2,
    ]


def test_a_torn_line_and_the_time_between_two_calls_do_not_count(tmp_path: Path) -> None:
    events = [("", "begun", 0), ("a", "running", 10), ("", "begun", 500), ("a", "ended", 507)]
    lines = [json.dumps({"trial": name, "state": state, "time": when}) for name, state, when in events]
    (tmp_path / results.STATES).write_text("\n".join(lines) + '\n{"trial": "a", "sta')
    assert results.seconds_spent(Run(tmp_path)) == 17
    results.record_state(Run(tmp_path), "a", "stopped")  # on a line of its own
    assert results._states(Run(tmp_path)) == {"": "begun", "a": "stopped"}


# ---------------------------------------------------------------------------------------------------- session


@pytest.mark.parametrize("mode", ["disabled", "k8s"])
def test_ray_without_its_token_is_refused(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(ray_session, "find_spec", lambda name: True)
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(UserError, match=f"RAY_AUTH_MODE={mode}"):
        ray_session.require_ray()


def test_without_ray_one_line_names_the_extra(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"sweep": {"space": RATE}}))
    hide = "import sys; sys.modules['ray'] = None; sys.argv[0] = 'distgan'; sys.path.insert(0, '.');"
    code = f"{hide} from distgan.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "sweep", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "distgan: a sweep needs ray; install it with pip install 'distgan[sweep]'\n"


def test_the_environment_is_as_before_and_a_killed_sweeps_files_are_removed(tmp_path: Path) -> None:
    before = dict(os.environ)
    home = Run(tmp_path / "sweep")
    with ray_session.prepare_environment(home, None) as first:
        assert first is not None
        assert oct((first / "token").stat().st_mode)[-3:] == "600"
        (home.folder / "ray" / "kept.json").write_text((home.folder / "ray" / "temporary.json").read_text())
        (first / "socket").touch()
    assert not first.exists() and dict(os.environ) == before
    first.mkdir()
    (home.folder / "ray" / "kept.json").rename(home.folder / "ray" / "temporary.json")  # as a kill leaves it
    with ray_session.prepare_environment(home, None) as second:
        assert not first.exists() and second != first


# ---------------------------------------------------------------------------------------- trials, without Ray


def overrides(homes: Path, *more: str) -> list[str]:
    return [f"data.source={homes}", *TINY, "generate.count=8", *more]


@pytest.fixture(scope="module")
def shared(homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[config.Config, Path]:
    """Settings of a sweep and its home, whose shared stages are made."""
    home = tmp_path_factory.mktemp("sweep") / "home"
    home.mkdir()
    chosen = settings(
        home, RATE, *overrides(homes_csv, "train.steps=6", "train.max_skips=2", f"run_dir={home}"), interval=3
    )
    runner.make_shared(chosen, home / "shared")
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


def test_trials_share_stages_and_look_twice_as_one_run_would(shared: tuple[config.Config, Path]) -> None:
    home = shared[1]
    whole, parts = begin(shared, "whole", 1e-3), begin(shared, "parts", 1e-3)
    assert parts.run.series.is_symlink() and parts.run.series.samefile(home / "shared" / "series.zarr")
    looks = list(trial.continue_trial(parts, [3, 6], ["fidelity"]))
    assert [look.step for look in looks] == [3, 6]
    assert looks[1].scores == next(trial.continue_trial(whole, [6], ["fidelity"])).scores
    assert same(weights(whole, 6), weights(parts, 6))
    assert read_json(parts.run.record("prepare")) == read_json(home / "shared" / "done" / "prepare.json")
    # Again: what was looked at is told from the record, with nothing trained.
    written = parts.run.record("gan").stat().st_mtime_ns
    assert list(trial.continue_trial(parts, [3, 6], ["fidelity"])) == looks
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
    assert checkpoint.steps(taker.run.checkpoints("gan")) == [3]
    assert same(weights(taker, 3), given)
    assert checkpoint.load(taker.run.checkpoints("gan"), 3).facts["identity"] == own.identity
    assert [look.step for look in taker.looks] == [3]
    assert taker.record["exchanges"] == [{"step": 3, "of": "donor", "values": values}]
    list(trial.continue_trial(taker, [3, 6], ["fidelity"]))
    assert (
        taker.settings.train.generator_rate == 5e-4
        and checkpoint.steps(taker.run.checkpoints("gan"))[-1] == 6
    )
    assert not same(weights(taker, 6), given)
    # A donor that is ahead: there is nothing to look at in between.
    late = begin(shared, "late", 1e-4)
    trial.offer_checkpoint(taker, 6, tmp_path / "ahead")
    trial.take_over_checkpoint(late, own, values, tmp_path / "ahead")
    assert [look.step for look in trial.continue_trial(late, [3, 6], ["fidelity"])] == [6]
    # Its own newest state changes nothing; a damaged offer is refused.
    trial.offer_checkpoint(taker, 6, tmp_path / "own")
    trial.take_over_checkpoint(taker, own, values, tmp_path / "own")
    assert [look.step for look in taker.looks] == [3, 6]
    file = next((tmp_path / "step-3").glob("generator.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="does not match its checksum"):
        trial.take_over_checkpoint(taker, own, values, tmp_path)


def test_a_trial_that_diverges_is_worst_and_over(shared: tuple[config.Config, Path]) -> None:
    lost = begin(shared, "lost", 1e30)
    (look,) = trial.continue_trial(lost, [3, 6], ["fidelity"])
    assert look.lost and "not finite" in look.gate
    assert [*trial.continue_trial(lost, [3, 6], ["fidelity"])] == [look]


def test_an_objective_without_a_value_ends_the_sweep(shared: tuple[config.Config, Path]) -> None:
    home = shared[1]
    for name in ("channels", "metrics.nosuchthing"):
        found = begin(shared, name, 1e-3)
        (look,) = trial.continue_trial(found, [3, 6], [name])
        assert look.hopeless and look.lost
        with pytest.raises(UserError, match=f"objectives {name} .*; start again in a new run_dir=PATH"):
            results.refuse_hopeless(Run(home), 6)
        shutil.rmtree(found.run.folder)
    results.refuse_hopeless(Run(home), 6)


def test_another_sweep_in_the_same_folder_is_refused(shared: tuple[config.Config, Path]) -> None:
    chosen, home = shared
    runner.claim_folder(chosen, Run(home))
    free = chosen.model_copy(update={"sweep": chosen.sweep.model_copy(update={"retries": 5})})
    runner.claim_folder(free, Run(home))
    other = chosen.model_copy(update={"sweep": chosen.sweep.model_copy(update={"trials": 5})})
    with pytest.raises(UserError, match=r"to another sweep \(sweep\.trials was 12, now 5"):
        runner.claim_folder(other, Run(home))


# ------------------------------------------------------------------------------------------- sweeps, with Ray


class Sweep:
    """A sweep as its user calls it, in a process of its own."""

    def __init__(self, homes: Path, folder: Path, space: dict[str, Any], *more: str, **chosen: Any) -> None:
        folder.mkdir()
        self.home = folder / "home"
        path = folder / "sweep.yaml"
        path.write_text(yaml.safe_dump({"sweep": {"space": space, "confirm": 0, **chosen}}))
        self.command = [sys.executable, "-m", "distgan.cli", "sweep", "--config", str(path)]
        self.command += ["--run-dir", str(self.home), *overrides(homes, *more)]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "Sweep":
        path = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            self.command,
            cwd=self.home.parent,
            env={**os.environ, **path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def end(self) -> str:
        assert self.process is not None
        out, _ = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, out[-5000:]
        return out

    @property
    def results(self) -> list[results.Result]:
        chosen = config.load(self.home / "config.yaml")
        return results.read(Run(self.home), chosen.train.steps)

    def training(self) -> Iterator[tuple[Path, int]]:
        """Folder and process of every trial that is in the middle of its training, until there are none."""
        for lock in sorted(self.home.glob("trials/*/.lock")):
            words = lock.read_text().split()
            if words and (lock.parent / "gan" / "checkpoints" / "step-5").exists():
                yield lock.parent, int(words[1])

    def wait_for(self, seen: Any, seconds: float = 300) -> Any:
        end = time.monotonic() + seconds
        while not (found := seen()):
            assert self.process is not None and self.process.poll() is None, self.end()
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)
        return found


def listening(parent: int) -> list[str]:
    """Addresses at which the process and all that it started listen."""
    psutil = pytest.importorskip("psutil")
    family = [psutil.Process(parent), *psutil.Process(parent).children(recursive=True)]
    found = []
    for process in family:
        with contextlib.suppress(psutil.Error):
            found += [c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    return found


def test_two_trials_end_to_end(homes_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    space = {**RATE, "objective.loss": {"choice": ["relativistic", "hinge"]}}
    run = Sweep(homes_csv, tmp_path / "sweep", space, trials=2, interval=10).start()
    run.wait_for(lambda: list(run.training()))
    assert run.process is not None
    addresses = set(listening(run.process.pid))
    assert len(addresses) >= 1 and all(ip in ("::1", "::ffff:127.0.0.1", "127.0.0.1") for ip in addresses)
    temporary = Path(read_json(run.home / "ray" / "temporary.json")["folder"])
    out = run.end()
    assert "trial 1" in out and "best      trial" in out
    assert not temporary.exists()
    ends = {(found.state, found.step) for found in run.results}
    assert ("ended", 20) in ends <= {("ended", 20), ("stopped", 10)}  # the second may be the worse one
    table = pd.read_parquet(run.home / "trials.parquet")
    assert set(table["step"]) == {10, 20} and {"fidelity", *space} <= set(table.columns)
    page = (run.home / "sweep.html").read_text()
    assert page.count("<figure>") == 4 and "http://" not in page.replace("http://www.w3.org", "")
    assert list(run.home.glob("trials/*/logs/gan/events*")) and list(
        run.home.glob("trials/*/logs/sweep/events*")
    )
    # The best config, trained plainly and from the start, has the best trial's score to the last digit.
    command = [sys.executable, "-m", "distgan.train", "--config", str(run.home / "best.yaml")]
    again = subprocess.run(
        [*command, f"run_dir={tmp_path / 'again'}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    best = results.best(run.results, ["fidelity"], 20).loss("fidelity")
    assert scores.read_objectives(Run(tmp_path / "again"), ["fidelity"])["fidelity"] == best
    # Done is done.
    assert run.start().end().count("made") == 0


JOINS = """
import os, subprocess, sys
from pathlib import Path
from distgan import config
from distgan.run import Run
from distgan.sweep import ray_session
with ray_session.prepare_environment(Run(Path(sys.argv[1])), None) as temporary:
    import ray
    from distgan.sweep import ray_backend
    with ray_backend.start_ray(config.Sweep(), temporary):
        join = [sys.executable, "-c", f"import ray; ray.init({ray.get_runtime_context().gcs_address!r})"]
        theirs = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN_PATH"}
        others = ({"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"})
        for its in (os.environ, *({**theirs, **other} for other in others)):
            code = subprocess.run(join, env=its, capture_output=True).returncode
            print("refused" if code else "joined")
"""


@pytest.mark.slow
def test_only_who_has_the_token_may_join(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    driver = subprocess.run(  # of its own: ray reads its environment when it is imported
        [sys.executable, "-c", JOINS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert driver.stdout.split() == ["joined", "refused", "refused"], driver.stderr


@pytest.mark.slow
def test_a_sweep_for_what_has_no_value_ends_at_its_first_look(homes_csv: Path, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"trials": 4, "interval": 10, "objectives": ["metrics.nosuchthing"]}
    run = Sweep(homes_csv, tmp_path / "sweep", RATE, **chosen)
    for _ in range(2):  # the same command again says the same
        process = run.start().process
        assert process is not None
        out, _ = process.communicate(timeout=600)
        assert process.returncode == 2 and "metrics.nosuchthing is not written" in out.splitlines()[-1]
        assert len(run.results) < 4 and all(found.step <= 10 for found in run.results)


@pytest.mark.slow
def test_killed_trials_and_a_killed_driver_lose_nothing(homes_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    run = Sweep(
        homes_csv, tmp_path / "sweep", RATE, "train.steps=40", trials=3, scheduler="none", retries=1
    ).start()
    victim, first = run.wait_for(lambda: list(run.training()))[0]
    os.kill(first, signal.SIGKILL)
    _, second = run.wait_for(lambda: [one for one in run.training() if one[0] == victim and one[1] != first])[
        0
    ]
    os.kill(second, signal.SIGKILL)
    run.wait_for(lambda: any(found.state == "failed" for found in run.results))
    run.wait_for(lambda: any(found.state == "ended" for found in run.results))
    done = next(found for found in run.results if found.state == "ended")
    stood = (done.folder / "done" / "gan.json").stat().st_mtime_ns
    time.sleep(3)  # of what happened in the last second a killed driver may forget (TUNE_GLOBAL_CHECKPOINT_S)
    assert run.process is not None
    run.process.kill()
    run.process.wait()
    run.start().end()
    states = {found.folder.name: (found.state, found.step) for found in run.results}
    assert states.pop(victim.name)[0] == "failed"
    assert list(states.values()) == [("ended", 40), ("ended", 40)]
    assert (done.folder / "done" / "gan.json").stat().st_mtime_ns == stood
    events = [json.loads(line) for line in (run.home / results.STATES).read_text().splitlines()]
    assert "retried" in [event["state"] for event in events if event["trial"] == victim.name]


@pytest.mark.slow
def test_weaker_trials_take_over_the_better_ones_training(homes_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    space = {"train.generator_rate": {"loguniform": [1e-6, 1e-2]}}
    run = Sweep(homes_csv, tmp_path / "sweep", space, trials=3, scheduler="pbt", interval=5).start()
    run.end()
    assert [found.step for found in run.results] == [20, 20, 20]
    names = {found.folder.name for found in run.results}
    exchanges = [(found, change) for found in run.results for change in found.exchanges]
    assert exchanges
    for found, change in exchanges:
        assert change["of"] in names - {found.folder.name}
        # What it had trained after that step itself is gone; what it scores later, it has trained since.
        assert [look.step for look in found.looks] == sorted({look.step for look in found.looks})


@pytest.mark.slow
def test_two_objectives_by_tpe_give_a_front_and_fresh_seeds(homes_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    chosen = {"objectives": ["fidelity", "spectrum"], "searcher": "tpe", "scheduler": "none"}
    run = Sweep(homes_csv, tmp_path / "sweep", RATE, "train.steps=5", trials=3, **chosen)
    run.command.append("sweep.confirm=1")
    out = run.start().end()
    assert "front     trials" in out
    assert "best      spectrum on fresh seeds" in out and "default   fidelity on fresh seeds" in out
    assert [found.state for found in run.results] == ["ended"] * 3
    seeds = {config.load(path).seed for path in run.home.glob("confirm/*/config.yaml")}
    assert seeds == {1} and len(list(run.home.glob("confirm/*/report.json"))) == 2


@pytest.mark.slow
def test_a_trial_of_two_workers_is_one_training(homes_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    workers = {"workers": 2, "cpus": 1}
    space = {"train.generator_rate": {"choice": [1e-3]}}
    run = Sweep(homes_csv, tmp_path / "two", space, "train.steps=6", trials=1, interval=3, resources=workers)
    run.start().end()
    (found,) = run.results
    assert [look.step for look in found.looks] == [3, 6]
    saved = checkpoint.load(Run(found.folder).checkpoints("gan"), 6)
    assert saved.facts["world_size"] == 2


def test_a_trial_that_fits_nowhere_is_refused_at_once() -> None:
    pytest.importorskip("ray")
    from distgan.sweep import ray_backend

    with pytest.raises(UserError, match=r"a trial needs 64 x 4 CPUs and 0 GPUs, but Ray has 2 and 0"):
        ray_backend.refuse_too_large(
            config.Sweep(resources=config.Resources(workers=64, cpus=4)), {"CPU": 2.0}
        )
    pairs = config.Sweep(scheduler="pbt", trials=4, resources=config.Resources(workers=2))
    with pytest.raises(UserError, match=r"runs all 4 trials at once, but only 2 fit"):
        ray_backend.refuse_too_large(pairs, {"CPU": 5.0})
    assert ray_backend.trials_at_once(config.Resources(workers=2, cpus=1), {"CPU": 5.0}) == 2
    assert ray_backend.trials_at_once(config.Resources(gpus=0.25), {"CPU": 16.0, "GPU": 2.0}) == 8
