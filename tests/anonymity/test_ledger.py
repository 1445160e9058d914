"""What has been drawn is spent: no kill, no deletion and no older copy makes a ledger count too little."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from distgan import files
from distgan.anonymity.dp import ledger as ledgers
from distgan.anonymity.dp import mechanism
from distgan.anonymity.dp.ledger import Head, Ledger, Query
from distgan.errors import Mismatch
from tests.helpers.groups import budget_of

BUDGET = budget_of()
DIRECTIONS = Query("directions", BUDGET.directions_multiplier, "data", "settings")
GROUPS = Query("groups", BUDGET.sums_multiplier, "data", "settings")


def ledger_of(place: Path, *witnesses: tuple[Path, Head]) -> Ledger:
    return Ledger(place / "ledger.jsonl", place / "privacy", witnesses)


class Draws:
    """Makes sums that are never the same twice, and counts them."""

    def __init__(self) -> None:
        self.made: list[float] = []

    def __call__(self) -> dict[str, np.ndarray]:
        self.made.append(float(np.random.default_rng().normal()))
        return {"sums": np.array([self.made[-1]])}


def drawn(place: Path, query: Query = GROUPS, make: Callable[[], Any] | None = None) -> float:
    return float(ledger_of(place).draw(query, BUDGET, make or Draws())["sums"][0])


def never() -> dict[str, np.ndarray]:
    raise AssertionError("nothing may be drawn")


# ------------------------------------------------------------------------------------------------- counting


def test_the_ledger_adds_up_and_a_second_call_draws_nothing(tmp_path: Path) -> None:
    first = [drawn(tmp_path, query) for query in (DIRECTIONS, GROUPS)]
    ledger = ledger_of(tmp_path)
    assert [entry["state"] for entry in ledger.read_entries()] == ["started", "released"] * 2
    assert ledger.list_draws()[-1]["epsilon_so_far"] == pytest.approx(2.0, rel=mechanism.SLACK)
    lines = ledger.path.read_text()
    assert [drawn(tmp_path, query, never) for query in (DIRECTIONS, GROUPS)] == first
    assert ledger.path.read_text() == lines
    ledger.audit(BUDGET.multiplier, ledger.find_head(), tmp_path)


def test_no_more_than_the_budget_is_drawn(tmp_path: Path) -> None:
    drawn(tmp_path, DIRECTIONS)
    drawn(tmp_path, GROUPS)
    with pytest.raises(Mismatch, match="would be spent") as caught:
        drawn(tmp_path, replace(GROUPS, name="more", multiplier=5.0), never)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"data": "others"}, "of other series or latents"),
        ({"settings": "epsilon was 4"}, "with other settings"),
    ],
)
def test_nothing_is_drawn_again_of_other_data_or_with_other_settings(
    tmp_path: Path, change: dict[str, str], why: str
) -> None:
    drawn(tmp_path)
    with pytest.raises(Mismatch, match=f"were drawn {why}"):
        drawn(tmp_path, replace(GROUPS, **change), never)


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    drawn(tmp_path)
    assert (tmp_path / "privacy").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "ledger.jsonl", *(tmp_path / "privacy").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_a_head_that_leaves_tells_nothing_of_its_line(tmp_path: Path) -> None:
    """Of the same draw of the same data at the same time: who can guess all of a line cannot check it."""
    heads = set()
    for place in (tmp_path / "a", tmp_path / "b"):
        ledger_of(place).draw(GROUPS, BUDGET, lambda: {"sums": np.zeros(1)})
        entry = ledger_of(place).read_entries()[-1]
        assert len(bytes.fromhex(entry["nonce"])) == 32
        heads.add(ledger_of(place).find_head().digest)
    assert len(heads) == 2


# ------------------------------------------------------------------------------------------------------ kills


class Killed(BaseException):
    """The process ends here."""


def cut_off_at(monkeypatch: pytest.MonkeyPatch, point: int) -> list[int]:
    """Kill at the point-th moment around writes, renames and appends; the list counts the moments passed."""
    passed = [0]

    def moment() -> None:
        passed[0] += 1
        if passed[0] - 1 == point:
            raise Killed

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def both(*arguments: Any, **named: Any) -> Any:
            moment()
            result = function(*arguments, **named)
            moment()
            return result

        return both

    @contextlib.contextmanager
    def open_torn(path: Path, lines: Sequence[str]) -> Iterator[Any]:
        """A line goes to disk in two halves."""
        with files.open_ledger(path, lines) as file:

            def write(line: str) -> None:
                for half in (line[: len(line) // 2], line[len(line) // 2 :]):
                    moment()
                    file.write(half)
                    file.flush()
                moment()

            yield SimpleNamespace(write=write, fileno=file.fileno)

    monkeypatch.setattr(ledgers, "open_ledger", open_torn)
    for name in ("write_bytes", "write_json", "sync"):
        monkeypatch.setattr(ledgers, name, around(getattr(ledgers, name)))
    monkeypatch.setattr(os, "replace", around(os.replace))
    return passed


def test_a_kill_at_any_point_counts_every_draw_that_was_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the same command goes on. What has a final name, or was returned, has a line with its digest."""
    point, whole = 0, False
    while not whole:
        place, make = tmp_path / str(point), Draws()
        place.mkdir()
        seen = set()
        with monkeypatch.context() as patch:
            cut_off_at(patch, point)
            try:
                seen.add(drawn(place, GROUPS, make))
                whole = True
            except Killed:
                pass
        seen |= published(place)
        seen.add(drawn(place, GROUPS, make))
        seen |= published(place)
        assert len(seen) == 1, f"killed at {point}: several draws were used"
        assert len(make.made) <= 2
        ledger = ledger_of(place)
        ledger.audit(GROUPS.multiplier, ledger.find_head(), place)
        assert [entry["state"] for entry in ledger.read_entries()] == ["started", "released"]
        assert sorted(path.name for path in (place / "privacy").iterdir()) == [
            "groups.safetensors",
            "head.json",
        ]
        point += 1
    assert point > 15


