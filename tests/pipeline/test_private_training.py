"""Whole runs that are private end to end: what is spent, what a kill and a second call change, processes."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import distgan
from distgan import config
from distgan.anonymity.dp import list_claims
from distgan.anonymity.dp.gradients import NoisyGradient
from distgan.anonymity.dp.mechanism import SLACK
from distgan.data.store.private_table import read_table
from distgan.data.store.reader import Store
from distgan.engine import checkpoint
from distgan.errors import Mismatch
from distgan.files import read_json
from distgan.pipeline.attack import find_proof
from distgan.pipeline.private_ledger import audit_ledger, audit_trainings, open_ledger
from distgan.run import Run
from distgan.train import main
from tests.helpers.described import described
from tests.helpers.households import population
from tests.helpers.processes import launch
from tests.helpers.settings import ROOT, TINY

pytestmark = pytest.mark.slow
pytest.importorskip("dp_accounting")
PRIVATE = [
    "data.reduce.factor=12",
    "encoder.patch=8",
    "model.patch=8",
    "privacy.end_to_end=true",
    "privacy.epsilon=4",
    "privacy.delta=1e-5",
    "privacy.owners=320",
    "privacy.log_rms_range=[-3, 3]",
    "clusters.count=1",
    "data.scaling.bound=6",
    "objective.loss=nonsaturating",
    "objective.penalty.fraction=1",
    "train.max_rollbacks=0",
    "encoder.steps=4",
    "encoder.batch_size=32",
    "train.steps=6",
    "train.batch_size=32",
    "train.checkpoint_every=2",
]
STAGES = "prepare,encoder,encode,cluster,bank,gan"
SEED = "privacy.insecure_seed=5"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("homes") / "homes.csv"
    population(homes=500, hours=24 * 7).to_csv(path, index=False)
    return path


def arguments(homes: Path, folder: Path, *more: str, stages: str = STAGES) -> list[str]:
    return ["--run-dir", str(folder), f"data.source={homes}", *TINY, *PRIVATE, *more, "--stages", stages]


@pytest.fixture(scope="module")
def trained(homes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(arguments(homes, folder)) == 0
    return Run(folder)


@pytest.fixture(scope="module")
def repeatable(homes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "repeatable"
    assert main(arguments(homes, folder, SEED)) == 0
    return Run(folder)


def copy_of(run: Run, place: Path) -> Run:
    shutil.copytree(run.folder, place)
    return Run(place)


def test_one_ledger_holds_the_whole_run_within_its_budget(trained: Run) -> None:
    settings, ledger = config.load(trained.config), open_ledger(trained)
    assert [entry["name"] for entry in ledger.list_draws()] == [
        "encoder",
        "directions",
        "groups",
        "discriminator",
    ]
    spent = audit_trainings(settings, trained, ledger)
    assert 3.9 < spent <= 4 * (1 + SLACK)
    assert ledger.list_draws()[-1]["epsilon_so_far"] == pytest.approx(spent, rel=1e-6)
    audit_ledger(settings, trained)
    assert not list(trained.noisy_sums.glob("*.key"))
    assert find_proof(settings).startswith("(4, 1e-05)-differentially private for every owner")


def test_a_second_call_trains_and_spends_nothing(homes: Path, trained: Run, tmp_path: Path) -> None:
    run = copy_of(trained, tmp_path / "run")
    before = run.ledger.read_text(), run.encoder_weights.read_bytes(), run.generator_weights.read_bytes()
    for stage in ("encoder", "gan"):
        run.record(stage).unlink()
        shutil.rmtree(run.checkpoints(stage))
    assert main(arguments(homes, run.folder)) == 0
    assert before == (
        run.ledger.read_text(),
        run.encoder_weights.read_bytes(),
        run.generator_weights.read_bytes(),
    )


def test_weights_that_are_gone_are_not_trained_again(
    homes: Path, trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(trained, tmp_path / "run")
    run.record("gan").unlink()
    run.generator_weights.unlink()
    assert main(arguments(homes, run.folder)) == 5
    assert "a second training would spend the budget twice" in capsys.readouterr().err
    with pytest.raises(Mismatch, match="does not hold the weights"):
        audit_ledger(config.load(run.config), run)


def test_other_weights_than_the_ledger_records_are_a_mismatch(trained: Run, tmp_path: Path) -> None:
    run = copy_of(trained, tmp_path / "run")
    run.generator_weights.write_bytes(run.generator_weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(Mismatch, match="does not hold the weights"):
        audit_ledger(config.load(run.config), run)


def test_more_steps_than_planned_are_refused(
    homes: Path, trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(trained, tmp_path / "run")
    assert main(arguments(homes, run.folder, "train.steps=12")) == 2
    assert "train.steps was 6, now 12" in capsys.readouterr().err


def test_a_killed_training_goes_on_with_the_same_noise(
    homes: Path, repeatable: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit what an uninterrupted one gives, and nothing more in the ledger."""
    run, whole = Run(tmp_path / "run"), NoisyGradient.__call__

    def killed(self: NoisyGradient, batch: object) -> object:
        if batch.step == 3:  # type: ignore[attr-defined]
            raise RuntimeError("killed")
        return whole(self, batch)

    for stages in ("prepare,encoder", "encode,cluster,bank,gan"):
        monkeypatch.setattr(NoisyGradient, "__call__", killed)
        with pytest.raises(RuntimeError, match="killed"):
            main(arguments(homes, run.folder, SEED, stages=stages))
        spent = open_ledger(run).compute_spent(1e-5)
        monkeypatch.setattr(NoisyGradient, "__call__", whole)
        assert main(arguments(homes, run.folder, SEED, stages=stages)) == 0
        assert open_ledger(run).compute_spent(1e-5) == spent
    for place in ("encoder_weights", "generator_weights"):
        assert getattr(run, place).read_bytes() == getattr(repeatable, place).read_bytes()
    settings = config.load(run.config)
    assert find_proof(settings) == ""  # noise that can be repeated proves nothing


