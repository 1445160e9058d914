"""The verdict on a table of scores as sentences: better, tie or worse than each row, and findings."""

import math
from collections.abc import Mapping, Sequence

from distgan.evaluation.comparisons import PairedComparisons, RowComparison, Standing, Tone
from distgan.evaluation.metrics.scores import BY_NAME, SCORES, Score
from distgan.evaluation.results import Measurements, Row, Scores, ScoreTable, Sentence

MODEL, REAL, COPIER, NOISY_COPIER = "model", "held-out real", "copier", "noisy copier"
MEAN_CURVE, SHUFFLED, SHUFFLED_DAYS = "mean curve", "shuffled hours", "shuffled days"
GAUSSIAN, PCA_GMM, CLUSTER_MEAN = "Gaussian", "PCA+GMM", "cluster mean"
PCA_COPULA, TEMPLATE_AR = "PCA+copula", "template+AR"
ROWS = {
    MODEL: "the synthetic series",
    REAL: "other real series, never trained on: what a perfect generator would reach",
    COPIER: "the training series, copied: perfect at imitation, worthless as anonymisation",
    NOISY_COPIER: "the training series with noise of 5 % of their scale: still copies",
    MEAN_CURVE: "the mean training curve, repeated: right on average, nothing varies",
    SHUFFLED: "training series with their hours shuffled: right values, no rhythm",
    SHUFFLED_DAYS: "training series with whole days shuffled: right days, no weeks and no seasons",
    GAUSSIAN: "Gaussian noise with the mean curve and the spectrum of training series",
    PCA_GMM: "a Gaussian mixture of principal components, fitted in seconds: what a network must beat",
    PCA_COPULA: "principal components with their own distributions, joined by a Gaussian copula",
    TEMPLATE_AR: "the mean curve of a cluster of training series, and autoregressive noise",
    CLUSTER_MEAN: "means of four training series of one cluster: smooth, and not anonymous",
}
SIMPLE = (MEAN_CURVE, SHUFFLED)  # what every generator must be better than
FITTED = (PCA_GMM, PCA_COPULA, TEMPLATE_AR, GAUSSIAN)  # generators without a network that hold no real series
COPIES = (COPIER, NOISY_COPIER)  # real series: no rivals

RHYTHM = ("acf_short", "spectrum", "daily_profile", "weekly_profile")
VARIETY = ("value_distance", "spread_distance", "diversity")
PROPER = ("Fréchet", "Vendi")  # names, with a capital letter everywhere
MOST_REPEATS = 0.05  # of a set: more show a collapse
UNSURE = 30  # owners below which large differences are needed to be sure

Rows = Mapping[str, Row]  # by name


def judge(measured: Measurements) -> ScoreTable:
    """Conclude from the scores of all rows: the standing of each score, and sentences."""
    rows, paired = measured.by_name, measured.paired
    model = rows[MODEL]
    standing = {
        score.name: _find_standing(score.name, paired)
        for score in SCORES
        if model.values[score.name] is not None
    }
    blind = [score.name for score in SCORES if _is_row_like_real(rows.get(COPIER), rows, score, REAL)]
    sentences = [
        *_describe_evidence(measured),
        _describe_against_real(standing, paired),
        _describe_against_baselines(paired),
        *(_describe_against_simple(paired, row) for row in SIMPLE),
        _describe_classifier(rows, paired, min(measured.n.compared, measured.n.target_owners)),
        _describe_variety(model.values, paired),
        _describe_copies(model, rows),
        _describe_blindness(blind, standing),
    ]
    return ScoreTable(
        **dict(measured),
        standing=standing,
        blind_to_copier=blind,
        verdict=[sentence for sentence in sentences if sentence],
    )


def find_worse_baselines(paired: PairedComparisons) -> list[str]:
    """Return the baselines that the synthetic series are worse than overall; copies of real series are no
    baselines.
    """
    return _find_rows(paired, "worse")


def find_better_baselines(paired: PairedComparisons) -> list[str]:
    """Return the baselines that the synthetic series are better than overall."""
    return _find_rows(paired, "better")


