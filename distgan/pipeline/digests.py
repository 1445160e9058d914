"""Digests of the files that each stage read and wrote, and the check that they are unchanged.

Every stage's record (`done/STAGE.json`) holds the SHA-256 of what it read, taken before it began, of what it
made, and of the records of the stages before it. `release` follows the chain from the synthetic series back
to the split: series <- weights, bank, scaler <- split. Whoever controls every file of a run, records and
checkpoints included, can forge the whole chain. This detects a file that was replaced, edited or mixed up
without it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distgan import config
from distgan.anonymity import manifest
from distgan.engine import checkpoint
from distgan.errors import Mismatch
from distgan.pipeline.training_data import fingerprint_inputs
from distgan.run import MANIFEST, Run

Digest = Callable[[Run], str]


def digest_files(*paths: Path) -> str:
    """Return the SHA-256 of the contents of files, those that are absent left out, in order."""
    content = hashlib.sha256()
    for path in paths:
        if path.exists():
            content.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    content.update(block)
    return content.hexdigest()


def digest_series(path: Path) -> str:
    """Return the digest of a store: its manifest has a checksum of every shard, which is verified when the
    shard is read.
    """
    return digest_files(path / MANIFEST)


@dataclass(frozen=True)
class Artefact:
    """An output of a stage: its title in messages and the function that digests it."""

    title: str
    stage: str
    digest: Digest


ARTEFACTS: dict[str, Artefact] = {
    "series": Artefact("the real series", "prepare", lambda run: digest_series(run.series)),
    "split": Artefact(
        "the split table",
        "prepare",
        lambda run: digest_files(run.private_table, run.left_out_windows),
    ),
    "scaler": Artefact("the scaler", "prepare", lambda run: digest_files(run.scaler, run.scaler_tensors)),
    "encoder": Artefact("the encoder's weights", "encoder", lambda run: digest_files(run.encoder_weights)),
    "latents": Artefact("the latents", "encode", lambda run: digest_series(run.latents)),
    "clusters": Artefact(
        "the clusters",
        "cluster",
        lambda run: digest_files(
            run.cluster_files.projection,
            run.cluster_files.points,
            run.cluster_files.groups,
            run.cluster_files.facts,
        ),
    ),
    "bank": Artefact(
        "the bank",
        "bank",
        lambda run: digest_files(run.bank / manifest.MANIFEST, run.bank / manifest.TENSORS),
    ),
    "members": Artefact(
        "the members of the groups",
        "bank",
        lambda run: digest_files(run.cluster_files.members),
    ),
    "generator": Artefact(
        "the generator's weights", "gan", lambda run: digest_files(run.generator_weights, run.zero_thresholds)
    ),
    "synthetic": Artefact("the synthetic series", "generate", lambda run: digest_series(run.synthetic)),
    "attributes": Artefact(
        "the synthetic attributes", "generate", lambda run: digest_files(run.synthetic_attributes)
    ),
    "labels": Artefact("the synthetic labels", "generate", lambda run: digest_files(run.synthetic_labels)),
}
DATA = ("series", "split", "scaler")
READ: dict[str, tuple[str, ...]] = {
    "prepare": (),
    "encoder": DATA,
    "encode": (*DATA, "encoder"),
    "cluster": (*DATA, "latents"),
    "bank": (*DATA, "encoder", "latents", "clusters"),
    "gan": (*DATA, "bank", "members"),
    "generate": ("split", "scaler", "bank", "generator"),
}


def digest_inputs(stage: str, run: Run) -> dict[str, str]:
    """Return the digests of what a stage is about to read, by name."""
    return {name: ARTEFACTS[name].digest(run) for name in READ.get(stage, ())}


def digest_outputs(stage: str, run: Run) -> dict[str, str]:
    """Return the digests of what a stage has made, by name."""
    return {name: each.digest(run) for name, each in ARTEFACTS.items() if each.stage == stage}


def digest_records(stage: str, run: Run) -> dict[str, str]:
    """Return the digests of the records of earlier stages, by stage, but for what releases add to one."""
    found = {}
    for name in config.STAGES[: config.STAGES.index(stage)]:
        if (record := run.read_record(name)) is not None:
            record.pop("releases", None)
            found[name] = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    return found


def audit_chain(settings: config.Config, run: Run, last: str = "generate") -> list[str]:
    """Compare every artefact of the run with what the records of its stages say, back from the series.

    Args:
        last: the last stage that counts.

    Returns:
        What was verified, a line each.

    Raises:
        Mismatch: an artefact is not the one that a stage made or read; names both.
    """
    lines = []
    now = {name: each.digest(run) for name, each in ARTEFACTS.items()}
    names = list(READ)
    for stage in [stage for stage in names[: names.index(last) + 1] if stage in settings.stages]:
        record = run.read_record(stage)
        if record is None:
            raise Mismatch(f"{run.record(stage)} is missing; run {run.format_command()}")
        if not isinstance(record.get("digests"), Mapping):
            raise Mismatch(
                f"{run.record(stage)} does not record what the stage {stage} read and made; remove "
                f"it and run {run.format_command()}"
            )
        compare(stage, record["digests"], now)
        compare_records(stage, record["digests"], run)
        lines.append(describe_stage(stage))
    audit_checkpoint(run)
    return lines


def compare(stage: str, recorded: Mapping[str, Any], now: Mapping[str, str]) -> None:
    """Compare the digests in a stage's record with those of the artefacts.

    Raises:
        Mismatch: a digest in the stage's record is missing or differs from that of the artefact.
    """
    made = [name for name, each in ARTEFACTS.items() if each.stage == stage]
    for verb, names in (("made", made), ("read", READ[stage])):
        found = recorded.get(verb, {})
        for name in names:
            if found.get(name) != now[name]:
                where = f"done/{stage}.json"
                other = "not what" if name in found else f"{where}, of an earlier version, does not name what"
                raise Mismatch(
                    f"{ARTEFACTS[name].title}: {other} the stage {stage} {verb}; restore the file, or remove "
                    f"{where} and run distgan train again with the run's config.yaml"
                )


def compare_records(stage: str, recorded: Mapping[str, Any], run: Run) -> None:
    """Compare the digests of earlier records in a stage's record with those of the files.

    Raises:
        Mismatch: the record of an earlier stage has changed since this stage began.
    """
    known = recorded.get("records")
    for name, digest in digest_records(stage, run).items():
        if not isinstance(known, Mapping) or known.get(name) != digest:
            where, own = f"done/{name}.json", f"done/{stage}.json"
            says = "which was changed since" if isinstance(known, Mapping) else "being of an earlier version"
            raise Mismatch(
                f"{own} does not hold the digest of {where}, {says}; restore the file, or remove {own} and "
                "run distgan train again with the run's config.yaml"
            )


def describe_stage(stage: str) -> str:
    """Return a line of what the record of one stage shows."""
    titles = [each.title for each in ARTEFACTS.values() if each.stage == stage]
    read = [ARTEFACTS[name].title for name in READ[stage]]
    made = f"{' and '.join(titles)} as the stage made them" if titles else ""
    inputs = f"from {', '.join(read)} as they are now" if read else ""
    return f"{stage}: {', '.join(part for part in (made, inputs) if part)}"


def audit_checkpoint(run: Run) -> None:
    """Compare the inputs that the newest checkpoint states with those that the run holds.

    Raises:
        Mismatch: the newest checkpoint of the generator says it was trained on other data, split or bank.
    """
    saved = checkpoint.load_latest(run.checkpoints("gan"), wanted=lambda name: False)
    if saved is None:
        return
    now = fingerprint_inputs(run, run.bank / manifest.TENSORS, run.cluster_files.members)
    if saved.facts.get("inputs") != now:
        raise Mismatch(
            f"the newest checkpoint in {run.checkpoints('gan')} was trained on other series, "
            "another split, scaler or bank than the run now holds; restore those files, or train "
            "again in another run_dir"
        )


def refuse_replaced(before: Mapping[str, str], now: Mapping[str, str], run: Run, advice: str) -> None:
    """Refuse what was replaced while it was read.

    Args:
        before, now: digests by the title of what they are of.
        advice: while what it was replaced, and what to do.

    Raises:
        Mismatch: a digest has changed.
    """
    for title, digest in now.items():
        if digest != before[title]:
            raise Mismatch(f"{title} of {run.folder}: replaced {advice}")
