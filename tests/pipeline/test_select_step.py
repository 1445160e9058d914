"""The best step on a validation split: who is in it, what is kept and said, what is refused."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from distgan import config
from distgan.data.splits import assign_splits
from distgan.data.store.private_table import SPLITS, read_table
from distgan.engine import checkpoint
from distgan.errors import UserError
from distgan.evaluation.metrics import fidelity
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.metrics.validation import Validation
from distgan.evaluation.report import verdict
from distgan.pipeline import early_checks, train_gan
from distgan.run import Run
from distgan.sweep import runner, scores
from distgan.train import main
from tests.helpers.runs import arguments
from tests.helpers.sharing import make_once

OWNERS = [f"home{number}" for number in range(3000)]
SELECT = ["data.validation=0.2", "train.select={score: fidelity, every: 5, patience: 2, series: 12}"]


@pytest.fixture(scope="module")
def selected(homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run until its generated series that keeps the best of four evaluations."""

    def make(folder: Path) -> None:
        stages = "prepare,encoder,encode,cluster,bank,gan,generate"
        assert main(arguments(homes_csv, folder / "run", *SELECT, "--stages", stages)) == 0

    return Run(make_once(tmp_path_factory, "selected-run", make) / "run")


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.1), (0.6, 0.0, 0.4), (1.0, 0.0, 0.0)])
@pytest.mark.parametrize("validation", [0.1, 0.3])
def test_validation_owners_come_from_training_and_nobody_else_moves(
    shares: tuple[float, float, float], validation: float
) -> None:
    chosen = config.Splits(train=shares[0], held_out=shares[1], reference=shares[2])
    before = assign_splits(OWNERS, chosen, 4)
    after = assign_splits(OWNERS, chosen, 4, validation=validation)
    moved = before != after
    assert set(before[moved]) == {"train"} and set(after[moved]) == {"validation"}
    assert moved.mean() == pytest.approx(validation, abs=5 * (validation * (1 - validation) / 3000) ** 0.5)
    more = assign_splits(OWNERS, chosen, 4, validation=validation + 0.05)
    assert set(after[moved]) == set(more[moved])  # a larger share keeps those of a smaller one


def test_only_the_validation_owners_left_the_training_series(selected: Run, run: Run) -> None:
    with_choice, without = read_table(selected.private_table), read_table(run.private_table)
    before = dict(zip(without.entities, without.splits))
    for entity, split in zip(with_choice.entities, with_choice.splits):
        assert before[entity] == ("train" if split == "validation" else split)
    assert len(with_choice.find_rows("validation")) > 3
    kinds = [set(with_choice.find_rows(name)) for name in (*SPLITS, "validation")]
    assert sum(map(len, kinds)) == len(set.union(*kinds)) == 60


def test_the_record_says_what_was_kept_and_what_it_cost(selected: Run) -> None:
    record = selected.read_record("gan")
    assert record is not None
    choice = record["selection"]
    losses = {found["step"]: found["loss"] for found in choice["evaluations"]}
    assert set(losses) <= {5, 10, 15, 20} and choice["loss"] == min(losses.values())
    assert choice["step"] == min(step for step, loss in losses.items() if loss == choice["loss"])
    assert all(0 < loss < 1 for loss in losses.values())
    assert choice["text"] in record["summary"]
    said = (
        r"kept step [\d,]+ by fidelity 0\.\d+ on the validation series.*\(\d evaluations, .* s, \d+\.\d% of"
    )
    assert re.search(said, choice["text"])


def test_the_generator_is_that_of_the_best_step(selected: Run) -> None:
    saved = checkpoint.load_latest(selected.checkpoints("gan"))
    assert saved is not None
    kept = load_file(selected.generator_weights)
    assert all(bool((saved.state["selected"][name] == value).all()) for name, value in kept.items())


