"""Combinations of ZeRO, precision and offload are refused when the config is loaded, or work."""

import pytest

from distgan import config
from distgan.errors import UserError


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["engine.zero=3", "objective.penalty.kind=exact"], "engine.discriminator_zero=2, engine.gather"),
        (["engine.compile=true", "objective.penalty.kind=exact"], "which engine.compile cannot"),
        (["engine.compile=true", "engine.zero=1"], "engine.compile works with engine.zero 0 only"),
        (["engine.offload.optimizer=cpu"], "engine.offload.optimizer needs engine.zero"),
        (["engine.zero=2", "engine.offload.parameters=cpu"], "engine.offload.parameters needs engine.zero"),
        (["engine.zero=2", "engine.offload.optimizer=nvme"], "engine.offload.path=FOLDER need each other"),
        (["engine.zero=4"], "engine.zero is 4"),
    ],
)
def test_impossible_combinations_fail_at_load(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config.load(None, overrides)


def test_possible_combinations_load() -> None:
    exact = "objective.penalty.kind=exact"
    assert config.load(None, ["engine.zero=3", exact, "engine.discriminator_zero=2"])
    assert config.load(None, ["engine.zero=3", exact, "engine.gather_penalty=true"])
    assert config.load(
        None, ["engine.zero=3", "engine.offload.parameters=cpu", "engine.offload.optimizer=cpu"]
    )
