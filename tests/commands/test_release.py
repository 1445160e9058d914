"""The gate opens only for what may go, says why with an exit code, and leaves nothing half-written."""

import html
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distgan import cli, config, errors
from distgan.anonymity import manifest, private_bank
from distgan.anonymity.bank import Bank, make_bank
from distgan.anonymity.dp.bank import Budget
from distgan.anonymity.dp.ledger import Head, Query
from distgan.commands import attacked_series, release
from distgan.commands.attacked_series import AttackedSeries
from distgan.data.store.private_table import private_table, read_table
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.evaluation.attacks import leak_scenarios
from distgan.files import read_json, read_tensors, write_tensors, write_text
from distgan.pipeline import attack, binding, evaluate, generate, owners, runner
from distgan.pipeline.private_ledger import audit_ledger, open_ledger
from distgan.pipeline.release_ledger import ReleaseLedger
from distgan.pipeline.training_data import TrainingData, open_for_inference
from distgan.rng import keyed_normal
from distgan.run import Run
from distgan.train import main
from tests.helpers.settings import TINY

CREDIT = "Homes of Our Town, CC BY 4.0"
QUICK = [*TINY, "model=gaussian", "encoder.steps=3", f"data.credit={CREDIT}"]
UNNAMED = ["--stages", "prepare,encoder,encode,cluster,bank,gan,generate"]


