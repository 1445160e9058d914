"""A generator in the Hub's form: what reads it, what it must not hold, and when it is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import distgan
from distgan import config
from distgan.anonymity.bank import Bank
from distgan.anonymity.manifest import DPGuarantee, LedgerHead
from distgan.commands import hub, inspect_export, model_card, release
from distgan.data.another_year import find_year
from distgan.data.store.metadata import Axis, Meta
from distgan.errors import Mismatch, OverLimit, UserError
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.results import AttackedCounts, Evidence, ReleasePrivacy, Verdict
from distgan.files import private_files, read_json, write_json
from distgan.pipeline.digests import ARTEFACTS, digest_files
from distgan.pipeline.release_ledger import RELEASED, Attempt, ReleaseLedger
from distgan.run import HubFolder, Run
from tests.helpers.releases import CREDIT, code
from tests.helpers.settings import ROOT

SENTENCE = "Every attack stayed within its limit."


def let_pass(run: Run) -> None:
    """Write the records of a gate that let these series pass; a real pass needs thousands of owners."""
    settings = config.load(run.config)
    counts = AttackedCounts(candidate=12, earlier=0, sample=31, left_out=0)
    evidence = Evidence(members=43, non_members=13, synthetic=43, needed=3000)
    privacy = ReleasePrivacy(
        outcome="pass", sentence=SENTENCE, attacks=[], others=[], claims=["No copies."], evidence=evidence,
        attacked=counts,
    )  # fmt: skip
    verdict = Verdict(
        exit_code=0, answer="Yes", sentence=SENTENCE, attacked="43 series", checks=[], privacy=privacy,
        run=settings.identity, made="2026-11-29", maker="distgan",
    )  # fmt: skip
    release.save_verdict(verdict.to_json(), run.release_verdict)
    ledger = ReleaseLedger.open(run)
    ledger.keep_copy(run.synthetic)
    digests = {name: ARTEFACTS[name].digest(run) for name in ("synthetic", "generator", "split")}
    ledger.append(
        Attempt(
            RELEASED,
            0,
            digests["synthetic"],
            digests["generator"],
            digests["split"],
            seed=0,
            count=12,
            wished={},
            page=digest_files(run.release_verdict),
        )
    )


@pytest.fixture
def passed(mine: Run) -> Run:
    let_pass(mine)
    return mine


def test_distgan_reads_it_and_samples_the_same_series(passed: Run, tmp_path: Path) -> None:
    assert code("export", passed.folder, tmp_path / "shared") == 0
    ours, theirs = distgan.load(passed.folder), distgan.load(tmp_path / "shared")
    assert np.array_equal(ours.sample(7, seed=3), theirs.sample(7, seed=3))
    assert np.array_equal(ours.times(), theirs.times())
    assert theirs.meta.provenance["credit"] == CREDIT


def test_inspect_describes_it(passed: Run, tmp_path: Path) -> None:
    place = tmp_path / "shared"
    assert code("export", passed.folder, place) == 0
    made = inspect_export.run(HubFolder(place))
    assert "model gaussian, 674 parameters" in made.text
    assert "336 steps of 2 h from 2013-01-07T00:00:00: value" in made.text
    assert "1 group of 43 to 43 entities" in made.text
    assert (made.tree["length"], made.tree["groups"], made.tree["labels"]) == (336, 1, [])
    (place / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.json"):
        inspect_export.run(HubFolder(place))


def test_the_hub_reads_it(passed: Run, tmp_path: Path) -> None:
    assert code("export", passed.folder, tmp_path / "shared") == 0
    folder = HubFolder(tmp_path / "shared")
    card = ModelCard.load(folder.card)
    assert card.data.library_name == "distgan" and card.data.license == "other"
    assert "time-series" in card.data.tags and "private" not in card.data.tags
    for said in (CREDIT, SENTENCE, "- No copies.", "## Limits", "No attack with a limit used the weights"):
        assert said in card.text, said
    with safetensors.safe_open(folder.generator_weights, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    ours = load_file(passed.generator_weights)
    assert all(torch.equal(ours[name], value) for name, value in load_file(folder.generator_weights).items())
    facts = read_json(folder.hub_config)
    assert (facts["model_type"], facts["length"], facts["channels"]) == ("distgan", 336, ["value"])
    assert sorted(path.name for path in folder.folder.iterdir()) == [
        "README.md", "bank", "config.json", "config.yaml", "model.safetensors", "scaler.json",
    ]  # fmt: skip


def test_nothing_of_single_people_or_of_the_machine_is_in_it(
    passed: Run, homes_csv: Path, tmp_path: Path
) -> None:
    with private_files():
        assert code("export", passed.folder, tmp_path / "shared") == 0
    written = [path for path in (tmp_path / "shared").rglob("*") if path.suffix in (".json", ".yaml", ".md")]
    text = "".join(path.read_text() for path in written)
    for private in ("home-", homes_csv.name, str(passed.folder), "missing_stamps", "runs/"):
        assert private not in text, private
    inside = Bank.load(tmp_path / "shared" / "bank")
    assert set(inside.largest_share) == {inside.settings.max_share} and not inside.lowered.any()
    assert (tmp_path / "shared" / "README.md").stat().st_mode & 0o077  # for others to read


def test_what_is_exported_names_no_path_and_keeps_what_times_mean() -> None:
    public = [
        "privacy.end_to_end=true",
        "privacy.epsilon=4",
        "privacy.owners=2000",
        "privacy.public=runs/open",
    ]
    settings = config.load(
        ROOT / "configs" / "private.yaml",
        [*public, "generate.table=/home/me/wanted.csv", "generate.count=3", "seed=7"],
    )
    assert hub.make_public_settings(settings).seed == 0  # the split is a hash of ids under the seed
    text = hub.make_public_settings(settings).to_yaml()
    assert "/home" not in text and "runs/open" not in text and f"public: {hub.NO_SOURCE}" in text
    kept = {"years": [2012, 2013], "windows": {"length": 365}, "clock": "UTC"}
    axis = Axis("2012-01-01T00:00:00", 86400, 365)
    meta = Meta(axis, ("value",), "kWh", {**kept, "source": "homes.csv", "sha256": "0"}, {})
    assert hub.make_public_provenance(config.load(None), meta) == kept
    left = replace(meta, provenance={"years": kept["years"]})
    left = replace(meta, provenance=hub.make_public_provenance(config.load(None), left))
    with pytest.raises(UserError, match=r"start needs weekdays, and series of 2012 to 2013"):
        find_year(left, "2027-01-01", config.Data())


def test_scores_are_in_the_card_where_there_is_a_report(passed: Run, tmp_path: Path) -> None:
    assert code("export", passed.folder, tmp_path / "none") == 0
    assert (
        "The run has no report of its weights and series as they are now."
        in (tmp_path / "none" / "README.md").read_text()
    )


def test_scores_of_the_card_are_scores_of_the_report() -> None:
    assert set(model_card.SHOWN) <= set(BY_NAME) and "c2st" in model_card.SHOWN


@pytest.mark.slow
def test_scores_are_read_as_results(passed: Run, tmp_path: Path) -> None:
    assert code("evaluate", passed.folder, "evaluate.pictures=false") == 0
    assert code("export", passed.folder, tmp_path / "shared") == 0
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    rows = {row["name"]: row["values"] for row in read_json(passed.scores)["fidelity"]["rows"]}
    assert found["diversity"] == rows["model"]["diversity"]
    overall = {row["row"]: row["value"] for row in read_json(passed.scores)["overall"]}
    assert found["overall_score"] == overall["model"]
    assert f"| Overall score (1: like other real series) | {overall['model']:.3g} | " in card.text


def test_under_differential_privacy_no_function_of_real_series_leaves(passed: Run) -> None:
    settings = config.load(passed.config)
    private = settings.model_copy(update={"privacy": config.Privacy(epsilon=4.0)})
    assert hub.read_scores(private, passed) is None
    bank = Bank.load(passed.bank)
    guarantee = {"epsilon": 4.0, "delta": 1e-5, "multiplier": 9.0, "tracing_bound": 0.6, "clip": 3.0}
    held = DPGuarantee(**guarantee, insecure=False, ledger=LedgerHead(lines=3, digest="a" * 32))
    public = hub.make_public_bank(replace(bank, guarantee=held)).guarantee
    assert public is not None and public.ledger == LedgerHead(lines=1, digest="0" * 32)
    assert public.epsilon == 4.0


# --------------------------------------------------------------------------------------------------- refusals


def refusal(run: Run, place: Path, capsys: pytest.CaptureFixture[str], expected: int) -> str:
    assert code("export", run.folder, place) == expected
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and not place.exists()
    return message


def test_without_a_verdict_it_stays(mine: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(mine, tmp_path / "shared", capsys, 2)
    assert "was not judged yet; run distgan release" in message and "--private" in message


def test_a_refused_run_stays(passed: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = read_json(passed.release_verdict)
    write_json(passed.release_verdict, {**verdict, "exit_code": 4, "sentence": "Not enough evidence."})
    assert "the gate refused" in refusal(passed, tmp_path / "shared", capsys, 4)


def test_a_verdict_that_was_changed_stays(
    passed: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its words stand in the card; and a line of a release needs the copy of what left."""
    verdict = read_json(passed.release_verdict)
    write_json(passed.release_verdict, {**verdict, "sentence": "The series are proved to be anonymous."})
    assert "was changed since the gate wrote it" in refusal(passed, tmp_path / "shared", capsys, 5)
    write_json(passed.release_verdict, verdict)
    shutil.rmtree(passed.released)
    assert "differs from what was released" in refusal(passed, tmp_path / "shared", capsys, 5)


