"""Labels from the source to the samples: groups that never mix them, a model that is told them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import distgan
from distgan import cli, config, errors, models
from distgan.anonymity import clustering, faiss_backend, manifest
from distgan.anonymity.bank import Bank, make_bank
from distgan.anonymity.clustering import KMeans
from distgan.anonymity.conditioning import Conditioner
from distgan.anonymity.groups import GroupedSeries, Members, merge_small_groups
from distgan.commands.classify import draw_labelled_series
from distgan.data import ingest
from distgan.data.loader import Batch
from distgan.data.store.private_table import find_private_table, read_table
from distgan.data.store.reader import Store
from distgan.errors import UserError
from distgan.evaluation.metrics import classification
from distgan.evaluation.metrics.classification import LabelledSeries
from distgan.files import read_json
from distgan.pipeline.cluster import form_groups_by_label
from distgan.run import Run
from distgan.train import main
from tests.helpers.settings import TINY
from tests.helpers.zoo import LABELS, SMALL, a_batch, built, one_of_two, play, small, trained_on


def labelled(path: Path, count: int = 90, length: int = 48) -> Path:
    """Waves: quick and low ones of `run`, slow and high ones of `walk`; three of each subject."""
    rng = np.random.default_rng(0)
    label = np.array(["run", "walk"])[np.arange(count) % 2]
    rate, level = np.where(label == "run", 8, 2), np.where(label == "run", 1, 20)
    times = np.arange(length) / length
    phase = rng.uniform(0, 1, (count, 1))
    x = level[:, None] + np.sin(2 * np.pi * (rate[:, None] * times + phase))
    x = x + 0.05 * rng.standard_normal(x.shape)
    subject = np.array([f"s{number // 3:02d}" for number in range(count)])
    np.savez(path, x=x.astype(np.float32)[..., None], label=label, subject=subject)
    return path


def read(path: Path, *overrides: str) -> ingest.Series:
    settings = config.load(None, [f"data.source={path}", *overrides]).data
    return ingest.open_source(settings, path.parent / "parts")


# ---------------------------------------------------------------------------------------------------- reading


def test_labels_and_owners_are_read_and_chosen(tmp_path: Path) -> None:
    path = labelled(tmp_path / "moves.npz", 12)
    whole = read(path)
    assert whole.labels == ["run", "walk"] * 6 and len(set(whole.owners)) == 4
    some = read(path, "data.labels=[walk]")
    assert set(some.labels or ()) == {"walk"} and some.num_series == 6
    assert some.left_out == {"another label": 6}
    assert np.array_equal(some.read_rows(0, 6), whole.read_rows(0, 12)[1::2])
    with pytest.raises(UserError, match=r"'jump' is no label of .*; it has run, walk"):
        read(path, "data.labels=[jump]")


def test_a_promise_of_privacy_to_a_part_of_a_person_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three recordings of each subject; the encoder is not trained first."""
    source = f"data.source={labelled(tmp_path / 'moves.npz')}"
    command = ["--run-dir", str(tmp_path / "run"), source, *TINY, "clusters.count=2"]
    assert main([*command, "privacy.epsilon=4"]) == 2
    captured = capsys.readouterr()
    assert "90 entities belong to 30 owners here" in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "run" / "series.zarr").exists()
    assert main([*command, "--stages", "prepare"]) == 0
    assert main([*command, "privacy.epsilon=4", "--stages", "prepare,encoder,encode,cluster"]) == 2
    assert "42 entities belong to 14 owners here" in capsys.readouterr().err


def test_a_block_of_series_without_a_chosen_one_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).random((12, 24)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, label=["walk"] * 2 + ["run"] * 8 + ["walk"] * 2)
    monkeypatch.setattr(ingest, "BLOCK_BYTES", 4 * 4 * 24)  # four series
    some = read(tmp_path / "x.npz", "data.labels=[walk]", "data.reduce.factor=4")
    asked, block = [], some.source.block

    def counted(first: int, last: int) -> np.ndarray:
        asked.append((first, last))
        return block(first, last)

    some.source.block = counted
    merged = x[[0, 1, 10, 11]].reshape(4, 6, 4).sum(axis=2)
    np.testing.assert_allclose(some.read_rows(0, 4)[..., 0], merged, rtol=1e-6)
    assert asked == [(0, 4), (8, 12)]


def test_numbered_labels_take_their_names(tmp_path: Path) -> None:
    path, x = tmp_path / "x.npz", np.random.default_rng(0).random((3, 8))
    np.savez(path, x=x, label=np.array([1, 0, 1]), label_names=np.array(["off", "on"]))
    assert read(path).labels == ["on", "off", "on"]
    np.savez(path, x=x, label=np.array([1, 0, 2]), label_names=np.array(["off", "on"]))
    with pytest.raises(UserError, match="label 2 has no place in the 2 label_names"):
        read(path)
    np.savez(path, x=x, label=np.array([1, 0]))
    with pytest.raises(UserError, match="2 labels for an array of shape"):
        read(path)