def is_like_real(paired: PairedComparisons) -> bool:
    """Return whether the synthetic series are overall not worse than held-out real series, nor than training
    series: two sets of real series, so that luck with one of them is not enough.
    """
    found = [paired.find(row) for row in (REAL, COPIER)]
    return found[0] is not None and all(
        row is None or (row.ratio is not None and row.ratio.verdict in ("better", "tie")) for row in found
    )


def _find_rows(paired: PairedComparisons, verdict: str) -> list[str]:
    return [
        row.row
        for row in paired.rows
        if row.row not in (REAL, *COPIES) and row.ratio is not None and row.ratio.verdict == verdict
    ]


def _compute_loss(row: Row | None, score: Score) -> float:
    value = None if row is None else row.values.get(score.name)  # an earlier report may lack a score
    return math.nan if value is None else score.compute_loss(value)


def _is_row_like_real(row: Row | None, rows: Rows, score: Score, real: str) -> bool:
    """Return whether a row is as good as one of real series, or worse by less than two cautious standard
    errors.
    """
    loss, bar = _compute_loss(row, score), _compute_loss(rows.get(real), score)
    if row is None or not (math.isfinite(loss) and math.isfinite(bar)):
        return False
    return loss <= bar + max(2 * bound_standard_error(row, rows[real], score.name), 1e-9)


def bound_standard_error(row: Row, real: Row, name: str) -> float:
    """Return the standard error of the difference between a row and a row of real series: at most that of two
    real ones, otherwise wild series in a set would widen it until the set is like real.
    """
    found = row.noise_to[real.name][name] or 0.0
    return min(found, math.sqrt(2) * (real.noise[name] or 0.0))


def average_relative_losses(row: Row, real: Row, groups: Sequence[str]) -> float | None:
    """Return how far a row is from perfect over all scores of some groups: the mean of loss / (loss + bar), 0
    perfect, .5 at the bar, 1 hopeless; None where nothing is measured.

    The bar of a score is the loss of other held-out series and two standard errors, the same for all rows.
    Every score counts alike, whatever its unit, and none can outweigh the rest.
    """
    shares = []
    for score in SCORES:
        ours, theirs = _compute_loss(row, score), _compute_loss(real, score)
        if score.group in groups and math.isfinite(ours) and math.isfinite(theirs):
            bar = theirs + 2 * bound_standard_error(row, real, score.name)
            shares.append(ours / max(ours + bar, 1e-9))
    return sum(shares) / len(shares) if shares else None


def compute_overall_loss(row: Row, real: Row) -> float | None:
    """Return the mean of a row's losses over all scores but the copies', as `average_relative_losses`: 0.5 is
    as close as other real series.
    """
    groups = sorted({score.group for score in SCORES} - {"copies"})
    return average_relative_losses(row, real, groups)


def _find_standing(name: str, paired: PairedComparisons) -> Standing:
    """Return `real`: not worse than held-out real series; `baseline`: worse, and not better than either
    simple baseline; `between`: worse than real series, better than one of them; `few`: no interval.
    """
    found = {row: _find_verdict(paired.find(row), name) for row in (REAL, *SIMPLE)}
    if found[REAL] in ("better", "tie"):
        return "real"
    if found[REAL] != "worse":
        return "few"
    return "between" if "better" in (found[row] for row in SIMPLE) else "baseline"


def _find_verdict(row: RowComparison | None, name: str) -> str:
    return row.scores[name].verdict if row is not None and name in row.scores else "few"


def _make_sentence(tone: Tone, text: str, topic: str = "") -> Sentence:
    return Sentence(tone=tone, text=text, topic=topic)


def format_share(share: float) -> str:
    """Format a share as a percentage that is 0 or 100 only where the share is 0 or 1."""
    rest = 100 * min(share, 1 - share)
    return f"{share:.{max(1, -math.floor(math.log10(rest))) if rest > 0 else 0}%}"


def list_titles(names: Sequence[str], most: int | None = None) -> str:
    """Return the titles of scores as a list in words: `most` of them, and the number of the others."""
    titles = [BY_NAME[name].title for name in names]
    words = [title if title.startswith(PROPER) else title[0].lower() + title[1:] for title in titles]
    if most is not None and len(words) > most:
        words = [*words[:most], f"{len(words) - most} more"]
    return list_words(words)


