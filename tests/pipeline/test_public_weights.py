"""What a run must be whose weights are called public: not private itself, and trained on what lies in it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from distgan import config
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.errors import Mismatch, UserError
from distgan.files import write_text
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.public_weights import take_public_weights
from distgan.pipeline.training_data import open_for_inference
from distgan.run import Run
from tests.config.test_end_to_end import SOUND
from tests.helpers.runs import copy


def take(public: Run, place: Path) -> None:
    settings = config.load(None, [*SOUND, f"privacy.public={public.folder}"])
    take_public_weights(PipelineContext(settings, Run(place), open_for_inference(settings)))


BANK_ALONE = ["data.source=x", "privacy.epsilon=2", "privacy.delta=1e-6"]


@pytest.mark.parametrize(
    ("privacy", "words"), [(SOUND, "is private end to end"), (BANK_ALONE, "has a private bank")]
)
def test_a_run_that_is_private_itself_is_not_public(
    run: Run, tmp_path: Path, privacy: list[str], words: str
) -> None:
    """It may have begun with weights that were trained on the very series, without noise; and who asks for a
    budget for some people does not call their data public.
    """
    public = copy(run, tmp_path / "public")
    write_text(public.config, config.load(None, privacy).to_yaml())
    with pytest.raises(UserError, match=f"{words}, so its data are not public"):
        take(public, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_holds_other_series_than_it_was_trained_on_is_not_public(run: Run, tmp_path: Path) -> None:
    """Or else the search for near copies would look at the wrong ones."""
    public = copy(run, tmp_path / "public")
    store = Store.open(public.series)
    values, meta = store.read_rows(np.arange(store.num_series)), store.meta
    shutil.rmtree(public.series)
    with StoreWriter(public.series, meta) as writer:
        writer.append(values[::-1] + 1)
    with pytest.raises(Mismatch, match="the real series: not what the stage prepare made"):
        take(public, tmp_path / "run")
    assert not (tmp_path / "run").exists()