def test_two_kills_are_no_worse_than_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for first in range(1, 22, 5):
        for second in range(0, 22, 4):
            place, make = tmp_path / f"{first}-{second}", Draws()
            place.mkdir()
            seen = set()
            for point in (first, second):
                with monkeypatch.context() as patch, contextlib.suppress(Killed):
                    cut_off_at(patch, point)
                    seen.add(drawn(place, GROUPS, make))
                seen |= published(place)
            seen.add(drawn(place, GROUPS, make))
            assert len(seen) == 1, (first, second)
            assert len(ledger_of(place).list_draws()) == 1


def published(place: Path) -> set[float]:
    path = place / "privacy" / "groups.safetensors"
    return {float(ledgers.tensors_from_bytes(path.read_bytes())["sums"][0])} if path.exists() else set()


def test_a_draw_that_fails_is_not_spent(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        drawn(tmp_path, GROUPS, never)
    assert ledger_of(tmp_path).list_draws() == []
    drawn(tmp_path)


# -------------------------------------------------------------------------------------- deletions and copies


def spent_run(place: Path) -> tuple[Path, Head]:
    """A folder in which all was drawn, and the head that a bank would hold."""
    drawn(place, DIRECTIONS)
    drawn(place, GROUPS)
    return place, ledger_of(place).find_head()


def delete_ledger(place: Path) -> None:
    (place / "ledger.jsonl").unlink()


def delete_all(place: Path) -> None:
    delete_ledger(place)
    shutil.rmtree(place / "privacy")


def cut_tail(place: Path) -> None:
    path = place / "ledger.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))


def tear_last_line(place: Path) -> None:
    path = place / "ledger.jsonl"
    path.write_text(path.read_text()[:-40])


def older_copy(place: Path) -> None:
    """Ledger, head and results as they were before the groups were drawn."""
    cut_tail(place)
    (place / "privacy" / "groups.safetensors").unlink()
    head = ledger_of(place).find_head()
    (place / "privacy" / "head.json").write_text(json.dumps({"lines": head.lines, "digest": head.digest}))


def another_ledger(place: Path) -> None:
    other = place.with_name("other")
    spent_run(other)
    shutil.copy(other / "ledger.jsonl", place / "ledger.jsonl")


def delete_groups(place: Path) -> None:
    (place / "privacy" / "groups.safetensors").unlink()


def change_groups(place: Path) -> None:
    path = place / "privacy" / "groups.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")


