"""Windows of homes under one scale, in normal scores and whitened: through the stages, by two families."""

from pathlib import Path

import numpy as np
import pytest

import distgan
from distgan.data.store.reader import Store
from distgan.errors import UserError
from distgan.pipeline.digests import ARTEFACTS
from distgan.run import Run
from distgan.train import main
from tests.helpers.settings import TINY
from tests.helpers.zoo import SMALL

SCALED = [
    "data.windows.length=12",
    "data.windows.stride=12",
    "data.scaling={scope: dataset, marginal: normal_scores, whitening: 0.5}",
    "data.bounds.lower=0",
    "train.steps=4",
]
SHORT = [
    "encoder.patch=4",
    "model.patch=4",
    "model.discriminator.spectra=[4]",
    "model.discriminator.periods=[]",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multiscale", "timegan"])
def test_a_run_in_joint_coordinates(homes_csv: Path, tmp_path: Path, name: str) -> None:
    mine = [text for text in TINY if name == "multiscale" or not text.startswith("model.")]
    mine += (
        SHORT if name == "multiscale" else [SHORT[0], "model=timegan", *(f"model.{x}" for x in SMALL[name])]
    )
    folder = str(tmp_path / "run")
    stages = ["--stages", "prepare,encoder,encode,cluster,bank,gan,generate"]
    command = ["--run-dir", folder, f"data.source={homes_csv}", *mine, *SCALED]
    assert main([*command, *stages]) == 0
    run = Run(tmp_path / "run")
    made = distgan.load(folder).sample(12)
    stored = Store.open(run.synthetic).read_rows(np.arange(12))
    np.testing.assert_allclose(made, stored, rtol=1e-5, atol=1e-6)
    assert made.shape == (12, 12, 1) and made.min() >= 0 and np.isfinite(made).all()
    if name == "timegan":  # whose networks make any length
        with pytest.raises(UserError, match=r"data\.scaling\.whitening .* is of all 12 steps"):
            distgan.load(folder).sample(3, length=24)
    digest = run.read_record("gan")["digests"]["read"]["scaler"]
    assert digest == ARTEFACTS["scaler"].digest(run)
    assert main([*command, *stages]) == 0  # done already
    run.scaler_tensors.unlink()
    with pytest.raises(UserError, match=r"no scaler\.safetensors"):
        distgan.load(folder)
