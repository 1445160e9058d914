"""Two processes train as one. Run under torchrun, this file is the two processes' own program."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from distgan import config
from distgan.engine import checkpoint
from distgan.errors import Diverged, Stopped, UserError
from distgan.parallel import messages
from distgan.parallel.optimized_network import Adam
from distgan.parallel.preparation import prepare_network
from distgan.parallel.processes import Parallel
from distgan.run import Run
from tests.helpers.processes import PATIENCE, launch, unlaunched
from tests.helpers.settings import ROOT
from tests.helpers.two_process_gan import LENGTH, STEPS, Game, Loader, curves, make, train

LOOPBACK = "0100007F"  # 127.0.0.1 as /proc/net/tcp writes it


# ---------------------------------------------------------------------- the two processes' program


def program(out: Path) -> None:
    """Everything that takes two processes, in one launch; what they find is written for the tests to read."""
    from tests.helpers import zoo  # heavy: the other programs of this file need no models

    parallel = Parallel(config.Engine())
    found: dict[str, Any] = {"world_size": parallel.world_size, "threads": torch.get_num_threads()}
    for spectral in (False, True):
        train(parallel, out / f"spectral-{spectral}", spectral)
    found |= talk(parallel) | stop(parallel, out / "stopped") | diverge(parallel, out / "diverged")
    found["frozen"], found["awaited"] = frozen(parallel), await_main()
    found |= {"intruded": intruded(parallel), "listening": listening(), "odd": odd(parallel)}
    for family in zoo.TRAINED:  # for test_zoo_on_two_processes.py
        zoo.train(family, parallel, out / "zoo" / family)
    (out / f"found-{parallel.rank}.json").write_text(json.dumps(found))
    parallel.close()


def talk(parallel: Parallel) -> dict[str, Any]:
    def fails() -> None:
        raise UserError("only rank 0 knows")

    try:
        parallel.run_on_main(fails)
        refusal = ""
    except UserError as error:
        refusal = str(error)
    return {
        "mean": parallel.average(torch.tensor([parallel.rank, 4.0])).tolist(),
        "total": parallel.sum_values(np.array([parallel.rank + 1, 1e-17])).tolist(),
        "largest": parallel.find_largest(parallel.rank * 7),
        "shared": parallel.broadcast_value({"from": parallel.rank}),
        "on_main": parallel.run_on_main(lambda: f"done by {parallel.rank}"),
        "refusal": refusal,
    }


def stop(parallel: Parallel, folder: Path) -> dict[str, Any]:
    """A signal to rank 1 alone, in step 4; then go on to the end."""

    def signals(step: int, series: Tensor) -> None:
        if parallel.rank == 1 and step == 4:
            os.kill(os.getpid(), signal.SIGUSR1)

    try:
        train(parallel, folder, False, Loader(parallel.rank, parallel.world_size, signals))
        message = ""
    except Stopped as stopped:
        message = str(stopped)
    train(parallel, folder, False)
    return {"stopped": message}


def diverge(parallel: Parallel, folder: Path) -> dict[str, Any]:
    """Numbers that are none, on rank 1 alone, from step 2 on."""

    def spoils(step: int, series: Tensor) -> None:
        if parallel.rank == 1 and step >= 2:
            series[0, 0] = float("nan")

    try:
        train(parallel, folder, False, Loader(parallel.rank, parallel.world_size, spoils))
        return {"diverged": ""}
    except Diverged as diverged:
        return {"diverged": str(diverged)}


def frozen(parallel: Parallel) -> bool:
    """The other network's gradients stay as they were in a phase."""
    optimized_networks = make(parallel, False)
    game = Game({name: optimized.network for name, optimized in optimized_networks.items()})
    batch = next(Loader(parallel.rank, parallel.world_size).iterate_batches())
    optimized_networks["critic"].minimise(game.critic_loss(batch)["loss"])
    before = optimized_networks["critic"].gradients.clone()
    for name, optimized in optimized_networks.items():
        optimized.require_gradients(name == "generator")
    optimized_networks["generator"].minimise(game.generator_loss(batch)["loss"])
    return bool(torch.equal(before, optimized_networks["critic"].gradients))


