"""The gate: a run's synthetic series leave its folder only if every check passes.

First the files are verified, and that series, weights, bank and split belong together (exit code 5
otherwise), then rules that no setting lifts, then the attacks (3: over a limit, 4: too little evidence), on
the series together with earlier releases and a sample of the generator. The verdict is always written beside
the run; the release folder only if all checks pass, complete or not at all. Every attempt whose
attacks came to an end is recorded in `releases.jsonl`.
"""

import datetime
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import distgan
from distgan import config
from distgan.anonymity import manifest
from distgan.anonymity.bank import Bank
from distgan.command_line import Result
from distgan.commands.attacked_series import AttackedSeries, audit_generated, describe_counts
from distgan.commands.release_rules import Check, check_rules
from distgan.commands.released_verdict import make_public_manifest, make_public_verdict
from distgan.data.export import export
from distgan.data.ingest_cache import hash_file
from distgan.data.store.reader import Store
from distgan.errors import Mismatch, OverLimit, TooLittleEvidence, UserError
from distgan.evaluation.attacks import battery
from distgan.evaluation.comparisons import find_release_word
from distgan.evaluation.report.terms import Explainer
from distgan.evaluation.report.writer import load_template
from distgan.evaluation.results import PrivacyResult, ReleasePrivacy, Verdict
from distgan.files import (
    publish,
    quote_path,
    read_json,
    refuse_standing,
    whole_folder,
    write_json,
    write_text,
)
from distgan.pipeline import generate
from distgan.pipeline.attack import Target, run_attacks
from distgan.pipeline.build_bank import run_tracing
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.digests import ARTEFACTS, audit_chain, digest_files, refuse_replaced
from distgan.pipeline.output_transform import find_output_transform
from distgan.pipeline.owners import audit_owners
from distgan.pipeline.private_ledger import audit_ledger
from distgan.pipeline.release_ledger import (
    REFUSED,
    RELEASED,
    Attempt,
    ReleaseLedger,
    digest_owners,
    list_copies_beside,
)
from distgan.pipeline.runner import find_current
from distgan.pipeline.training_data import TrainingData, find_credit, open_for_inference, read_scaler
from distgan.preflight import digest_table, refuse_filter, refuse_no_run
from distgan.progress import format_count, say
from distgan.run import ReleaseFolder, Run

MOST_OWNERS = 10_000  # of each side are attacked
OUTLIERS = 0.2  # as many as an interval needs
ATTACKED_AS_TRAINED = (
    "The attacks used these series on the days of the trained year. The days here are a choice among them."
)
ATTACKED_WHOLE = "The attacks used whole series. What is here is a part of their values."
ERRORS: dict[int, type[UserError]] = {3: OverLimit, 4: TooLittleEvidence, 5: Mismatch}
CODES = {battery.PASS: 0, battery.OVER: 3, battery.INSUFFICIENT: 4}


def run(run: Run, place: Path) -> str:
    """Release a run's synthetic series to the folder `place`.

    Raises:
        UserError: it is not a finished run, or `place` stands already.
        OverLimit, TooLittleEvidence, Mismatch: it may not be released; the verdict says why.
    """
    result = decide(run, place)
    if result.error is not None:
        raise result.error
    return result.text


def decide(run: Run, place: Path) -> Result:
    """Judge a run's synthetic series, write the verdict, and write the release if all checks pass.

    Returns:
        The verdict, with the error that a refusal ends with.

    Raises:
        UserError: it is not a finished run, or `place` stands already.
    """
    refuse_standing(place)
    refuse_no_run(run)
    refuse_filter(run)
    run.need(run.synthetic, "generate")
    settings = config.load(run.config)
    find_output_transform(settings, run)  # what cannot be written is refused before the attacks
    parallel = open_for_inference(settings)
    try:
        with run.lock():
            judged = digest_parts(run)
            verdict = judge(PipelineContext(settings, run, parallel))
            save_verdict(verdict.to_json(), run.release_verdict)
            if verdict.privacy is not None:
                remember(verdict.exit_code, settings, run)
            where, tree = run.release_verdict.with_suffix(".html"), verdict.to_json()
            if verdict.exit_code:
                text = f"{verdict.sentence} Nothing was released; see {where}"
                return Result("", {**tree, "released": None}, ERRORS[verdict.exit_code](text))
            write_release(place, verdict, settings, run, judged)
    finally:
        parallel.close()
    return Result(f"{verdict.sentence} Released: {place}", {**tree, "released": str(place)})


