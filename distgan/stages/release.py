"""The gate: a run's synthetic series leave its folder only if every promise holds and every attack fails.

First what the files promise of themselves (exit code 5 if they do not fit), then rules that no setting lifts,
then the attacks (3: over a limit, 4: too little evidence). The verdict is always written beside the run; the
release folder only if all holds, whole or not at all.
"""

import datetime
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distgan
from distgan import conditions, config
from distgan.conditions import Bank
from distgan.data.export import export
from distgan.data.store import Store
from distgan.data.work import sha256
from distgan.errors import Mismatch, OverLimit, TooLittleEvidence, UserError
from distgan.evaluation.attacks import battery
from distgan.evaluation.report import finite, page
from distgan.files import publish, refuse_standing, whole_folder, write_json, write_text
from distgan.parallel import Parallel
from distgan.runs import Run
from distgan.stages import current
from distgan.stages.attacks import attacked
from distgan.stages.bank import traced
from distgan.stages.common import TrainingData, credit_of, of_a_finished_run, read_scaler
from distgan.stages.private import audit_ledger

SCHEMA = "distgan.verdict/1"
STORING = ("bootstrap", "cluster_mean")  # families whose generators keep real series
MOST_OWNERS = 10_000  # of each side are attacked
OUTLIERS = 0.2  # as many as an interval needs
ERRORS: dict[int, type[UserError]] = {3: OverLimit, 4: TooLittleEvidence, 5: Mismatch}
CODES = {battery.PASS: 0, battery.OVER: 3, battery.INSUFFICIENT: 4}


@dataclass(frozen=True)
class Check:
    """A promise, and why it does not hold ("" if it does)."""

    name: str
    broken: str
    exit_code: int

    def told(self) -> dict[str, Any]:
        return {"name": self.name, "holds": not self.broken, "text": self.broken}


def run(folder: Run, place: Path) -> str:
    """Release a run's synthetic series to the folder `place`.

    Raises:
        UserError: it is not a finished run, or `place` stands already.
        OverLimit, TooLittleEvidence, Mismatch: it may not be released; the verdict says why.
    """
    refuse_standing(place)
    if not folder.config.exists():
        raise UserError(f"{folder.folder} is no run folder; train one with distgan train --config …")
    folder.need(folder.synthetic, "generate")
    settings = config.load(folder.config)
    parallel = of_a_finished_run(settings)
    try:
        with folder.lock():
            verdict = judge(settings, folder, parallel)
            save(verdict, folder.folder / "release-verdict")
            if verdict["exit_code"]:
                where = folder.folder / "release-verdict.html"
                raise ERRORS[verdict["exit_code"]](f"{verdict['sentence']} Nothing was released; see {where}")
            fill(place, verdict, settings, folder)
    finally:
        parallel.close()
    return f"{verdict['sentence']} Released: {place}"


# ------------------------------------------------------------------------------------------------ the verdict


def judge(settings: config.Config, folder: Run, parallel: Parallel) -> dict[str, Any]:
    """Checks in order, each group only if the ones before hold; what was found, ready for JSON."""
    checks, attacks = [], None
    for group in (integrity, rules):
        checks += group(settings, folder)
        if any(check.broken for check in checks):
            break
    else:
        attacks = attack(settings, folder, parallel)
    broken = [check for check in checks if check.broken]
    code = broken[0].exit_code if broken else CODES[attacks["outcome"]] if attacks else 4
    return {
        "schema": SCHEMA,
        "exit_code": code,
        "sentence": sentence(broken, attacks),
        "checks": [check.told() for check in checks],
        "privacy": attacks,
        "run": settings.identity,
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "maker": f"distgan {distgan.__version__}",
    }


def sentence(broken: list[Check], attacks: dict[str, Any] | None) -> str:
    if broken:
        return f"Not to be released: {broken[0].name}: {broken[0].broken}."
    if attacks is None:
        return "Not enough evidence: nobody was held out (data.splits.holdout), so nothing can be attacked."
    return str(attacks["sentence"])


def attack(settings: config.Config, folder: Run, parallel: Parallel) -> dict[str, Any] | None:
    bank = Bank.load(folder.bank)
    tracing = traced(settings, folder, parallel, TrainingData.open(folder), bank, OUTLIERS)
    return attacked(
        settings,
        folder,
        parallel,
        most=MOST_OWNERS,
        traced=tracing,
        progress=lambda line: print(line, flush=True),
    )


def integrity(settings: config.Config, folder: Run) -> list[Check]:
    """Whether manifest, ledger and series are what they say, and of this run."""
    return [
        Check("the bank's manifest", refusal(lambda: Bank.load(folder.need(folder.bank, "bank"))), 5),
        Check("the ledger of privacy", refusal(lambda: audit_ledger(settings, folder)), 5),
        Check("the synthetic series", refusal(lambda: audit_series(settings, folder)), 5),
    ]


