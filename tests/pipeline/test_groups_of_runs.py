"""The stages from latents to bank in a run folder: resumable, with a chosen k, for study, and private."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distgan import cli, config
from distgan.anonymity.bank import Bank
from distgan.anonymity.dp.mechanism import SLACK
from distgan.anonymity.groups import Members
from distgan.anonymity.manifest import find_violations
from distgan.data.store.latents import FEWEST_PARTS, LatentStore
from distgan.parallel.processes import Parallel
from distgan.pipeline import encode
from distgan.pipeline.build_bank import assign_non_members
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.private_ledger import open_ledger
from distgan.pipeline.training_data import TrainingData, compute_loads
from distgan.run import Run
from distgan.train import main
from tests.helpers.households import population
from tests.helpers.processes import PATIENCE
from tests.helpers.settings import ROOT, SHORT, TINY


def arguments(csv: Path, folder: Path, stages: str, *more: str) -> list[str]:
    return ["--run-dir", str(folder), f"data.source={csv}", *TINY, *SHORT, *more, "--stages", stages]


@pytest.fixture(scope="module")
def many_homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("homes") / "homes.csv"
    population(homes=500, hours=24 * 7).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def encoded(many_homes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(arguments(many_homes, folder, "prepare,encoder,encode")) == 0
    return Run(folder)


def changed(encoded: Run, many_homes: Path, place: Path, *more: str, stages: str = "cluster,bank") -> Run:
    """A run with other settings that takes over what does not depend on them."""
    run = Run(place / "run")
    shutil.copytree(encoded.folder, run.folder)
    assert main(arguments(many_homes, run.folder, stages, *more)) == 0
    return run


def test_an_interrupted_encode_goes_on(
    encoded: Run, many_homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(encoded.folder, run.folder)
    shutil.rmtree(run.latents)
    run.record("encode").unlink()
    write, written = encode.write_part, []

    def cut_off(place: Path, *rest: object) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(place)
        write(place, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(encode, "write_part", cut_off)
    assert main(arguments(many_homes, run.folder, "encode")) == 130
    assert not run.latents.exists()
    (written[0] / "mean" / "c" / "0" / "0").write_bytes(b"damaged")
    again: list[Path] = []
    monkeypatch.setattr(encode, "write_part", lambda place, *rest: (again.append(place), write(place, *rest)))
    assert main(arguments(many_homes, run.folder, "encode")) == 0
    parts = len(encode.plan_parts(LatentStore.open(run.latents).num_series, 8, run.folder))
    assert len(again) == parts - 2  # two were whole, one was damaged
    assert f"2 of {parts} parts were done before" in run.read_record("encode")["summary"]
    one, other = LatentStore.open(encoded.latents), LatentStore.open(run.latents)
    np.testing.assert_array_equal(one.read_mean(), other.read_mean())
    np.testing.assert_array_equal(one.read_logvar(), other.read_logvar())
    assert not list(run.folder.glob("latents.parts-*"))


def test_parts_do_not_depend_on_processes_and_are_whole_batches() -> None:
    parts = list(encode.plan_parts(1000, 32, Path("x")).values())
    assert [row for part in parts for row in part] == list(range(1000))
    assert len(parts) >= min(FEWEST_PARTS, 1000 // 32)
    assert all(len(part) % 32 == 0 for part in parts[:-1])


def test_two_processes_encode_and_cluster_what_one_does(
    encoded: Run, many_homes: Path, tmp_path: Path
) -> None:
    """From the same encoder, to the last bit."""
    one, two = changed(encoded, many_homes, tmp_path / "one"), Run(tmp_path / "two" / "run")
    shutil.copytree(one.folder, two.folder)
    for stage, path in (("encode", two.latents), ("cluster", two.clusters), ("bank", two.bank)):
        shutil.rmtree(path)
        two.record(stage).unlink(missing_ok=True)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "distgan.train"]
    command = [sys.executable, *launch, *arguments(many_homes, two.folder, "encode,cluster,bank")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert "x 2 processes" in two.read_record("cluster")["summary"]
    np.testing.assert_array_equal(
        LatentStore.open(one.latents).read_mean(), LatentStore.open(two.latents).read_mean()
    )
    np.testing.assert_array_equal(np.load(one.clusters / "groups.npy"), np.load(two.clusters / "groups.npy"))
    assert (one.bank / "manifest.json").read_bytes() == (two.bank / "manifest.json").read_bytes()


def test_a_chosen_k_is_explained(encoded: Run, many_homes: Path, tmp_path: Path) -> None:
    run = changed(encoded, many_homes, tmp_path, "clusters.count=auto", "clusters.range=[2, 8]")
    choice = json.loads((run.clusters / "choice.json").read_text())
    assert choice["counts"] == list(range(2, 9))
    assert choice["count"] == choice["counts"][int(np.argmax(choice["silhouette"]))]
    assert (run.clusters / "choice.png").stat().st_size > 5000
    assert "(by the silhouette)" in run.read_record("cluster")["summary"]


def test_the_seeds_probes_are_a_config_and_never_a_release(
    encoded: Run, many_homes: Path, tmp_path: Path
) -> None:
    shipped = config.load(ROOT / "configs" / "study-fork-probes.yaml")
    assert (shipped.bank.training, shipped.bank.probes, shipped.bank.condition_dim) == ("probes", 4, 1000)
    study = ["bank.training=probes", "bank.min_members=1", "clusters.count=30"]
    run = changed(encoded, many_homes, tmp_path, *study, stages="cluster,bank,gan,generate")
    assert "for research only" in find_violations(run.bank)[0]
    assert len(Bank.load(run.bank).sizes) == 30
    assert "never to be released" in run.read_record("bank")["summary"]


PRIVATE = ["privacy.epsilon=4", "privacy.delta=1e-5", "clusters.count=2", "privacy.log_rms_range=[-3, 3]"]


def test_a_private_bank_is_accounted_from_latents_to_bank(
    encoded: Run, many_homes: Path, tmp_path: Path
) -> None:
    run = changed(encoded, many_homes, tmp_path, *PRIVATE)
    assert find_violations(run.bank) == []
    drawn = open_ledger(run).list_draws()
    assert [entry["name"] for entry in drawn] == ["directions", "groups"]
    assert drawn[-1]["epsilon_so_far"] == pytest.approx(4, rel=SLACK)
    assert not drawn[-1]["insecure"]
    assert "(4, 1e-05)-differentially private" in run.read_record("bank")["summary"]
    sizes = Bank.load(run.bank).sizes
    assert sizes.min() >= 21  # as they count after noise


def test_a_private_stage_run_again_spends_nothing(
    encoded: Run, many_homes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed(encoded, many_homes, tmp_path, *PRIVATE)
    before = (run.bank / "bank.safetensors").read_bytes(), run.ledger.read_text()
    for stage in ("cluster", "bank"):
        run.record(stage).unlink()
    assert main(arguments(many_homes, run.folder, "cluster,bank", *PRIVATE)) == 0
    assert before == ((run.bank / "bank.safetensors").read_bytes(), run.ledger.read_text())
    shutil.rmtree(run.bank)
    run.record("bank").unlink()
    assert main(arguments(many_homes, run.folder, "bank", *PRIVATE)) == 0
    assert before == ((run.bank / "bank.safetensors").read_bytes(), run.ledger.read_text())
    shutil.rmtree(run.clusters)  # all of it follows from the moments that were drawn
    assert main(arguments(many_homes, run.folder, "cluster,bank", *PRIVATE)) == 0
    assert before == ((run.bank / "bank.safetensors").read_bytes(), run.ledger.read_text())
    (run.noisy_sums / "groups.safetensors").unlink()
    run.record("bank").unlink()
    assert main(arguments(many_homes, run.folder, "bank", *PRIVATE)) == 5
    assert "spend the budget twice" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["privacy.epsilon=8", "privacy.clip=1.5", "privacy.directions_share=0.4"])
def test_other_settings_of_privacy_draw_nothing_more(
    encoded: Run, many_homes: Path, tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even in a run whose other traces are gone."""
    run = changed(encoded, many_homes, tmp_path, *PRIVATE, stages="cluster")
    run.record("cluster").unlink()
    shutil.rmtree(run.clusters)
    assert main(arguments(many_homes, run.folder, "cluster", *PRIVATE, change)) == 5
    assert "were drawn with other settings" in capsys.readouterr().err


