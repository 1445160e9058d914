"""Form the process group, before Accelerate uses it: on loopback where one machine holds all, on the
interface that leads to the first machine where there are several, and under fresh keys after a restart.
"""

import ipaddress
import os
import socket
from datetime import timedelta

import psutil
import torch
import torch.distributed as dist

from distgan.errors import UserError

INTERFACE = "GLOO_SOCKET_IFNAME"
ELSEWHERE = "192.0.2.1"  # an address that nobody has (RFC 5737): the way to it is the way out


def is_one_machine() -> bool:
    """Return whether the launch that the environment describes has all its processes on this machine."""
    world_size = os.environ.get("WORLD_SIZE", "1")
    return world_size != "1" and (
        os.environ.get("LOCAL_WORLD_SIZE") == world_size or _is_loopback(os.environ.get("MASTER_ADDR", ""))
    )


def choose_interface() -> None:
    """Let gloo listen on the interface that the launch needs, unless the user has named one: on loopback
    where one machine holds all processes, else where MASTER_ADDR is reached. gloo alone takes the address
    that the machine's own name has, and Debian and Ubuntu give it 127.0.1.1, which no other machine reaches.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" or INTERFACE in os.environ:
        return
    found: str | None
    if is_one_machine():
        names = {name for _, name in socket.if_nameindex()}
        found = next((name for name in ("lo", "lo0") if name in names), None)
    else:
        found = find_interface(os.environ.get("MASTER_ADDR", ""))
    if found is not None:
        os.environ[INTERFACE] = found


def find_interface(host: str) -> str | None:
    """Return the network interface by which this machine reaches `host`. Where that is the machine itself by
    a loopback address, the one of its way out, or else its only one. None where it has several. Send nothing.
    """
    outer = {
        found.address: name
        for name, addresses in psutil.net_if_addrs().items()
        for found in addresses
        if found.family in (socket.AF_INET, socket.AF_INET6)
        and not _is_loopback(found.address)
        and not ipaddress.ip_address(found.address).is_link_local
    }
    for place in (host, ELSEWHERE):
        address = _find_own_address(place)
        if address in outer:
            return outer[address]
    up = {name for name in outer.values() if psutil.net_if_stats()[name].isup}
    return up.pop() if len(up) == 1 else None


def _find_own_address(host: str) -> str | None:
    """Return this machine's address on the way to a host, None where there is no way."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as found:
            found.connect(place)  # of a datagram socket: chooses the way, and sends nothing
            address: str = found.getsockname()[0]
            return address
    except OSError:
        return None


def join_process_group(patience: timedelta) -> None:
    """Join the process group where Accelerate, which joins it otherwise, would do less:

    - After a restart by torchrun, under keys of this attempt. Its store lives through all attempts (torch
      2.13) and has the addresses of the processes that died: who reads one of those waits for it in vain.
    - Where rank 0 itself holds the store (no torchrun) and MASTER_ADDR is a loopback address, on a socket
      that only this machine reaches. torch's own listens on all interfaces.

    Accelerate finds the group and uses it.
    """
    if dist.is_initialized() or os.environ.get("WORLD_SIZE", "1") == "1":
        return
    choose_interface()
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if agent and attempt != "0":
        _join(dist.PrefixStore(f"attempt {attempt}", _open_store(patience)), patience)
    elif not agent and _is_loopback(os.environ.get("MASTER_ADDR", "")):
        _join(_open_store(patience, _open_loopback_socket()), patience)


def _open_store(patience: timedelta, listening: int | None = None) -> dist.TCPStore:
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    world_size = int(os.environ["WORLD_SIZE"])
    return dist.TCPStore(
        address, port, world_size, listening is not None, timeout=patience, master_listen_fd=listening
    )


def _open_loopback_socket() -> int | None:
    """Return the file descriptor on which rank 0 listens at MASTER_PORT; None on other ranks.

    Raises:
        UserError: the port is taken.
    """
    if os.environ["RANK"] != "0":
        return None
    port, address = int(os.environ["MASTER_PORT"]), _resolve_address(os.environ["MASTER_ADDR"])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address, port))
        except OSError as error:
            raise UserError(
                f"cannot listen on {address}:{port} ({error.strerror}); choose another MASTER_PORT"
            ) from None
        listening.listen(128)
        return listening.detach()


def _resolve_address(name: str) -> str:
    return "127.0.0.1" if name == "localhost" else name


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(_resolve_address(name)).is_loopback
    except ValueError:
        return False


def _join(store: dist.Store, patience: timedelta) -> None:
    backend = "gloo"
    if torch.cuda.is_available():
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(local_rank % torch.cuda.device_count())  # as Accelerate: each may see one alone
        backend = "nccl"
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=patience)
