"""What tests of launches share: two processes."""

from pathlib import Path

import pytest

from tests.helpers.processes import launch
from tests.helpers.sharing import make_once


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left that were launched once: see `program` of test_parallel.py."""

    def make(folder: Path) -> None:
        command = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
        done = launch(folder, *command, program=str(Path(__file__).with_name("test_parallel.py")))
        assert done.returncode == 0, done.stderr[-3000:]

    return make_once(tmp_path_factory, "two-processes", make)
