"""Every family through the stages as users run them, and its series from Python."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import distgan
from distgan import config
from distgan.data.store.reader import Store
from distgan.errors import UserError
from distgan.run import Run
from distgan.train import main
from tests.helpers.settings import TINY
from tests.helpers.zoo import (
    GENERATORS,
    LABELS,
    SMALL,
)


@pytest.fixture(scope="module")
def banked(homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run up to its bank, which does not depend on the model."""
    folder = tmp_path_factory.mktemp("zoo") / "run"
    common = [f"data.source={homes_csv}", *(text for text in TINY if not text.startswith("model."))]
    stages = ["--stages", "prepare,encoder,encode,cluster,bank"]
    assert main(["--run-dir", str(folder), *common, *stages]) == 0
    return folder, common


@pytest.mark.parametrize("name", [name for name in GENERATORS if name not in ("multiscale", *LABELS)])
def test_trained_generated_and_loaded(banked: tuple[Path, list[str]], tmp_path: Path, name: str) -> None:
    """The stages as users run them; then the same series from Python, in original units."""
    shutil.copytree(banked[0], tmp_path / "run")
    own = [f"model.{setting}" for setting in SMALL.get(name, [])]
    settings = [*banked[1], f"model={name}", *own, "train.steps=4", "train.sample_every=4"]
    folder = str(tmp_path / "run")
    assert main(["--run-dir", folder, *settings, "--stages", "gan,generate"]) == 0
    saved = Run(tmp_path / "run").config
    saved.write_text(saved.read_text().replace("precision: fp32", "precision: fp16"))  # as of a GPU
    run = distgan.load(folder)
    made = run.sample(12)
    stored = Store.open(Run(tmp_path / "run").synthetic).read_rows(np.arange(12))
    assert made.shape == (12, 336, 1) and len(run.times()) == 336 and np.isfinite(made).all()
    np.testing.assert_allclose(made, stored, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(run.sample(12, seed=1), made)
    with pytest.raises(UserError, match=r"generate\.count"):
        run.sample(0)
    if config.FAMILIES[name].any_length:
        assert run.sample(3, length=400).shape == (3, 400, 1) and len(run.times(400)) == 400
    else:
        with pytest.raises(UserError, match=f"model {name} has weights for each of its 336 steps"):
            run.sample(3, length=400)


def test_loading_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run folder"):
        distgan.load(tmp_path)
