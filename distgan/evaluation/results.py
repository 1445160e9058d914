"""The types of evaluation results: the table of scores, utility, classification, attacks, the report.

Each is a pydantic model, frozen and strict about unknown keys; `to_json` gives the content of its file, in
which numbers that do not exist are null. `Report.from_json` reads a report back.

report.json (`REPORT_SCHEMA`) holds
    schema      its name and version: another number where a field changed its meaning or went away
    facts       `Facts`, with the time it was made
    answers     the two of the first screen
    overall     the overall score of every row, best first
    headline    the numbers of the first screen
    fidelity    `ScoreTable`
    tests       `TwoSampleTests`, or null
    utility     `Utility`, or null
    privacy     `PrivacyResult`, or null
    plain       `PlainStatistics`, or null
    loads       `LoadFigures`, or null
    attributes  `ByAttribute`, or null
    pictures    names of the pictures in the page
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from distgan.errors import UserError
from distgan.evaluation.attribute_results import ByAttribute
from distgan.evaluation.comparisons import Difference, OverallScore, PairedComparisons, Standing, Tone
from distgan.evaluation.metrics.loads import LoadFigures
from distgan.evaluation.metrics.plain_statistics import PlainStatistics
from distgan.evaluation.metrics.two_sample_table import TwoSampleTests
from distgan.evaluation.typed_json import JsonResult
from distgan.preflight import REPORT_SCHEMA

PRIVACY_SCHEMA, VERDICT_SCHEMA = "distgan.privacy/2", "distgan.verdict/3"

Outcome = Literal["pass", "over", "insufficient", "report", "skipped"]  # the last two have no limit
Scores = dict[str, float | None]  # by name of the score; None where one does not exist


# ------------------------------------------------------------------------------------------------- the scores


class Sentence(JsonResult):
    """A finding in plain words; `topic` names its subject, where that matters."""

    tone: Tone
    text: str
    topic: str = ""


class ScoreMeaning(JsonResult):
    """The meaning of a score: a column of the table. `better` gives the direction."""

    name: str
    title: str
    group: str
    better: Literal["lower", "higher", "nearer"]
    best: int | float
    meaning: str


class Row(JsonResult):
    """A set of `n` series: its scores, their standard errors, and those of differences to the real rows."""

    name: str
    meaning: str
    n: int
    values: Scores
    noise: Scores
    noise_to: dict[str, Scores]


class Counts(JsonResult):
    """Series in each set; `target` and its owners are what all rows are measured against, `compared` series
    at a time.
    """

    train: int
    held_out: int
    reference: int
    synthetic: int
    target: int
    target_owners: int
    compared: int


class Measurements(JsonResult):
    """Every row's scores, before anything is concluded.

    Attributes:
        owners: of each split, those that a split never parts.
        real_row: where the row of other real series comes from.
        lags: the lags that a score looks at, in steps.
        paired: the synthetic series against every other row, and the overall scores.
    """

    n: Counts
    owners: dict[str, int]
    real_row: str
    scores: list[ScoreMeaning]
    rows: list[Row]
    lags: dict[str, list[int]]
    paired: PairedComparisons

    @property
    def by_name(self) -> dict[str, Row]:
        return {row.name: row for row in self.rows}


class ScoreTable(Measurements):
    """The measurements and what they mean.

    Attributes:
        standing: of each score that exists for the model, a key of `comparisons.WORDS`.
        blind_to_copier: scores on which copies look as good as unseen real series.
        verdict: sentences; the first sums the scores up.
    """

    standing: dict[str, Standing]
    blind_to_copier: list[str]
    verdict: list[Sentence]


# ------------------------------------------------------------------------------------ utility, classification


class Interval(JsonResult):
    """A mean over owners with its interval of 95 %, which one owner has not."""

    value: float
    low: float | None
    high: float | None


class UtilityRow(Interval):
    """The error of a forecaster, by its training set."""

    name: str
    meaning: str
    n: int


class UtilityCounts(JsonResult):
    owners: int
    series: int
    samples: int


class UtilityErrors(JsonResult):
    """Errors on held-out series, in the naive forecast's error; `gaps` are paired differences of rows."""

    task: str
    unit: str
    horizon: int
    rows: list[UtilityRow]
    gaps: dict[str, Interval]
    n: UtilityCounts


class Utility(UtilityErrors):
    """The errors and what they mean."""

    tone: Tone
    sentence: str


class ClassifiedSeries(JsonResult):
    real: int
    synthetic: int
    test: int


class Classification(JsonResult):
    """Accuracy by training set of the classifier; `gain` is what synthetic series add to real ones."""

    labels: list[str]
    series: ClassifiedSeries
    test_owners: int
    draws: int
    rows: dict[str, Interval]


# ------------------------------------------------------------------------------------------------ the attacks


class Figure(JsonResult):
    """A statistic with its interval of 95 %: `n` owners were attacked, and compared with `non_members`, where
    they are another number.
    """

    n: int
    non_members: int | None = None
    value: int | float | None
    low: int | float | None
    high: int | float | None


class AttackGroup(Figure):
    """An attack on the owners of one exposure."""

    name: str


class AttackResult(Figure):
    """A line of the battery's result. The note leaves with a release; the detail may describe findings in few
    people, and stays with the run.
    """

    id: str
    title: str
    statistic: str
    limit: int | float | None
    source: str
    outcome: Outcome
    groups: list[AttackGroup]
    note: str
    detail: str = ""


class Evidence(JsonResult):
    """The numbers compared, and the numbers of each side that are needed; of the `released` series, where
    they are more, `synthetic` were compared by the attacks that use a sample.
    """

    members: int
    non_members: int
    synthetic: int
    needed: int
    released: int | None = None