# ------------------------------------------------------------------------------------------------ the verdict


def judge(context: PipelineContext) -> Verdict:
    """Run the checks in order, each only if the ones before hold."""
    checks, note = run_checks(context), ""
    attacks: ReleasePrivacy | None = None
    broken, beside = [check for check in checks if check.broken], list[Path]()
    if not broken:
        beside = list_copies_beside(context.run)
        chosen = AttackedSeries.gather(context)
        say(note := describe_counts(chosen.facts))
        found = attack(context, chosen)
        if found is not None:
            attacks = ReleasePrivacy(**dict(found), attacked=chosen.facts)
    exit_code = broken[0].exit_code if broken else CODES[attacks.outcome] if attacks else 4
    verdict = Verdict(
        exit_code=exit_code,
        answer=find_release_word(exit_code).text,
        sentence=format_sentence(broken, attacks),
        attacked=note,
        checks=[check.to_result() for check in checks],
        privacy=attacks,
        run=context.settings.identity,
        made=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        maker=f"distgan {distgan.__version__}",
    )
    return verdict if exit_code else refuse_meanwhile(verdict, context.run, beside)


def refuse_meanwhile(verdict: Verdict, run: Run, before: Sequence[Path]) -> Verdict:
    """Return the verdict of a pass, or a refusal where a run beside this one released series meanwhile: they
    were not attacked together with these.

    The copy of what is to leave is kept first: of two releases at once, one at least then sees the other's.

    Args:
        before: copies of what runs beside this one had released when the checks began.
    """
    ledger = ReleaseLedger.open(run)
    ledger.keep_copy(run.synthetic)
    if set(list_copies_beside(run)) <= set(before):
        return verdict
    ledger.drop_copy(run.synthetic)
    text = "a run beside this one, on the same split, released series during the checks; run it again"
    check = Check("releases at the same time", text, 5)
    return verdict.model_copy(
        update={
            "exit_code": check.exit_code,
            "answer": find_release_word(check.exit_code).text,
            "sentence": format_sentence([check], None),
            "checks": [*verdict.checks, check.to_result()],
        }
    )


def run_checks(context: PipelineContext) -> list[Check]:
    """Run the audits up to the first that fails, then all rules; print each."""
    found = []
    for name, work in list_audits(context):
        found.append(run_audit(name, work))
        if found[-1].broken:
            return found
    return found + check_rules(context.settings, context.run)


def run_audit(name: str, work: Callable[[], Any]) -> Check:
    """Run one audit and print what it verified."""
    try:
        verified = work()
    except UserError as error:
        return Check(name, str(error), 5)
    lines = tuple([verified] if isinstance(verified, str) else verified)
    for line in lines:
        say(f"verified  {line}")
    return Check(name, "", 5, lines)


def remember(exit_code: int, settings: config.Config, run: Run) -> None:
    """Add the attempt to the ledger; before series leave, keep a copy of them."""
    ledger = ReleaseLedger.open(run)
    leaves = not exit_code
    if leaves:
        ledger.keep_copy(run.synthetic)
    ledger.append(
        Attempt(
            verdict=RELEASED if leaves else REFUSED,
            exit_code=exit_code,
            series=ARTEFACTS["synthetic"].digest(run),
            weights=ARTEFACTS["generator"].digest(run),
            split=ARTEFACTS["split"].digest(run),
            seed=settings.generate.seed,
            count=settings.generate.count,
            wished={
                "generate.attributes": dict(settings.generate.attributes),
                "generate.shares": dict(settings.generate.shares),
                "generate.extrapolate": settings.generate.extrapolate,
            },
            page=digest_files(run.release_verdict),
            owners=digest_owners(run),
        )
    )


def format_sentence(broken: list[Check], attacks: PrivacyResult | None) -> str:
    if broken:
        return f"Not to be released: {broken[0].name}: {broken[0].broken}."
    if attacks is None:
        return "Not enough evidence: no owner was held out (data.splits.held_out), so no attack can run."
    return attacks.sentence