@pytest.mark.parametrize("zero", [0, 1, 2])
def test_two_processes_train_what_one_does(homes: Path, repeatable: Run, tmp_path: Path, zero: int) -> None:
    """The same owners and the same noise; sums differ by the rounding of gradients alone."""
    if zero:
        pytest.importorskip("deepspeed")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    folder = tmp_path / "run"
    given = arguments(homes, folder, SEED, f"engine.zero={zero}")
    done = launch(folder, *command[2:], program=str(wrapper(tmp_path, given)))
    assert done.returncode == 0, done.stderr[-3000:]
    for place in ("encoder_weights", "generator_weights"):
        one, two = (load_file(getattr(run, place)) for run in (repeatable, Run(folder)))
        for name in one:
            assert torch.allclose(one[name], two[name], atol=2e-4), name
    epsilons = [[e["epsilon_so_far"] for e in open_ledger(r).list_draws()] for r in (repeatable, Run(folder))]
    assert epsilons[0] == epsilons[1]


def wrapper(place: Path, given: list[str]) -> Path:
    """A program that trains with these arguments, for a launcher that hands on one path."""
    path = place / "program.py"
    path.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom distgan.train import main\n"
        f"sys.exit(main({json.dumps(given)}))\n"
    )
    return path


# ------------------------------------------------------------------------------------ a public time axis


