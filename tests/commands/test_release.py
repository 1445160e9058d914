"""The gate opens only for what may go, says why with an exit code, and leaves nothing half-written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distgan import config, models
from distgan.anonymity import manifest, private_bank
from distgan.anonymity.bank import Bank, make_bank
from distgan.anonymity.dp.bank import Budget
from distgan.anonymity.dp.ledger import Head
from distgan.anonymity.groups import GroupedSeries
from distgan.commands import attacked_series, release, release_rules
from distgan.commands.attacked_series import AttackedSeries
from distgan.data.store.private_table import find_private_table, read_table
from distgan.data.store.reader import Store
from distgan.evaluation.results import AttackedCounts, Evidence, ReleasePrivacy, Verdict
from distgan.files import read_json, write_text
from distgan.pipeline import attack, digests, evaluate, generate, owners, runner, sampler
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.release_ledger import ReleaseLedger
from distgan.pipeline.training_data import TrainingData, open_for_inference
from distgan.rng import draw_keyed_normal
from distgan.run import Run
from distgan.train import main
from tests.helpers.releases import CREDIT, UNNAMED, code, refused, verdict
from tests.leaks import leak_scenarios


def test_few_homes_are_too_little_evidence(mine: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """What was verified is printed, the attempt is remembered, and no id stands in the verdict."""
    assert "43 members against 13 non-members" in refused(mine, 4)
    output = capsys.readouterr()
    assert "Not enough evidence" in output.err
    assert output.err.count("distgan: ") == 1
    assert "P1    Copied windows" in output.out
    for line in (
        "were generated again and agree",
        "gan: the generator's weights as",
        "owners: 60, none",
    ):
        assert line in output.out, line
    assert verdict(mine)["privacy"]["attacked"] == {
        "candidate": 12,
        "earlier": 0,
        "sample": 31,
        "left_out": 0,
        "drawn": None,
        "beside": 0,
    }
    (entry,) = ReleaseLedger.open(mine).read_entries()
    assert (entry.verdict, entry.exit_code, entry.count) == ("refused", 4, 12)
    assert mine.release_ledger.stat().st_mode & 0o777 == 0o600
    for name in ("release-verdict.json", "release-verdict.html", "releases.jsonl"):
        assert "home-" not in (mine.folder / name).read_text()


PASSED = {
    "outcome": "pass",
    "sentence": "",
    "attacks": [],
    "others": [],
    "claims": [],
    "evidence": Evidence(members=0, non_members=0, synthetic=0, needed=0),
}


def test_labels_leave_with_their_series(mine: Run, tmp_path: Path) -> None:
    """Made anew of the bank: what stands in the run's own files does not leave."""
    bank = Bank.load(mine.bank)
    replace(bank, labels=("walk",) * bank.num_groups).save(mine.bank)
    write_text(mine.synthetic_labels, "label\nhome-007\n")
    write_text(mine.synthetic_attributes, "name\nhome-007\n")
    for place in (mine.synthetic, mine.synthetic / "values"):
        write_text(place / "notes.csv", "home-007")
    counts = AttackedCounts(candidate=0, earlier=0, sample=0, left_out=0)
    privacy = ReleasePrivacy(**PASSED, attacked=counts)
    said = Verdict(
        exit_code=0,
        answer="Yes",
        sentence="",
        attacked="",
        checks=[],
        privacy=privacy,
        run="",
        made="",
        maker="",
    )
    judged = release.digest_parts(mine)
    release.write_release(tmp_path / "out", said, config.load(mine.config), mine, judged)
    name = mine.synthetic_labels.name
    rows = [f"synthetic-{place:06d},walk\n" for place in range(12)]
    assert (tmp_path / "out" / name).read_text() == "id,label\n" + "".join(rows)
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"home-007" not in content and not (tmp_path / "out" / mine.synthetic_attributes.name).exists()
    assert name in read_json(tmp_path / "out" / "verdict.json")["files"]
    assert name in (tmp_path / "out" / "README.txt").read_text()


