"""The entry of a private training in the ledger: all its steps are spent before the first one.

1. A key is drawn from the operating system, and kept in a private file. A line `started` follows, with the
   number of steps, their sampling rate and noise, and the key's digest: from here on all planned steps are
   spent, however few of them are taken.
2. The training takes coins and noise from the key. After a kill it goes on from a checkpoint and takes the
   same coins and noise again, so that steps that are repeated tell nothing more. A copy of the folder does
   not go on: with another number of processes or device it ends with other weights, and in the difference
   of both the same noise would cancel.
3. When the weights are on disk, a line `released` has their digest, and the key is removed. Without the key
   nothing can be repeated: a training whose weights are gone is refused.
"""

import hashlib
from dataclasses import dataclass

from distgan.anonymity.dp import lattice
from distgan.anonymity.dp.bank import Budget
from distgan.anonymity.dp.ledger import ELSEWHERE, TRAINING, Ledger, Query
from distgan.errors import Mismatch
from distgan.files import sync, write_bytes


@dataclass(frozen=True)
class TrainingLedger:
    """The lines and the key of one private training.

    Raises (any method):
        Mismatch: the ledger was changed, or the training is another than the one that is spent.
    """

    ledger: Ledger
    query: Query

    @property
    def name(self) -> str:
        return self.query.name

    def begin(self, budget: Budget) -> bytes:
        """Spend all steps, and return the key of their coins and noise; the same key when it is called
        again.
        """
        assert self.query.kind == TRAINING
        self.ledger.verify()
        before = [entry for entry in self.ledger.list_draws(TRAINING) if entry["name"] == self.name]
        place = self.ledger.find_key_file(self.name)
        if before:
            self.ledger.refuse_other(before[-1], self.query)
            if not place.exists() or hashlib.sha256(place.read_bytes()).hexdigest() != before[-1]["result"]:
                raise Mismatch(
                    f"{self.ledger.path} says that the {self.name} was trained, but its key {place} is "
                    "gone, as it is when a training is done; a second training would spend the budget "
                    f"twice: restore weights and checkpoints, or {ELSEWHERE.partition(', or ')[2]}"
                )
            self.ledger.refuse_copy(self.query, self.ledger.list_draws())
            return place.read_bytes()
        entry = self.ledger.make_entry(self.query, budget)
        key = lattice.make_key(budget.settings.insecure_seed)
        entry["result"] = hashlib.sha256(key).hexdigest()
        self.ledger.results.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_bytes(place, key, private=True)
        self.ledger.append({**entry, "state": "started"})
        return key

    def find_result(self) -> str | None:
        """Return the digest of the weights, if the training is done."""
        for entry in self.ledger.read_entries():
            if (entry["name"], entry["state"]) == (self.name, "released"):
                self.ledger.refuse_other(entry, self.query)
                return str(entry["weights"])
        return None

    def finish(self, weights: str) -> None:
        """Note the digest of the weights that are on disk, and remove the key."""
        known = self.find_result()
        if known is None:
            started = [entry for entry in self.ledger.list_draws(TRAINING) if entry["name"] == self.name][-1]
            line = {
                name: value
                for name, value in started.items()
                if name not in ("before", "time", "nonce", "inode")
            }
            self.ledger.append({**line, "state": "released", "weights": weights})
        elif known != weights:
            raise Mismatch(
                f"{self.ledger.path} says that the {self.name} was trained to other weights; {ELSEWHERE}"
            )
        self.ledger.find_key_file(self.name).unlink(missing_ok=True)
        sync(self.ledger.results)