@pytest.fixture(scope="module")
def run(homes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without networks to train; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    tiny = [text for text in QUICK if not text.startswith(("model.patch", "model.gen", "model.disc"))]
    assert main(["--run-dir", str(folder), f"data.source={homes_csv}", *tiny, *UNNAMED]) == 0
    return Run(folder)


@pytest.fixture
def mine(run: Run, tmp_path: Path) -> Run:
    shutil.copytree(run.folder, tmp_path / "run")
    return Run(tmp_path / "run")


def code(*arguments: object) -> int:
    return errors.answer(lambda: cli.command([str(each) for each in arguments]))


def verdict(run: Run) -> dict[str, object]:
    return read_json(run.folder / "release-verdict.json")


def refused(run: Run, expected: int) -> str:
    """The verdict's sentence of a release that ended with the code and wrote nothing else."""
    assert code("release", run.folder) == expected
    assert not (run.folder / "release").exists()
    found = verdict(run)
    assert found["exit_code"] == expected
    assert str(found["sentence"])[:60] in html.unescape((run.folder / "release-verdict.html").read_text())
    return str(found["sentence"])


def test_few_homes_are_too_little_evidence(mine: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """What was verified is printed, the attempt is remembered, and no id stands in the verdict."""
    assert "43 members against 13 strangers" in refused(mine, 4)
    told = capsys.readouterr()
    assert "Not enough evidence" in told.err
    assert told.err.count("distgan: ") == 1  # beside lines of progress
    assert "P1    Copied windows" in told.out
    for line in (
        "were generated again and agree",
        "gan: the generator's weights as",
        "owners: 60, none",
    ):
        assert line in told.out, line
    assert verdict(mine)["privacy"]["attacked"] == {
        "candidate": 12,
        "earlier": 0,
        "sample": 31,
        "left_out": 0,
    }
    (entry,) = ReleaseLedger.open(mine).entries()
    assert (entry["verdict"], entry["exit_code"], entry["count"]) == ("refused", 4, 12)
    assert mine.release_ledger.stat().st_mode & 0o777 == 0o600
    for name in ("release-verdict.json", "release-verdict.html", "releases.jsonl"):
        assert "home-" not in (mine.folder / name).read_text()


def test_labels_leave_with_their_series(mine: Run, tmp_path: Path) -> None:
    write_text(mine.synthetic_labels, "label\nwalk\n")
    privacy = {"claims": [], "attacks": [], "others": [], "evidence": {}, "outcome": "pass", "sentence": ""}
    said = {"privacy": privacy, "sentence": "", "maker": "", "run": "", "made": "", "attacked": ""}
    release.write_release(
        tmp_path / "out", {**said, "checks": [], "exit_code": 0}, config.load(mine.config), mine
    )
    name = mine.synthetic_labels.name
    assert (tmp_path / "out" / name).read_text() == "label\nwalk\n"
    assert name in read_json(tmp_path / "out" / "verdict.json")["files"]
    assert name in (tmp_path / "out" / "README.txt").read_text()


@pytest.mark.parametrize("private", [False, True])
def test_no_digest_of_what_stays_leaves(mine: Run, tmp_path: Path, private: bool) -> None:
    """Whoever guesses the split, a series or the points could check the guess; nor do exact counts leave."""
    settings = config.load(mine.config)
    chosen = AttackedSeries.gather(settings, mine, open_for_inference(settings))
    found = release.attack(settings, mine, open_for_inference(settings), chosen.values)
    assert found is not None
    bank = Bank.load(mine.bank)
    if private:
        budget = Budget(config.Privacy(epsilon=8.0, delta=1e-3, insecure_seed=0), 4)
        settings = settings.model_copy(update={"privacy": budget.settings})
        promise = private_bank.make_guarantee(budget, Head(2, "a" * 32))
        replace(bank, promise=promise).save(mine.bank)
    said = {
        "exit_code": 0,
        "sentence": found["sentence"],
        "attacked": attacked_series.describe_counts(chosen.facts),
        "checks": [release.audited("owners are people", lambda: owners.audit_owners(mine)).told()],
        "privacy": {**found, "attacked": chosen.facts},
        "run": settings.identity,
        "made": "",
        "maker": "",
    }
    release.write_release(tmp_path / "out", said, settings, mine)
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    stays = [name for name in binding.ARTEFACTS if name not in ("synthetic", "labels")]
    digests = [binding.ARTEFACTS[name].digest(mine) for name in stays]
    digests += [*read_json(mine.bank / manifest.MANIFEST)["sha256"].values(), "a" * 32]
    assert not [digest for digest in digests if digest[:12].encode() in content]
    words = (tmp_path / "out" / "README.txt").read_text()
    told = read_json(tmp_path / "out" / "verdict.json")
    assert ("43 members" in words + json.dumps(told)) == (not private)
    assert ("about 40 members" in words) == ("are rounded to two" in words) == private
    if private:
        assert "about 60, none" in told["checks"][0]["verified"][0]
        assert not [each for each in told["privacy"]["attacks"] if each["n"] % 10]


def test_a_mean_of_few_owners_is_refused(mine: Run) -> None:
    """Entities may be years of one counter, or recordings of one patient."""
    bank = Bank.load(mine.bank)
    assert bank.owners == tuple(bank.effective)
    replace(bank, owners=(bank.floor - 1,) * bank.num_groups).save(mine.bank)
    assert f"a mean covers {bank.floor - 1} effective owners, below the minimum of" in broken_rule(mine)
    replace(bank, owners=()).save(mine.bank)
    assert "the bank does not record owners" in broken_rule(mine)


def broken_rule(run: Run) -> str:
    """Of a bank that was put there afterwards, which the chain of digests would refuse before."""
    broken = [check for check in release.rules(config.load(run.config), run) if check.broken]
    assert [check.exit_code for check in broken] == [3]
    return broken[0].broken


def test_whose_data_it_is_stands_with_what_leaves(run: Run) -> None:
    """In the synthetic store, in the release's README and in the report."""
    settings = config.load(run.config)
    assert Store.open(run.synthetic).meta.provenance["credit"] == CREDIT
    said = {"privacy": {"claims": []}, "sentence": "", "maker": "", "run": "", "made": ""}
    assert f"The real data: {CREDIT}\n" in release.format_readme(said, settings, run, "csv")
    table = read_table(private_table(run.series))
    meta = Store.open(run.series).meta
    assert evaluate.collect_facts(settings, run, meta, table, {}).credit == CREDIT
    later = settings.with_values({"data.credit": "Another"})  # told after `prepare`
    assert "The real data: Another\n" in release.format_readme(said, later, run, "csv")
    assert evaluate.collect_facts(later, run, meta, table, {}).credit == "Another"


def test_series_that_are_their_training_series_are_over(mine: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that repeats what it was trained on, though all files fit."""
    settings = repeat_members(mine, monkeypatch)
    assert "copied windows (P1)" in refused(mine, 3)
    chosen = AttackedSeries.gather(settings, mine, open_for_inference(settings))
    assert chosen.counts == {"candidate": 12, "earlier": 0, "sample": 31}
    other = settings.with_values({"generate.seed": 5, "generate.count": 2}, "test")
    write_text(mine.config, other.to_yaml())
    runner.run(other, mine, ("generate",))
    chosen = AttackedSeries.gather(other, mine, open_for_inference(other))
    assert chosen.counts == {"candidate": 2, "earlier": 12, "sample": 41}  # what was refused is not forgotten
    data = TrainingData.open(mine)
    members = data.store.rows(data.rows)
    assert max(np.nanmax(np.abs(members - made), axis=(1, 2)).min() for made in chosen.values) < 1e-4


def repeat_members(mine: Run, monkeypatch: pytest.MonkeyPatch) -> config.Config:
    """Let the run generate training series again, chosen by the noise, and record that as a run would."""
    settings, data = config.load(mine.config), TrainingData.open(mine)
    series = data.scaled(0, data.num_series)[0]
    attributes = data.attributes

    class Repeating(torch.nn.Module):
        def forward(self, noise: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            return series[which(noise)]

    def which(noise: torch.Tensor) -> torch.Tensor:
        return (noise[:, 0].double() * 1e6).long().abs() % len(series)

    def draw(self: generate.Sampler, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        noise = keyed_normal(self.seed, 0, "generation", torch.from_numpy(rows), (1,))
        return self.generator(noise, noise).numpy(), attributes[which(noise).numpy()]

    monkeypatch.setattr(generate, "load_generator", lambda *given: Repeating())
    monkeypatch.setattr(generate.Sampler, "draw", draw)
    mine.record("generate").unlink()
    runner.run(settings, mine, ("generate",))
    return settings


# ---------------------------------------------------------------------------- what was trained on what


def resign(mine: Run, *stages_signed: str) -> None:
    """As someone does who knows of the digests, but not of all of them."""
    for stage in stages_signed:
        record = mine.done(stage)
        record["digests"]["made"] = binding.digest_outputs(stage, mine)
        mine.record(stage).write_text(json.dumps(record))


def swap_split(mine: Run) -> None:
    table = private_table(mine.series)
    text = table.read_text().replace(",train", ",x").replace(",holdout", ",train").replace(",x", ",holdout")
    table.write_text(text)


def put_members(mine: Run, count: int = 12) -> None:
    """Replace so many of the synthetic series by training series."""
    data, store = TrainingData.open(mine), Store.open(mine.synthetic)
    values = store.rows(np.arange(store.num_series))
    values[:count] = np.nan_to_num(data.store.rows(data.rows[:count]))
    meta = store.meta
    shutil.rmtree(mine.synthetic)
    with StoreWriter(mine.synthetic, meta) as writer:
        writer.append(values)


def swap_weights(mine: Run) -> None:
    path = mine.gan / "generator.safetensors"
    write_tensors(path, {name: values * 1.01 for name, values in read_tensors(path).items()})


def widen_scaler(mine: Run) -> None:
    scaler = read_json(mine.scaler)
    scaler["scaler"]["bound"] *= 2
    mine.scaler.write_text(json.dumps(scaler))


def put_another_bank(mine: Run) -> None:
    bank = Bank.load(mine.bank)
    replace(bank, conditions=bank.conditions + np.float32(0.01)).save(mine.bank)


@pytest.mark.parametrize(
    ("change", "signed", "words"),
    [
        (swap_split, (), "the split table: not what the stage prepare made"),
        (swap_split, ("prepare",), "the split table: not what the stage encoder read"),
        (put_members, (), "the synthetic series: not what the stage generate made"),
        (put_members, ("generate",), "12 of 12 series"),
        (lambda mine: put_members(mine, 1), ("generate",), "1 of 12 series"),
        (swap_weights, (), "the generator's weights: not what the stage gan made"),
        (swap_weights, ("gan",), "the generator's weights: not what the stage generate read"),
        (widen_scaler, ("prepare",), "the scaler: not what the stage encoder read"),
        (put_another_bank, ("bank",), "the bank: not what the stage gan read"),
        (lambda mine: mine.record("cluster").unlink(), (), "cluster.json is missing"),
    ],
)
def test_files_that_do_not_belong_together_are_a_mismatch(
    mine: Run, change: Callable[[Run], None], signed: tuple[str, ...], words: str
) -> None:
    change(mine)
    resign(mine, *signed)
    assert words in refused(mine, 5)


def test_series_generated_again_are_the_same_whatever_their_neighbours(run: Run) -> None:
    settings = config.load(run.config)
    store, parallel = Store.open(run.synthetic), open_for_inference(settings)
    rows = np.array([7, 2, 11])
    again = generate.regenerate(settings, run, Bank.load(run.bank), parallel, rows)
    assert attacked_series.agree(store.rows(rows), again).all()
    assert not attacked_series.agree(1.05 * store.rows(rows), again).any()
    assert not attacked_series.agree(store.rows(rows[::-1]), again)[[0, 2]].any()
    counts = np.random.default_rng(0).integers(0, 2, (2, 300, 1)).astype(np.float32)
    other = counts.copy()
    other[0, :3] += 1
    other[1, :30] += 1
    assert attacked_series.agree(other, counts, integer=True).tolist() == [True, False]


def test_owners_with_near_copies_are_a_mismatch(mine: Run) -> None:
    """340 homes under 20 ids each are 340 owners."""
    assert "owners: 60" in owners.audit_owners(mine)
    store = Store.open(mine.series)
    values, meta = store.rows(np.arange(60)), store.meta
    values[20:40] = 1.2 * values[:20] + 0.1
    values[40:] = np.roll(values[:20], 7, axis=1)
    shutil.rmtree(mine.series)
    with StoreWriter(mine.series, meta) as writer:
        writer.append(values)
    with pytest.raises(errors.Mismatch, match="counts 40 owners too many"):
        owners.audit_owners(mine)


# --------------------------------------------------------------------------------- the ledger of releases


def test_what_has_left_is_attacked_with_what_is_to_leave(mine: Run) -> None:
    settings = config.load(mine.config)
    release.remember({"exit_code": 0}, settings, mine)
    first = Store.open(mine.synthetic).rows(np.arange(12))
    other = settings.with_values({"generate.seed": 1, "generate.count": 5}, "test")
    write_text(mine.config, other.to_yaml())
    runner.run(other, mine, ("generate",))
    release.remember({"exit_code": 4}, other, mine)
    chosen = AttackedSeries.gather(other, mine, open_for_inference(other))
    assert chosen.counts == {"candidate": 5, "earlier": 12, "sample": 38}
    np.testing.assert_array_equal(chosen.values[5:17], first)
    again = AttackedSeries.gather(other, mine, open_for_inference(other))
    np.testing.assert_array_equal(chosen.values, again.values)  # no better luck with another attempt
    files = [path for path in [mine.released, *mine.released.rglob("*")] if path.stat().st_mode & 0o077]
    assert not files


def cut_last(mine: Run) -> None:
    lines = mine.release_ledger.read_text().splitlines(keepends=True)
    mine.release_ledger.write_text("".join(lines[:-1]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda mine: mine.release_ledger.unlink(), "lines about releases are missing"),
        (cut_last, "lines about releases are missing"),
        (
            lambda mine: mine.release_ledger.write_text(
                mine.release_ledger.read_text().replace('"released"', '"refused"')
            ),
            "so earlier releases are unknown",
        ),
        (lambda mine: shutil.rmtree(mine.released), "differs from what was released"),
        (lambda mine: mine.release_ledger.write_bytes(b"\xff"), "is not text"),
    ],
)
def test_a_ledger_of_releases_that_forgets_is_a_mismatch(
    mine: Run, change: Callable[[Run], None], words: str
) -> None:
    settings = config.load(mine.config)
    for exit_code in (0, 3):
        release.remember({"exit_code": exit_code}, settings, mine)
    assert "2 attempts, 1 of them released" in ReleaseLedger.open(mine).audit()
    change(mine)
    assert words in refused(mine, 5)


def test_a_damaged_bank_is_a_mismatch(mine: Run) -> None:
    tensors = mine.bank / manifest.TENSORS
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\1")
    assert "the bank's manifest: " in refused(mine, 5)
    assert verdict(mine)["privacy"] is None


def test_a_changed_ledger_is_a_mismatch(mine: Run) -> None:
    mine.ledger.write_text('{"before": "other"}\n')
    assert "ledger" in refused(mine, 5)


def test_a_private_banks_ledger_must_add_up_to_its_promise(mine: Run) -> None:
    pytest.importorskip("dp_accounting")
    private = config.Privacy(epsilon=8.0, delta=1e-3, insecure_seed=0)
    settings = config.load(mine.config).model_copy(update={"privacy": private})
    with pytest.raises(errors.Mismatch, match=r"do not both set privacy\.epsilon"):
        audit_ledger(settings, mine)
    budget, bank = Budget(private, 4), Bank.load(mine.bank)
    multipliers = {"directions": budget.directions_multiplier, "groups": budget.sums_multiplier}

    def promise_of_the_head() -> None:
        replace(bank, promise=private_bank.make_guarantee(budget, open_ledger(mine).head())).save(mine.bank)

    for name, multiplier in multipliers.items():
        query = Query(name, multiplier, "data", "settings")
        open_ledger(mine).draw(query, budget, lambda: {"sums": np.zeros(1)})
        promise_of_the_head()
        if name == "directions":
            with pytest.raises(errors.Mismatch, match="adds up to"):
                audit_ledger(settings, mine)
    audit_ledger(settings, mine)
    lax = settings.model_copy(update={"privacy": private.model_copy(update={"epsilon": 16.0})})
    with pytest.raises(errors.Mismatch, match="but the bank was made with"):
        audit_ledger(lax, mine)
    for damage in (lambda path: path.write_text(path.read_text()[:-9]), Path.unlink):
        damage(mine.ledger)
        with pytest.raises(errors.Mismatch, match="it was cut off or deleted"):
            audit_ledger(settings, mine)


def test_another_config_than_the_series_were_made_with_is_a_mismatch(mine: Run) -> None:
    settings = config.load(mine.config)
    other = settings.model_copy(update={"generate": settings.generate.model_copy(update={"seed": 9})})
    write_text(mine.config, other.to_yaml())
    assert f"run distgan generate {mine.folder} again" in refused(mine, 5)


def test_a_damaged_chunk_is_a_mismatch(mine: Run) -> None:
    shard = max(
        (path for path in mine.synthetic.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)
    assert "the synthetic series: " in refused(mine, 5)


def test_a_studys_bank_never_leaves(mine: Run) -> None:
    rng = np.random.default_rng(0)
    attributes = np.stack([rng.normal(0, 1, (40, 1)), rng.uniform(1, 2, (40, 1))], axis=-1)
    settings = config.Bank(condition_dim=2, training="probes", min_members=2)
    bank = make_bank(rng.standard_normal((40, 2)), attributes, np.ones(40), np.arange(40) % 2, settings)
    shutil.rmtree(mine.bank)
    bank.save(mine.bank)
    assert any("for study only" in check.broken for check in release.rules(config.load(mine.config), mine))


def test_a_lax_limit_of_the_config_does_not_help(mine: Run) -> None:
    rng = np.random.default_rng(0)
    attributes = np.stack([rng.normal(0, 1, (40, 1)), rng.uniform(1, 2, (40, 1))], axis=-1)
    settings = config.Bank(condition_dim=2, min_members=3, max_tracing_auc=0.95)
    bank = make_bank(rng.standard_normal((40, 2)), attributes, np.ones(40), np.arange(40) % 8, settings)
    shutil.rmtree(mine.bank)
    bank.save(mine.bank)
    assert any("below the" in check.broken for check in release.rules(config.load(mine.config), mine))


def test_a_generator_that_keeps_real_series_is_refused(mine: Run) -> None:
    settings = config.load(mine.config)
    kept = settings.model_copy(update={"model": config.Bootstrap()})
    broken = [check for check in release.rules(kept, mine) if check.broken]
    assert [(check.name, check.exit_code) for check in broken] == [("a generator without real series", 3)]


def test_of_too_many_owners_a_random_part_is_attacked(run: Run) -> None:
    data = TrainingData.open(run, ("train",))
    some = attack.sample_owners(data, run, "train", 10, seed=0)
    assert (some.num_series, len(set(some.rows))) == (10, 10)
    assert set(some.rows) <= set(data.rows)
    assert attack.sample_owners(data, run, "train", 43, seed=0) is data


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
    run: Run, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code("release", *(text.format(run=run.folder) for text in arguments)) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_a_run_without_series_is_told_which_stage(mine: Run, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(mine.synthetic)
    assert code("release", mine.folder) == 2
    assert "--stages generate" in capsys.readouterr().err


PRIVATE = ["privacy.epsilon=2", "privacy.delta=1e-6", "privacy.log_size_range=[-3, 3]"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "private", [(), PRIVATE, [*PRIVATE, "privacy.clip=0.8"]], ids=["plain", "private", "clipped"]
)
def test_an_honest_run_of_thousands_is_released(tmp_path: Path, private: list[str]) -> None:
    """6,800 made homes, half of them held out, through the real stages: verdict, series, manifest, README;
    also under differential privacy, and where it clips most latents.
    """
    rng = np.random.default_rng(5)
    homes = leak_scenarios.series(leak_scenarios.homes(6800, rng), 168, rng)[..., 0]
    np.savez(tmp_path / "made.npz", x=homes, ids=np.array([f"made-{home}" for home in range(6800)]))
    settings = [
        f"data.source={tmp_path / 'made.npz'}",
        "data.splits={train: 0.46, holdout: 0.46, reference: 0.08}",
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
    told = json.loads((place / "verdict.json").read_text())
    assert (told["exit_code"], told["privacy"]["outcome"]) == (0, "pass")
    assert told["files"]["synthetic.csv"] == release.sha256(place / "synthetic.csv")
    assert "What is not promised" in (place / "README.txt").read_text()
    assert not [path for path in place.iterdir() if b"made-1" in path.read_bytes()]
    if private:
        tracing = {each["id"]: each for each in told["privacy"]["attacks"]}["P6b"]
        assert tracing["high"] < tracing["limit"] < 0.63
        assert "ledger" not in read_json(place / "bank-manifest.json")["privacy"]
        assert f"{told['privacy']['evidence']['members']:,}" in told["sentence"]
        assert told["privacy"]["evidence"]["members"] % 100 == 0
        (folder / "privacy-ledger.jsonl").unlink()
        assert code("release", folder, "--to", tmp_path / "again") == 5
    assert code("release", folder, "--to", place) == 2  # never written over
