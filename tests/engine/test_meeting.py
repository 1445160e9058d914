"""On which interface processes of several machines meet. `make clusters` shows it between two of them."""

import os
import socket
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from distgan.parallel import meeting

Address = namedtuple("Address", "family address")
State = namedtuple("State", "isup")


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The second of two processes on two machines."""
    monkeypatch.setenv(meeting.INTERFACE, "")  # so that what is chosen goes with the test
    monkeypatch.delenv(meeting.INTERFACE)
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "first"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def chosen() -> str | None:
    meeting.choose_interface()
    return os.environ.get(meeting.INTERFACE)


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
        assert meeting.find_interface(itself) in outward


def test_the_interface_that_reaches_the_first_machine_is_chosen(launch: pytest.MonkeyPatch) -> None:
    lend_interfaces(launch, "eth0", "ib0")
    ways = {"first": "10.0.0.2", meeting.ELSEWHERE: "10.0.0.1"}
    launch.setattr(meeting, "_find_own_address", ways.get)
    assert chosen() == "ib0"


@pytest.mark.parametrize(
    ("names", "found"), [(["eth0"], "eth0"), (["eth0", "off"], "eth0"), (["eth0", "eth1"], None)]
)
def test_without_a_way_out_only_one_interface_is_sure(
    launch: pytest.MonkeyPatch, names: list[str], found: str | None
) -> None:
    lend_interfaces(launch, *names)
    launch.setattr(meeting, "_find_own_address", {"first": "127.0.1.1"}.get)
    assert chosen() == found


def test_the_users_interface_stays(launch: pytest.MonkeyPatch) -> None:
    launch.setenv(meeting.INTERFACE, "mine")
    assert chosen() == "mine"


@pytest.mark.parametrize("alone", [{"LOCAL_WORLD_SIZE": "2"}, {"MASTER_ADDR": "127.0.0.1"}])
def test_processes_of_one_machine_stay_on_loopback(launch: pytest.MonkeyPatch, alone: dict[str, str]) -> None:
    for name, value in alone.items():
        launch.setenv(name, value)
    assert chosen() in ("lo", "lo0")


def test_one_process_needs_no_interface(launch: pytest.MonkeyPatch) -> None:
    launch.setenv("WORLD_SIZE", "1")
    assert chosen() is None
