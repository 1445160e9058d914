"""The loop: exact resume, phases, averages, signals, and what is shown."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from distgan import config
from distgan.engine import checkpoint, telemetry, trainer, training
from distgan.engine.collapse_monitor import CollapseMonitor
from distgan.engine.ema import Average, compute_decay
from distgan.engine.training import Job
from distgan.errors import Diverged, Stopped, UserError
from distgan.objectives.base import Phase
from distgan.parallel.optimized_network import Adam
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import Parallel
from distgan.run import Run
from tests.helpers.small_gan import (
    BATCH,
    LENGTH,
    SEED,
    STEPS,
    Game,
    Loader,
    last,
    lines,
    make,
    rates,
    train,
)


@pytest.fixture(scope="module")
def parallel() -> Parallel:
    return Parallel(config.Engine(threads=1))


def assert_same_bits(one: checkpoint.Checkpoint, other: checkpoint.Checkpoint) -> None:
    assert one.step == other.step and one.facts == other.facts and set(one.state) == set(other.state)
    for name, tensors in one.state.items():
        assert set(tensors) == set(other.state[name])
        for key, value in tensors.items():
            assert torch.equal(value, other.state[name][key]), f"{name}: {key}"


@pytest.fixture(scope="module")
def undisturbed(parallel: Parallel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(parallel, folder)
    return folder


# ----------------------------------------------------------------------------------------------------- resume


def test_the_checkpoint_holds_everything(undisturbed: Path) -> None:
    found = last(undisturbed)
    names = {"generator", "critic", "generator.optimiser", "critic.optimiser", "generator.average"}
    assert found.step == STEPS and set(found.state) == names
    assert set(found.state["generator"]) == set(found.state["generator.average"])
    assert float(found.state["critic.optimiser"]["0.weight.step"]) == STEPS + STEPS / 2
    assert float(found.state["generator.optimiser"]["0.weight.step"]) == STEPS + 3
    assert found.facts["series"] == STEPS * BATCH and found.facts["world_size"] == 1


@pytest.mark.parametrize("stop", [7, 13])
def test_stopped_and_resumed_is_never_stopped(
    parallel: Parallel, undisturbed: Path, tmp_path: Path, stop: int
) -> None:
    train(parallel, tmp_path, steps=stop)
    assert last(tmp_path).step == stop
    torch.manual_seed(99)  # whatever torch's generator stands at
    train(parallel, tmp_path)
    assert_same_bits(last(tmp_path), last(undisturbed))


def test_killed_and_resumed_is_never_stopped(parallel: Parallel, undisturbed: Path, tmp_path: Path) -> None:
    """SIGKILL in step 8, after the checkpoint of step 5, and again in step 17."""
    for place in (8, 17):

        def killed(step: int, series: Tensor, place: int = place) -> None:
            if step == place:
                os.kill(os.getpid(), signal.SIGKILL)

        child = os.fork()
        if child == 0:
            try:
                train(parallel, tmp_path, loader=Loader(killed))
            finally:
                os._exit(1)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert last(tmp_path).step == 15
    train(parallel, tmp_path)
    assert_same_bits(last(tmp_path), last(undisturbed))
    assert [line["step"] for line in lines(tmp_path)] == [4, 8, 12, 16, 20]
    timeless = ("series_per_second", "data_share")
    for mine, theirs in zip(lines(tmp_path)[2:], lines(undisturbed)[2:], strict=True):
        same = {name for name in mine if mine[name] == theirs[name]} | set(timeless)
        assert mine["step"] == 16 or same == set(
            mine
        )  # means of 13-16 are of 16 alone: the run resumed at 15


def test_checkpoints_beside_the_training_are_the_same(
    parallel: Parallel, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: a stop and a resume, each with the last checkpoint whole on the disk."""
    monkeypatch.setattr(training, "saves_in_background", lambda device: True)

    def stop(step: int, series: Tensor) -> None:
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        train(parallel, tmp_path, loader=Loader(stop))
    assert last(tmp_path).step == 8
    train(parallel, tmp_path)
    assert_same_bits(last(undisturbed), last(tmp_path))


def test_a_damaged_newest_checkpoint_costs_steps_not_the_run(
    parallel: Parallel, undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(parallel, tmp_path, steps=10)
    path = Run(tmp_path).checkpoints("gan") / "step-10" / "critic.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    train(parallel, tmp_path)
    assert "step-10 is damaged: critic.safetensors has" in caplog.text
    assert_same_bits(last(tmp_path), last(undisturbed))


def test_a_finished_run_is_left_as_it_is(parallel: Parallel, tmp_path: Path) -> None:
    first = train(parallel, tmp_path, steps=3)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file())
    second = train(parallel, tmp_path, steps=3)
    assert before == sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file())
    series = torch.rand(2, LENGTH)
    assert torch.equal(first["generator"](series), second["generator"](series))
    assert torch.equal(first["critic"](series), second["critic"](series))