DAMAGES = {
    delete_ledger: "it was cut off or deleted",
    delete_all: "it was cut off or deleted",
    cut_tail: "it was cut off or deleted",
    tear_last_line: "it was cut off or deleted",
    older_copy: "it was cut off or deleted",
    another_ledger: "the ledger was replaced",
    delete_groups: "is gone or was changed",
    change_groups: "is gone or was changed",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_was_deleted_or_put_back_is_noticed_and_nothing_drawn(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    place, head = spent_run(tmp_path / "run")
    damage(place)
    ledger = ledger_of(place, (place / "bank", head))
    with pytest.raises(Mismatch, match=DAMAGES[damage]) as caught:
        ledger.draw(GROUPS, BUDGET, never)
    assert caught.value.exit_code == 5
    with pytest.raises(Mismatch, match=DAMAGES[damage]):
        ledger.audit(BUDGET.multiplier, head, place / "bank")


@pytest.mark.parametrize("damage", [delete_ledger, cut_tail, tear_last_line, another_ledger, delete_groups])
def test_the_results_alone_notice_it_too(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Where there is no bank yet."""
    place, _ = spent_run(tmp_path / "run")
    damage(place)
    with pytest.raises(Mismatch):
        drawn(place, GROUPS, never)


def test_a_result_without_a_ledger_and_head_is_noticed(tmp_path: Path) -> None:
    place, _ = spent_run(tmp_path)
    delete_ledger(place)
    (place / "privacy" / "head.json").unlink()
    with pytest.raises(Mismatch, match="has no line for it"):
        drawn(place, GROUPS, never)


def test_a_copied_run_draws_nothing_more_but_reuses_what_was_drawn(tmp_path: Path) -> None:
    drawn(tmp_path / "one", DIRECTIONS)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert drawn(tmp_path / "two", DIRECTIONS, never) == drawn(tmp_path / "one", DIRECTIONS, never)
    drawn(tmp_path / "one", GROUPS)
    with pytest.raises(Mismatch, match="is a copy"):
        drawn(tmp_path / "two", GROUPS, never)
    (tmp_path / "one").rename(tmp_path / "moved")
    ledger_of(tmp_path / "moved").verify()


def test_a_moved_run_goes_on(tmp_path: Path) -> None:
    drawn(tmp_path / "one", DIRECTIONS)
    (tmp_path / "one").rename(tmp_path / "two")
    drawn(tmp_path / "two", GROUPS)


def test_a_bank_must_claim_what_was_drawn(tmp_path: Path) -> None:
    place, head = spent_run(tmp_path)
    ledger = ledger_of(place)
    with pytest.raises(Mismatch, match="adds up to"):
        ledger.audit(BUDGET.multiplier * 1.01, head, place)
    with pytest.raises(Mismatch, match="the ledger was replaced"):
        ledger.audit(BUDGET.multiplier, replace(head, digest="0" * 32), place)
    with pytest.raises(Mismatch, match="refers to no line"):
        ledger.audit(BUDGET.multiplier, Head(0, ""), place)


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_changed_line_is_found(tmp_path: Path, line: int) -> None:
    place, _ = spent_run(tmp_path)
    path = place / "ledger.jsonl"
    lines = path.read_text().splitlines()
    lines[line] = lines[line].replace('"data": "data"', '"data": "date"')
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(Mismatch, match=f"line {line + 2} of .* was changed"):
        ledger_of(place).read_entries()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[]",
        "null",
        "[" * 50_000,
        '{"before": ""}',
        "1" * 5000,
        '{"before": "", "x": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_line_is_one_line_of_refusal(tmp_path: Path, line: str) -> None:
    (tmp_path / "ledger.jsonl").write_text(f"{line}\n")
    with pytest.raises(Mismatch, match=r"line 1 of .* was changed"):
        drawn(tmp_path, GROUPS, never)


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b'{"lines": "x"}', b'{"lines": null, "digest": ""}']
)
def test_a_damaged_head_is_one_line_of_refusal(tmp_path: Path, content: bytes) -> None:
    place, _ = spent_run(tmp_path)
    (place / "privacy" / "head.json").write_bytes(content)
    with pytest.raises(Mismatch, match="does not record where the privacy ledger ended"):
        drawn(place, GROUPS, never)


def test_a_byte_that_is_no_text_is_a_changed_line(tmp_path: Path) -> None:
    place, _ = spent_run(tmp_path)
    path = place / "ledger.jsonl"
    content = bytearray(path.read_bytes())
    content[40] = 0xFF
    path.write_bytes(content)
    with pytest.raises(Mismatch, match="was changed"):
        drawn(place, GROUPS, never)


def test_a_stale_pending_file_never_takes_the_place_of_what_was_drawn(tmp_path: Path) -> None:
    first = drawn(tmp_path)
    path = tmp_path / "ledger.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])  # as if killed before the last line,
    (tmp_path / "privacy" / "head.json").unlink()  # and head
    other = ledgers.tensors_to_bytes({"sums": np.array([99.0])})
    (tmp_path / "privacy" / ".groups.pending").write_bytes(other)
    assert drawn(tmp_path, GROUPS, never) == first
    assert published(tmp_path) == {first}


def test_a_changed_last_line_is_found_by_the_head(tmp_path: Path) -> None:
    place, _ = spent_run(tmp_path)
    path = place / "ledger.jsonl"
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines, last.replace("released", "rejected")]) + "\n")
    with pytest.raises(Mismatch, match="the ledger was replaced"):
        ledger_of(place).verify()
