"""The ledger of releases: every attempt to release series of a run, in a chain of hashes.

A leak that a battery finds in thousands of series may hide in slices of thirty. So earlier releases are
recorded, with copies, and attacked together with the present one; those of runs beside this one on the same
split of owners, too (trials of a sweep, copies of a run, other seeds). The record of the stage `gan` holds
how many lines there are and the hash of the last: lines that were cut off, or a ledger that was deleted, are
noticed as long as that record stands. Copies of released series that no line names are attacked as well.
Every run folder has a ledger of its own.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from distgan.data.store.private_table import VALIDATION, read_table
from distgan.errors import Mismatch, UserError, writing
from distgan.files import open_ledger, split_whole_lines
from distgan.pipeline.digests import ARTEFACTS, digest_series
from distgan.progress import format_count
from distgan.run import Run, is_store

RELEASED, REFUSED = "released", "refused"


@dataclass(frozen=True)
class Attempt:
    """To release series: what came of it, the digests of series, weights and split, and how the series were
    asked for: `wished` are settings of attributes (`generate.attributes`, …) by dotted key, without a table;
    `page` is the digest of the verdict, and `owners` that of the owners' sides, "" in lines of before they
    were noted.
    """

    verdict: str
    exit_code: int
    series: str
    weights: str
    split: str
    seed: int
    count: int
    wished: dict[str, Any]
    page: str = ""
    owners: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry(Attempt):
    """A line: an attempt, its time, and the hash of the line before."""

    time: str
    before: str


@dataclass(frozen=True)
class ReleaseLedger:
    """`releases.jsonl` of a run; each line holds the SHA-256 of the line before it."""

    run: Run

    @classmethod
    def open(cls, run: Run) -> "ReleaseLedger":
        return cls(run)

    @property
    def path(self) -> Path:
        return self.run.release_ledger

    def read_entries(self) -> list[Entry]:
        """Return the entries of the ledger, the first release first.

        Raises:
            Mismatch: a line was changed, or removed from the middle.
        """
        found: list[Entry] = []
        before = ""
        for number, line in enumerate(self._read_lines()):
            try:
                content = {"wished": {}, "page": "", "owners": ""} | json.loads(line)  # older lines have none
                entry = Entry(**{field.name: content[field.name] for field in fields(Entry)})
            except (json.JSONDecodeError, KeyError, TypeError, RecursionError):
                entry = None
            if entry is None or entry.before != before:
                raise Mismatch(
                    f"line {number + 1} of {self.path} was changed, so earlier releases are unknown; "
                    "restore the file from a copy"
                )
            found.append(entry)
            before = _digest(line)
        return found

    def read_head(self) -> dict[str, int | str]:
        """Return the number of lines and the hash of the last one, for the record of the stage gan."""
        self.read_entries()
        lines = self._read_lines()
        return {"count": len(lines), "head": _digest(lines[-1]) if lines else ""}

    def audit(self) -> str:
        """Compare the ledger with the record of the stage gan; returns what was verified.

        Raises:
            Mismatch: lines are missing or changed, or a copy of what was released is.
        """
        entries, known = self.read_entries(), (self.run.read_record("gan") or {}).get("releases")
        if not isinstance(known, Mapping):
            raise Mismatch(
                f"{self.run.record('gan')} does not record earlier releases; run {self.run.format_command()}"
            )
        self.compare_end(known)
        released, unnamed = len(self.list_named()), len(self.list_unnamed())
        beside = len(list_copies_beside(self.run))
        more = f"; copies of released series that no line names: {unnamed:,}" if unnamed else ""
        more += f"; {format_count(beside, 'release')} of runs beside this one, same split" if beside else ""
        attempts = format_count(len(entries), "attempt")
        return f"releases.jsonl: {attempts}, {released} of them released, none missing{more}"

    def compare_end(self, known: Mapping[str, Any]) -> None:
        """Compare the lines with the number and the end that the record of the stage gan holds.

        Raises:
            Mismatch: lines are missing.
        """
        count, lines = known["count"], self._read_lines()
        if len(lines) < count or (count and _digest(lines[count - 1]) != known["head"]):
            raise Mismatch(
                f"{self.path} has {len(lines)} lines, but {self.run.record('gan')} records {count} "
                "with another end, so lines about releases are missing; restore the file from a copy"
            )

    def list_copies(self) -> list[Path]:
        """Return the copies of released series, by the lines and beyond them.

        Raises:
            Mismatch: lines are missing or changed, or a copy is.
        """
        known = (self.run.read_record("gan") or {}).get("releases")
        if isinstance(known, Mapping):
            self.compare_end(known)
        return [*self.list_named(), *self.list_unnamed()]

    def list_named(self) -> list[Path]:
        """Return the copies of released series, by the lines.

        Raises:
            Mismatch: one is gone or was changed.
        """
        found = []
        for entry in self.read_entries():
            place = self.run.released_copy(entry.series)
            if entry.verdict != RELEASED:
                continue
            if digest_copy(place) != entry.series:
                raise Mismatch(
                    f"{place} differs from what was released on {entry.time}; restore it from a copy"
                )
            found.append(place)
        return found

    def list_unnamed(self) -> list[Path]:
        """Return the copies of released series that no line names: of a release that was cut off before its
        line, or of lines that are gone together with the record of the stage gan.
        """
        if not self.run.released.is_dir():
            return []
        named = {self.run.released_copy(entry.series) for entry in self.read_entries()}
        whole = (place for place in self.run.released.iterdir() if not place.name.startswith("."))
        return sorted(place for place in whole if place not in named and is_store(place))

    def keep_copy(self, source: Path) -> None:
        """Keep a copy of a store before its release, readable by its owner alone."""
        digest = digest_series(source)
        place = self.run.released_copy(digest)
        if digest_copy(place) == digest:
            return
        with writing(place):
            self.run.released.mkdir(mode=0o700, exist_ok=True)
            temporary = place.with_name(f".{place.name}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(source, temporary)
            for path in [temporary, *temporary.rglob("*")]:
                path.chmod(0o700 if path.is_dir() else 0o600)
            temporary.rename(place)

    def drop_copy(self, source: Path) -> None:
        """Remove the copy of a store that is not released after all; one that was released before stays."""
        place = self.run.released_copy(digest_series(source))
        if place not in self.list_named():
            shutil.rmtree(place, ignore_errors=True)

    def append(self, attempt: Attempt) -> None:
        """Append a line, and note it in the record of the stage gan; the line counts even if the latter
        fails.
        """
        self.read_entries()  # the chain holds up to here
        lines = self._read_lines()
        before = _digest(lines[-1]) if lines else ""
        line = json.dumps(
            asdict(Entry(**asdict(attempt), time=time.strftime("%Y-%m-%dT%H:%M:%S%z"), before=before))
        )
        with open_ledger(self.path, lines) as file:
            file.write(line + "\n")
        record = self.run.read_record("gan") or {}
        self.run.finish("gan", **{**record, "releases": self.read_head()})

    def _read_lines(self) -> list[str]:
        try:
            return split_whole_lines(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except UnicodeDecodeError:
            raise Mismatch(f"{self.path} is not text; restore the file from a copy") from None


def list_copies_beside(run: Run) -> list[Path]:
    """Return the copies of series that were released by other runs in the same folder, of the same split of
    the same owners. A run that is reached by a link lies beside those of the link and of its target.

    Raises:
        Mismatch: the ledger of one of them was changed, or a copy is gone.
    """
    own = run.folder.resolve()
    traces = (run.release_ledger, run.released, run.record("gan"))  # some may have been removed
    others: dict[Path, Run] = {}
    for place in (run.folder.absolute().parent, own.parent):
        for trace in (each.relative_to(run.folder) for each in traces):
            for path in place.glob(f"*/{trace}"):
                other = place / path.relative_to(place).parts[0]
                others[other.resolve()] = Run(other)
    found = list[Path]()
    for folder in sorted(others):
        if folder != own and has_same_split(run, others[folder]):
            found += ReleaseLedger(others[folder]).list_copies()
    return found


def has_same_split(run: Run, other: Run) -> bool:
    """Return whether two runs trained on owners in common and hold none out that the other trained on; by the
    lines of the other's ledger, if its private table is gone.
    """
    sides, theirs = (_read_sides(each) for each in (run, other))
    if theirs:
        common = sides.keys() & theirs.keys()
        agree = all(sides[owner] == theirs[owner] for owner in common)
        return agree and any(sides[owner] == "train" for owner in common)
    own = digest_owners(run)
    return any(
        entry.owners == own or entry.split == ARTEFACTS["split"].digest(run)
        for entry in ReleaseLedger(other).read_entries()
    )


def digest_owners(run: Run) -> str:
    """Return the SHA-256 of the owners' sides, whatever else the private table holds, as attributes."""
    return _digest(json.dumps(sorted(_read_sides(run).items())))


def _read_sides(run: Run) -> dict[str, str]:
    """Return the side of each owner, by id; nothing if there is no whole private table. Owners who choose the
    step only are of the training share.
    """
    try:
        table = read_table(run.private_table)
    except UserError:
        return {}
    sides = np.where(table.splits == VALIDATION, "train", table.splits)
    return dict(zip(table.owners.tolist(), sides.tolist()))


def digest_copy(place: Path) -> str:
    """Return the digest of a store, "" where there is none."""
    return digest_series(place) if is_store(place) else ""


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
