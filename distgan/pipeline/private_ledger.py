"""A run's ledger of private releases, checked against the records in its other files."""

import hashlib
import json
from pathlib import Path
from typing import Any

from distgan import config
from distgan.anonymity import bank, manifest
from distgan.anonymity.dp.bank import Budget
from distgan.anonymity.dp.ledger import ELSEWHERE, TRAINING, Head, Ledger, Query, read_head
from distgan.anonymity.dp.mechanism import SLACK
from distgan.errors import Mismatch, UserError
from distgan.files import read_record
from distgan.pipeline.training_data import (
    TrainingData,
    digest_latents,
    fingerprint_inputs,
    read_owners,
    refuse_shared_owners,
)
from distgan.run import Run

LEARNED = {"zeros": "shares of zeros", "lengths": "where series begin and end"}  # in scaler.json
WITNESSES = ("encoder", "cluster", "bank", "gan")  # stages whose records hold the ledger's head


def open_ledger(run: Run) -> Ledger:
    """Return the run's ledger, whose end the bank's manifest and the stages' records vouch for.

    Raises:
        Mismatch: one of them cannot be read.
    """
    places: dict[Path, tuple[str, ...]] = {run.bank / manifest.MANIFEST: ("privacy", "ledger")}
    places |= {run.record(stage): ("ledger",) for stage in WITNESSES}
    heads = [(place, read_head(place, *keys)) for place, keys in places.items() if place.exists()]
    witnesses = [(place, head) for place, head in heads if head is not None]
    return Ledger(run.ledger, run.noisy_sums, witnesses)


def select_head_facts(head: Head) -> dict[str, int | str]:
    """Return what a stage's record says of the ledger."""
    return {"lines": head.lines, "digest": head.digest}


def make_query(run: Run, name: str, budget: Budget, multiplier: float, **settings: Any) -> Query:
    """Return a query of the run's latents and series.

    Args:
        settings: all that decides what is summed, besides the settings of privacy; ready for JSON.
    """
    data = hashlib.sha256(f"{fingerprint_inputs(run)} {digest_latents(run)}".encode()).hexdigest()
    privacy = budget.settings.dump()
    chosen = {"privacy": privacy, "radius": budget.radius, **settings}
    text = json.dumps(chosen, sort_keys=True)
    return Query(name, multiplier, data, hashlib.sha256(text.encode()).hexdigest())


def refuse_unprotected(settings: config.Config, run: Run, data: TrainingData) -> None:
    """Refuse training series of which a private release would protect an owner less than it says.

    Raises:
        UserError: as `refuse_shared_owners` and `refuse_unaccounted`.
    """
    refuse_shared_owners(data.entity_codes, read_owners(data, run))
    refuse_unaccounted(settings, run)


def refuse_unaccounted(settings: config.Config, run: Run) -> None:
    """Refuse series of which `prepare` has learned more, without privacy.epsilon, than it does with it.

    Near copies that were merged change what an entity adds to the sums. What the scaler holds of all training
    series matters where the whole run is to be private: else the scaler is taken as given.

    Raises:
        UserError: there is such a thing.
    """
    merged = (run.read_record("prepare") or {}).get("merged_owners", 0)
    learned = [f"{merged} owners merged for near copies"] if merged else []
    if settings.privacy.end_to_end:
        tree = read_record(run.need(run.scaler, "prepare"), "scaler")
        learned += [title for name, title in LEARNED.items() if tree.get(name) is not None]
        learned += ["the course of whole series"] if tree["scaler"].get("season") is not None else []
    if learned:
        raise UserError(
            f"{run.folder} was prepared without privacy.epsilon and holds, without noise, "
            f"{' and '.join(learned)}; choose another run_dir"
        )


def audit_ledger(settings: config.Config, run: Run) -> None:
    """Check that the bank claims the differential privacy of the config, and that the ledger confirms it.

    Raises:
        Mismatch: lines were changed or are gone, or do not add up to what the bank claims.
        UserError: as `refuse_unaccounted`.
    """
    held = bank.Bank.load(run.bank).guarantee
    if (held is None) != (settings.privacy.epsilon is None):
        raise Mismatch(
            "the run's config and the bank's manifest do not both set privacy.epsilon; run the "
            "stage bank again"
        )
    ledger = open_ledger(run)
    if held is None:
        ledger.verify()
        return
    if (held.epsilon, held.delta) != (settings.privacy.epsilon, settings.privacy.delta):
        raise Mismatch(
            f"the run has privacy.epsilon {settings.privacy.epsilon:g} and privacy.delta "
            f"{settings.privacy.delta:g}, but the bank was made with {held.epsilon:g} and "
            f"{held.delta:g}; restore the config, or use another run_dir"
        )
    ledger.audit(held.multiplier, held.head, run.bank)
    audit_trainings(settings, run, ledger)
    refuse_unaccounted(settings, run)


def audit_trainings(settings: config.Config, run: Run, ledger: Ledger) -> float:
    """Check the ledger's lines of private trainings: those that the config asks for, each done, with the
    weights that are there, and all draws together within the budget.

    Returns:
        ε of all draws together.

    Raises:
        Mismatch: one of them does not hold.
    """
    wanted = list_trained_weights(settings, run) if settings.privacy.end_to_end else {}
    found = [entry["name"] for entry in ledger.list_draws(TRAINING)]
    if sorted(found) != sorted(wanted):
        raise Mismatch(
            f"{ledger.path} has private trainings of {', '.join(found) or 'nothing'}, but the config asks "
            f"for {', '.join(wanted) or 'none'}; restore the config, or use another run_dir"
        )
    done = {entry["name"]: entry["weights"] for entry in ledger.read_entries() if "weights" in entry}
    for name, place in wanted.items():
        if name not in done or not place.exists() or digest_weights(place) != done[name]:
            raise Mismatch(
                f"{place} does not hold the weights that {ledger.path} records for the {name}; restore "
                "them, or use another run_dir"
            )
    budget, delta = settings.privacy.epsilon, settings.privacy.delta
    assert budget is not None
    spent = ledger.compute_spent(delta)
    if spent > budget * (1 + SLACK):
        raise Mismatch(
            f"{ledger.path} adds up to epsilon {spent:.3g}, above privacy.epsilon {budget:g}; {ELSEWHERE}"
        )
    return spent


def list_trained_weights(settings: config.Config, run: Run) -> dict[str, Path]:
    """Return the weights that a run's private trainings end with, by their name in the ledger."""
    return {"encoder": run.encoder_weights, settings.model.private_network: run.generator_weights}


def digest_weights(path: Path) -> str:
    """Return the SHA-256 of a file of weights."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