@pytest.mark.parametrize("left", ["bank", "done", "privacy"])
def test_a_run_whose_ledger_was_deleted_draws_nothing_more(
    encoded: Run, many_homes: Path, tmp_path: Path, left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As long as one file of the run remembers it."""
    run = changed(encoded, many_homes, tmp_path, *PRIVATE)
    run.ledger.unlink()
    run.record("bank").unlink()
    for name, path in (("bank", run.bank), ("privacy", run.noisy_sums)):
        if name != left:
            shutil.rmtree(path)
    assert main(arguments(many_homes, run.folder, "bank", *PRIVATE)) == 5
    assert "it was cut off or deleted" in capsys.readouterr().err


def test_members_and_non_members_become_points_by_the_same_arithmetic(
    encoded: Run, many_homes: Path, tmp_path: Path
) -> None:
    """The members' series taken for non-members' are clipped, projected and placed where the members are."""
    tight = [*PRIVATE, "privacy.clip=0.7"]  # most latents are longer
    run = changed(encoded, many_homes, tmp_path, *tight)
    settings = config.load(run.config)
    bank, members = Bank.load(run.bank), Members.load(run.clusters / "members.safetensors")
    parallel = Parallel(settings.engine)
    try:
        points, groups = assign_non_members(
            PipelineContext(settings, run, parallel), TrainingData.open(run), members, bank
        )
    finally:
        parallel.close()
    lengths = np.linalg.norm(LatentStore.open(run.latents).read_mean(), axis=1)
    assert np.mean(lengths > 0.7) > 0.5
    np.testing.assert_allclose(points, members.points, atol=1e-5)
    assert np.mean(groups == members.groups) > 0.99


def test_a_private_bank_that_fails_after_its_draw_fails_on_the_same_draw(
    encoded: Run, many_homes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [*PRIVATE, "bank.min_members=400"]  # of 249
    run = changed(encoded, many_homes, tmp_path, *few, stages="cluster")
    said = []
    for _ in range(2):
        assert main(arguments(many_homes, run.folder, "bank", *few)) == 2
        said.append(capsys.readouterr().err)
    assert "with noise, the largest of 2 groups" in said[0] and said[0] == said[1]
    assert [entry["name"] for entry in open_ledger(run).list_draws()] == ["directions", "groups"]


def test_inspect_judges_a_bank_by_the_limits_of_a_release(
    encoded: Run, many_homes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed(encoded, many_homes, tmp_path, "bank.max_tracing_auc=0.9", "bank.min_members=5")
    capsys.readouterr()
    cli.run_command(["inspect", str(run.bank)])
    output = capsys.readouterr().out
    assert "release    refused: group" in output and "are below the minimum of 21" in output


def test_inspect_tells_sizes_bounds_and_draws_a_private_map(
    encoded: Run, many_homes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed(encoded, many_homes, tmp_path)
    assert "inference all: AUC" in capsys.readouterr().out
    cli.run_command(["inspect", str(run.bank)])
    output = capsys.readouterr().out
    sizes = Bank.load(run.bank).sizes
    assert f"{len(sizes)} of {min(sizes)} to {max(sizes)} entities, minimum group size 21" in output
    assert "every statement of the manifest holds" in output and "smallest groups: AUC" in output
    picture = run.folder / "bank-map.private.png"
    assert picture.stat().st_size > 5000
    assert picture.stat().st_mode & 0o777 == 0o600
    assert (run.clusters / "tracing.json").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in run.bank.iterdir()) == ["bank.safetensors", "manifest.json"]
    shutil.rmtree(run.clusters)
    cli.run_command(["inspect", str(run.bank)])
    assert "no map" in capsys.readouterr().out


def test_a_bank_of_few_probes_is_seen_through(encoded: Run, many_homes: Path, tmp_path: Path) -> None:
    """The attack tells a study's leak where it is: among those that are averaged."""
    study = ["bank.training=probes", "bank.probes=1", "bank.min_members=1", "clusters.count=6"]
    run = changed(encoded, many_homes, tmp_path, *study)
    attacks = {each["exposure"]: each for each in json.loads((run.clusters / "tracing.json").read_text())}
    assert attacks["averaged"]["members"] <= 6
    assert attacks["averaged"]["auc"] > attacks["all"]["auc"]


def test_channels_of_any_unit_count_alike_in_a_load(tmp_path: Path) -> None:
    """What a home has of a channel counts alike, whether it is in kWh or in Wh."""
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 1, (120, 168, 2)).astype(np.float32)
    values[:, :, 1] *= rng.lognormal(0, 1, (120, 1))
    found = []
    for name, unit in (("small", 1.0), ("large", 1000.0)):
        np.savez(tmp_path / f"{name}.npz", x=values * np.array([1, unit], np.float32))
        run = Run(tmp_path / name)
        chosen = [f"data.source={tmp_path / name}.npz", "encoder.patch=8", "model.patch=8"]
        assert main(["--run-dir", str(run.folder), *chosen, "--stages", "prepare"]) == 0
        found.append(compute_loads(TrainingData.open(run)))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    assert found[0].sum() == pytest.approx(2 * len(found[0]))
    assert found[0].std() > 0.3