def list_words(words: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _describe_against_real(standing: Mapping[str, Standing], paired: PairedComparisons) -> Sentence | None:
    row = paired.find(REAL)
    if row is None:
        return _make_sentence(
            "note", "There were too few held-out series to say what a perfect generator would reach."
        )
    judged = [name for name in standing if BY_NAME[name].group != "copies"]
    like = [name for name in judged if standing[name] == "real"]
    if not judged or not paired.is_enough:
        return None
    off = [name for name in judged if standing[name] in ("between", "baseline")]
    off.sort(key=lambda name: (-_count_interval_widths(row, name), name))
    text = f"On {len(like)} of {len(judged)} scores they are not significantly worse than held-out real ones"
    text += f"; significantly worse on {list_titles(off, most=4)}." if off else "."
    share = len(like) / len(judged)
    return _make_sentence("good" if share >= 0.7 else "warn" if share >= 0.3 else "bad", text)


def _count_interval_widths(row: RowComparison, name: str) -> float:
    """Return how many interval widths a score is off."""
    found = row.scores[name]
    width = 0.0 if found.high is None or found.low is None else found.high - found.low
    return found.value / max(width, 1e-9)


def _describe_against_baselines(paired: PairedComparisons) -> Sentence | None:
    """Describe every baseline as one that the series are overall better than, a tie with or worse than, by
    name.
    """
    if not paired.is_enough or not paired.overall:
        return None
    words = {"better": "better than", "tie": "a tie with", "worse": "worse than"}
    found = {verdict: _find_rows(paired, verdict) for verdict in words}
    parts = [f"{words[verdict]} {list_words(rows)}" for verdict, rows in found.items() if rows]
    if not parts:
        return None
    text = f"Overall, over {paired.scores} scores together, the synthetic series are {'; '.join(parts)}."
    lost = found["worse"]
    tone: Tone = "bad" if any(row in (*FITTED, *SIMPLE) for row in lost) else "warn" if lost else "good"
    if tone == "good" and any(row in found["tie"] for row in FITTED):
        tone = "warn"
    if any(row in FITTED for row in lost):
        text += " A generator without a network does better."
    return _make_sentence(tone, text)


def _describe_against_simple(paired: PairedComparisons, baseline: str) -> Sentence | None:
    """Describe, by name, whether the model is significantly better than a simple baseline on what this one is
    bad at.
    """
    row = paired.find(baseline)
    if row is None or not paired.is_enough:
        return None
    must = [name for name in (VARIETY if baseline == MEAN_CURVE else RHYTHM) if name in row.scores]
    lost = [name for name in must if row.scores[name].verdict == "worse"]
    unsure = [name for name in must if row.scores[name].verdict == "tie"]
    article = "the mean curve" if baseline == MEAN_CURVE else "series with shuffled hours"
    if lost:
        return _make_sentence(
            "bad", f"Worse than {article} on {list_titles(lost)}, where that baseline is poor."
        )
    if unsure:
        return _make_sentence("warn", f"Not significantly better than {article} on {list_titles(unsure)}.")
    return _make_sentence("good", f"Better than {article} on {list_titles(must)}.") if must else None


def _describe_classifier(rows: Rows, paired: PairedComparisons, owners: int) -> Sentence | None:
    """Describe how often a classifier distinguishes the synthetic series from held-out ones, beside real
    series and baselines.

    The interval counts owners, as many on either side as the held-out series have: series of one owner are
    alike. Where the classifier tells real series apart as often, the model is not to blame.
    """
    found = {
        name: accuracy for name, row in rows.items() if (accuracy := row.values["minirocket"]) is not None
    }
    if MODEL not in found:
        return None
    low, high = _compute_wilson(found[MODEL], 2 * owners)
    text = (
        "A classifier that is trained to tell synthetic from held-out real series is right in "
        f"{found[MODEL]:.0%} of cases (95 % interval {low:.0%} to {high:.0%}; 50 % is guessing"
    )
    beside = [name for name in (REAL, PCA_GMM, GAUSSIAN, CLUSTER_MEAN) if name in found]
    text += "".join(f"; {name} {found[name]:.0%}" for name in beside) + ")."
    like = _find_verdict(paired.find(REAL), "minirocket") in ("better", "tie")
    good = (low <= 0.5 and found[MODEL] < 0.65) or like
    return _make_sentence("good" if good else "warn" if found[MODEL] < 0.9 else "bad", text, "classifier")


def _compute_wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `count` independent trials (Wilson 1927)."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - half, middle + half


def has_collapsed(values: Scores, paired: PairedComparisons) -> bool:
    """Return whether the synthetic series vary far too little, or repeat each other; False where held-out
    real series may do so as well.
    """
    ratio, real = values["diversity"], paired.find(REAL)
    if ratio is None:
        return False
    little = ratio < 0.5 and _find_verdict(real, "diversity") in ("worse", "few")
    return little or (
        (values["repeats"] or 0.0) > MOST_REPEATS and _find_verdict(real, "repeats") in ("worse", "few")
    )


def _describe_variety(values: Scores, paired: PairedComparisons) -> Sentence | None:
    ratio, repeated = values["diversity"], values["repeats"] or 0.0
    if ratio is None:
        return None
    text = f"Synthetic series lie {ratio:.2f} times as far from their nearest neighbour as real ones do"
    if repeated > 0:
        text += f", and {format_share(repeated)} of them nearly repeat another"
    if has_collapsed(values, paired):
        few = repeated > MOST_REPEATS  # noise repeats nothing, and its series have the same statistics
        why = "the generator has collapsed onto few curves" if few else "they are far too alike"
        return _make_sentence("bad", f"{text}: {why}.")
    return _make_sentence("good" if 0.75 <= ratio <= 1.33 else "warn", text + ".")


def _describe_copies(model: Row, rows: Rows) -> Sentence:
    share, ratio = model.values["copies"] or 0.0, model.values["nearness"]
    real = rows[REAL].values["nearness"] if REAL in rows else None
    if share > 0:
        return _make_sentence(
            "bad",
            f"{format_share(share)} of the synthetic series are near copies of training series.",
            "copies",
        )
    text = "No synthetic series is a near copy of a training series"
    if ratio is not None:
        text += f"; they lie {ratio:.2f} times as far from training series as from held-out ones"
        text += f" (other real series: {real:.2f})" if real is not None else ""
    alarm = bool(explain_nearness(model, rows))
    end = ", suspiciously close to training." if alarm else ". This is a first check, not a privacy test."
    return _make_sentence("bad" if alarm else "note", text + end, "copies")


def explain_nearness(model: Row, rows: Rows) -> str:
    """Explain why a row's series are taken for copies of training series; empty where they are not."""
    share, ratio = model.values["copies"] or 0.0, model.values["nearness"]
    real = rows[REAL].values["nearness"] if REAL in rows else None
    if share > 0:
        return f"{format_share(share)} near copies of training series"
    if ratio is not None and ratio < 0.8 * min(real or 1.0, 1.0):
        return f"only {ratio:.2f} times as far from training series as from held-out ones"
    return ""


def _describe_blindness(blind: list[str], standing: Mapping[str, Standing]) -> Sentence | None:
    judged = [name for name in blind if name in standing]
    seeing = [name for name in standing if name not in blind]
    if not judged:
        return None
    unable = "cannot distinguish a copier from a generator that does not copy"
    text = f"{len(judged)} of {len(standing)} scores {unable}"
    return _make_sentence(
        "note", f"{text}; only {list_titles(seeing)} can." if seeing else f"{text}: none can here."
    )


def _describe_evidence(measured: Measurements) -> list[Sentence]:
    """Describe the limits that few owners or few synthetic series set; empty where there are many of both."""
    paired = measured.paired
    if paired.lacking:
        text = (
            f"Not enough evidence: comparisons rest on {paired.lacking}; {paired.needed} are needed for any "
            f"verdict, {UNSURE} or more for small differences. Scores are shown without one."
        )
        return [_make_sentence("warn", text)]
    made = paired.owners if paired.synthetic is None else paired.synthetic
    if min(paired.owners, made) >= UNSURE:
        return []
    real = f"{paired.owners} owners in the smaller set of real series"
    few = real if paired.owners <= made else f"{made} synthetic series"
    text = f"Comparisons rest on {few}: intervals are wide, and a tie may hide a difference."
    return [_make_sentence("note", text)]
