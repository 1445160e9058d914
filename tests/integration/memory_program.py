"""Take a run's stages one after the other and print, as JSON, how much anonymous memory each took at its
worst moment beyond what the process had when it began, in bytes.

    python memory_program.py RUN SERIES.npy SETTING...

The last line of the result, "everything", is a control: all series read into memory at once.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from distgan import config
from distgan.data.store import format
from distgan.data.store.reader import Store
from distgan.pipeline import attack, prepare, runner
from distgan.run import Run

EVERY = 0.002  # seconds between two looks


class Peak:
    """The largest RssAnon of this process while the block runs; `growth` is counted from its beginning."""

    def __enter__(self) -> Self:
        self.first = self.most = anonymous_memory()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._ended.wait(EVERY):
            self.most = max(self.most, anonymous_memory())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watch.join()
        self.most = max(self.most, anonymous_memory())

    @property
    def growth(self) -> int:
        return self.most - self.first


def anonymous_memory() -> int:
    """RssAnon in bytes: memory that no file backs."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


def growth_of(work: Callable[[], object]) -> int:
    with Peak() as peak:
        result = work()  # alive until the last look
    del result
    return peak.growth


def find_no_copies(
    settings: config.Config, store: Store, entities: list[str], owners: list[str]
) -> tuple[list[str], list[str], int]:
    """Stand in for `owners.merge` where nobody has a near copy."""
    return entities, owners, 0


def main(place: Path, given: list[str]) -> None:
    attack.MOST_SYNTHETIC = 100  # the sample has this size in both runs, and is attacked in seconds
    format.SHARD_BYTES = 1 << 20  # many shards of both
    prepare.merge = (
        find_no_copies  # the search for near copies holds a window of each series, by its own limit
    )
    settings, run = config.load(None, given), Run(place)
    found = {name: growth_of(partial(runner.run, settings, run, (name,))) for name in settings.stages}
    store = Store.open(run.series)
    found["everything"] = growth_of(lambda: store.read_rows(np.arange(store.num_series)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
