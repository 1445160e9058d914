"""Who is still there: every process counts up a number in the store where all met, and whoever loses another
process looks whose number stands still.
"""

import contextlib
import threading

import torch.distributed as dist

EVERY = 0.5  # seconds between two beats
LATE = 4.0  # seconds in which a living process beats, however busy its machine
PATIENCE = 10.0  # seconds for the store to answer


class Heartbeat:
    """Beats in a thread of its own until `stop`, unless its process dies or is stopped by a signal."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        store = dist.distributed_c10d._get_default_store()  # torch has no public name for it
        self._store = dist.PrefixStore("distgan/heartbeat", store)
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
