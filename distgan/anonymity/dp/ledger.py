"""The ledger of private releases: all draws so far, which are spent whatever happened after.

A draw is made in four steps, each whole or not at all and on disk before the next: the noisy sums go to a
pending file; a line `started` with their digest goes to the ledger; the file gets its final name; a line
`released` follows. From the first line on the draw is spent. A later call finds that line and uses these very
sums again, by their digest, or refuses. Sums that were pending without a line have been used by nobody and
are drawn anew.

Every line has the hash of the one before it, so nothing can be changed or taken from the middle. That the end
was cut off, the whole was deleted, or an older copy was put back is found by the *head*: the number of lines
and the last one's hash, which stands beside the results, in the bank's manifest and in the records of the
stages. A line has 32 random bytes, so that a head that leaves in a manifest tells nothing of what the line
says. A ledger counts what is drawn in its own run folder: a copy of the folder may reuse sums and weights
that are done, and draws nothing more.
"""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as tensors_to_bytes

from distgan.anonymity.dp import mechanism
from distgan.anonymity.dp.bank import Budget
from distgan.anonymity.dp.mechanism import Spending
from distgan.errors import Mismatch
from distgan.files import open_ledger, split_whole_lines, sync, write_bytes, write_json

HEAD = "head.json"
ELSEWHERE = "restore it from a backup, or choose another run_dir and count both"
LINE = {"name", "multiplier", "data", "settings", "result", "state", "inode"}  # that every line has
SUMS, TRAINING = "sums", "training"  # kinds of draws; those of training: training_ledger.py
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Head:
    """The end of a ledger: how many lines it has, and the hash of the last one."""

    lines: int
    digest: str


@dataclass(frozen=True)
class Query:
    """The identity of a query, so that the answer to another one is never reused for it."""

    name: str  # directions or groups; encoder, discriminator or generator
    multiplier: float  # of the noise, in sensitivities
    data: str  # a digest of the series and latents
    settings: str  # a digest of all that decides what is summed, and with how much noise
    rate: float = 1.0  # share of the entities that each sum takes at random
    steps: int = 1  # sums, each with that noise
    kind: str = SUMS

    @property
    def spending(self) -> Spending:
        return Spending(self.multiplier, self.rate, self.steps)

    @property
    def title(self) -> str:
        return self.name if self.kind == SUMS else f"the steps of the {self.name}"