def attack(context: PipelineContext, chosen: AttackedSeries) -> PrivacyResult | None:
    """Run the battery on synthetic series and on the bank.

    Its random choices follow from the weights: with another `evaluate.seed`, another attempt would have
    another chance.
    """
    seed = int(ARTEFACTS["generator"].digest(context.run)[:15], 16)
    context = context.with_settings(context.settings.with_values({"evaluate.seed": seed}, "release"))
    bank = Bank.load(context.run.bank)
    tracing = run_tracing(context, TrainingData.open(context.run), bank, OUTLIERS)
    return run_attacks(
        context,
        most=MOST_OWNERS,
        target=Target(chosen.values, chosen.released.num_series, chosen.released, tracing),
        progress=say,
    )


Audit = tuple[str, Callable[[], str | list[str]]]


def list_audits(context: PipelineContext) -> list[Audit]:
    """Return names and audits of manifests, ledgers, series and owners, the quick ones first: that they are
    intact, belong together and are of this run. An audit returns what it verified, or raises a `UserError`.
    """
    return [
        ("the bank's manifest", lambda: audit_bank(context.run)),
        ("the ledger of privacy", lambda: audit_privacy(context.settings, context.run)),
        ("the ledger of releases", lambda: ReleaseLedger.open(context.run).audit()),
        ("the synthetic series", lambda: audit_series(context.settings, context.run)),
        ("what was trained on what", lambda: audit_chain(context.settings, context.run)),
        ("series of the generator", lambda: audit_generated(context)),
        ("owners are people", lambda: audit_owners(context.run)),
    ]


def audit_bank(run: Run) -> str:
    """Audit the bank.

    Raises:
        UserError: the bank is damaged or missing.
    """
    bank = Bank.load(run.need(run.bank, "bank"))
    return f"bank: {format_count(bank.num_groups, 'group')}, tensors and manifest agree"


def audit_privacy(settings: config.Config, run: Run) -> str:
    """Audit the ledger of privacy.

    Raises:
        Mismatch: as `audit_ledger`.
    """
    audit_ledger(settings, run)
    if settings.privacy.epsilon is None:
        return "privacy ledger: the bank is not differentially private, and no noise was drawn"
    if settings.privacy.end_to_end:
        return (
            f"privacy ledger: encoder, bank and {settings.model.private_network} together are within "
            "privacy.epsilon, and weights and bank are those that it records"
        )
    return "privacy ledger: its draws match the bank and continue from the line that the bank records"


def audit_series(settings: config.Config, run: Run) -> str:
    """Audit the synthetic series.

    Raises:
        UserError: a chunk is damaged.
        Mismatch: the series are not what this run's last `generate` made.
    """
    if find_current("generate", settings, run) is None:
        raise Mismatch(
            "the run has changed since the series were generated; run distgan generate "
            f"{quote_path(run.folder)} again"
        )
    store = Store.open(run.synthetic)
    store.verify()
    origin = store.meta.provenance
    if (origin.get("source"), origin.get("run")) != ("synthetic", settings.identity):
        raise Mismatch(
            f"{run.synthetic} was not made by this run; run distgan generate {quote_path(run.folder)} again"
        )
    return f"synthetic series: {store.num_series:,}, every checksum holds"


# ------------------------------------------------------------------------------------------------- the folder


def save_verdict(content: Mapping[str, Any], place: Path) -> None:
    """Write JSON to `place`, and beside it the page with the ending .html."""
    write_json(place, content)
    write_text(
        place.with_suffix(".html"),
        load_template("verdict.html.jinja").render(verdict=content, explain=Explainer()),
    )


def digest_parts(run: Run) -> dict[str, str]:
    """Return the digests of what a release is made of, by its title in messages.

    The digest of the series is that of their manifest, which has short checksums of the values. Other values
    can be made to have the same ones, so the values have a digest of their own.
    """
    found = {ARTEFACTS[name].title: ARTEFACTS[name].digest(run) for name in ("synthetic", "bank", "scaler")}
    shards = sorted(path for path in run.synthetic.rglob("*") if path.is_file())
    return found | {
        "the values of the synthetic series": digest_files(*shards),
        "generate.table": digest_table(config.load(run.config).generate.table),
    }