def test_what_does_not_fit_is_refused(parallel: Parallel, tmp_path: Path) -> None:
    train(parallel, tmp_path, steps=3, facts={"identity": "one"})
    with pytest.raises(UserError, match=r"identity one, now other\); choose another run_dir"):
        train(parallel, tmp_path, steps=5, facts={"identity": "other"})
    with pytest.raises(UserError, match="is at step 3, but only 2 steps are set"):
        train(parallel, tmp_path, steps=2)
    count = Run(tmp_path).checkpoints("gan") / training.ROLLBACKS
    count.write_text('{"rollbacks": "many"}')
    with pytest.raises(UserError, match=r"rollbacks\.json is damaged"):
        train(parallel, tmp_path, steps=5)
    count.unlink()
    network = nn.Linear(2, 2)
    non_member = {
        name: prepare_network(parallel, name, network, Adam(1.0)) for name in ("generator", "critic")
    }
    schedule = training.Schedule(5, BATCH, rates)
    with pytest.raises(UserError, match="belongs to other networks"):
        trainer.fit(
            Game({}),
            non_member,
            Loader(),
            parallel,
            schedule,
            job=Job(run=Run(tmp_path), stage="gan", seed=SEED),
        )


# ---------------------------------------------------------------------------------------------------- signals


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Handlers as at a terminal: nohup and jobs in the background inherit some signals as ignored."""
    ending = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    usual: dict[int, signal.Handlers] = dict.fromkeys(ending, signal.SIG_DFL)
    before = {
        number: signal.signal(number, handler)
        for number, handler in (usual | {signal.SIGINT: signal.default_int_handler}).items()
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_saves_and_stops(
    parallel: Parallel, undisturbed: Path, tmp_path: Path, number: signal.Signals, usual_signals: None
) -> None:
    def asked(step: int, series: Tensor) -> None:
        if step == 6:
            os.kill(os.getpid(), number)

    before, loader = signal.getsignal(number), Loader(asked)
    with pytest.raises(Stopped) as stopped:
        train(parallel, tmp_path, loader=loader)
    assert str(stopped.value) == (
        f"stopped at step 7 by {number.name}, and everything is saved; run the same command again to continue"
    )
    assert stopped.value.exit_code == 75
    assert loader.closed and signal.getsignal(number) == before
    assert last(tmp_path).step == 7
    train(parallel, tmp_path)
    assert_same_bits(last(tmp_path), last(undisturbed))


@pytest.mark.parametrize("trained", [True, False])
def test_a_signal_after_the_last_step_stops_the_run(
    parallel: Parallel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    usual_signals: None,
    trained: bool,
) -> None:
    """As it does while a training that was finished before is looked at: the next stage does not begin."""
    place, name = (trainer.Telemetry, "close") if trained else (training.Training, "resume")
    usual = getattr(place, name)

    def asked(self: object) -> None:
        usual(self)
        os.kill(os.getpid(), signal.SIGTERM)

    if not trained:
        train(parallel, tmp_path, 3)
    with monkeypatch.context() as patched, pytest.raises(Stopped, match="stopped at step 3 by SIGTERM"):
        patched.setattr(place, name, asked)
        train(parallel, tmp_path, 3)
    assert last(tmp_path).step == 3


def test_a_second_interrupt_does_not_wait(parallel: Parallel, tmp_path: Path, usual_signals: None) -> None:
    def asked(step: int, series: Tensor) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(parallel, tmp_path, loader=Loader(asked))


def test_a_thread_may_train(parallel: Parallel, tmp_path: Path) -> None:
    worker = threading.Thread(target=train, args=(parallel, tmp_path, 2))
    worker.start()
    worker.join()
    assert last(tmp_path).step == 2


# ------------------------------------------------------------------------------------------------- divergence


def spoils(*steps: int) -> Loader:
    def spoil(step: int, series: Tensor) -> None:
        if step in steps:
            series[1, 2] = float("inf")

    return Loader(spoil)


def test_a_step_that_is_not_finite_is_skipped_and_counted(parallel: Parallel, tmp_path: Path) -> None:
    train(parallel, tmp_path / "spoiled", steps=9, loader=spoils(7), report_every=1, checkpoint_every=1)
    written = lines(tmp_path / "spoiled")
    assert [line["d/skipped"] for line in written] == [0.0] * 7 + [1.0, 0.0]
    assert written[7]["d/loss"] is None and written[8]["d/loss"] is not None
    after = last(tmp_path / "spoiled").state
    assert all(bool(torch.isfinite(v.float()).all()) for f in after.values() for v in f.values())
    # Step 7 has the phases d and g: Adam counts neither, as if they had not been.
    assert float(after["generator.optimiser"]["0.weight.step"]) == 9 - 1


def test_no_step_of_trouble_is_saved(parallel: Parallel, tmp_path: Path) -> None:
    train(parallel, tmp_path, steps=12, loader=spoils(8, 9, 10), checkpoint_every=5)
    assert checkpoint.list_steps(Run(tmp_path).checkpoints("gan")) == [5, 12]


def test_trouble_that_lasts_rolls_back_to_lower_rates(
    parallel: Parallel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    times: list[int] = []

    def until_rolled_back(step: int, series: Tensor) -> None:
        times.append(step)
        if step >= 8 and times.count(5) < 3:
            series[1, 2] = float("inf")

    train(
        parallel, tmp_path, loader=Loader(until_rolled_back), checkpoint_every=5, max_skips=3, report_every=1
    )
    assert "phase d is not finite since step 8; back to step 5 at 0.5 x the learning rates" in caplog.text
    assert "back to step 5 at 0.25 x the learning rates (rollback 2 of 2)" in caplog.text
    assert last(tmp_path).step == STEPS
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, STEPS + 1))
    assert json.loads((Run(tmp_path).checkpoints("gan") / training.ROLLBACKS).read_text()) == {"rollbacks": 2}


@pytest.mark.parametrize(
    ("place", "words"), [(2, "no checkpoint was saved before"), (8, "2 rollbacks did not help; .* step 5")]
)
def test_trouble_that_stays_ends_the_run(parallel: Parallel, tmp_path: Path, place: int, words: str) -> None:
    loader = spoils(*range(place, STEPS))
    with pytest.raises(Diverged, match=f"phase d is not finite since step {place} .{words}") as e:
        train(parallel, tmp_path, loader=loader, max_skips=3)
    assert e.value.exit_code == 6 and "\n" not in str(e.value)
    assert checkpoint.list_steps(Run(tmp_path).checkpoints("gan")) == ([] if place == 2 else [5])


def test_collapse_is_said_once_it_lasts() -> None:
    watch = CollapseMonitor(logs=False)
    fine, alike = {"d/spread": 0.8, "d/accuracy": 0.6}, {"d/spread": 0.01, "d/accuracy": 0.6}
    assert [len(watch.check(step, alike)) for step in range(5)] == [0, 0, 1, 0, 0]
    assert watch.check(5, fine) == []
    won = {"d/spread": 0.8, "d/accuracy": 1.0}
    assert (
        "the discriminator classifies 100.0% of pairs correctly"
        in [watch.check(6, won) for _ in range(3)][-1][0]
    )


# ---------------------------------------------------------------------------------------- phases and averages


def test_when_a_phase_is_due() -> None:
    phase = Phase("p", "n", lambda batch: {}, every=3, start=2, stop=9)
    assert [step for step in range(12) if phase.is_due(step)] == [2, 5, 8]
    assert all(Phase("p", "n", lambda batch: {}).is_due(step) for step in range(5))


def test_rates_reach_adam(parallel: Parallel, tmp_path: Path) -> None:
    optimized_networks = make(parallel)
    game = Game({name: optimized.network for name, optimized in optimized_networks.items()})
    run, schedule = Run(tmp_path), training.Schedule(3, BATCH, rates)
    trainer.fit(
        game, optimized_networks, Loader(), parallel, schedule, job=Job(run=run, stage="gan", seed=SEED)
    )
    (critic,), (generator,) = (optimized_networks[name].adam.param_groups for name in ("critic", "generator"))
    assert critic["lr"] == 1e-2 / 3 and critic["betas"] == (0.0, 0.9 + 0.004 * 2)
    assert generator["lr"] == 1e-2 and generator["betas"] == (0.0, 0.99)


def test_an_average_halves_in_its_half_life() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        network[0].weight.fill_(1.0)
    average = Average(network)
    with torch.no_grad():
        network[0].weight.fill_(0.0)
    network[1].running_mean.fill_(5.0)
    for _ in range(10):
        average.update(compute_decay(10**9, 32, half_life=320))
    assert torch.allclose(average.network[0].weight, torch.tensor(0.5))
    assert torch.equal(average.network[1].running_mean, network[1].running_mean)
    assert not average.network.training and not any(p.requires_grad for p in average.network.parameters())
    average.update(0.0)
    assert torch.equal(average.network[0].weight, network[0].weight)


def test_early_averages_forget_the_start() -> None:
    # 5 % of 32 series seen: a batch is 20 half-lives
    assert compute_decay(32, 32, half_life=16_000) == 0.5**20
    assert compute_decay(10**7, 32, half_life=16_000) == 0.5 ** (32 / 16_000)
    assert compute_decay(10**7, 32, half_life=0) == 0.0 == compute_decay(0, 32, half_life=10)


def test_what_is_returned_is_what_samples(parallel: Parallel, tmp_path: Path) -> None:
    networks = train(parallel, tmp_path, steps=6)
    saved = last(tmp_path).state
    assert all(not network.training for network in networks.values())
    for name, file in (("generator", "generator.average"), ("critic", "critic")):
        assert all(torch.equal(saved[file][k], v) for k, v in networks[name].state_dict().items())
    assert not torch.equal(saved["generator"]["0.weight"], saved["generator.average"]["0.weight"])


# -------------------------------------------------------------------------------------------------- telemetry


def test_lines_of_a_run(parallel: Parallel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[tuple[int, dict[str, float]]] = []
    train(parallel, tmp_path, on_report=lambda step, metrics: heard.append((step, metrics)))
    written = lines(tmp_path)
    assert [step for step, _ in heard] == [4, 8, 12, 16, 20] == [line["step"] for line in written]
    assert heard[-1][1] == {name: value for name, value in written[-1].items() if name != "step"}
    assert {"d/loss", "d/real", "d/gradient_norm", "again/loss", "g/loss", "late/loss"} <= set(written[3])
    assert "late/loss" not in written[0] and written[1]["series"] == 8 * BATCH
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 5
    first, *rest, left = shown[0].split("  ")
    assert left.endswith(" left") and not shown[-1].endswith(" left")
    assert first == "step 4/20" and rest[-1].startswith("data ") and rest[-2].endswith(" series/s")
    assert [text.split()[0] for text in rest[:-2]] == ["real", "real", "g"]


def test_the_figure_of_a_line_is_the_mean_since_the_last(parallel: Parallel, tmp_path: Path) -> None:
    train(parallel, tmp_path / "each", report_every=1)
    train(parallel, tmp_path / "fourth", report_every=4)
    each = [line["g/loss"] for line in lines(tmp_path / "each")]
    means = [sum(each[i : i + 4]) / 4 for i in range(0, STEPS, 4)]
    assert [line["g/loss"] for line in lines(tmp_path / "fourth")] == pytest.approx(means, rel=1e-5)


def test_the_console_line() -> None:
    means = {"d/loss": 1.0, "d/d": 0.84, "d/gradient_norm": 9.0, "g/loss": -0.11, "g/gradient_norm": 2.0}
    metrics = {"series_per_second": 1930.4, "data_share": 0.031, "peak_memory_gib": 21.44}
    assert telemetry.format_line(means, metrics) == "d 0.84  g -0.11  1,930 series/s  21.4 GiB  data 3%"


def test_a_terminal_gets_a_bar(
    parallel: Parallel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    train(parallel, tmp_path, steps=4)
    out, err = capsys.readouterr()
    assert not out and "4/4 steps" in err and "series/s" in err


def test_a_torn_last_line_is_dropped(parallel: Parallel, tmp_path: Path) -> None:
    train(parallel, tmp_path, steps=8)
    with open(Run(tmp_path).metrics("gan"), "a") as file:
        file.write('{"step": 12, "d/loss": 1.0}\n{"step": 16, "d/lo')
    train(parallel, tmp_path)
    assert [line["step"] for line in lines(tmp_path)] == [4, 8, 12, 16, 20]


def test_tensorboard_has_each_step_once(parallel: Parallel, tmp_path: Path) -> None:
    train(parallel, tmp_path, steps=8)
    train(parallel, tmp_path)
    events = EventAccumulator(str(Run(tmp_path).logs / "gan"))
    events.Reload()
    assert [event.step for event in events.Scalars("g/loss")] == [4, 8, 12, 16, 20]


def test_samples_change_nothing(parallel: Parallel, undisturbed: Path, tmp_path: Path) -> None:
    steps: list[int] = []

    def sample(step: int, networks: dict[str, nn.Module]) -> None:
        steps.append(step)
        assert not networks["generator"].training
        networks["generator"](torch.rand(2, LENGTH)), networks["critic"](torch.rand(2, LENGTH))

    train(parallel, tmp_path, sample_every=6, on_sample=sample)
    assert steps == [6, 12, 18, 20]
    assert_same_bits(last(tmp_path), last(undisturbed))