def refusal(work: Callable[[], Any]) -> str:
    """What a user's error says, or nothing."""
    try:
        work()
    except UserError as error:
        return str(error)
    return ""


def audit_series(settings: config.Config, folder: Run) -> None:
    """
    Raises:
        UserError: a chunk is damaged.
        Mismatch: the series are not what this run's last `generate` made.
    """
    if current("generate", settings, folder) is None:
        raise Mismatch("the run has changed since they were generated; run distgan generate again")
    store = Store.open(folder.synthetic)
    store.verify()
    origin = store.meta.provenance
    if (origin.get("source"), origin.get("run")) != ("synthetic", settings.identity):
        raise Mismatch(f"{folder.synthetic} does not say that this run has made it")


def rules(settings: config.Config, folder: Run) -> list[Check]:
    """What no setting lifts."""
    bank = Bank.load(folder.bank)
    violations = conditions.verify(folder.bank, least(bank.settings))
    storing = settings.model.name in STORING
    return [
        Check("the bank's aggregation", violations[0] if violations else "", 3),
        Check(
            "a generator without real series",
            f"model {settings.model.name} keeps real series among its weights" if storing else "",
            3,
        ),
        Check("owners behind each mean", few_owners(bank), 3),
    ]


def few_owners(bank: Bank) -> str:
    """Where entities are several series of one owner, a mean of enough entities may be of few people. Under a
    promise of privacy no owner has several.
    """
    if bank.promise is not None:
        return ""
    if not bank.owners:
        return "the bank does not count them; remove the folder bank and run the same command again"
    fewest, floor = min(bank.owners), bank.floor
    return f"a mean is of {fewest} effective owners, below the floor of {floor}" if fewest < floor else ""


def least(held: config.Bank) -> config.Bank | None:
    """The default limits, where the bank's own are laxer; a study is refused anyway."""
    if held.study:
        return None
    share = min(held.max_share, config.Bank().max_share)
    return config.Bank(condition_dim=held.condition_dim, max_share=share)


# ------------------------------------------------------------------------------------------------- the folder


def save(verdict: dict[str, Any], place: Path) -> None:
    """`place`.json and `place`.html."""
    write_json(place.with_suffix(".json"), finite(verdict))
    write_text(place.with_suffix(".html"), page("verdict.html.jinja").render(verdict=finite(verdict)))


def fill(place: Path, verdict: dict[str, Any], settings: config.Config, folder: Run) -> None:
    """Series, manifest of the bank, verdict with checksums, and a page that says what is promised."""
    form = settings.generate.format
    with whole_folder(place) as temporary:
        inside = Run(temporary)
        shutil.copytree(folder.synthetic, inside.synthetic)
        if form != "zarr":
            export(
                inside.synthetic,
                inside.synthetic.with_suffix(f".{form}"),
                "synthetic",
                settings.generate.layout,
            )
            shutil.rmtree(inside.synthetic)
        if folder.synthetic_labels.exists():
            shutil.copy(folder.synthetic_labels, inside.synthetic_labels)
        shutil.copy(folder.bank / conditions.MANIFEST, temporary / "bank-manifest.json")
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        sums = {str(path.relative_to(temporary)): sha256(path) for path in files}
        save({**verdict, "files": sums}, temporary / "verdict")
        write_text(temporary / "README.txt", readme(verdict, settings, folder, form))
        publish(temporary)


def readme(verdict: dict[str, Any], settings: config.Config, folder: Run, form: str) -> str:
    """What is here, what is promised and what is not, in plain words."""
    _, meta = read_scaler(folder)
    claims = verdict["privacy"]["claims"]
    labelled = ["synthetic.labels.csv the class of each series, in their order"]
    credit = credit_of(settings, meta)
    return "\n".join(
        [
            "Synthetic time series",
            "=====================",
            "",
            f"synthetic.{form}       {settings.generate.count} series of {meta.axis.length} steps"
            + (f", in {meta.units}" if meta.units else ""),
            *(labelled if folder.synthetic_labels.exists() else []),
            "bank-manifest.json  the groups behind the generator's conditions: sizes, shares, tracing bounds",
            "verdict.json, .html every attack tried, with its success, interval and limit; checksums",
            "",
            "What is promised",
            *(f"- {claim}" for claim in claims),
            f"- {verdict['sentence']}",
            "",
            "What is not promised",
            "- That nobody can ever learn anything about a person behind the data. Attacks that were not",
            "  tried, and attackers who know more, are not covered.",
            "",
            "What stays with the data's owner",
            "- The weights of encoder and discriminator, the checkpoints, latents, clusters, and every file",
            "  named private. The generator's weights were not attacked either.",
            *(["", f"The real data: {credit}"] if credit else []),
            "",
            f"Made by {verdict['maker']}, run {verdict['run']}, {verdict['made']}.",
            "",
        ]
    )