def write_release(
    place: Path, verdict: Verdict, settings: config.Config, run: Run, judged: Mapping[str, str]
) -> None:
    """Write series, manifest of the bank, verdict with checksums, and a page that states the guarantees.

    All of it is written anew from what was verified. No file of the run is copied: it could hold more.

    Args:
        judged: digests of series, bank, scaler and requested attributes before the checks.

    Raises:
        Mismatch: one of them was replaced since.
    """
    form, bank = settings.generate.format, Bank.load(run.bank)
    public = make_public_verdict(verdict, private=settings.privacy.epsilon is not None)
    public["run"] = secrets.token_hex(8)  # a hash of settings would give away the seed, and so the split
    meta = generate.make_meta(settings, run)
    meta = replace(meta, provenance=meta.provenance | {"run": public["run"]})
    with whole_folder(place) as temporary:
        inside = ReleaseFolder(temporary)
        find_output_transform(settings, run).write(run.synthetic, inside.synthetic, meta)
        if form != "zarr":
            export(
                inside.synthetic,
                inside.synthetic.with_suffix(f".{form}"),
                "synthetic",
                settings.generate.layout,
            )
            shutil.rmtree(inside.synthetic)
        generate.write_tables(settings, bank, inside.synthetic_labels, inside.synthetic_attributes)
        write_json(inside.bank_manifest, make_public_manifest(read_json(run.bank / manifest.MANIFEST)))
        refuse_replaced(judged, digest_parts(run), run, "during the checks; run distgan release again")
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        sums = {str(path.relative_to(temporary)): hash_file(path) for path in files}
        save_verdict({**public, "files": sums}, inside.verdict)
        write_text(inside.readme, format_readme(public, settings, run, form))
        publish(temporary)


def format_readme(verdict: Mapping[str, Any], settings: config.Config, run: Run, form: str) -> str:
    """Return a page on the content of the release, what is guaranteed and what is not, in plain words."""
    _, meta = read_scaler(run)
    claims = verdict["privacy"]["claims"]
    labelled = ["synthetic.labels.csv the class of each series"]
    described = ["synthetic.attributes.csv the attributes of each series"]
    credit, transform = find_credit(settings, meta), find_output_transform(settings, run)
    year, lengths = transform.year, transform.describe_lengths()
    length, bank = transform.describe(meta).axis.length, Bank.load(run.bank)
    return "\n".join(
        [
            "Synthetic time series",
            "=====================",
            "",
            f"synthetic.{form}       {settings.generate.count} series of {length} steps"
            + (f", in {meta.units}" if meta.units else ""),
            *(labelled if bank.labels else []),
            *(described if bank.statics is not None else []),
            "bank-manifest.json  the groups of the generator's conditions: sizes, bounds of the attack P6a",
            "verdict.json, .html every attack tried, with its success, interval and limit; checksums",
            *([] if year is None else ["", "The calendar", *(f"- {line}" for line in year.assumptions)]),
            *([] if year is None else [f"- {ATTACKED_AS_TRAINED}"]),
            *(["", "Beginnings and ends", f"- {lengths[0]}", f"- {ATTACKED_WHOLE}"] if lengths else []),
            "",
            "What is promised",
            *(f"- {claim}" for claim in claims),
            f"- {verdict['sentence']}",
            *([f"- {verdict['attacked']}"] if verdict.get("attacked") else []),
            *([f"- {verdict['left_out']}"] if verdict.get("left_out") else []),
            "",
            "What is not promised",
            "- That nobody can ever learn anything about a person behind the data. Attacks that were not",
            "  tried, and attackers who know more, are not covered.",
            "",
            "What stays with the data's owner",
            "- The weights of the encoder and of any discriminator, the checkpoints, latents, clusters, and",
            "  every file named private. No attack with a limit used the generator's weights either.",
            *(["", f"The real data: {credit}"] if credit else []),
            "",
            f"Made by {verdict['maker']}, release {verdict['run']}, {verdict['made']}.",
            "",
        ]
    )
