"""Export a run's generator in the format of the Hugging Face Hub: weights, config, model card, files for
sampling.

The folder is for others, so it holds nothing of single people: no source, path, id or checksum of private
files, and of the bank only what a release shows. Only weights whose series have passed `distgan release` may
be exported, except with `private`.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch

import distgan
from distgan import config
from distgan.anonymity.bank import Bank
from distgan.anonymity.manifest import LedgerHead
from distgan.anonymity.statics import GroupAttributes
from distgan.command_line import Result
from distgan.commands.model_card import Card, format_card
from distgan.commands.release_rules import check_rules
from distgan.data.store.metadata import Meta
from distgan.errors import Mismatch, OverLimit, TooLittleEvidence, UserError
from distgan.evaluation.results import Report, Verdict
from distgan.files import (
    publish,
    quote_path,
    read_json,
    read_record,
    refuse_standing,
    whole_folder,
    write_json,
    write_text,
)
from distgan.pipeline.digests import ARTEFACTS, audit_chain, digest_files, refuse_replaced
from distgan.pipeline.lengths import find_lengths
from distgan.pipeline.release_ledger import RELEASED, ReleaseLedger
from distgan.pipeline.train_gan import load_generator
from distgan.pipeline.training_data import find_credit, read_scaler, write_scaler
from distgan.preflight import find_current
from distgan.run import HubFolder, Run

PRIVATE = "--private"
KEPT_SECTIONS = ("encoder", "clusters", "bank", "privacy", "model", "objective", "train", "generate")
KEPT_PROVENANCE = ("clock", "credit", "years", "windows")  # what times mean; the rest names files
KEPT_DATA = ("credit", "bounds", "scaling", "timezone", "holidays")
NO_SOURCE = "not-included"
REPLACED = "during the export; run distgan export again when the training is done"
UNSTATED = "unstated"  # begins the name of a category that no group states
EXIT_ERRORS: dict[int, type[UserError]] = {3: OverLimit, 4: TooLittleEvidence, 5: Mismatch}


def export(run: Run, out: Path | None, private: bool = False) -> Result:
    """Write `out` (by default `RUN/export`), which `distgan.load` and huggingface_hub read.

    Args:
        private: for the owner of the data alone: without a verdict of the gate, which the card states.

    Raises:
        UserError: the run is not finished, something stands at `out`, or the gate has not judged it.
        OverLimit, TooLittleEvidence: the gate refused it, or its rules always will.
        Mismatch: weights, bank or split are not those that the gate judged.
    """
    place = out or run.exported
    refuse_standing(place)
    settings = config.load(run.config)
    refuse_unloadable(settings)
    before = digest_exported(run)
    generator = load_generator(settings, run)
    refuse_always(settings, run)
    if not private:
        refuse_joint_scaling(settings)
    verdict = None if private else find_verdict(settings, run)
    scaler, meta = read_scaler(run)
    meta = replace(meta, provenance=make_public_provenance(settings, meta))
    with whole_folder(place) as temporary:
        folder = HubFolder(temporary)
        tensors = {name: value.contiguous() for name, value in generator.state_dict().items()}
        folder.generator_weights.write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))
        write_text(folder.config, make_public_settings(settings).to_yaml())
        write_scaler(folder, replace(scaler, season=None), meta, **list_lengths(settings, run))
        if run.zero_thresholds.exists():
            shutil.copyfile(run.zero_thresholds, folder.zero_thresholds)
        make_public_bank(Bank.load(run.bank)).save(folder.bank)
        facts = describe_model(settings, meta, sum(value.numel() for value in tensors.values()))
        write_json(folder.hub_config, facts)
        card = Card(settings, meta, facts, verdict, read_scores(settings, run))
        write_text(folder.card, format_card(card))
        refuse_replaced(before, digest_exported(run), run, REPLACED)
        if not private:
            publish(temporary)
    kind = "for the owner of the data only" if private else "passed the release gate"
    return Result(f"export    {place} ({kind})", {"out": str(place), "private": private, **facts})


def digest_exported(run: Run) -> dict[str, str]:
    """Return the digests of what is read for an export, by its title in messages."""
    return {ARTEFACTS[name].title: ARTEFACTS[name].digest(run) for name in ("generator", "bank", "scaler")}


def list_lengths(settings: config.Config, run: Run) -> dict[str, Any]:
    """Return the ranges of series for scaler.json, where the released series have them."""
    lengths = find_lengths(settings.generate.lengths, run)
    return {} if lengths is None else {"lengths": lengths.to_dict()}


def refuse_unloadable(settings: config.Config) -> None:
    """Refuse models that cannot be loaded elsewhere.

    Raises:
        UserError: nobody else could load the model, or it generates nothing.
    """
    name = settings.model.name
    if name not in config.FAMILIES:
        raise UserError(
            f"model {name} is defined outside the package, so an exported folder cannot be loaded elsewhere; "
            "share its file and the weights of distgan export RUN FOLDER --networks"
        )
    if "bank" not in settings.stages:
        raise UserError(f"model {name} filters series and generates none; use distgan denoise RUN SERIES OUT")


def refuse_always(settings: config.Config, run: Run) -> None:
    """Refuse models that no setting allows to export.

    Raises:
        OverLimit: a rule that no setting lifts: real series among the weights, or means of too few people.
    """
    run.need(run.bank, "bank")
    for check in check_rules(settings, run):
        if check.broken:
            raise OverLimit(f"{run.folder} must stay private: {check.name}: {check.broken}")


def refuse_joint_scaling(settings: config.Config) -> None:
    """Refuse to publish what whitening and normal scores learn of the training series: a covariance of D
    readings has D (D + 1) / 2 numbers, tables of normal scores hundreds a channel, and so many identify
    members by the rule of the minimum group size.

    Raises:
        OverLimit: the scaler holds such numbers.
    """
    scaling = settings.data.scaling
    if scaling.marginal == "none" and not scaling.whitening:
        return
    raise OverLimit(
        f"data.scaling.marginal {scaling.marginal} and whitening {scaling.whitening:g} keep numbers of the "
        "real series that identify members; publish series (distgan release), or train with "
        "data.scaling.marginal=none and data.scaling.whitening=0"
    )


def find_verdict(settings: config.Config, run: Run) -> Verdict:
    """Return the last verdict of the gate, if it is a pass of exactly what is exported.

    Raises:
        UserError: there is no verdict.
        OverLimit, TooLittleEvidence, Mismatch: it was a refusal, or of other weights, bank or split.
    """
    without = f"; for yourself alone, {PRIVATE} exports without the gate"
    if not run.release_verdict.exists():
        raise UserError(
            f"{run.folder} was not judged yet; run distgan release {quote_path(run.folder)} first{without}"
        )
    verdict = Verdict.model_validate(read_record(run.release_verdict, "exit_code", "sentence"))
    if verdict.exit_code:
        raise EXIT_ERRORS.get(verdict.exit_code, UserError)(
            f"the gate refused {run.folder}: {verdict.sentence.rstrip('.')}{without}"
        )
    audit_chain(settings, run)
    ledger = ReleaseLedger.open(run)
    ledger.audit()
    now = tuple(ARTEFACTS[name].digest(run) for name in ("generator", "split"))
    released = [entry for entry in ledger.read_entries() if entry.verdict == RELEASED]
    judged = [entry for entry in released if (entry.weights, entry.split) == now]
    page = digest_files(run.release_verdict)
    if judged and not any(entry.page in ("", page) for entry in judged):
        raise Mismatch(
            f"{run.release_verdict} was changed since the gate wrote it; run distgan release "
            f"{quote_path(run.folder)} again{without}"
        )
    if verdict.run != settings.identity or not judged:
        raise Mismatch(
            f"the generator of {run.folder} is not the one that passed the gate; run distgan release "
            f"{quote_path(run.folder)} again{without}"
        )
    return verdict


def make_public_settings(settings: config.Config) -> config.Config:
    """Return the settings of a model, without source, columns, paths and machines, and without the seed, by
    which whoever knows owners' ids could compute who was held out.
    """
    tree = settings.model_dump(mode="json")
    data = {"source": NO_SOURCE} | {name: tree["data"][name] for name in KEPT_DATA}
    public = {name: tree[name] for name in KEPT_SECTIONS} | {"data": data, "run_dir": "."}
    public["generate"]["table"] = None
    if public["privacy"]["public"] is not None:
        public["privacy"]["public"] = NO_SOURCE
    public["train"]["select"]["score"] = None  # what it needs of the data is not here
    return config.from_tree(public, "export")


def make_public_provenance(settings: config.Config, meta: Meta) -> dict[str, Any]:
    """Return the public part of the series' origin: the clock, and whose data it was."""
    kept = {name: meta.provenance[name] for name in KEPT_PROVENANCE if name in meta.provenance}
    credit = find_credit(settings, meta)
    return kept | ({"credit": credit} if credit else {})


