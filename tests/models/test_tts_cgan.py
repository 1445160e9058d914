"""TTS-CGAN with attributes: the loss of its auxiliary head by hand, and a run whose series have them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import distgan
from distgan import models
from distgan.data.store.reader import Store
from distgan.models.tts_cgan import compute_surprise
from distgan.objectives.adversarial import Conditions
from distgan.run import Run
from distgan.train import main
from tests.helpers.described import described
from tests.helpers.settings import TINY
from tests.helpers.zoo import SMALL, a_batch, small

ATTRIBUTES = ((2, False), (3, False), (1, True))  # ev, kind, people


def test_surprise_sums_over_known_attributes() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 0.0, 0.0, 0.5, 9.0, 9.0, 9.0]]).repeat(3, 1)
    given = torch.tensor(
        [
            [0.0, 1.0, 1.0, 0.0, 0.0, 1.5, 1.0, 1.0, 1.0],  # all known
            [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],  # ev alone
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],  # people alone, of average size
        ]
    )
    ev = math.log(1 + math.exp(-1))
    kind = math.log(1 + 2 * math.exp(-2))
    found = compute_surprise(logits, given, ATTRIBUTES)
    assert found.tolist() == pytest.approx([ev + kind + 0.5, ev, 0.125])


def test_surprise_of_a_label_is_its_cross_entropy() -> None:
    logits = torch.randn(4, 5)
    label = torch.tensor([0, 4, 2, 2])
    one_hot = torch.nn.functional.one_hot(label, 5).float()
    wanted = torch.nn.functional.cross_entropy(logits, label, reduction="none")
    assert torch.allclose(compute_surprise(logits, one_hot), wanted)


def test_the_game_adds_the_surprise_of_attributes_to_both_losses() -> None:
    torch.manual_seed(0)
    settings = small("tts_cgan", "model.class_weight=0.5")
    networks, batch = models.build(settings, 20, 2, 9), a_batch(4, 20, 2)
    given = torch.zeros(4, models.compute_condition_width(settings, 2, 9))
    given[:, -9:] = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 1.5, 1.0, 1.0, 1.0])
    conditions = Conditions(lambda batch: given, attributes=ATTRIBUTES)
    objective = models.make_objective(settings, networks, conditions)
    made = objective.generate(batch, given, "generator noise")
    for phase, series in zip(objective.phases, (batch.series, made)):
        logits = networks["discriminator"].eval().classify(series)
        wanted = 0.5 * compute_surprise(logits, given[:, -9:], ATTRIBUTES).mean()
        assert phase.loss(batch)["label"].item() == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.slow
def test_a_run_by_attributes_generates_what_is_asked_for(tmp_path: Path) -> None:
    source = described(tmp_path / "homes.npz")
    common = [text for text in TINY if not text.startswith(("model.", "data.reduce", "encoder.steps"))]
    asked = ["data.columns.attributes=[ev,people]", "bank.by=[ev,people]", "model=tts_cgan"]
    own = [f"model.{setting}" for setting in SMALL["tts_cgan"]]
    more = [f"data.source={source}", "train.steps=3", "encoder.steps=5", "generate.count=20"]
    stages = ["--stages", "prepare,encoder,encode,cluster,bank,gan,generate"]
    command = ["--run-dir", str(tmp_path / "run"), *common, *asked, *own, "model.patch=12", *more, *stages]
    assert main([*command, "generate.shares={ev: 0.4}"]) == 0
    run = Run(tmp_path / "run")
    lines = run.synthetic_attributes.read_text().split()
    assert lines[0] == "id,ev,people" and sum(",true" in line for line in lines[1:]) == 8
    assert np.isfinite(Store.open(run.synthetic).read_rows(np.arange(20))).all()
    loaded = distgan.load(run.folder)
    assert np.abs(loaded.sample(3, ev=True) - loaded.sample(3, ev=False)).max() > 0