def await_main() -> list[str]:
    """Work on rank 0, then on rank 1, that takes longer than the others have patience with a message."""
    hasty = Parallel(config.Engine(timeout=5))
    with hasty.watch_peers():
        first = hasty.run_on_main(lambda: time.sleep(8) or "done")
        if hasty.rank == 1:
            time.sleep(8)
        hasty.wait_for_all()
        return [first, hasty.broadcast_value("met")]


def intruded(parallel: Parallel) -> dict[str, Any]:
    """Rank 1 waits for rank 0's work while somebody without the token writes into the store."""
    with parallel.watch_peers():
        heartbeat: Any = parallel._heartbeat
        parallel.wait_for_all()
        genuine = heartbeat._store.get("0")
        forged = [b"99 99 99 " + b"0" * 64, genuine.replace(b" ", b"9 ", 1), b"", b"x" * 10_000, b"1 1 1"]
        other = heartbeat._store.get("1")  # signed, of another process

        def intrude() -> None:
            for number in range(40):
                heartbeat._store.set("0", [*forged, other, genuine][number % 7].decode())
                heartbeat._store.set("done", "99")
                heartbeat._store.set("met", "words")
                time.sleep(0.05)

        if parallel.rank == 1:
            threading.Thread(target=intrude, daemon=True).start()
        started = time.monotonic()
        done = parallel.run_on_main(lambda: time.sleep(2.5) or "done")
        waited = time.monotonic() - started
        parallel.wait_for_all()
        return {"done": done, "waited": waited, "silent": heartbeat.find_silent_ranks()}


