"""What changes while the checks of a release run, or is released at the same time, does not leave."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distgan import config
from distgan.anonymity.bank import Bank
from distgan.commands import release
from distgan.data.store.format import compute_crc
from distgan.data.store.reader import Store
from distgan.errors import Mismatch
from distgan.evaluation.results import AttackedCounts, PrivacyResult, ReleasePrivacy, Verdict
from distgan.files import write_text
from distgan.pipeline import digests, runner
from distgan.pipeline.release_ledger import ReleaseLedger, list_copies_beside
from distgan.run import Run
from tests.commands.test_release import PASSED
from tests.commands.test_release_digests import release_elsewhere


def generate_others(mine: Run) -> None:
    runner.run(config.load(mine.config).with_values({"generate.seed": 3}, "test"), mine, ("generate",))


def put_another_bank(mine: Run) -> None:
    bank = Bank.load(mine.bank)
    replace(bank, conditions=bank.conditions + np.float32(0.01)).save(mine.bank)


def rename_channel(mine: Run) -> None:
    write_text(mine.scaler, mine.scaler.read_text().replace('"value"', '"home-007"'))


def forge_checksum(content: bytes, wanted: bytes) -> bytes:
    """The content with other last four bytes, so that it has the wanted crc32c."""
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    places = {entry >> 24: place for place, entry in enumerate(table)}
    state = 0xFFFFFFFF ^ int.from_bytes(compute_crc(content[:-4]), "little")
    target, found = 0xFFFFFFFF ^ int.from_bytes(wanted, "little"), []
    for _ in range(4):  # backwards: which entries of the table lead to the wanted state
        found.append(places[target >> 24])
        target = (target ^ table[found[-1]]) << 8 & 0xFFFFFFFF
    end = bytearray()
    for place in reversed(found):
        end.append((state ^ place) & 0xFF)
        state = state >> 8 ^ table[place]
    return content[:-4] + bytes(end)


def forge_values(mine: Run) -> None:
    """Other values with the checksums of the manifest, in the one chunk that the store has."""
    shard = mine.synthetic / "values" / "c" / "0" / "0" / "0"
    content, layout = shard.read_bytes(), Store.open(mine.synthetic).values.layout
    size = layout.chunk_rows * layout.row_bytes
    values = np.frombuffer(content[:size], "<f4") + np.float32(1)
    forged = forge_checksum(values.tobytes(), content[size : size + 4])
    shard.write_bytes(forged + content[size:])
    assert compute_crc(forged) == content[size : size + 4]
    Store.open(mine.synthetic).verify()


@pytest.mark.parametrize("change", [generate_others, put_another_bank, rename_channel, forge_values])
def test_what_was_replaced_during_the_checks_does_not_leave(
    mine: Run, tmp_path: Path, change: Callable[[Run], None]
) -> None:
    judged = release.digest_parts(mine)
    change(mine)
    counts = AttackedCounts(candidate=12, earlier=0, sample=0, left_out=0)
    privacy = ReleasePrivacy(**PASSED, attacked=counts)
    words = {"answer": "Yes", "sentence": "", "attacked": "", "run": "", "made": "", "maker": ""}
    passed = Verdict(exit_code=0, checks=[], privacy=privacy, **words)
    with pytest.raises(Mismatch, match="replaced during the checks"):
        release.write_release(tmp_path / "out", passed, config.load(mine.config), mine, judged)
    assert not (tmp_path / "out").exists()


def test_a_table_of_requests_that_changes_during_the_checks_is_noticed(mine: Run, tmp_path: Path) -> None:
    """It is read again when series leave: the rows of real people could stand in it by then."""
    table, settings = tmp_path / "wanted.csv", config.load(mine.config)
    write_text(table, "people\n2\n")
    write_text(mine.config, settings.with_values({"generate.table": str(table)}, "test").to_yaml())
    judged = release.digest_parts(mine)
    write_text(table, "people\n4\n")
    now = release.digest_parts(mine)
    assert [title for title in judged if judged[title] != now[title]] == ["generate.table"]


# ------------------------------------------------------------------------------- runs beside this one


def test_two_releases_at_once_do_not_both_pass(mine: Run, tmp_path: Path) -> None:
    """Neither has attacked the other's series with its own, so a leak could leave in two slices."""
    words = {"answer": "Yes", "sentence": "", "attacked": "", "run": "", "made": "", "maker": ""}
    passed = Verdict(exit_code=0, checks=[], privacy=None, **words)
    copy_of_mine = mine.released_copy(digests.ARTEFACTS["synthetic"].digest(mine))
    before = list_copies_beside(mine)
    assert release.refuse_meanwhile(passed, mine, before) == passed and copy_of_mine.exists()
    shutil.rmtree(mine.released)
    release_elsewhere(mine, tmp_path / "other")
    refusal = release.refuse_meanwhile(passed, mine, before)
    assert refusal.exit_code == 5 and refusal.answer != "Yes"
    assert "released series during the checks" in refusal.sentence
    assert [check.holds for check in refusal.checks] == [False]
    assert not copy_of_mine.exists()  # these have not left
    after = list_copies_beside(mine)
    assert release.refuse_meanwhile(passed, mine, after) == passed  # a second try attacks them together


def test_a_copy_of_what_left_before_stays_when_a_second_release_is_refused(mine: Run) -> None:
    ledger = ReleaseLedger.open(mine)
    release.remember(0, config.load(mine.config), mine)
    ledger.drop_copy(mine.synthetic)
    assert len(ledger.list_named()) == 1


@pytest.mark.parametrize("beside", [False, True])
def test_the_gate_looks_beside_again_after_its_attacks(
    mine: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    """The whole command, but for its attacks, which pass."""

    def attack(*given: object) -> PrivacyResult:
        if beside:
            release_elsewhere(mine, tmp_path / "other")
        return PrivacyResult(**PASSED)

    monkeypatch.setattr(release, "attack", attack)
    monkeypatch.setattr(release, "run_checks", lambda context: [])
    result = release.decide(mine, tmp_path / "out")
    (entry,) = ReleaseLedger.open(mine).read_entries()
    assert (entry.verdict, entry.exit_code) == (("refused", 5) if beside else ("released", 0))
    assert (tmp_path / "out").exists() == (not beside) == (result.error is None)
    assert len(ReleaseLedger.open(mine).list_copies()) == (0 if beside else 1)
