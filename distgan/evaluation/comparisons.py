"""Types of the comparison of two sets of series: a difference with its interval, and its verdict.

One vocabulary holds for every page, file and terminal (`WORDS`): the same key has the same words and the same
tone, from which the colour follows.
"""

from typing import Literal, NamedTuple

from distgan.evaluation.typed_json import JsonResult

Tone = Literal["good", "warn", "bad", "note"]
Comparison = Literal["better", "tie", "worse", "few"]
Standing = Literal["real", "between", "baseline", "few"]


class Wording(NamedTuple):
    """The wording of a verdict: its words, its tone, and its meaning."""

    text: str
    tone: Tone
    meaning: str


TOO_FEW = "not enough evidence"
WORDS: dict[str, Wording] = {
    # of a difference between two sets of series
    "better": Wording("better", "good", "the whole 95 % interval of the difference is on the better side"),
    "tie": Wording("tie", "note", "the 95 % interval includes zero, or the difference is below 1 %"),
    "worse": Wording("worse", "bad", "the whole 95 % interval of the difference is on the worse side"),
    "few": Wording(TOO_FEW, "note", "fewer held-out owners or synthetic series than any verdict needs"),
    # of a score of the synthetic series
    "real": Wording("tie with real", "good", "not worse than held-out real series beyond the 95 % interval"),
    "between": Wording(
        "worse than real", "warn", "worse than held-out real series, better than a simple baseline"
    ),
    "baseline": Wording(
        "no better than a simple baseline",
        "bad",
        "worse than held-out real series, and not better than the mean curve or than shuffled hours",
    ),
    # of an attack
    "pass": Wording("within its limit", "good", "the interval of the attack's success ends below the limit"),
    "unsure": Wording(
        "not surely over its limit",
        "note",
        "the interval reaches over the limit, and its lower end, widened for all attacks together, does not",
    ),
    "over": Wording("over its limit", "bad", "the attack succeeds more often than the limit allows"),
    "insufficient": Wording(TOO_FEW, "note", "too few people to exclude a leak, or to prove one"),
    "report": Wording("no limit", "note", "reported only"),
    "skipped": Wording("not tried", "note", "the attack does not apply to these data"),
    # of a whole set of synthetic series: the two answers of the first screen
    "yes": Wording("Yes", "good", ""),
    "reservations": Wording("With reservations", "warn", ""),
    "no": Wording("No", "bad", ""),
    "unknown": Wording("Not enough evidence", "note", ""),
    "untested": Wording("Not tested", "warn", ""),
}  # fmt: skip


def find_attack_word(outcome: str, high: float | None, limit: float | None) -> str:
    """Return the key of the words for an attack's outcome. An alarm passes while it is not surely over its
    limit; where its interval reaches over the limit, it is not called within it.
    """
    reaches = high is not None and limit is not None and high > limit
    return "unsure" if outcome == "pass" and reaches else outcome


def find_release_word(exit_code: int) -> Wording:
    """Return the answer to whether series may leave, by the exit code of the check."""
    return WORDS["yes" if exit_code == 0 else "unknown" if exit_code == 4 else "no"]


class Difference(JsonResult):
    """The loss of one set minus the loss of another in a score, with its 95 % interval: below 0 is better.

    `low` and `high` are None where too few owners or series were resampled.
    """

    value: float
    low: float | None
    high: float | None
    verdict: Comparison


class OverallScore(JsonResult):
    """How far a set is from real series over all scores, as a multiple of how far held-out real series are.

    1 is what a perfect generator reaches; larger is worse. `metrics/paired.py` defines it.
    """

    row: str
    value: float
    low: float | None
    high: float | None


class RowComparison(JsonResult):
    """The synthetic series against another row: the ratio of their overall scores, and the difference of each
    score.

    The verdict of `ratio` is the overall one: better where the interval lies below 1; None without a row of
    real series.
    """

    row: str
    ratio: Difference | None
    scores: dict[str, Difference]

    def list_names(self, verdict: Comparison) -> list[str]:
        """Return the scores with this verdict."""
        return [name for name, difference in self.scores.items() if difference.verdict == verdict]


class PairedComparisons(JsonResult):
    """All comparisons of a table.

    Attributes:
        owners: held-out owners that were resampled.
        synthetic: series of the set that is judged; None where a report does not say.
        needed: owners and synthetic series that a verdict needs.
        scores: how many scores the overall score averages.
    """

    owners: int
    needed: int
    scores: int
    overall: list[OverallScore]
    rows: list[RowComparison]
    synthetic: int | None = None

    @property
    def is_enough(self) -> bool:
        """Whether there are as many owners and synthetic series as a verdict needs."""
        return self.lacking == ""

    @property
    def lacking(self) -> str:
        """The side with fewer than needed, in words."""
        if self.owners < self.needed:
            owners = "one owner" if self.owners == 1 else f"{self.owners} owners"
            return f"{owners} in the smaller set of real series"
        if self.synthetic is not None and self.synthetic < self.needed:
            return "one synthetic series" if self.synthetic == 1 else f"{self.synthetic} synthetic series"
        return ""

    def find_overall(self, row: str) -> OverallScore | None:
        return next((each for each in self.overall if each.row == row), None)

    def find(self, row: str) -> RowComparison | None:
        return next((each for each in self.rows if each.row == row), None)
