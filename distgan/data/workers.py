"""Work on the parts of a source, in order: in threads of this process, or in processes of their own.

What parses text holds Python's lock for about half of its time, so threads gain little there. Processes start
without the main module of the caller (`loky`), and return nothing but errors: results go to files.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from loky import ProcessPoolExecutor
from loky.backend.context import LokyContext
from loky.process_executor import BrokenProcessPool

from distgan.errors import LostProcess
from distgan.progress import Progress

Part = TypeVar("Part")
Result = TypeVar("Result")
MOST_PROCESSES = 8  # by default: each holds about 0.3 GiB
PROCESS_BYTES = 64 << 20  # of text that are worth the start of a process: half a second
# The C library (glibc) keeps what a part has freed for the next one. By default it returns large blocks to
# the system and takes new ones, which the system fills with zeros: up to a third of the time of parsing.
KEEPING_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def count_cpus() -> int:
    """Return the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


THREADS = min(4, count_cpus())


def choose_processes(wanted: int | None, size: int) -> int:
    """Return how many processes parse `size` bytes of text: `wanted`, or by default one for each CPU and
    `PROCESS_BYTES`, `MOST_PROCESSES` at most; one where several ranks share the machine.
    """
    if wanted is not None:
        return wanted
    if int(os.environ.get("WORLD_SIZE", "1") or 1) > 1:
        return 1
    return max(1, min(count_cpus(), MOST_PROCESSES, size // PROCESS_BYTES))


def map_ahead(
    pool: Executor, do: Callable[[Part], Result], parts: Iterable[Part], ahead: int
) -> Iterator[Result]:
    """Yield `do(part)` in the order of the parts, of which `ahead` are worked on or wait; the first error by
    that order is raised.
    """
    waiting: deque[Future[Result]] = deque()
    for part in parts:
        waiting.append(pool.submit(do, part))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def open_threads(count: int = THREADS) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that are asked for no more work after an error."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="ingest")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def open_processes(count: int, what: str) -> Iterator[ProcessPoolExecutor]:
    """Yield processes that end with the block, whatever they do then: wait for results inside it.

    Raises:
        LostProcess: one of them was killed.
    """
    pool = ProcessPoolExecutor(
        count, context=LokyContext(), initializer=_follow, initargs=(os.getpid(),), env=KEEPING_MEMORY
    )
    try:
        yield pool
    except BrokenProcessPool:
        raise LostProcess(
            f"{what}: one of {count} processes was killed, perhaps for lack of memory; set data.processes to "
            "a lower number"
        ) from None
    finally:
        pool.shutdown(wait=True, kill_workers=True)  # half a second less than to let them end


def _follow(parent: int) -> None:
    """Leave Ctrl-C to the process that waits for this one, and end when that has been killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def run_in_parallel(
    do: Callable[[Part], object], parts: Sequence[Part], what: str, processes: int = 1
) -> None:
    """Call `do(part)` for every part, a few at a time, in threads, or in several processes, for which `do`
    and the parts are pickled; the first error by order of parts ends it.
    """
    pool = open_threads() if processes == 1 else open_processes(processes, what)
    shown = what if processes == 1 else f"{what} in {processes} processes"
    with pool as workers, Progress(shown, len(parts), "parts") as progress:
        for _ in map_ahead(workers, do, parts, ahead=THREADS if processes == 1 else 2 * processes):
            progress.advance()