class PrivacyResult(JsonResult):
    """All attacks together: those with a limit, `others` without one or not tried, and the conclusion;
    `sample` describes the attacked series, where they are not all; `proof` what is proved of them, if they
    are private end to end.
    """

    version: str = Field(default=PRIVACY_SCHEMA, alias="schema")
    outcome: Literal["pass", "over", "insufficient"]
    sentence: str
    attacks: list[AttackResult]
    others: list[AttackResult]
    claims: list[str]
    evidence: Evidence
    sample: str = ""
    proof: str = ""


class AttackedCounts(JsonResult):
    """Numbers of attacked series."""

    candidate: int  # to be released
    earlier: int  # of earlier attempts
    sample: (
        int | None
    )  # of the generator; not said under differential privacy: it follows the members' number
    left_out: int  # of earlier attempts, which could not be taken
    drawn: int | None = None  # of the first two, by each attack but P1
    beside: int = 0  # of earlier, released by runs beside this one


class ReleasePrivacy(PrivacyResult):
    """The attacks before a release."""

    attacked: AttackedCounts


class CheckResult(JsonResult):
    """The result of checking a promise: why it does not hold, if so; and what was verified, a line each."""

    name: str
    holds: bool
    text: str
    verified: list[str]


class Verdict(JsonResult):
    """The content of release-verdict.json: whether a run's series may leave. `attacked` says in words which
    series were attacked, `answer` is the word that pages show; `privacy` is None where no attack was run.
    """

    version: str = Field(default=VERDICT_SCHEMA, alias="schema")
    exit_code: int
    answer: str
    sentence: str
    attacked: str
    checks: list[CheckResult]
    privacy: ReleasePrivacy | None
    run: str
    made: str
    maker: str


# ---------------------------------------------------------------------------------------- the report of a run


@dataclass(frozen=True)
class Split:
    """Numbers of series, entities and owners in a split."""

    series: int
    entities: int
    owners: int


@dataclass(frozen=True)
class Groups:
    """The released means: entities behind each, effective number after weighting, tracing."""

    sizes: Sequence[int]
    effective: Sequence[float]
    tracing_auc: Sequence[float]
    minimum_size: int
    tracing_limit: float
    attacks: Sequence[Mapping[str, Any]] = ()  # the tracing attack by exposure, as it was run
    guarantee: str = ""  # of differential privacy, in words
    covered: Sequence[str] = ()  # what the promise covers, and what not
    study: bool = False


@dataclass(frozen=True)
class Facts:
    """The facts of a run, in numbers. Free text (`source`, `credit`, …) comes from the data's provenance; no
    field has a place for an entity's id: counts, sizes and settings only.

    Attributes:
        windows: split -> number of windows that its series were cut into; empty where whole series are used.
        left_out: reason -> number of series or columns that were not used.
        settings: dotted config key -> value, the few worth showing.
        stages: stage -> one line on what it did.
        chosen: which training step was kept, by what score and at what cost; empty for the last step.
        noticed: suspicions about the data, each with name, severity, shared and advice; counts alone.
        unknown: what is not known of the synthetic series, a sentence each; empty for a run.
        real_curves: whether single held-out series are shown.
    """

    name: str
    source: str = ""
    unit: str = ""
    channels: Sequence[str] = ()
    start: str = ""
    step_seconds: int | float = 0
    length: int = 0
    nominal: bool = False  # the source has no times: `start` and `step_seconds` only count steps
    entity: str = "entity"
    owner: str = "owner"
    splits: Mapping[str, Split] = field(default_factory=dict)
    windows: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    noticed: Sequence[Mapping[str, str]] = ()
    groups: Groups | None = None
    chosen: str = ""
    exported: str = ""  # how exported series differ from those that are compared, a sentence
    settings: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    real_curves: bool = True
    credit: str = ""
    made: str = ""
    version: str = ""
    identity: str = ""


class Findings(JsonResult):
    """All findings about a set of synthetic series; None where one was not asked for or cannot be
    computed.
    """

    fidelity: ScoreTable
    tests: TwoSampleTests | None = None
    utility: Utility | None = None
    privacy: PrivacyResult | None = None
    plain: PlainStatistics | None = None
    loads: LoadFigures | None = None
    attributes: ByAttribute | None = None


class Answer(JsonResult):
    """The answer to one of the two questions of a data owner; `verdict` is a key of `comparisons.WORDS`."""

    question: str
    verdict: str
    tone: Tone
    short: str
    text: str


class OverallLine(OverallScore):
    """The overall score of a row; `against` is the ratio of the synthetic series' score to it."""

    against: Difference | None


class Mark(JsonResult):
    """A row on the small drawing of a score: 0 is best, 100 the worst of the rows."""

    row: str
    place: float


class Card(JsonResult):
    """A number of the first screen."""

    name: str
    title: str
    value: float | None
    text: str
    context: str
    verdict: str | None = None  # a key of `comparisons.WORDS`
    scale: list[Mark] | None = None


class Report(Findings):
    """The content of report.json."""

    version: str = Field(default=REPORT_SCHEMA, alias="schema")
    facts: Facts
    answers: list[Answer]
    overall: list[OverallLine]
    headline: list[Card]
    pictures: list[str]

    @classmethod
    def from_json(cls, content: Mapping[str, Any], name: str) -> Self:
        """Read a report.

        Args:
            name: of the report, for a message.

        Raises:
            UserError: it has another format, or was not written by distgan.
        """
        if content.get("schema") != REPORT_SCHEMA:
            raise UserError(
                f"{name} has a report of format {content.get('schema')}, not {REPORT_SCHEMA}; run distgan "
                f"evaluate {name} again"
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(
                f"{name} has a damaged report ({where}: {first['msg'].lower()}); run distgan evaluate "
                f"{name} again"
            ) from None