def test_a_sweep_compares_what_chose(selected: Run) -> None:
    record = selected.read_record("gan")
    assert record is not None
    assert scores.read_selection(selected) == {"fidelity": record["selection"]["loss"]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["train.select.every=5"], None),
        (["train.select.score=nonsense"], "train.select.score 'nonsense' is not a score"),
        (["train.select.every=7"], "use train.steps=21 or train.select.every=5"),
        (["data.validation=0"], "set data.validation, e.g. data.validation=0.1"),
        (["data.validation=0.7"], "leaves nothing of splits.train 0.7 to train on; use validation=0.1"),
        (["data.validation=0.02"], "validation"),
        (["model=gaussian"], "is fitted at once; set train.select.score=null"),
    ],
)
def test_what_cannot_choose_is_one_line(
    changed: list[str], said: str | None, homes_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [f for f in arguments(homes_csv, tmp_path / "run", *SELECT) if not f.startswith("model.")]
    own += ["model.patch=12"] if "model=gaussian" not in changed else []
    code = main([*own, *changed, "--dry-run"])
    message = capsys.readouterr().err
    assert code == (0 if said is None else 2), message
    assert said is None or (said in message and message.count("\n") == 1)


@pytest.mark.parametrize(("windows", "enough"), [(1, False), (2, True)])
def test_windows_count_as_validation_series(windows: int, enough: bool) -> None:
    """Two owners with a window each are too few for halves, and the encoder would be trained in vain."""
    chosen = ["data.validation=0.05", "train.steps=900", "data.windows.length=24"]
    settings = config.load(None, [*chosen, "train.select={score: fidelity, every: 300}"])
    training = early_checks.Training(np.arange(8), np.arange(8), np.ones(8), None, windows, channels=1)
    with contextlib.nullcontext() if enough else pytest.raises(UserError, match=r"0\.05 gives 2; raise"):
        early_checks.refuse_selection(settings, training, np.array(["train"] * 8 + ["validation"] * 2))


def test_a_sweep_scores_where_something_was_evaluated() -> None:
    settings = config.load(
        None,
        ["data.validation=0.1", "train.steps=900", "train.select={score: fidelity, every: 300}"],
    )
    with pytest.raises(UserError, match=r"after 100 steps, .* train\.select\.every=100"):
        runner.refuse_uneven_evaluations(settings, [100, 300, 900])
    runner.refuse_uneven_evaluations(settings, [300, 900])


def test_a_default_run_is_the_run_it_was() -> None:
    """Settings that are off count in no identity, so that earlier runs go on."""
    plain = config.load(None, [])
    assert plain.identities == config.load(None, ["train.select.patience=9"]).identities
    chosen = config.load(None, [*SELECT, "train.steps=20"])
    assert all(chosen.identities[stage] != plain.identities[stage] for stage in ("prepare", "gan"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fidelity", "diversity"])
def test_the_loss_is_that_of_the_report(name: str) -> None:
    """Against the table of the report with the validation series in the place of the held-out ones."""
    count, day = 24, 1 + np.sin(np.arange(240) / 24 * 2 * np.pi)
    noise = np.random.default_rng(0).gamma(2, 1, (3, count, 240, 1))
    train, real, made = (day[:, None] * noise).astype(np.float32)
    found = Validation(train, real, np.arange(count), steps_per_day=24, count=count, seed=0).compute_loss(
        name, made
    )
    rows = fidelity.evaluate(fidelity.Sets(train, real, made), 24, seed=0).by_name
    model, bar = rows[verdict.MODEL], rows[verdict.REAL]
    value = model.values["diversity"]
    assert value is not None
    expected = (
        verdict.compute_overall_loss(model, bar) if name == "fidelity" else BY_NAME[name].compute_loss(value)
    )
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_the_report_states_the_choice(selected: Run) -> None:
    assert main(["--config", str(selected.config), "--run-dir", str(selected.folder)]) == 0
    report, record = scores.read_report(selected), selected.read_record("gan")
    assert record is not None and report.facts.chosen == record["selection"]["text"]
    assert report.facts.chosen.split(" on the ")[0] in selected.report.read_text()
    assert "validation" in report.facts.splits and report.fidelity.n.held_out == len(
        read_table(selected.private_table).find_rows("held_out")
    )
    assert scores.read_objectives(selected, ["fidelity"]) == {"fidelity": record["selection"]["loss"]}
    assert np.isfinite(report.overall[0].value or np.nan)


@pytest.mark.parametrize(
    ("series", "more", "warned"),
    [(109, [], True), (5000, [], False), (240, [], False), (109, SELECT, False)],
)
def test_many_passes_over_few_series_are_warned_of(series: int, more: list[str], warned: bool) -> None:
    settings = config.load(None, [*more, "train.steps=6000", "train.batch_size=16"])
    hint = train_gan.warn_of_passes(settings, series)
    assert bool(hint) == warned
    private = ["privacy.end_to_end=true", "privacy.epsilon=4", "privacy.owners=5000", "train.max_rollbacks=0"]
    private += ["model.name=timevae", "data.scaling.bound=6", "train.steps=6000", "train.batch_size=16"]
    assert train_gan.warn_of_passes(config.load(None, private), series) == ""  # train.select is refused there
    assert not warned or "each of 109 training series 881 times" in hint
