"""Distributed training of generators of long time series, and the anonymous release of what they make.

run = distgan.load("runs/demo")
series = run.sample(100)      # float32 [100, L, C] in original units; run.times() are the steps' stamps
run.sample(100, condition="walking")    # of a label, where groups go by label; or of a group, by its number
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from distgan.api import Trained

__version__ = "0.1.0"


def load(run: str | os.PathLike[str]) -> Trained:
    """Return a trained run, or a folder of `distgan export`, to sample from.

    Heavy libraries are imported here, not with the package.

    Raises:
        UserError: the folder is no run, or its training is not finished.
    """
    from pathlib import Path

    from distgan.api import Trained
    from distgan.run import open_folder

    return Trained.open(open_folder(Path(run)))
