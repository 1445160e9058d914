"""Detect dead processes: every process keeps three counts (beats, work done, barriers reached) in the store
of the launch, signed with its token. A process that loses another one looks for the rank whose beats have
stopped; a process that waits for others waits as long as they beat. Counts without a valid signature, or
lower than before, are ignored, so other writers to the store can neither end a wait nor make a dead process
look alive.
"""

import contextlib
import hashlib
import hmac
import itertools
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import torch.distributed as dist

EVERY = 0.5  # seconds between two beats
LATE = 4.0  # seconds in which a living process beats, however busy its machine
PATIENCE = 10.0  # seconds for the store to answer
ABSENT = "-"  # what `compare_set` gives for a key that is not there; unlike `get`, it waits for none
LONGEST = 256  # bytes of a message
_numbered = itertools.count()  # heartbeats of this process: all processes start them in the same order


class Counts(NamedTuple):
    """Counts of a process's work so far; no count ever falls."""

    beats: int = 0
    done: int = 0  # pieces of work, by rank 0
    barriers: int = 0  # that the process has reached


class Heartbeat:
    """A thread that sends heartbeats until `stop`, unless its process dies or is stopped by a signal."""

    def __init__(self, rank: int, world_size: int, token: bytes) -> None:
        self.rank, self.world_size, self._token = rank, world_size, token
        store = dist.distributed_c10d._get_default_store()  # torch has no public name for it
        self._name = f"distgan/heartbeat {next(_numbered)}"
        self._store = dist.PrefixStore(self._name, store)
        self._own = Counts()
        self._heard = {rank: Counts() for rank in range(world_size)}
        self._pieces = self._barriers = 0
        self._lock, self._stopped = threading.Lock(), threading.Event()
        threading.Thread(target=self._send_beat, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def find_silent_ranks(self) -> list[int] | None:
        """Return ranks without a heartbeat for LATE seconds; None if the store does not respond."""
        found: list[list[int]] = []

        def look_up() -> None:
            with contextlib.suppress(RuntimeError, ConnectionError):
                before = self._listen()
                if not self._stopped.wait(LATE):
                    now = self._listen()
                    found.append([rank for rank in now if now[rank].beats == before[rank].beats])

        reader = threading.Thread(target=look_up, daemon=True)
        reader.start()
        reader.join(LATE + PATIENCE)
        return found[0] if found else None

    def count_work(self) -> None:
        """Record that rank 0 has done one more piece of work."""
        self._raise_counts(done=1)

    def await_work(self, timeout: float) -> None:
        """Wait until rank 0 has done its next piece of work, however long it takes.

        Raises:
            ConnectionError: a process has not beaten for `timeout` seconds.
        """
        self._pieces += 1
        self._await(lambda: self._heard[0].done >= self._pieces, timeout)

    def wait_at_barrier(self, timeout: float) -> None:
        """Wait until all processes are here, however long it takes.

        Raises:
            ConnectionError: a process has not beaten for `timeout` seconds.
        """
        self._barriers += 1
        self._raise_counts(barriers=1)
        self._await(
            lambda: all(self._heard[rank].barriers >= self._barriers for rank in self._others), timeout
        )

    @property
    def _others(self) -> list[int]:
        return [rank for rank in range(self.world_size) if rank != self.rank]

    def _await(self, arrived: Callable[[], bool], timeout: float) -> None:
        """Wait until `arrived` holds.

        Raises:
            ConnectionError: a process has not beaten for `timeout` seconds.
        """
        heard = {rank: (-1, time.monotonic()) for rank in self._others}
        pause = 0.001
        while True:
            for rank, counts in self._listen().items():
                if counts.beats != heard[rank][0]:
                    heard[rank] = counts.beats, time.monotonic()
                elif time.monotonic() - heard[rank][1] > timeout:
                    raise ConnectionError(f"process {rank} sends no heartbeat any more")
            if arrived():
                return
            time.sleep(pause)
            pause = min(2 * pause, EVERY)

    def _send_beat(self) -> None:
        with contextlib.suppress(RuntimeError, ConnectionError):  # a dead store is noticed by whoever looks
            while not self._stopped.is_set():
                self._raise_counts(beats=1)
                self._stopped.wait(EVERY)

    def _raise_counts(self, **more: int) -> None:
        """Raise some of the counts of this process and publish them."""
        with self._lock:
            raised = {name: getattr(self._own, name) + number for name, number in more.items()}
            self._own = self._own._replace(**raised)
            self._store.set(str(self.rank), self._sign(self.rank, self._own))

    def _listen(self) -> dict[int, Counts]:
        """Return the counts of the other processes whose signature is valid."""
        for rank in self._others:
            message = self._store.compare_set(str(rank), ABSENT, ABSENT)
            counts = self._verify(rank, message)
            if counts is not None:
                self._heard[rank] = Counts(*map(max, self._heard[rank], counts))
        return {rank: self._heard[rank] for rank in self._others}

    def _sign(self, rank: int, counts: Counts) -> str:
        text = " ".join(map(str, counts))
        seal = hmac.new(self._token, f"{self._name} {rank} {text}".encode(), hashlib.sha256)
        return f"{text} {seal.hexdigest()}"

    def _verify(self, rank: int, message: bytes) -> Counts | None:
        """Return the counts of a message, or None where `rank` did not write it for this heartbeat."""
        if len(message) > LONGEST:
            return None
        parts = message.split(b" ")
        if len(parts) != len(Counts._fields) + 1 or not all(part.isdigit() for part in parts[:-1]):
            return None
        counts = Counts(*map(int, parts[:-1]))
        return counts if hmac.compare_digest(self._sign(rank, counts).encode(), message) else None