class Ledger:
    """Every private release of a run, a line of JSON each.

    Args:
        path: the ledger's file.
        results: the folder of the noisy sums and of the head.
        witnesses: heads that other files of the run hold, each with the place that holds it.

    Raises (any method):
        Mismatch: a line was changed or is missing.
    """

    def __init__(self, path: Path, results: Path, witnesses: Sequence[tuple[Path, Head]] = ()) -> None:
        self.path, self.results, self.witnesses = path, results, witnesses

    # ------------------------------------------------------------------------------------------- what it says

    def read_entries(self) -> list[dict[str, Any]]:
        """Return all lines, each verified against the one before it."""
        found, before = [], ""
        for number, line in enumerate(self._read_lines()):
            try:
                entry = json.loads(line)
                follows = entry["before"] == before and entry.keys() >= LINE
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                follows = False
            if not follows:
                raise Mismatch(
                    f"line {number + 1} of {self.path} was changed, so the spent budget is unknown; "
                    f"{ELSEWHERE}"
                )
            found.append(entry)
            before = _digest(line)
        return found

    def list_draws(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return a line of every draw, or of every one of a kind, finished or not: all of them are spent."""
        found = [entry for entry in self.read_entries() if entry["state"] == "started"]
        return [entry for entry in found if kind in (None, entry.get("kind", SUMS))]

    def compute_spent(self, delta: float, *more: Spending) -> float:
        """Return ε of all draws so far, and of `more`, together."""
        return mechanism.compose_epsilon([*map(to_spending, self.list_draws()), *more], delta)

    def find_head(self) -> Head:
        lines = self._read_lines()
        return Head(len(lines), _digest(lines[-1]) if lines else "")

    def verify_head(self, head: Head, place: Path) -> None:
        """Check that the ledger goes on from a head that `place` holds.

        Raises:
            Mismatch: it is shorter, or another.
        """
        lines = self._read_lines()
        if len(lines) < head.lines:
            raise Mismatch(
                f"{place} was made when {self.path} had {head.lines} lines, but it has {len(lines)} "
                f"now: it was cut off or deleted, so the spent budget is unknown; {ELSEWHERE}"
            )
        if head.lines and _digest(lines[head.lines - 1]) != head.digest:
            raise Mismatch(
                f"{place} was made with another line {head.lines} of {self.path}: the ledger was "
                f"replaced, so the spent budget is unknown; {ELSEWHERE}"
            )

    def verify(self) -> None:
        """Check the chain, all heads, and that every result that lies there has its line.

        Raises:
            Mismatch: one of them does not hold.
        """
        known = {entry["name"] for entry in self.read_entries()}
        recorded = self.results / HEAD
        if recorded.exists():
            head = read_head(recorded)
            assert head is not None
            self.verify_head(head, recorded)
        for place, head in self.witnesses:
            self.verify_head(head, place)
        for result in sorted(self.results.glob("*.safetensors")):
            if result.stem not in known:
                raise Mismatch(f"{result} exists, but {self.path} has no line for it; {ELSEWHERE}")

    def audit(self, multiplier: float, head: Head, place: Path) -> None:
        """Check that what was drawn adds up to what the bank in `place` claims.

        Args:
            multiplier: of the noise of all releases together, in sensitivities.

        Raises:
            Mismatch: it does not, or the ledger is not the bank's.
        """
        self.verify()
        if not head.lines:
            raise Mismatch(
                f"the manifest of {place} refers to no line of {self.path}; run the stage bank again"
            )
        self.verify_head(head, place)
        drawn = mechanism.compose_multipliers([entry["multiplier"] for entry in self.list_draws(SUMS)])
        if abs(drawn - multiplier) > 1e-6 * multiplier:
            raise Mismatch(
                f"{self.path} adds up to noise of {drawn:.4g} sensitivities, but the bank states "
                f"{multiplier:.4g}; {ELSEWHERE}"
            )
        for entry in self.list_draws(SUMS):
            self._load_sums(entry)

    # ------------------------------------------------------------------------------------- drawing

    def draw(self, query: Query, budget: Budget, make: Callable[[], Tensors]) -> Tensors:
        """Return the noisy sums of a query: those drawn before, or new ones, which are spent from then on.

        Raises:
            Mismatch: they were drawn of other data or with other settings, or are gone, or more than the
            budget would be spent.
        """
        self.verify()
        before = [entry for entry in self.list_draws() if entry["name"] == query.name]
        if before:
            return self._reuse_entry(before[-1], query)
        entry = self.make_entry(query, budget)
        content = tensors_to_bytes({name: np.ascontiguousarray(array) for name, array in make().items()})
        entry["result"] = hashlib.sha256(content).hexdigest()
        self.results.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_bytes(self._find_pending(query.name), content, private=True)
        self.append({**entry, "state": "started"})
        self._publish(entry)
        return tensors_from_bytes(content)

    def read(self, name: str) -> Tensors:
        """Return the noisy sums of the last draw of that name.

        Raises:
            Mismatch: there is none, or they are gone.
        """
        before = [entry for entry in self.list_draws() if entry["name"] == name]
        if not before:
            raise Mismatch(f"{self.path} has no line for {name}; {ELSEWHERE}")
        return tensors_from_bytes(self._load_sums(before[-1]))

    def refuse_other(self, entry: dict[str, Any], query: Query) -> None:
        """Refuse sums of another question.

        Raises:
            Mismatch: what was drawn under the query's name is of other data, or of other settings.
        """
        for part, what in (("data", "of other series or latents"), ("settings", "with other settings")):
            if entry[part] != asdict(query)[part]:
                raise Mismatch(
                    f"{self.path} says that {query.title} were drawn {what} than the run now has; a second "
                    "draw would spend the budget twice: restore them, or choose another run_dir and count "
                    "both"
                )

    def _reuse_entry(self, entry: dict[str, Any], query: Query) -> Tensors:
        self.refuse_other(entry, query)
        content = self._load_sums(entry)
        if not any(
            each["state"] == "released" and each["name"] == query.name for each in self.read_entries()
        ):
            self._publish(entry)
        return tensors_from_bytes(content)

    def _load_sums(self, entry: dict[str, Any]) -> bytes:
        """Return the very sums of a draw, from their final or their pending file."""
        for path in (self._find_result(entry["name"]), self._find_pending(entry["name"])):
            if path.exists() and _digest_file(path) == entry["result"]:
                return path.read_bytes()
        raise Mismatch(
            f"{self.path} says that {entry['name']} were drawn, but "
            f"{self._find_result(entry['name'])} is gone or was changed; a second draw would "
            f"spend the budget twice: {ELSEWHERE}"
        )

    def make_entry(self, query: Query, budget: Budget) -> dict[str, Any]:
        """Return a new draw's line, if the budget has room for it.

        Raises:
            Mismatch: it has not, or the ledger is a copy.
        """
        before = self.list_draws()
        epsilon = self.compute_spent(budget.delta, query.spending)
        if epsilon > budget.epsilon * (1 + mechanism.SLACK):
            raise Mismatch(
                f"{self.path}: with {query.name}, epsilon {epsilon:.3g} would be spent, above "
                f"privacy.epsilon {budget.epsilon:g}; choose another run_dir and count both"
            )
        self.refuse_copy(query, before)
        return {
            **asdict(query),
            "delta": budget.delta,
            "epsilon_so_far": epsilon,
            "unit": "entity, added or removed with all its series",
            "insecure": budget.settings.insecure_seed is not None,
        }

    def refuse_copy(self, query: Query, before: Sequence[dict[str, Any]]) -> None:
        """
        Args:
            before: all draws so far.

        Raises:
            Mismatch: the ledger is a copy of that of the folder where they were made.
        """
        if before and before[0]["inode"] != self.path.stat().st_ino:
            raise Mismatch(
                f"{self.path} is a copy, and the original folder may draw {query.name} too; run that "
                "stage there, or choose another run_dir and count both"
            )

    def _publish(self, entry: dict[str, Any]) -> None:
        """Give the pending sums their final name, and note that."""
        result, pending = self._find_result(entry["name"]), self._find_pending(entry["name"])
        if pending.exists() and _digest_file(pending) == entry["result"]:
            os.replace(pending, result)
            sync(self.results)
        line = {
            name: value for name, value in entry.items() if name not in ("before", "time", "nonce", "inode")
        }
        self.append({**line, "state": "released"})

    def find_key_file(self, name: str) -> Path:
        """Return the file of a training's key while it is not done."""
        return self.results / f"{name}.key"

    def _find_result(self, name: str) -> Path:
        return self.results / f"{name}.safetensors"

    def _find_pending(self, name: str) -> Path:
        return self.results / f".{name}.pending"

    # --------------------------------------------------------------------------------------- lines

    def _read_lines(self) -> list[str]:
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        return split_whole_lines(text)

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line, on disk when this returns, with the head beside the results."""
        self.read_entries()  # the chain holds up to here
        lines = self._read_lines()
        with open_ledger(self.path, lines) as file:
            more = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "inode": os.fstat(file.fileno()).st_ino,
                "nonce": secrets.token_hex(32),
                "before": _digest(lines[-1]) if lines else "",
            }
            file.write(json.dumps({**entry, **more}) + "\n")
        sync(self.path.parent)
        write_json(self.results / HEAD, asdict(self.find_head()), private=True)


def to_spending(entry: dict[str, Any]) -> Spending:
    """Return the spending of a line; lines of earlier versions are of one sum of all entities."""
    return Spending(entry["multiplier"], entry.get("rate", 1.0), entry.get("steps", 1))


def read_head(place: Path, *keys: str) -> Head | None:
    """Return the head that a JSON file holds under some keys; None where it has none of the keys, or null.

    Raises:
        Mismatch: the file is not JSON, or what stands there is no head.
    """
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        for key in keys:
            content = content.get(key)
            if content is None:
                return None
        return Head(int(content["lines"]), str(content["digest"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise Mismatch(f"{place} does not record where the privacy ledger ended; {ELSEWHERE}") from None


def _digest_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:32]