def test_other_weights_than_the_judged_ones_stay(
    passed: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A verdict that somebody copied from another run of the same config."""
    passed.release_ledger.unlink()
    assert "lines about releases are missing" in refusal(passed, tmp_path / "shared", capsys, 5)
    none = {"releases": ReleaseLedger.open(passed).read_head()}
    passed.finish("gan", **{**(passed.read_record("gan") or {}), **none})
    message = refusal(passed, tmp_path / "shared", capsys, 5)
    assert "is not the one that passed the gate" in message
    with open(passed.scaler, "a") as file:
        file.write(" ")
    assert "the scaler: not what the stage" in refusal(passed, tmp_path / "shared", capsys, 5)


def test_private_is_for_the_owner_alone(
    mine: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with private_files():
        assert code("export", mine.folder, tmp_path / "shared", "--private") == 0
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    assert "private" in card.data.tags and "it must not be published" in card.text
    assert not (tmp_path / "shared").stat().st_mode & 0o077
    assert distgan.load(tmp_path / "shared").sample(2).shape == (2, 336, 1)
    assert code("export", mine.folder, tmp_path / "other", "--private", "--networks") == 2
    assert "leave one of the two out" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--private"]])
def test_real_series_among_the_weights_never_leave(
    passed: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    command = ["--config", passed.config, "--run-dir", tmp_path / "copier", "model=bootstrap"]
    stages = "prepare,encoder,encode,cluster,bank,gan,generate"
    assert code("train", *command, "--stages", stages) == 0
    capsys.readouterr()
    assert code("export", tmp_path / "copier", tmp_path / "shared", *more) == 3
    message = capsys.readouterr().err
    assert "must stay private" in message and "keeps real series among its weights" in message
    assert not (tmp_path / "shared").exists()


@pytest.mark.parametrize("learned", ["data.scaling.whitening=0.5", "data.scaling.marginal=normal_scores"])
def test_numbers_of_all_real_series_are_not_published(learned: str) -> None:
    with pytest.raises(OverLimit, match=r"data\.scaling\.marginal .* identify members"):
        hub.refuse_joint_scaling(config.load(None, [learned, "data.scaling.scope=dataset"]))
    hub.refuse_joint_scaling(config.load(None, ["data.scaling.scope=dataset"]))


@pytest.mark.parametrize("name", ["generator_weights", "scaler"])
def test_what_a_training_replaces_during_the_export_does_not_leave(
    passed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The verdict is of what was there before."""

    def go_on(*given: object) -> str:
        place = getattr(passed, name)
        place.write_bytes(place.read_bytes() + b" ")
        return ""

    monkeypatch.setattr(hub, "format_card", go_on)
    with pytest.raises(Mismatch, match="replaced during the export"):
        hub.export(passed, tmp_path / "shared")
    assert not (tmp_path / "shared").exists()