# ------------------------------------------------------------------------------------------------- conditions


def test_groups_never_mix_labels_and_tell_them() -> None:
    """Two labels in one cloud of points: merging for the minimum size stays within each."""
    rng = np.random.default_rng(0)
    settings = config.Bank(condition_dim=2, min_members=15, by_label=True)
    points = rng.standard_normal((120, 2)).astype(np.float32)
    labels = np.array(["a", "b"])[np.arange(120) % 2]
    groups = np.arange(120) % 2 + 2 * (np.arange(120) // 30)  # far too small ones
    attributes = np.stack([rng.random((120, 1)), 1 + rng.random((120, 1))], axis=-1)
    loads = np.ones(120)
    bank = make_bank(GroupedSeries(points, loads, groups, labels=labels), attributes, settings)
    members = merge_small_groups(GroupedSeries(points, loads, groups, labels=labels), settings, 1)
    for group, label in enumerate(bank.labels):
        assert set(labels[members.groups == group]) == {label}
    assert bank.label_names == ("a", "b") and min(bank.effective) >= bank.minimum_group_size
    condition = bank.table[:, 2:]
    assert condition.sum(1).tolist() == [1] * bank.num_groups
    assert [bank.label_names[place] for place in condition.argmax(1)] == list(bank.labels)
    among = np.asarray(bank.labels) == "a"
    assert bank.allocate(10, among)[~among].sum() == 0 and bank.allocate(10, among).sum() == 10
    with pytest.raises(UserError, match="all series labelled 'c' together are not enough for a group"):
        merge_small_groups(
            GroupedSeries(points, loads, np.append(groups[:-1], 99), labels=np.append(labels[:-1], "c")),
            settings,
            1,
        )


def test_groups_of_one_label_state_what_the_minimum_size_costs() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((240, 2)).astype(np.float32)
    labels = np.array(["a", "b"])[np.arange(240) % 2]
    found = clustering.run_kmeans(
        lambda: iter([points]), 12, search=KMeans(iterations=10, restarts=1, seed=0, device="cpu")
    )
    found = replace(found, assignment=faiss_backend.find_nearest_centroid(points, found.centroids))
    free = form_groups_by_label(points, found, np.arange(240), labels, 2)
    dear = form_groups_by_label(points, found, np.arange(240), labels, 50)
    assert 0 <= free.loss < 0.05 < dear.loss < 1


@pytest.mark.parametrize("training", ["mean", "subset"])
def test_what_a_series_trains_on_ends_with_its_label(training: str) -> None:
    rng = np.random.default_rng(0)
    settings = config.Bank(condition_dim=2, min_members=15, by_label=True, training=training)
    points = rng.standard_normal((80, 2)).astype(np.float32)
    labels = np.array(["a", "b"])[np.arange(80) % 2]
    attributes = np.stack([rng.random((80, 1)), 1 + rng.random((80, 1))], axis=-1)
    members = merge_small_groups(
        GroupedSeries(points, np.ones(80), np.arange(80) % 2, labels=labels), settings, 1
    )
    bank = make_bank(
        GroupedSeries(points, members.loads, members.groups, entities=members.entities, labels=labels),
        attributes,
        settings,
    )
    rows = torch.arange(12)
    given = Conditioner(bank, members, training=training).make_drawn(rows, rows, 3)
    assert given.shape == (12, 6)
    assert given[:, 4:].argmax(1).tolist() == (rows % 2).tolist()


def test_tts_cgan_wants_labels() -> None:
    with pytest.raises(UserError, match=r"conditional on labels or attributes; set bank\.by_label=true"):
        config.load(None, ["model=tts_cgan"])
    with pytest.raises(UserError, match=r"by_label true is not accounted under privacy\.epsilon"):
        config.load(None, ["bank.by_label=true", "privacy.epsilon=2.0"])


@pytest.mark.parametrize(
    ("name", "steps", "rate", "more"),
    [
        (
            "tts_cgan",
            250,
            3e-3,
            ["model.patch=2", "objective.loss=nonsaturating", "objective.penalty.weight=0.05"],
        ),
        pytest.param(
            "timegan",
            400,
            1e-2,
            ["model.embedding_steps=80", "model.supervised_steps=20", "model.width=8"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_shape_of_each_label_is_learned_by_heart(
    name: str, steps: int, rate: float, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LABELS, name, 2)
    torch.manual_seed(1)
    shapes = 0.6 * torch.stack([torch.linspace(-1, 1, 8), torch.linspace(1, -1, 8)])
    index = torch.arange(16)
    series = (shapes[index % 2] + 0.05 * torch.randn(16, 8))[..., None]
    batch = Batch(series, torch.ones_like(series), index, index, 0)
    generator = trained_on(name, steps, batch, rate, *more)
    for label in (0, 1):  # a sample with an odd number has the first label
        condition = torch.eye(2)[label].expand(50, 2)
        with torch.no_grad():
            made = generator(torch.randn(50, models.compute_noise_width(generator)), condition)[..., 0]
        distance = torch.cdist(made, shapes)
        assert (distance[:, 1 - label] < distance[:, label]).float().mean() > 0.9, label


def test_the_class_loss_by_hand() -> None:
    """A cross entropy of the label's logits, beside the game's own loss, on real and on generated series."""
    torch.manual_seed(0)
    settings = small("tts_cgan", "model.class_weight=0.5")
    networks = built(settings, 20, 2)
    objective, batch = play(settings, networks), a_batch(4, 20, 2)
    label = one_of_two(batch)
    made = objective.generate(batch, label, "generator noise")
    for phase, series in zip(objective.phases, (batch.series, made)):
        logits = networks["discriminator"].eval().classify(series)
        wanted = 0.5 * torch.nn.functional.cross_entropy(logits, label.argmax(1))
        assert phase.loss(batch)["label"].item() == pytest.approx(wanted.item(), rel=1e-4)


# ---------------------------------------------------------------------------------------------- the whole way


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny tts_cgan through all stages but the report."""
    folder = tmp_path_factory.mktemp("labels")
    source = labelled(folder / "moves.npz", 180)
    common = [text for text in TINY if not text.startswith(("model.", "data.reduce"))]
    own = [f"model.{setting}" for setting in SMALL["tts_cgan"]]
    settings = [f"data.source={source}", "model=tts_cgan", "bank.by_label=true", *own, "model.patch=12"]
    more = ["train.steps=4", "generate.count=40", "bank.max_tracing_auc=0.8"]
    stages = ["--stages", "prepare,encoder,encode,cluster,bank,gan,generate"]
    assert main(["--run-dir", str(folder / "run"), *common, *settings, *more, *stages]) == 0
    return Run(folder / "run")


def test_the_table_the_bank_and_the_samples_have_labels(run: Run) -> None:
    table = read_table(find_private_table(run.series))
    assert table.labels is not None and set(table.labels) == {"run", "walk"}
    bank = Bank.load(run.bank)
    assert bank.label_names == ("run", "walk") and manifest.find_violations(run.bank) == []
    members = Members.load(run.clusters / "members.safetensors")
    training = table.labels[table.find_rows("train")]
    assert all(set(training[members.groups == g]) == {bank.labels[g]} for g in range(bank.num_groups))
    header, *lines = run.synthetic_labels.read_text().split()
    made = Store.open(run.synthetic).read_rows(np.arange(40))
    ids, labels = zip(*(line.split(",") for line in lines))
    assert header == "id,label" and ids[:2] == ("synthetic-000000", "synthetic-000001") and len(ids) == 40
    assert ((made.mean((1, 2)) < 10) == (np.array(labels) == "run")).all()  # levels go with the label


def test_an_export_has_its_readme_and_labels_and_replaces_only_by_force(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "made.csv"
    command = ["generate", str(run.folder), "--out", str(place), "generate.layout=long"]
    assert errors.answer(lambda: cli.run_command(command)) == 0
    made, found = Store.open(run.synthetic).read_rows(np.arange(40)), pd.read_csv(place)
    np.testing.assert_array_equal(found.iloc[:, 2].to_numpy(np.float32), made.ravel())
    labels = (tmp_path / "made.labels.csv").read_text(encoding="utf-8").split()
    assert labels == run.synthetic_labels.read_text(encoding="utf-8").split()
    assert pd.read_csv(tmp_path / "made.labels.csv").id.tolist() == found.id.unique().tolist()
    assert "made.labels.csv" in (tmp_path / "made.README.txt").read_text(encoding="utf-8")
    place.write_text("mine")
    assert errors.answer(lambda: cli.run_command(command)) == 2
    assert "--force" in capsys.readouterr().err and place.read_text() == "mine"
    assert errors.answer(lambda: cli.run_command([*command, "--force"])) == 0
    assert len(pd.read_csv(place)) == made.size


def test_samples_of_a_label_or_a_group(run: Run) -> None:
    trained = distgan.load(run.folder)
    assert trained.labels == ("run", "walk")
    assert trained.sample(8, condition="run").mean((1, 2)).max() < 10
    assert trained.sample(8, condition="walk").mean((1, 2)).min() > 10
    assert trained.sample(np.int64(3), condition=0).shape == (3, 48, 1)
    with pytest.raises(
        UserError, match=r"there is no condition 'jump'; use a group .* or a label \(run, walk\)"
    ):
        trained.sample(3, condition="jump")
    for ask in (trained.sample, trained.times):
        with pytest.raises(UserError, match="length is 0; it must be 1 or more"):
            ask(length=0)
        with pytest.raises(TypeError):
            ask(length=2.5)
    for condition in ([0], [0, 1], np.array([0, 9]), 1.0):  # one group, not several
        with pytest.raises(TypeError):
            trained.sample(3, condition=condition)


def test_a_label_too_rare_for_a_group_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = labelled(tmp_path / "moves.npz", 30)
    common = [text for text in TINY if not text.startswith(("model.", "data.reduce"))]
    stages = ["--stages", "prepare,encoder,encode,cluster"]
    settings = [f"data.source={source}", "model=mlp_gan", "bank.by_label=true", *common, *stages]
    assert main(["--run-dir", str(tmp_path / "run"), *settings]) == 2
    assert "training entities labelled 'run' are fewer than" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------- classification


def moves(count: int, seed: int, rates: tuple[float, float] = (8.0, 2.0)) -> LabelledSeries:
    """Waves of two rates, with the owner of every three."""
    rng = np.random.default_rng(seed)
    quick = np.arange(count) % 2 == 0
    times = np.arange(64) / 64
    x = np.sin(2 * np.pi * (np.where(quick, *rates)[:, None] * times + rng.random((count, 1))))
    x = x + 0.3 * rng.standard_normal(x.shape)
    return LabelledSeries(
        x[..., None].astype(np.float32), np.where(quick, "run", "walk"), np.arange(count) // 3
    )


def test_a_classifier_on_good_and_on_useless_series() -> None:
    real, test = moves(40, 0), moves(60, 1)
    good = classification.classify(real, [moves(40, 2), moves(40, 3)], test).rows
    assert good["real"].value > 0.95 and good["synthetic"].value > 0.95
    assert good["commonest label"].value == pytest.approx(0.5)
    assert good["gain"].value == pytest.approx(good["real + synthetic"].value - good["real"].value)
    swapped = classification.classify(real, [moves(40, 2, (2.0, 8.0))], test).rows
    assert swapped["synthetic"].value < 0.05  # labels the wrong way round: it recognises nothing
    row = swapped["real + synthetic"]
    assert 0 <= row.low <= row.value <= row.high <= 1


def test_a_short_series_beside_real_ones_says_how_unsure_it_is() -> None:
    """Two owners, one always right and one always wrong: anything from 0 to 1."""
    owners = np.repeat([0, 1], 10)
    found = classification._compute_interval((owners == 0).astype(float), owners)
    assert (found.value, found.low, found.high) == (0.5, 0, 1)


def test_one_owner_has_no_interval() -> None:
    test = moves(60, 1)
    alone = LabelledSeries(test.series, test.labels, np.zeros(60, int))
    found = classification.classify(moves(40, 0), [moves(40, 2)], alone)
    assert found.rows["gain"].low is None
    assert classification.format_table(found).count("one owner: no interval") == 5


def test_series_of_each_label_have_noise_of_their_own(run: Run) -> None:
    """Series by series the courses of two labels are unrelated; with common noise they were alike by .93."""
    labels = np.repeat(["run", "walk"], 20)
    made = draw_labelled_series(distgan.load(run.folder), LabelledSeries(np.zeros(0), labels, labels), 0)
    assert made.labels.tolist() == labels.tolist() and made.series.shape == (40, 48, 1)
    courses = made.series[..., 0] - made.series[..., 0].mean(1, keepdims=True)
    run_courses, walk_courses = (own / own.std(1, keepdims=True) for own in np.split(courses, 2))
    sides = [own - own.mean(0) for own in (run_courses, walk_courses)]
    assert abs(np.corrcoef(*(side.ravel() for side in sides))[0, 1]) < 0.5


def test_classification_of_a_run(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run_command(["evaluate", str(run.folder), "--task", "classification", "evaluate.max_series=60"])
    assert "real + synthetic" in capsys.readouterr().out
    found = read_json(run.folder / "classification.json")
    table = read_table(find_private_table(run.series))
    never_trained = set(table.owners[table.splits != "train"])
    assert found["test_owners"] == len(never_trained)
    assert found["rows"]["real"]["value"] > 0.9
    assert not any(owner in (run.folder / "classification.json").read_text() for owner in never_trained)
    with pytest.raises(UserError, match="--task 'sorting' does not exist"):
        cli.run_command(["evaluate", str(run.folder), "--task", "sorting"])
