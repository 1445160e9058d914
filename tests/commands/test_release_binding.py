"""A release is bound to its training and to earlier releases: what does not belong together is a mismatch."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distgan import config, errors
from distgan.anonymity import manifest, private_bank
from distgan.anonymity.bank import Bank
from distgan.anonymity.dp.bank import Budget
from distgan.anonymity.dp.ledger import Query
from distgan.commands import attacked_series, release
from distgan.commands.attacked_series import AttackedSeries
from distgan.data.static_attributes import StaticAttribute
from distgan.data.store.private_table import find_private_table, read_table, write_table
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.evaluation.results import AttackedCounts
from distgan.files import read_json, read_tensors, write_tensors, write_text
from distgan.pipeline import binding, generate, owners, runner
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.private_ledger import audit_ledger, open_ledger
from distgan.pipeline.release_ledger import ReleaseLedger, digest_owners, list_copies_beside
from distgan.pipeline.training_data import TrainingData, open_for_inference
from distgan.run import Run
from tests.helpers.releases import refused, verdict
from tests.helpers.runs import copy


def resign(mine: Run, *stages_signed: str) -> None:
    """As someone does who knows of the digests, but not of all of them."""
    for stage in stages_signed:
        record = mine.read_record(stage)
        record["digests"]["made"] = binding.digest_outputs(stage, mine)
        mine.record(stage).write_text(json.dumps(record))


def swap_split(mine: Run) -> None:
    table = find_private_table(mine.series)
    text = table.read_text().replace(",train", ",x").replace(",held_out", ",train").replace(",x", ",held_out")
    table.write_text(text)


def put_members(mine: Run, count: int = 12) -> None:
    """Replace so many of the synthetic series by training series."""
    data, store = TrainingData.open(mine), Store.open(mine.synthetic)
    values = store.read_rows(np.arange(store.num_series))
    values[:count] = np.nan_to_num(data.store.read_rows(data.rows[:count]))
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


def put_another_projection(mine: Run) -> None:
    path = mine.cluster_files.projection
    write_tensors(path, {name: -values for name, values in read_tensors(path).items()})


@pytest.mark.parametrize(
    ("change", "signed", "words"),
    [
        (put_another_projection, (), "the clusters: not what the stage cluster made"),
        (put_another_projection, ("cluster",), "the clusters: not what the stage bank read"),
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


UNREAD = {  # by what release reads, and what else looks at them
    "config.yaml": "by its values: test_another_config_than_the_series_were_made_with_is_a_mismatch",
    "clusters/tracing.json": "shown in the report alone; release attacks the bank again",
    "encoder/checkpoints": "training goes on from them; the stage's weights are another file",
    "encoder/metrics.jsonl": "curves",
    "zarr.json": "for other readers; ours goes by the manifest",
    "/c/": "shards, whose checksums stand in the manifest and are compared when they are read",
}


def test_a_change_of_any_file_of_a_run_is_noticed(mine: Run) -> None:
    settings, missed = config.load(mine.config), []
    binding.audit_chain(settings, mine)
    for path in sorted(path for path in mine.folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if not content or any(part in str(path.relative_to(mine.folder)) for part in UNREAD):
            continue
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        try:
            binding.audit_chain(settings, mine)
            missed.append(path)
        except errors.UserError:
            pass
        path.write_bytes(content)
    assert not missed
    binding.audit_chain(settings, mine)


@pytest.mark.parametrize("stage", ["prepare", "cluster", "gan"])
def test_a_changed_fact_of_a_record_is_a_mismatch(mine: Run, stage: str) -> None:
    """What a record states beside digests goes into the report and the model card."""
    mine.finish(stage, **{**(mine.read_record(stage) or {}), "summary": "40,000 series"})
    assert f"does not hold the digest of done/{stage}.json, which was changed since" in refused(mine, 5)


def test_records_of_an_earlier_version_are_named(mine: Run) -> None:
    record = mine.read_record("bank") or {}
    del record["digests"]["records"]
    mine.finish("bank", **record)
    assert "done/bank.json does not hold the digest of done/prepare.json, being of" in refused(mine, 5)


def test_series_generated_again_are_the_same_whatever_their_neighbours(run: Run) -> None:
    settings = config.load(run.config)
    store, parallel = Store.open(run.synthetic), open_for_inference(settings)
    rows = np.array([7, 2, 11])
    again = generate.regenerate(PipelineContext(settings, run, parallel), Bank.load(run.bank), rows)
    assert attacked_series.find_agreeing(store.read_rows(rows), again).all()
    assert not attacked_series.find_agreeing(1.05 * store.read_rows(rows), again).any()
    assert not attacked_series.find_agreeing(store.read_rows(rows[::-1]), again)[[0, 2]].any()
    counts = np.random.default_rng(0).integers(0, 2, (2, 300, 1)).astype(np.float32)
    other = counts.copy()
    other[0, :3] += 1
    other[1, :30] += 1
    assert attacked_series.find_agreeing(other, counts, step=1.0).tolist() == [True, False]


@pytest.mark.parametrize("step", [None, 1e-3])
def test_another_series_in_a_channel_of_small_numbers_is_found(step: float | None) -> None:
    rng = np.random.default_rng(0)
    made = (101_325 + 500 * rng.random((3, 96, 2))).astype(np.float32)  # a pressure, beside kWh
    made[..., 1] = rng.random((3, 96))
    found = made * np.float32(1 + 1e-5)
    assert attacked_series.find_agreeing(found, made, step)[[0, 2]].all()
    found[1, :, 1] = rng.random(96)
    assert attacked_series.find_agreeing(found, made, step).tolist() == [True, False, True]


def test_owners_with_near_copies_are_a_mismatch(mine: Run) -> None:
    """340 homes under 20 ids each are 340 owners."""
    assert "owners: 60" in owners.audit_owners(mine)
    store = Store.open(mine.series)
    values, meta = store.read_rows(np.arange(60)), store.meta
    values[20:40] = 1.2 * values[:20] + 0.1
    values[40:] = np.roll(values[:20], 7, axis=1)
    shutil.rmtree(mine.series)
    with StoreWriter(mine.series, meta) as writer:
        writer.append(values)
    with pytest.raises(errors.Mismatch, match="counts 40 owners too many"):
        owners.audit_owners(mine)


def test_what_has_left_is_attacked_with_what_is_to_leave(mine: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load(mine.config)
    release.remember(0, settings, mine)
    first = Store.open(mine.synthetic).read_rows(np.arange(12))
    other = settings.with_values({"generate.seed": 1, "generate.count": 5}, "test")
    write_text(mine.config, other.to_yaml())
    runner.run(other, mine, ("generate",))
    release.remember(4, other, mine)
    chosen = AttackedSeries.gather(PipelineContext(other, mine, open_for_inference(other)))
    assert chosen.facts == AttackedCounts(candidate=5, earlier=12, sample=38, left_out=0)
    np.testing.assert_array_equal(chosen.values[5:17], first)
    again = AttackedSeries.gather(PipelineContext(other, mine, open_for_inference(other)))
    np.testing.assert_array_equal(chosen.values, again.values)  # no better luck with another attempt
    monkeypatch.setattr(attacked_series, "MOST_COMPARED", 4)
    few, repeated = (
        AttackedSeries.gather(PipelineContext(other, mine, open_for_inference(other))) for _ in range(2)
    )
    np.testing.assert_array_equal(few.values, repeated.values)
    assert few.facts.drawn == 8 and len(few.values) == 4 + 4 + 38 and few.released.num_series == 5 + 12 + 38
    assert all((each == chosen.values).all(axis=(1, 2)).any() for each in few.values)
    assert "P1) were searched in all" in attacked_series.describe_counts(few.facts)
    assert "The other attacks used 8 of the series" in attacked_series.describe_counts(few.facts)
    files = [path for path in [mine.released, *mine.released.rglob("*")] if path.stat().st_mode & 0o077]
    assert not files


def test_copies_of_releases_that_no_line_names_are_attacked_as_well(mine: Run) -> None:
    """Without ledger and record, which running the stage gan again makes anew, the copies still tell."""
    settings = config.load(mine.config)
    release.remember(0, settings, mine)
    first = Store.open(mine.synthetic).read_rows(np.arange(12))
    mine.release_ledger.unlink()
    mine.finish(
        "gan", **{**(mine.read_record("gan") or {}), "releases": ReleaseLedger.open(mine).read_head()}
    )
    (kept,) = ReleaseLedger.open(mine).list_unnamed()
    shutil.copytree(kept, kept.with_name(f".{kept.name}.tmp"))  # of a copying that was cut off
    assert (
        "0 attempts, 0 of them released, none missing; copies of released series that no line names: 1"
        in (ReleaseLedger.open(mine).audit())
    )
    other = settings.with_values({"generate.seed": 1}, "test")
    write_text(mine.config, other.to_yaml())
    runner.run(other, mine, ("generate",))
    chosen = AttackedSeries.gather(PipelineContext(other, mine, open_for_inference(other)))
    assert chosen.facts == AttackedCounts(candidate=12, earlier=12, sample=31, left_out=0)
    np.testing.assert_array_equal(chosen.values[12:24], first)


def test_releases_of_runs_beside_this_one_are_attacked_as_well(mine: Run, tmp_path: Path) -> None:
    """A copy of a run, a trial of a sweep or another seed: whoever has all their series sees the union."""
    other, elsewhere = (copy(mine, tmp_path / name) for name in ("other", "of other people"))
    settings = config.load(other.config).with_values({"generate.seed": 1}, "test")
    write_text(other.config, settings.to_yaml())
    for each in (other, elsewhere):
        runner.run(settings, each, ("generate",))
        release.remember(0, settings, each)
    swap_split(elsewhere)
    context = PipelineContext(config.load(mine.config), mine, open_for_inference(settings))
    chosen = AttackedSeries.gather(context)
    assert chosen.facts == AttackedCounts(candidate=12, earlier=12, sample=31, left_out=0, beside=12)
    np.testing.assert_array_equal(chosen.values[12:24], Store.open(other.synthetic).read_rows(np.arange(12)))
    assert "12 of those of earlier attempts were released by runs beside" in attacked_series.describe_counts(
        chosen.facts
    )
    shutil.rmtree(other.released)
    with pytest.raises(errors.Mismatch, match="differs from what was released"):
        AttackedSeries.gather(context)


def release_elsewhere(run: Run, folder: Path) -> Run:
    """A copy of a run that released other series."""
    other = copy(run, folder)
    settings = config.load(other.config).with_values({"generate.seed": 1}, "test")
    write_text(other.config, settings.to_yaml())
    runner.run(settings, other, ("generate",))
    release.remember(0, settings, other)
    return other


def add_attribute(other: Run) -> None:
    table = read_table(other.private_table)
    cells = StaticAttribute("ev", "boolean", np.array(["true"] * len(table.owners)))
    sides = [each.tolist() for each in (table.entities, table.owners, table.splits)]
    write_table(other.private_table, *sides, statics=[cells])


def drop_owner(other: Run) -> None:
    """A source that has grown since, or another limit of gaps."""
    table = read_table(other.private_table)
    sides = [[*each.tolist(), "x"] for each in (table.entities, table.owners)]
    write_table(other.private_table, *sides, [*table.splits.tolist(), "held_out"])
    shutil.rmtree(other.series)


def choose_steps(other: Run) -> None:
    table = read_table(other.private_table)
    splits = table.splits.copy()
    splits[np.flatnonzero(splits == "train")[:3]] = "validation"
    write_table(other.private_table, table.entities.tolist(), table.owners.tolist(), splits.tolist())


@pytest.mark.parametrize(
    "change", [add_attribute, drop_owner, choose_steps, lambda other: other.private_table.unlink()]
)
def test_the_split_is_that_of_the_owners(mine: Run, tmp_path: Path, change: Callable[[Run], None]) -> None:
    """Whatever else stands in the private table: the same people may not be released in slices."""
    other = release_elsewhere(mine, tmp_path / "other")
    change(other)
    (found,) = list_copies_beside(mine)
    assert found.parent == other.released
    if change is add_attribute:
        assert digest_owners(other) == digest_owners(mine)


def test_attributes_that_were_added_do_not_make_another_split(mine: Run) -> None:
    settings = config.load(mine.config)
    release.remember(0, settings, mine)
    add_attribute(mine)
    other = settings.with_values({"generate.seed": 1}, "test")
    write_text(mine.config, other.to_yaml())
    runner.run(other, mine, ("generate",))
    chosen = AttackedSeries.gather(PipelineContext(other, mine, open_for_inference(other)))
    assert (chosen.facts.earlier, chosen.facts.left_out) == (12, 0)


def test_a_run_that_is_reached_by_a_link_has_neighbours_on_both_sides(mine: Run, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    beside_link = release_elsewhere(mine, tmp_path / "links" / "other")
    beside_target = release_elsewhere(mine, tmp_path / "other")
    link = tmp_path / "links" / "run"
    link.symlink_to(mine.folder)
    found = list_copies_beside(Run(link))
    assert {path.parent.resolve() for path in found} == {beside_link.released, beside_target.released}


def test_a_neighbours_ledger_that_was_removed_is_a_mismatch(mine: Run, tmp_path: Path) -> None:
    other = release_elsewhere(mine, tmp_path / "other")
    other.release_ledger.unlink()
    with pytest.raises(errors.Mismatch, match="lines about releases are missing"):
        list_copies_beside(mine)
    other.record("gan").unlink()
    assert [path.parent for path in list_copies_beside(mine)] == [other.released]


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
        release.remember(exit_code, settings, mine)
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
        replace(bank, guarantee=private_bank.make_guarantee(budget, open_ledger(mine).find_head())).save(
            mine.bank
        )

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
