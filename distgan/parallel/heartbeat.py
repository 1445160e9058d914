"""Who is still there: every process counts up a number in the store where all met. Whoever loses another
process looks whose number stands still; whoever waits for others' work waits on while they count.
"""

import contextlib
import itertools
import threading
import time

import torch.distributed as dist

EVERY = 0.5  # seconds between two beats
LATE = 4.0  # seconds in which a living process beats, however busy its machine
PATIENCE = 10.0  # seconds for the store to answer
_numbered = itertools.count()  # heartbeats of this process: all processes start them in the same order


class Heartbeat:
    """Beats in a thread of its own until `stop`, unless its process dies or is stopped by a signal."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        store = dist.distributed_c10d._get_default_store()  # torch has no public name for it
        self._store = dist.PrefixStore(f"distgan/heartbeat {next(_numbered)}", store)
        self._pieces = self._meetings = 0
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def silent(self) -> list[int] | None:
        """Ranks whose number stands still for LATE seconds; None where the store itself does not answer."""
        found: list[list[int]] = []

        def look() -> None:
            with contextlib.suppress(RuntimeError, ConnectionError):
                before = self._numbers()
                if not self._stopped.wait(LATE):
                    now = self._numbers()
                    found.append([rank for rank, number in now.items() if number == before[rank]])

        reader = threading.Thread(target=look, daemon=True)
        reader.start()
        reader.join(LATE + PATIENCE)
        return found[0] if found else None

    def work_done(self) -> None:
        """Rank 0 tells the others that it has done one more piece of work."""
        self._store.add("done", 1)

    def await_work(self, timeout: float) -> None:
        """Wait until rank 0 has done its next piece of work, however long it takes.

        Raises:
            ConnectionError: a process has not beaten for `timeout` seconds.
        """
        self._pieces += 1
        self._await("done", self._pieces, timeout)

    def meet(self, timeout: float) -> None:
        """Wait until all processes are here, however long it takes.

        Raises:
            ConnectionError: a process has not beaten for `timeout` seconds.
        """
        self._meetings += 1
        self._store.add("met", 1)
        self._await("met", self._meetings * self.world_size, timeout)

    def _await(self, counter: str, wanted: int, timeout: float) -> None:
        """Wait until the counter is there.

        Raises:
            ConnectionError: a process has not beaten for `timeout` seconds.
        """
        heard: dict[int, tuple[bytes, float]] = {}
        pause = 0.001
        while self._store.add(counter, 0) < wanted:
            time.sleep(pause)
            pause, now = min(2 * pause, EVERY), time.monotonic()
            for rank, beat in self._numbers().items():
                if rank not in heard or heard[rank][0] != beat:
                    heard[rank] = beat, now
                if now - heard[rank][1] > timeout:
                    raise ConnectionError(f"process {rank} beats no more")

    def _beat(self) -> None:
        number = 0
        with contextlib.suppress(RuntimeError, ConnectionError):  # a dead store is noticed by whoever looks
            while not self._stopped.is_set():
                number += 1
                self._store.set(str(self.rank), str(number))
                self._stopped.wait(EVERY)

    def _numbers(self) -> dict[int, bytes]:
        others = [rank for rank in range(self.world_size) if rank != self.rank]
        return {
            rank: self._store.get(str(rank)) if self._store.check([str(rank)]) else b"" for rank in others
        }
