"""On which interface and GPU processes meet. `make clusters` shows it between two virtual machines."""

import os
import socket
from collections import namedtuple
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from distgan.errors import LostProcess, NcclFailure
from distgan.parallel import processes, rendezvous
from distgan.parallel.processes import Parallel

Address = namedtuple("Address", "family address")
State = namedtuple("State", "isup")


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The second of two processes on two machines."""
    monkeypatch.setenv(rendezvous.INTERFACE, "")  # so that what is chosen goes with the test
    monkeypatch.delenv(rendezvous.INTERFACE)
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "first"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def chosen() -> str | None:
    rendezvous.choose_interface()
    return os.environ.get(rendezvous.INTERFACE)


def lend_interfaces(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Interfaces of a machine, with 10.0.0.1 and on; `off` is down. Each also has an address of its link."""
    addresses = {
        name: [Address(socket.AF_INET, f"10.0.0.{number}"), Address(socket.AF_INET6, f"fe80::1%{name}")]
        for number, name in enumerate(names, 1)
    }
    addresses["lo"] = [Address(socket.AF_INET, "127.0.0.1"), Address(socket.AF_PACKET, "00:00:00:00:00:00")]
    patch.setattr(psutil, "net_if_addrs", lambda: addresses)
    patch.setattr(psutil, "net_if_stats", lambda: {name: State(name != "off") for name in addresses})


@pytest.mark.skipif(not Path("/proc/net/route").exists(), reason="routes are read from /proc")
def test_a_machine_that_calls_itself_loopback_meets_on_its_way_out() -> None:
    routes = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    outward = [route[0] for route in routes if route[1] == "00000000"]
    if not outward:
        pytest.skip("this machine has no default route")
    for itself in ("127.0.1.1", "localhost"):
        assert rendezvous.find_interface(itself) in outward


def test_the_interface_that_reaches_the_first_machine_is_chosen(launch: pytest.MonkeyPatch) -> None:
    lend_interfaces(launch, "eth0", "ib0")
    ways = {"first": "10.0.0.2", rendezvous.ELSEWHERE: "10.0.0.1"}
    launch.setattr(rendezvous, "_find_own_address", ways.get)
    assert chosen() == "ib0"


@pytest.mark.parametrize(
    ("names", "found"), [(["eth0"], "eth0"), (["eth0", "off"], "eth0"), (["eth0", "eth1"], None)]
)
def test_without_a_way_out_only_one_interface_is_sure(
    launch: pytest.MonkeyPatch, names: list[str], found: str | None
) -> None:
    lend_interfaces(launch, *names)
    launch.setattr(rendezvous, "_find_own_address", {"first": "127.0.1.1"}.get)
    assert chosen() == found


def test_the_users_interface_stays(launch: pytest.MonkeyPatch) -> None:
    launch.setenv(rendezvous.INTERFACE, "mine")
    assert chosen() == "mine"


@pytest.mark.parametrize("alone", [{"LOCAL_WORLD_SIZE": "2"}, {"MASTER_ADDR": "127.0.0.1"}])
def test_processes_of_one_machine_stay_on_loopback(launch: pytest.MonkeyPatch, alone: dict[str, str]) -> None:
    for name, value in alone.items():
        launch.setenv(name, value)
    assert chosen() in ("lo", "lo0")


def test_one_process_needs_no_interface(launch: pytest.MonkeyPatch) -> None:
    launch.setenv("WORLD_SIZE", "1")
    assert chosen() is None


# ----------------------------------------------------------------------------------------------------- GPUs

NCCL = (
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, {}, NCCL version 2.29.3\n{}\n"
    "Last error:\n{}"
)
SYSTEM = (
    "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error. It "
    "can be also caused by unexpected exit of a remote peer, you can check NCCL warnings"
)
INVALID = "ncclInvalidUsage: This usually reflects invalid usage of NCCL library."
CUDA = "ncclUnhandledCudaError: Call to CUDA function failed."
REMOTE = "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting early."
GONE = "socketProgress: Connection closed by remote peer node-2<52820>"


@pytest.mark.parametrize(
    ("kind", "text", "last"),
    [
        ("invalid usage", INVALID, "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 3d000"),
        ("unhandled system error", SYSTEM, "Error while creating shared memory segment /dev/shm/nccl-a"),
        ("unhandled cuda error", CUDA, "Cuda failure 'CUDA driver version is insufficient'"),
    ],
)
def test_what_nccl_says_of_this_launch_is_shown(kind: str, text: str, last: str) -> None:
    """The same command again would fail again: no process was lost."""
    name = text.partition(":")[0]
    words = rf"NCCL, by which GPUs exchange tensors, failed \({name}: {last[:20]}"
    with pytest.raises(NcclFailure, match=words) as raised, processes._explain_failed_rendezvous():
        raise dist.DistBackendError(NCCL.format(kind, text, last))
    assert raised.value.exit_code == 2 and "NCCL_DEBUG=INFO" in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        NCCL.format("remote process exited or there was a network error", REMOTE, GONE),
        NCCL.format("unhandled system error", SYSTEM, GONE),
        "NCCL communicator was aborted on rank 1. ncclInvalidUsage",
        "[1] is setting up NCCL communicator and retrieving ncclUniqueId from [0] via c10d store by "
        "key '0', but store->get('0') got error: Connection reset by peer",
    ],
)
def test_a_lost_process_is_no_failure_of_nccl(text: str) -> None:
    with pytest.raises(LostProcess, match="did not meet the others"), processes._explain_failed_rendezvous():
        raise dist.DistBackendError(text)


def test_a_process_that_sees_its_own_gpu_alone_takes_it(launch: pytest.MonkeyPatch) -> None:
    """As under SLURM's --gpus-per-task=1: LOCAL_RANK counts processes, and not what each of them sees."""
    taken: list[object] = []
    launch.setenv("RANK", "3")
    launch.setenv("LOCAL_RANK", "3")
    launch.setattr(torch.cuda, "is_available", lambda: True)
    launch.setattr(torch.cuda, "device_count", lambda: 1)
    launch.setattr(torch.cuda, "set_device", taken.append)
    launch.setattr(dist, "init_process_group", lambda backend, **given: taken.append(backend))
    rendezvous._join(dist.HashStore(), timedelta(seconds=1))
    assert taken == [0, "nccl"]


def test_deepspeed_is_lent_the_number_of_the_own_gpu(launch: pytest.MonkeyPatch) -> None:
    launch.setenv("LOCAL_RANK", "3")
    parallel = Parallel.__new__(Parallel)
    parallel.lent, parallel.owns_group, parallel.device = {}, False, torch.device("cuda", 0)
    parallel._before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    parallel.lend_local_rank()
    assert os.environ["LOCAL_RANK"] == "0"
    parallel.close()
    assert os.environ["LOCAL_RANK"] == "3"
