"""How far long work is: a bar on a terminal, elsewhere a plain line now and then."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

SECONDS = 20.0  # between plain lines


class Progress:
    """`with Progress("encode", 5000, "series") as progress: progress.advance(32)`, on standard error.

    Work that takes less than `SECONDS` says nothing off a terminal; with `shown` false nothing does.
    """

    def __init__(self, label: str, total: int, unit: str, shown: bool = True) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self.shown, self.told = shown and total > 0, time.monotonic()
        self.bar: tqdm | None = None
        if self.shown and sys.stderr.isatty():
            self.bar = tqdm(total=total, desc=label, unit=f" {unit}", leave=False, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def advance(self, number: int = 1) -> None:
        self.done += number
        if self.bar is not None:
            self.bar.update(number)
        elif self.shown and time.monotonic() - self.told > SECONDS:
            print(f"{self.label}: {self.done:,} of {self.total:,} {self.unit}", file=sys.stderr, flush=True)
            self.told = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