def listening() -> list[str]:
    """Addresses, as the kernel writes them, on which this process listens."""
    links = (os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    tables = [Path("/proc/net", name).read_text(encoding="utf-8") for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes]


def odd(parallel: Parallel) -> list[Any]:
    """What JSON needs help with, and what it may not take."""

    class Trap:
        def __reduce__(self) -> Any:
            return os._exit, (3,)

    found = [
        parallel.broadcast_value((np.float32(0.5), {"a": [np.int64(3), None]})),
        parallel.broadcast_value("ä" * 70_000) == "ä" * 70_000,
    ]
    if parallel.is_main:
        try:
            messages.pack(Trap())
        except TypeError as error:
            found.append(str(error))
    return found


def hand_launched(out: Path) -> None:
    """What a process finds that no launcher but the environment has joined."""
    parallel = Parallel(config.Engine())
    with parallel.watch_peers():
        parallel.wait_for_all()
        text = json.dumps({"listening": listening(), "world_size": parallel.world_size})
        (out / f"found-{parallel.rank}.json").write_text(text)
        parallel.wait_for_all()
    parallel.close()


@pytest.fixture(scope="module")
def alone() -> Parallel:
    return Parallel(config.Engine())


def found(two: Path) -> list[dict[str, Any]]:
    return [json.loads((two / f"found-{rank}.json").read_text()) for rank in (0, 1)]


# --------------------------------------------------------------------------------------- the tests


@pytest.mark.parametrize("spectral", [False, True])
def test_two_processes_train_as_one(two: Path, alone: Parallel, tmp_path: Path, spectral: bool) -> None:
    one = curves(train(alone, tmp_path, spectral))
    both = curves(two / f"spectral-{spectral}")
    assert len(one) == STEPS
    assert np.abs(np.array(one) - np.array(both)).max() < 1e-5
    weights = [
        checkpoint.load_latest(Run(f).checkpoints("gan")) for f in (tmp_path, two / f"spectral-{spectral}")
    ]
    assert weights[0] is not None and weights[1] is not None
    for name in ("generator", "critic", "generator.average", "generator.optimiser"):
        for key, value in weights[0].state[name].items():
            torch.testing.assert_close(value, weights[1].state[name][key], atol=1e-5, rtol=0)


def test_processes_exchange_values_and_errors(two: Path) -> None:
    for rank, words in enumerate(found(two)):
        assert words["world_size"] == 2
        assert words["mean"] == [0.5, 4.0]
        assert words["total"] == [3.0, 2e-17]
        assert words["largest"] == 7
        assert words["shared"] == {"from": 0} and words["on_main"] == "done by 0"
        assert words["refusal"] == "only rank 0 knows", rank


def test_processes_wait_for_one_that_works_while_it_beats(two: Path) -> None:
    assert [words["awaited"] for words in found(two)] == [["done", "met"], ["done", "met"]]


def test_an_intruder_in_the_store_ends_no_wait(two: Path) -> None:
    for words in found(two):
        assert words["intruded"]["done"] == "done" and words["intruded"]["waited"] > 2.4
        assert words["intruded"]["silent"] == []


def test_two_processes_of_one_machine_listen_on_loopback_alone(two: Path) -> None:
    for words in found(two):
        assert words["listening"] and set(words["listening"]) == {LOOPBACK}


def test_messages_are_json_and_never_code(two: Path) -> None:
    first, second = (words["odd"] for words in found(two))
    assert first[:2] == second == [[0.5, {"a": [3, None]}], True]
    assert "Trap cannot be sent" in first[2]


@pytest.mark.parametrize(
    "tokens", [("secret", "secret"), pytest.param(("secret", "other"), marks=pytest.mark.slow)]
)
def test_processes_without_a_launcher_meet_on_loopback_and_need_one_token(
    tmp_path: Path, tokens: tuple[str, str]
) -> None:
    """Rank 0's own store is on loopback, too, and another token is noticed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    children = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), "by hand"],
            env={
                **unlaunched(),
                **shared,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "DISTGAN_TOKEN": token,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, token in enumerate(tokens)
    ]
    said = [child.communicate(timeout=PATIENCE)[1] for child in children]
    if tokens[0] != tokens[1]:
        assert all("has another DISTGAN_TOKEN" in text for text in said)
        return
    assert [child.returncode for child in children] == [0, 0], said
    for words in found(tmp_path):
        assert words["world_size"] == 2 and set(words["listening"]) == {LOOPBACK}


def test_a_signal_to_one_process_stops_both_and_resuming_is_exact(two: Path) -> None:
    for words in found(two):
        assert words["stopped"].startswith("stopped at step 5 by SIGUSR1, and everything is saved")
    went_on, undisturbed = (
        checkpoint.load(Run(two / name).checkpoints("gan"), STEPS).state
        for name in ("stopped", "spectral-False")
    )
    for name, tensors in undisturbed.items():
        assert all(torch.equal(went_on[name][key], value) for key, value in tensors.items()), name
    assert curves(two / "stopped") == curves(two / "spectral-False")


def test_bad_losses_on_one_process_stop_both(two: Path) -> None:
    first, second = (words["diverged"] for words in found(two))
    assert first == second
    assert first.startswith(
        "the loss or gradient of phase d is not finite since step 2 (no checkpoint was saved"
    )


def test_a_frozen_network_gathers_no_gradients(two: Path, alone: Parallel) -> None:
    assert frozen(alone) and all(words["frozen"] for words in found(two))


def test_accelerate_launch_that_starts_one_process_is_refused(tmp_path: Path) -> None:
    done = launch(tmp_path, "accelerate.commands.launch", "--cpu", "--num_processes", "2", program=__file__)
    assert done.returncode != 0
    assert "accelerate launch was called with several processes, but started one" in done.stderr


def test_a_launch_of_lonely_processes_is_refused(alone: Parallel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="started 2 processes, but this one sees 1"):
        Parallel(config.Engine())


def test_the_launcher_may_not_contradict_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(UserError, match=r"mixed_precision bf16, .* engine.precision fp32"):
        Parallel(config.Engine())
    assert Parallel(config.Engine(precision="bf16")).dtype == torch.bfloat16
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UserError, match="accelerate launch sets DeepSpeed"):
        assert Parallel(config.Engine(precision="bf16")).dtype == torch.bfloat16


def test_a_flag_of_the_launcher_that_would_do_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    with pytest.raises(UserError, match=r"--dynamo_backend inductor, .* set engine\.compile=true"):
        Parallel(config.Engine())
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "NO")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with pytest.raises(UserError, match=r"--gradient_accumulation_steps 4, .* engine\.micro_batch"):
        Parallel(config.Engine())
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    assert Parallel(config.Engine()).world_size == 1


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--gradient_accumulation_steps=4", "--dynamo_backend=inductor"])
def test_a_flag_on_the_launcher_s_command_line_is_refused(flag: str) -> None:
    """Accelerate tells the first one to no process."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--cpu", flag]
    done = subprocess.run(
        [*command, "distgan/train.py", "--config", "configs/demo.yaml", "--dry-run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode and f"sets {flag.replace('=', ' ')}, which does nothing here" in done.stderr


GROUP = """
import sys, torch, torch.distributed as dist
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
from distgan import config
from distgan.parallel.processes import Parallel
parallel = Parallel(config.Engine(threads=1))
parallel.close()
print(parallel.world_size, parallel.rank, dist.is_initialized(), torch.get_num_threads())
"""


def test_a_process_group_that_exists_is_used_and_left_alone(tmp_path: Path) -> None:
    program = [sys.executable, "-c", GROUP, str(tmp_path / "meet")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == ["1", "0", "True", "1"]


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))
    before = torch.get_num_threads()
    try:
        assert Parallel(config.Engine(threads=3)).threads == 3 == torch.get_num_threads()
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert Parallel(config.Engine()).threads == 1
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert Parallel(config.Engine()).threads == cores
    finally:
        torch.set_num_threads(before)


def test_clipping_is_torchs(alone: Parallel) -> None:
    optimized_networks = make(alone, False)
    critic = optimized_networks["critic"]
    loss = Game({n: t.network for n, t in optimized_networks.items()}).critic_loss(
        next(Loader().iterate_batches())
    )["loss"]
    expected = torch.autograd.grad(
        loss, list(critic.trainable.values()), retain_graph=True, allow_unused=True
    )
    norm = torch.cat([g.reshape(-1) for g in expected if g is not None]).norm()
    assert torch.allclose(critic.minimise(loss, clip=0.1), norm)
    assert torch.allclose(critic.gradients[:-1].norm(), torch.tensor(0.1), atol=1e-5)
    assert norm > 0.1


def test_parameters_that_came_frozen_stay_frozen(alone: Parallel) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    network[0].requires_grad_(False)
    optimized = prepare_network(alone, "n", network, Adam(0.1))
    before = network[0].weight.clone()
    optimized.require_gradients(True)
    optimized.minimise(optimized.network(torch.ones(2, 3)).square().mean())
    assert torch.equal(network[0].weight, before) and not network[0].weight.requires_grad


def test_state_survives_a_file(alone: Parallel, tmp_path: Path) -> None:
    first, second = (make(alone, True)["critic"] for _ in range(2))
    first.minimise(first.network(torch.ones(2, LENGTH)).mean())
    for name, tensors in first.collect_state().items():
        save_file({key: value.clone() for key, value in tensors.items()}, tmp_path / f"{name}.safetensors")
    second.restore({name: load_file(tmp_path / f"{name}.safetensors") for name in first.collect_state()})
    for optimized in (first, second):
        optimized.minimise(optimized.network(torch.full((2, LENGTH), 0.3)).mean())
    for name, tensors in first.collect_state().items():
        assert all(torch.equal(second.collect_state()[name][key], value) for key, value in tensors.items())


if __name__ == "__main__":
    assert not dist.is_initialized()
    (hand_launched if "by hand" in sys.argv else program)(Path(sys.argv[1]))