def test_one_owner_with_readings_outside_of_the_axis_changes_nothing_that_is_public(
    homes: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(homes, parse_dates=["timestamp"], index_col="timestamp")
    times = pd.date_range("2012-12-20", periods=24 * 40, freq="h", name="timestamp")
    added = pd.Series(np.random.default_rng(3).gamma(2, 300, len(times)).round(3), times, name="added")
    pd.concat([table.reindex(times), added], axis=1).to_csv(tmp_path / "more.csv")
    axis, found = "data.axis={start: 2013-01-07, step: 1h, length: 168}", []
    for name, source in (("before", homes), ("after", tmp_path / "more.csv")):
        run = Run(tmp_path / name)
        assert main(arguments(source, run.folder, axis, stages="prepare")) == 0
        scaler, people = read_json(run.scaler), read_table(run.private_table)
        others = np.flatnonzero(np.asarray(people.entities) != "added")
        scaler["meta"]["provenance"] = {}
        claims = list_claims(config.load(run.config), 1.0)
        values = Store.open(run.series).read_rows(others)
        names = [(people.entities[row], people.splits[row]) for row in others]
        found.append((scaler, claims, names, values.tobytes()))
    assert found[0] == found[1]


# ------------------------------------------------------------- families whose generator reads real series

WITHOUT_DISCRIMINATOR = {
    "rectified_flow": ["model.width=8", "model.depth=1", "model.heads=2", "model.draws=2", "model.patch=8"],
    "timevae": ["model.widths=[4, 4]", "model.latent_dim=2"],
}


def without_discriminator(name: str) -> list[str]:
    """Settings of a private run of a family that has no discriminator."""
    kept = [each for each in [*TINY, *PRIVATE] if not each.startswith(("model.", "objective."))]
    return [*kept, f"model.name={name}", *WITHOUT_DISCRIMINATOR[name]]


@pytest.mark.parametrize("name", WITHOUT_DISCRIMINATOR)
def test_a_generator_that_reads_real_series_gets_the_noise(homes: Path, tmp_path: Path, name: str) -> None:
    run = Run(tmp_path / "run")
    chosen = ["--run-dir", str(run.folder), f"data.source={homes}", *without_discriminator(name)]
    assert main([*chosen, "--stages", STAGES]) == 0
    settings, ledger = config.load(run.config), open_ledger(run)
    assert [entry["name"] for entry in ledger.list_draws()][-1] == "generator"
    assert 3.9 < audit_trainings(settings, run, ledger) <= 4 * (1 + SLACK)
    audit_ledger(settings, run)
    claims = " ".join(list_claims(settings, 1.0))
    assert "weights of encoder and generator, and the bank" in claims
    assert "Encoder and generator were trained on sums" in claims and "read no real" not in claims
    before = run.generator_weights.read_bytes()
    run.record("gan").unlink()
    shutil.rmtree(run.checkpoints("gan"))
    assert main([*chosen, "--stages", STAGES]) == 0
    assert run.generator_weights.read_bytes() == before
    run.generator_weights.write_bytes(before[:-4] + bytes(4))
    with pytest.raises(Mismatch, match="records for the generator"):
        audit_ledger(settings, run)


def test_a_private_flow_has_public_units_and_can_begin_with_public_weights(
    homes: Path, tmp_path: Path
) -> None:
    """With rates of nearly 0 all weights stay those of the public run, and so do its units."""
    others = tmp_path / "others.csv"
    population(homes=200, hours=24 * 7, seed=9).to_csv(others, index=False)
    chosen = without_discriminator("rectified_flow")
    plain = [each for each in chosen if not each.startswith("privacy.")]
    public, run, alone = (Run(tmp_path / name) for name in ("public", "run", "alone"))
    begin = ["--run-dir", str(public.folder), f"data.source={others}"]
    assert main([*begin, *plain, "--stages", STAGES]) == 0
    still = ["encoder.learning_rate=1e-12", "train.generator_rate=1e-12", "train.ema_half_life=0"]
    for each, more in ((run, [f"privacy.public={public.folder}", *still]), (alone, still)):
        begin = ["--run-dir", str(each.folder), f"data.source={homes}"]
        assert main([*begin, *chosen, *more, "--stages", STAGES]) == 0
    step = checkpoint.list_steps(public.checkpoints("gan"))[-1]
    begun, ended = (
        checkpoint.load(public.checkpoints("gan"), step).state["generator"],
        load_file(run.generator_weights),
    )
    assert all(torch.allclose(begun[name], ended[f"velocity.{name}"], atol=1e-6) for name in begun)
    units = load_file(alone.generator_weights)
    deviation = config.load(alone.config).data.scaling.expected_deviation
    assert float(units["velocity.variance"]) == pytest.approx(deviation**2)
    assert float(units["velocity.centre"]) == 0


# ------------------------------------------------------------------------- public weights to begin with


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without privacy on other homes, with the same networks."""
    folder = tmp_path_factory.mktemp("public")
    population(homes=200, hours=24 * 7, seed=9).to_csv(folder / "others.csv", index=False)
    mine = [each for each in PRIVATE if not each.startswith("privacy.")]
    more = [f"data.source={folder / 'others.csv'}", *TINY, *mine, "train.max_rollbacks=1"]
    assert main(["--run-dir", str(folder / "run"), *more, "--stages", STAGES]) == 0
    return Run(folder / "run")


def test_a_private_training_begins_with_public_weights(
    homes: Path, public: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With rates of nearly 0 the weights stay what they were; afterwards the public run may be gone."""
    moved = Run(Path(shutil.copytree(public.folder, tmp_path / "public")))
    still = ["encoder.learning_rate=1e-12", "train.generator_rate=1e-12", "train.discriminator_rate=1e-12"]
    chosen = [f"privacy.public={moved.folder}", *still, "train.ema_half_life=0"]
    run = Run(tmp_path / "run")
    assert main(arguments(homes, run.folder, *chosen)) == 0
    begun, ended = load_file(public.encoder_weights), load_file(run.encoder_weights)
    assert all(torch.allclose(begun[name], ended[name], atol=1e-6) for name in begun)
    step = checkpoint.list_steps(public.checkpoints("gan"))[-1]
    begun = checkpoint.load(public.checkpoints("gan"), step).state["generator"]
    ended = load_file(run.generator_weights)
    assert all(torch.allclose(begun[name], ended[name], atol=1e-6) for name in begun)
    shutil.rmtree(moved.folder)
    run.record("gan").unlink()
    assert main(arguments(homes, run.folder, *chosen)) == 0
    claims = list_claims(config.load(run.config), 1.0)
    assert any(
        "weights of another run, on data that privacy.public calls public" in claim for claim in claims
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["model.generator.width=32"], "has model.generator.width 16, and this run 32"),
        (["encoder.latent_dim=5"], "has encoder.latent_dim 4, and this run 5"),
        (["data.reduce.factor=6"], "has series of 14 x 1, and this run of 28 x 1"),
    ],
)
def test_a_public_run_that_does_not_fit_spends_nothing(
    homes: Path,
    public: Run,
    tmp_path: Path,
    more: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Run(tmp_path / "run")
    assert main(arguments(homes, run.folder, f"privacy.public={public.folder}", *more)) == 2
    assert words in capsys.readouterr().err and not run.ledger.exists()


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ([], "trained on the series of this run without noise"),
        (["data.store.dtype=float16"], "series that are near copies of this run's"),
    ],
)
def test_a_public_run_on_the_same_series_is_refused(
    homes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], stored: list[str], words: str
) -> None:
    mine = [each for each in PRIVATE if not each.startswith("privacy.")]
    finer = "data.reduce.factor=2"  # near copies are not found in series of a few steps
    more = [f"data.source={homes}", *TINY, *mine, "train.max_rollbacks=1", finer, *stored]
    assert main(["--run-dir", str(tmp_path / "same"), *more, "--stages", STAGES]) == 0
    run = Run(tmp_path / "run")
    assert main(arguments(homes, run.folder, f"privacy.public={tmp_path / 'same'}", finer)) == 2
    assert words in capsys.readouterr().err
    assert not run.ledger.exists()


def test_a_folder_without_a_trained_run_is_refused(
    homes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(homes, tmp_path / "run", f"privacy.public={tmp_path}")) == 2
    assert "is no run whose encoder and GAN are trained" in capsys.readouterr().err


def test_attributes_are_public_cells_of_a_run_that_is_private_end_to_end(tmp_path: Path) -> None:
    listed = "{ev: [false, true], people: [1, 2, 3, 4, 5]}"
    by = ["data.columns.attributes=[ev,people]", "bank.by=[ev,people]", f"privacy.categories={listed}"]
    more = [*by, "bank.condition_dim=1", "privacy.epsilon=8", "privacy.owners=1000", "generate.count=40"]
    source = described(tmp_path / "homes.npz", 1500)
    assert main(arguments(source, tmp_path / "run", *more, stages=f"{STAGES},generate")) == 0
    run = distgan.load(tmp_path / "run")
    assert run.attributes == {"ev": ["false", "true"], "people": ["1", "2", "3", "4", "5"]}
    assert run.sample_attributes(6, ev=True, people=3)["people"].tolist() == ["3"] * 6
    audit_ledger(config.load(run.run.config), run.run)
