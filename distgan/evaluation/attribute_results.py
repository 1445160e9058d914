"""The types of a comparison by attribute: a part of the report (`results.Report`)."""

from distgan.evaluation.typed_json import JsonResult


class Recovery(JsonResult):
    """The accuracy of a classifier of an attribute: trained on real series and tested on held-out and on
    synthetic ones, and trained on synthetic series and tested on held-out ones; `errors` are standard errors.
    """

    statistic: str
    chance: float
    classes: list[str]
    real_on_real: float
    real_on_synthetic: float
    synthetic_on_real: float
    errors: list[float]


class AttributeValueResult(JsonResult):
    """Series with one value of an attribute: shares of the training and of the synthetic series, numbers of
    held-out owners and synthetic series, mean load of both sides (whole day and evening), and scores against
    held-out series, of synthetic and of training ones.
    """

    value: str
    share_real: float
    share_synthetic: float
    held_out: int
    synthetic: int
    mean_real: float | None
    mean_synthetic: float | None
    evening_real: float | None
    evening_synthetic: float | None
    scores: dict[str, float | None]
    scores_real: dict[str, float | None]


class AttributeResult(JsonResult):
    """One attribute: its values above the minimum group size; for a number, the means; shares of the series
    with a known value; and how well a classifier finds it.
    """

    name: str
    number: bool
    values: list[AttributeValueResult]
    recovered: Recovery | None
    known_real: float
    known_synthetic: float
    mean_real: float | None
    mean_synthetic: float | None


class ByAttribute(JsonResult):
    """The comparison by attribute; values of fewer than `minimum` owners are left out."""

    minimum: int
    scores: list[str]
    attributes: list[AttributeResult]

    def explain_missing(self, attribute: AttributeResult) -> str:
        """Return why no classifier of an attribute was measured."""
        needed = "different numbers" if attribute.number else "each of two values"
        sets = f"{self.minimum} owners trained on, as many held out and as many synthetic series"
        return f"no figure: needs {sets} with {needed}"