def make_public_bank(bank: Bank) -> Bank:
    """Return the bank without what is one entity's and categories that no group states, and with limits
    instead of the end of a private ledger.
    """
    limits = np.full(bank.num_groups, bank.settings.max_share)
    guarantee = bank.guarantee
    if guarantee is not None:
        guarantee = guarantee.model_copy(update={"ledger": LedgerHead(lines=1, digest="0" * 32)})
    return replace(
        bank,
        largest_share=limits,
        lowered=np.zeros_like(bank.lowered),
        guarantee=guarantee,
        statics=hide_unstated(bank.statics) if bank.statics and guarantee is None else bank.statics,
    )


def hide_unstated(statics: GroupAttributes) -> GroupAttributes:
    """Return what groups state of attributes, with a number in place of each category that none states; the
    networks have a place for it.
    """
    columns = []
    for column, codes in zip(statics.columns, statics.values.T):
        hidden = (f"{UNSTATED} {code}" for code in range(len(column.categories)))
        names = [
            name if code in codes else other
            for code, (name, other) in enumerate(zip(column.categories, hidden))
        ]
        columns.append(column.model_copy(update={"categories": names}))
    return replace(statics, columns=tuple(columns))


def describe_model(settings: config.Config, meta: Meta, parameters: int) -> dict[str, Any]:
    """Return the content of config.json: the kind of the model and of its series."""
    return {
        "model_type": "distgan",
        "architectures": [settings.model.name],
        "library_name": "distgan",
        "distgan_version": distgan.__version__,
        "dtype": "float32",
        "parameters": parameters,
        "length": meta.axis.length,
        "channels": list(meta.channels),
        "units": meta.units,
        "step_seconds": meta.axis.step_seconds,
        "start": meta.axis.start,
        "model": settings.model.model_dump(mode="json"),
    }


def read_scores(settings: config.Config, run: Run) -> Report | None:
    """Read the report, if there is one of these series; None under privacy.epsilon, which does not cover
    it.
    """
    if settings.privacy.epsilon is not None or not run.scores.exists():
        return None
    if find_current("evaluate", settings, run) is None:
        return None
    return Report.from_json(read_json(run.scores), str(run.folder))
