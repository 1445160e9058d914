"""Generation by all processes: the same series whatever their number, and after an interruption."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distgan import cli, config, files
from distgan.data import export
from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.staging import StagedShards
from distgan.data.store.writer import ParallelStoreWriter
from distgan.errors import UserError
from distgan.pipeline.generate import make_provenance
from distgan.pipeline.sampler import Sampler
from distgan.run import Run
from distgan.train import main
from tests.helpers.runs import FINISHED, copy
from tests.helpers.runs import arguments as whole_arguments
from tests.helpers.settings import ROOT

COUNT = ["generate.count=70", "generate.batch_size=2"]  # 35 shards


@pytest.fixture(scope="module")
def trained(run: Run, homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The finished run with other synthetic series: more, and few at a time."""
    made = copy(run, tmp_path_factory.mktemp("runs") / "run")
    assert main(arguments(homes_csv, made.folder, "--stages", "generate")) == 0
    return made


def arguments(homes: Path, folder: Path, *more: str) -> list[str]:
    return whole_arguments(homes, folder, *FINISHED, *COUNT, *more)


def series(run: Run) -> np.ndarray:
    return Store.open(run.synthetic).read_rows(np.arange(70))


def test_an_interrupted_generation_goes_on_with_its_shards(
    trained: Run, homes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(shutil.copytree(trained.folder, tmp_path / "run"))
    shutil.rmtree(run.synthetic)
    command = arguments(homes_csv, run.folder, "--stages", "generate")
    written: list[int] = []
    write = StagedShards.write

    def stop_after(most: int) -> None:
        def stopping(staged: StagedShards, shard: int, values: np.ndarray) -> None:
            if len(written) == most:
                raise KeyboardInterrupt
            written.append(shard)
            write(staged, shard, values)

        monkeypatch.setattr(StagedShards, "write", stopping)

    stop_after(20)
    assert main(command) == 130
    assert len(list(run.folder.glob("synthetic.zarr.parts-*"))) == 1 and not run.synthetic.exists()
    stop_after(100)
    assert main(command) == 0
    assert written == list(range(35))
    np.testing.assert_array_equal(series(run), series(trained))
    assert not list(run.folder.glob("synthetic.zarr.parts-*"))


STOPPED_AT = {  # moments of the end of the stage: store, how it leaves, tables
    "the joined store": (ParallelStoreWriter, "_finish"),
    "its renaming": (files, "_make_aside_path"),
    "the table": (export, "_write_tables"),
    "its README": (export, "write_readme"),
}


@pytest.mark.parametrize("moment", STOPPED_AT)
def test_a_stop_after_the_last_shard_loses_none(
    trained: Run, homes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    run = Run(shutil.copytree(trained.folder, tmp_path / "run"))
    command = arguments(homes_csv, run.folder, "--stages", "generate", "generate.seed=1")

    def stop(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*STOPPED_AT[moment], stop)
        assert main(command) == 130
    monkeypatch.setattr(
        Sampler, "generate", stop
    )  # nothing is generated again, and the export may be another
    assert main([*command, "generate.layout=long"]) == 0
    assert len(pd.read_csv(run.synthetic.with_suffix(".csv"))) == 70 * Store.open(run.synthetic).length
    assert not np.array_equal(series(run), series(trained))
    assert not list(run.folder.glob("synthetic.zarr.parts-*"))


def test_an_impossible_table_is_refused_before_the_work(
    trained: Run, homes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(shutil.copytree(trained.folder, tmp_path / "run"))
    monkeypatch.setattr(export, "MOST_COLUMNS", 69)
    monkeypatch.setattr(Sampler, "generate", None)
    stage = arguments(
        homes_csv, run.folder, "--stages", "generate", "generate.seed=1", "generate.layout=wide"
    )
    assert main(stage) == 2
    command = ["generate", str(run.folder), "--out", str(tmp_path / "a.csv"), "generate.format=zarr"]
    for layout in ("wide", "list"):
        with pytest.raises(UserError, match=r"generate\.layout=long|choose long"):
            cli.run_command([*command, f"generate.layout={layout}", "generate.seed=1"])
    with pytest.raises(UserError, match=r"column for each of 5,001 series"):
        config.load(None, ["generate.layout=wide", "generate.count=5001", "generate.format=csv"])


def test_a_run_is_held_while_its_series_are_exported(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command would put other series, labels and attributes under the names that are copied."""
    run = Run(shutil.copytree(trained.folder, tmp_path / "run"))
    write = export.export

    def look(*given: object) -> export.Exported:
        with pytest.raises(UserError, match="is in use by process"):
            run.lock()
        return write(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(export, "export", look)
    cli.run_command(["generate", str(run.folder), "--out", str(tmp_path / "a.csv")])
    assert len(pd.read_csv(tmp_path / "a.csv").columns) == 71
    run.lock().close()


def test_shards_of_other_settings_are_not_taken(trained: Run, homes_csv: Path, tmp_path: Path) -> None:
    run = Run(shutil.copytree(trained.folder, tmp_path / "run"))
    litter = run.folder / "synthetic.zarr.parts-0123456789ab"
    litter.mkdir()
    assert main(arguments(homes_csv, run.folder, "--stages", "generate", "generate.seed=1")) == 0
    assert not litter.exists()
    assert not np.array_equal(series(run), series(trained))


def test_two_processes_generate_the_same_series(trained: Run, homes_csv: Path, tmp_path: Path) -> None:
    run = Run(shutil.copytree(trained.folder, tmp_path / "run"))
    shutil.rmtree(run.synthetic)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "distgan.train"]
    done = subprocess.run(
        [sys.executable, *launcher, *arguments(homes_csv, run.folder, "--stages", "generate")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    np.testing.assert_array_equal(series(run), series(trained))


@pytest.mark.parametrize(
    "clock", ["nominal: the source says no times", "standard time of Europe/London all year"]
)
def test_a_synthetic_store_says_what_its_times_mean(clock: str) -> None:
    of_source = {"clock": clock, "source": "homes.csv", "sha256": "ab", "noticed": {}}
    meta = Meta(Axis("2001-01-01T00:00:00", 3600, 48), ("value",), "kWh", of_source, {})
    settings = config.load(None)
    made = Meta(meta.axis, meta.channels, "kWh", make_provenance(settings, meta), {})
    assert made.is_nominal == clock.startswith("nominal") and made.provenance["clock"] == clock
    assert made.provenance.keys() == {"source", "maker", "run", "credit", "clock"}
    assert made.provenance["source"] == "synthetic"
