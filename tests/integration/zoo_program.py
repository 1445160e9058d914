"""What each of two processes does with the zoo: train every family in turn, into the folder that is named."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from distgan import config
from distgan.parallel.processes import Parallel
from tests.helpers.zoo import TRAINED, train

if __name__ == "__main__":
    processes = Parallel(config.Engine())
    for family in TRAINED:
        train(family, processes, Path(sys.argv[1]) / family)
    processes.close()