def test_the_gates_random_choices_do_not_follow_evaluate_seed(
    mine: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else who is refused could try other seeds until a limit is just met."""
    seen: list[int] = []
    monkeypatch.setattr(
        release, "run_attacks", lambda context, **given: seen.append(context.settings.evaluate.seed)
    )
    for seed in (0, 1):
        settings = config.load(mine.config).with_values({"evaluate.seed": seed}, "test")
        context = PipelineContext(settings, mine, open_for_inference(settings))
        release.attack(context, AttackedSeries.gather(context))
    assert seen == [int(digests.ARTEFACTS["generator"].digest(mine)[:15], 16)] * 2


@pytest.mark.parametrize("private", [False, True])
def test_no_digest_of_what_stays_leaves(mine: Run, tmp_path: Path, private: bool) -> None:
    """Whoever guesses the split, a series or the points could check the guess; nor do exact counts leave."""
    settings = config.load(mine.config)
    chosen = AttackedSeries.gather(PipelineContext(settings, mine, open_for_inference(settings)))
    found = release.attack(PipelineContext(settings, mine, open_for_inference(settings)), chosen)
    assert found is not None
    bank = Bank.load(mine.bank)
    if private:
        budget = Budget(config.Privacy(epsilon=8.0, delta=1e-3), 4)
        settings = settings.model_copy(update={"privacy": budget.settings})
        guarantee = private_bank.make_guarantee(budget, Head(2, "a" * 32))
        replace(bank, guarantee=guarantee).save(mine.bank)
    said = Verdict(
        exit_code=0,
        answer="Yes",
        sentence=found.sentence,
        attacked=attacked_series.describe_counts(chosen.facts),
        checks=[release.run_audit("owners are people", lambda: owners.audit_owners(mine)).to_result()],
        privacy=ReleasePrivacy(**dict(found), attacked=chosen.facts),
        run=settings.identity,
        made="",
        maker="",
    )
    judged = release.digest_parts(mine)
    release.write_release(tmp_path / "out", said, settings, mine, judged)
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    stays = [name for name in digests.ARTEFACTS if name not in ("synthetic", "labels")]
    secrets = [digests.ARTEFACTS[name].digest(mine) for name in stays]
    secrets += [*read_json(mine.bank / manifest.MANIFEST)["sha256"].values(), "a" * 32]
    secrets += settings.identities.values()  # hashes of settings, the seed among them
    assert not [digest for digest in secrets if digest[:12].encode() in content]
    words = (tmp_path / "out" / "README.txt").read_text()
    output = read_json(tmp_path / "out" / "verdict.json")
    assert ("43 members" in words + json.dumps(output)) == (not private)
    assert ("Counts of people" in words) == private
    if private:
        claims = " ".join(attack.state_guarantees(Bank.load(mine.bank), settings))
        assert "clipped at length 2, asinh(location / scale) to -2.5 .. 2.5" in claims
        assert "Taken as given: the scaler and the encoder, both fitted to all training series" in claims
        assert output["checks"][0]["verified"] == []
        assert not [each for each in output["privacy"]["attacks"] if each["n"] is not None]


def test_a_mean_of_few_owners_is_refused(mine: Run) -> None:
    """Entities may be years of one counter, or recordings of one patient."""
    bank = Bank.load(mine.bank)
    assert bank.owners == tuple(bank.effective)
    replace(bank, owners=(bank.minimum_group_size - 1,) * bank.num_groups).save(mine.bank)
    assert (
        f"a mean covers {bank.minimum_group_size - 1} effective owners, below the minimum of"
        in broken_rule(mine)
    )
    replace(bank, owners=()).save(mine.bank)
    assert "the bank does not record owners" in broken_rule(mine)


def broken_rule(run: Run) -> str:
    """Of a bank that was put there afterwards, which the chain of digests would refuse before."""
    broken = [check for check in release.check_rules(config.load(run.config), run) if check.broken]
    assert [check.exit_code for check in broken] == [3]
    return broken[0].broken


def test_whose_data_it_is_stands_with_what_leaves(run: Run) -> None:
    """In the synthetic store, in the release's README and in the report."""
    settings = config.load(run.config)
    assert Store.open(run.synthetic).meta.provenance["credit"] == CREDIT
    said = {"privacy": {"claims": []}, "sentence": "", "maker": "", "run": "", "made": ""}
    assert f"The real data: {CREDIT}\n" in release.format_readme(said, settings, run, "csv")
    table = read_table(find_private_table(run.series))
    meta = Store.open(run.series).meta
    assert evaluate.collect_facts(settings, run, meta, table, {}).credit == CREDIT
    later = settings.with_values({"data.credit": "Another"})  # told after `prepare`
    assert "The real data: Another\n" in release.format_readme(said, later, run, "csv")
    assert evaluate.collect_facts(later, run, meta, table, {}).credit == "Another"


def test_series_that_are_their_training_series_are_over(mine: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that repeats what it was trained on, though all files fit."""
    settings = repeat_members(mine, monkeypatch)
    assert "copied windows (P1)" in refused(mine, 3)
    chosen = AttackedSeries.gather(PipelineContext(settings, mine, open_for_inference(settings)))
    assert chosen.facts == AttackedCounts(candidate=12, earlier=0, sample=31, left_out=0)
    other = settings.with_values({"generate.seed": 5, "generate.count": 2}, "test")
    write_text(mine.config, other.to_yaml())
    runner.run(other, mine, ("generate",))
    chosen = AttackedSeries.gather(PipelineContext(other, mine, open_for_inference(other)))
    # what was refused is not forgotten
    assert chosen.facts == AttackedCounts(candidate=2, earlier=12, sample=41, left_out=0)
    data = TrainingData.open(mine)
    members = data.store.read_rows(data.rows)
    assert max(np.nanmax(np.abs(members - made), axis=(1, 2)).min() for made in chosen.values) < 1e-4


def repeat_members(mine: Run, monkeypatch: pytest.MonkeyPatch) -> config.Config:
    """Let the run generate training series again, chosen by the noise, and record that as a run would."""
    settings, data = config.load(mine.config), TrainingData.open(mine)
    series = data.read_scaled(0, data.num_series)[0]
    attributes = data.attributes

    class Repeating(torch.nn.Module):
        def forward(self, noise: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            return series[which(noise)]

    def which(noise: torch.Tensor) -> torch.Tensor:
        return (noise[:, 0].double() * 1e6).long().abs() % len(series)

    def draw(self: sampler.Sampler, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        noise = draw_keyed_normal(self.seed, 0, "generation", torch.from_numpy(rows), (1,))
        return self.generator(noise, noise).numpy(), attributes[which(noise).numpy()]

    monkeypatch.setattr(generate, "load_generator", lambda *given: Repeating())
    monkeypatch.setattr(sampler.Sampler, "draw", draw)
    mine.record("generate").unlink()
    runner.run(settings, mine, ("generate",))
    return settings


# --------------------------------------------------------------------------------- the ledger of releases


def test_a_studys_bank_never_leaves(mine: Run) -> None:
    rng = np.random.default_rng(0)
    attributes = np.stack([rng.normal(0, 1, (40, 1)), rng.uniform(1, 2, (40, 1))], axis=-1)
    settings = config.Bank(condition_dim=2, training="probes", min_members=2)
    bank = make_bank(
        GroupedSeries(rng.standard_normal((40, 2)), np.ones(40), np.arange(40) % 2), attributes, settings
    )
    shutil.rmtree(mine.bank)
    bank.save(mine.bank)
    assert any(
        "for research only" in check.broken for check in release.check_rules(config.load(mine.config), mine)
    )


def test_a_lax_limit_of_the_config_does_not_help(mine: Run) -> None:
    rng = np.random.default_rng(0)
    attributes = np.stack([rng.normal(0, 1, (40, 1)), rng.uniform(1, 2, (40, 1))], axis=-1)
    settings = config.Bank(condition_dim=2, min_members=3, max_tracing_auc=0.95)
    bank = make_bank(
        GroupedSeries(rng.standard_normal((40, 2)), np.ones(40), np.arange(40) % 8), attributes, settings
    )
    shutil.rmtree(mine.bank)
    bank.save(mine.bank)
    assert any("below the" in check.broken for check in release.check_rules(config.load(mine.config), mine))


def test_a_generator_that_keeps_real_series_is_refused(mine: Run) -> None:
    settings = config.load(mine.config)
    kept = settings.model_copy(update={"model": config.Bootstrap()})
    broken = [check for check in release.check_rules(kept, mine) if check.broken]
    assert [(check.name, check.exit_code) for check in broken] == [("a generator without real series", 3)]


@pytest.mark.parametrize("share", [1 / 43, 15 / 43, 1])
def test_a_part_of_the_generator_of_few_owners_is_refused(
    mine: Run, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """A template of one home is its series, whatever the bank's groups."""
    monkeypatch.setattr(models, "find_smallest_share", lambda generator: share)
    if share >= 15 / 43:
        assert not any(check.broken for check in release.check_rules(config.load(mine.config), mine))
    else:
        assert "keeps numbers of 1.0 owners among its weights, below the minimum of 15" in broken_rule(mine)


def test_an_owner_in_many_groups_is_one_behind_a_part_of_the_generator(
    mine: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of 43 homes in ten groups are no 430 owners."""
    monkeypatch.setattr(models, "find_smallest_share", lambda generator: 1 / 10)
    bank = Bank.load(mine.bank)
    everywhere = replace(bank, owners=(43,) * 10)
    assert "keeps numbers of 4.3 owners" in release_rules.check_parts(
        config.load(mine.config), mine, everywhere
    )


def test_of_too_many_owners_a_random_part_is_attacked(run: Run) -> None:
    data = TrainingData.open(run, ("train",))
    some = attack.sample_owners(data, run, "train", 10, seed=0, limit=1)
    assert (some.num_series, len(set(some.rows))) == (10, 10)
    assert set(some.rows) <= set(data.rows)
    assert attack.find_series_limit(data, run, 10) == 1
    assert attack.find_series_limit(data, run, data.num_series) is None


def test_members_and_non_members_are_attacked_with_as_many_series_each(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of twelve members with three series each one is taken, as there are too many: so of four non-members.
    With one against three, an honest release had an AUC of .23 in place of .5.
    """
    data = TrainingData.open(run, ("train",))
    parts = {"train": data.rows[:36], "held_out": data.rows[:12], "reference": data.rows[:6]}
    monkeypatch.setattr(
        TrainingData,
        "open",
        lambda run, splits: replace(data, rows=parts[splits[0]]),  # their other facts stay
    )
    monkeypatch.setattr(attack, "read_owners", lambda data, run: np.arange(data.num_series) // 3)
    context = PipelineContext(config.load(run.config), run, None)  # type: ignore[arg-type]
    sides = attack.sample_sides(context, most=20)
    for name, count in (("train", 12), ("held_out", 4)):
        places = np.searchsorted(parts[name], sides[name].rows)
        assert sorted(places // 3) == list(range(count)), name  # every owner, once
    assert sides["reference"].num_series == 6
    assert [side.num_series for side in attack.sample_sides(context, most=36).values()] == [36, 12, 6]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no run folder"),
        ([], "needs RUN, e.g. distgan release runs/demo"),
        (["{run}", "--into", "x"], "has no option --into"),
        (["{run}", "--to", "{run}"], "exists already"),
    ],
)
def test_wrong_input_is_one_line(
    mine: Run, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code("release", *(text.format(run=mine.folder) for text in arguments)) == 2
    output = capsys.readouterr().err
    assert words in output
    assert output.count("\n") == 1


def test_a_run_without_series_is_told_which_stage(mine: Run, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(mine.synthetic)
    assert code("release", mine.folder) == 2
    assert "--stages generate" in capsys.readouterr().err


PRIVATE = ["privacy.epsilon=2", "privacy.delta=1e-6", "privacy.log_rms_range=[-3, 3]"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "private", [(), PRIVATE, [*PRIVATE, "privacy.clip=0.8"]], ids=["plain", "private", "clipped"]
)
def test_an_honest_run_of_thousands_is_released(tmp_path: Path, private: list[str]) -> None:
    """6,800 made homes, half of them held out, through the real stages: verdict, series, manifest, README;
    also under differential privacy, and where it clips most latents.
    """
    rng = np.random.default_rng(5)
    homes = leak_scenarios.draw_series(leak_scenarios.draw_homes(6800, rng), 168, rng)[..., 0]
    np.savez(tmp_path / "made.npz", x=homes, ids=np.array([f"made-{home}" for home in range(6800)]))
    settings = [
        f"data.source={tmp_path / 'made.npz'}",
        "data.splits={train: 0.46, held_out: 0.46, reference: 0.08}",
        "data.scaling={transform: log1p, lower_bound: 0}",
        "encoder={patch: 24, width: 16, depth: 1, heads: 2, latent_dim: 4, steps: 60, batch_size: 64}",
        "bank.condition_dim=2",
        "clusters.count=8",
        "model=gaussian",
        "generate={count: 600, batch_size: 200, format: csv}",
        "engine.threads=1",
        *private,
    ]
    folder, place = tmp_path / "run", tmp_path / "out" / "release"
    assert main(["--run-dir", str(folder), *settings, *UNNAMED]) == 0
    assert code("release", folder, "--to", place) == 0
    assert {path.name for path in place.iterdir()} == {
        "synthetic.csv",
        "bank-manifest.json",
        "verdict.json",
        "verdict.html",
        "README.txt",
    }
    output = json.loads((place / "verdict.json").read_text())
    assert (output["exit_code"], output["privacy"]["outcome"]) == (0, "pass")
    assert output["files"]["synthetic.csv"] == release.hash_file(place / "synthetic.csv")
    assert "What is not promised" in (place / "README.txt").read_text()
    assert not [path for path in place.iterdir() if b"made-1" in path.read_bytes()]
    if private:
        own = json.loads((folder / "release-verdict.json").read_text())
        tracing = {each["id"]: each for each in own["privacy"]["attacks"]}["P6b"]
        assert tracing["high"] < tracing["limit"] < 0.63
        assert not any(each["high"] for each in output["privacy"]["attacks"])  # those are not private
        assert "ledger" not in read_json(place / "bank-manifest.json")["privacy"]
        assert f"{own['privacy']['evidence']['members']:,}" in own["sentence"]
        assert output["privacy"]["evidence"]["members"] is None
        (folder / "privacy-ledger.jsonl").unlink()
        assert code("release", folder, "--to", tmp_path / "again") == 5
    assert code("release", folder, "--to", place) == 2  # never written over
