"""What a table of scores means in plain words: each row beside its floors, and what the evidence can bear."""

import math
from collections.abc import Mapping, Sequence

from distgan.evaluation.metrics.scores import BY_NAME, SCORES, Score
from distgan.evaluation.results import Measurements, Row, Scores, ScoreTable, Sentence, Standing, Tone

MODEL, REAL, COPIER, NOISY_COPIER = "model", "real held-out", "copier", "noisy copier"
MEAN_CURVE, SHUFFLED, SHUFFLED_DAYS = "mean curve", "shuffled hours", "shuffled days"
GAUSSIAN, PCA_GMM, CLUSTER_MEAN = "Gaussian", "PCA+GMM", "cluster mean"
ROWS = {
    MODEL: "the synthetic series",
    REAL: "other real series, never trained on: what a perfect generator would reach",
    COPIER: "the training series, copied: perfect at imitation, worthless as anonymisation",
    NOISY_COPIER: "the training series with noise of 5 % of their spread: still copies",
    MEAN_CURVE: "the mean training curve, repeated: right on average, nothing varies",
    SHUFFLED: "training series with their hours shuffled: right values, no rhythm",
    SHUFFLED_DAYS: "training series with whole days shuffled: right days, no weeks and no seasons",
    GAUSSIAN: "Gaussian noise with the mean curve and the spectrum of training series",
    PCA_GMM: "a Gaussian mixture of principal components, fitted in seconds: what a network must beat",
    CLUSTER_MEAN: "means of four training series of one cluster: smooth, and not anonymous",
}
BASELINES = (PCA_GMM, GAUSSIAN, CLUSTER_MEAN)

RHYTHM = ("acf_short", "spectrum", "daily_profile", "weekly_profile")
VARIETY = ("value_distance", "spread_distance", "diversity")


Rows = Mapping[str, Row]  # by name


def judge(measured: Measurements) -> ScoreTable:
    """Conclude from the scores of all rows: standing of each score, and sentences."""
    rows = measured.by_name
    model = rows[MODEL]
    standing = {
        score.name: _standing(score, rows, model) for score in SCORES if model.values[score.name] is not None
    }
    blind = [score.name for score in SCORES if _like_real(rows.get(COPIER), rows, score, REAL)]
    sentences = [
        _against_real(standing, rows),
        *(_against_baseline(rows, floor) for floor in (MEAN_CURVE, SHUFFLED) if floor in rows),
        _against_baselines(rows),
        _critic(rows, min(measured.n.compared, measured.n.target_owners)),
        _variety(model.values),
        _copies(model, rows),
        _blindness(blind, standing),
        *_evidence(measured),
    ]
    return ScoreTable(
        **dict(measured),
        standing=standing,
        blind_to_copier=blind,
        verdict=[sentence for sentence in sentences if sentence],
    )


def _loss(row: Row | None, score: Score) -> float:
    value = None if row is None else row.values[score.name]
    return math.nan if value is None else score.loss(value)


def _like_real(row: Row | None, rows: Rows, score: Score, real: str) -> bool:
    """Whether a row is as good as one of real series, or worse by less than two cautious standard errors."""
    loss, bar = _loss(row, score), _loss(rows.get(real), score)
    if row is None or not (math.isfinite(loss) and math.isfinite(bar)):
        return False
    return loss <= bar + max(2 * standard_error(row, rows[real], score.name), 1e-9)


def standard_error(row: Row, real: Row, name: str) -> float:
    """Standard error of the difference between a row and a row of real series: at most that of two real ones,
    or a set with wild series in it would be like real for being wild.
    """
    found = row.noise_to[real.name][name] or 0.0
    return min(found, math.sqrt(2) * (real.noise[name] or 0.0))


def average_closeness(row: Row, real: Row, groups: Sequence[str]) -> float | None:
    """How far a row is from perfect over all scores of some groups: the mean of loss / (loss + bar), 0
    perfect, .5 at the bar, 1 hopeless; None where nothing is measured.

    The bar of a score is the loss of other held-out series and two standard errors, one bar for all rows;
    like real (`_standing`) is the better of those and a copier. Every score counts alike, whatever its unit,
    and none can outweigh the rest.
    """
    shares = []
    for score in SCORES:
        ours, theirs = _loss(row, score), _loss(real, score)
        if score.group in groups and math.isfinite(ours) and math.isfinite(theirs):
            bar = theirs + 2 * standard_error(row, real, score.name)
            shares.append(ours / max(ours + bar, 1e-9))
    return sum(shares) / len(shares) if shares else None


def _bar(rows: Rows, score: Score) -> str:
    """The row of real series that comes closer to the target; copies are no bar for what looks for copies."""
    both = {
        name: _loss(rows.get(name), score) for name in ([REAL] if score.group == "copies" else [REAL, COPIER])
    }
    return min(both, key=lambda name: both[name] if math.isfinite(both[name]) else math.inf)


def _standing(score: Score, rows: Rows, model: Row) -> Standing:
    """`real`: like real series within the noise; `floor`: no better than the worse floor; else `between`."""
    if _like_real(model, rows, score, _bar(rows, score)):
        return "real"
    below = [_loss(rows.get(name), score) for name in (MEAN_CURVE, SHUFFLED)]
    worst = max((loss for loss in below if math.isfinite(loss)), default=math.inf)
    return "floor" if _loss(model, score) >= worst else "between"


def _sentence(tone: Tone, text: str) -> Sentence:
    return Sentence(tone=tone, text=text)


def _titles(names: Sequence[str]) -> str:
    titles = [BY_NAME[name].title.lower() for name in names]
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}" if titles else ""


def _judged(standing: Mapping[str, Standing]) -> list[str]:
    return [name for name in standing if BY_NAME[name].group != "copies"]


def _against_real(standing: Mapping[str, Standing], rows: Rows) -> Sentence:
    if REAL not in rows:
        return _sentence(
            "note", "There were too few held-out series to say what a perfect generator would reach."
        )
    judged = _judged(standing)
    like = [name for name in judged if standing[name] == "real"]
    text = (
        f"On {len(like)} of {len(judged)} scores the synthetic series are as close to the held-out ones "
        "as real series are, within two cautious standard errors"
    )
    ratios = {}
    for name in set(judged) - set(like):
        score = BY_NAME[name]
        ratios[name] = _loss(rows[MODEL], score) / max(_loss(rows[_bar(rows, score)], score), 1e-3)
    worst = sorted(ratios, key=lambda name: (-ratios[name], name))[:3]
    text += f"; furthest off: {_titles(worst)}." if worst else "."
    tone: Tone = (
        "good" if len(like) >= 0.7 * len(judged) else "warn" if len(like) >= 0.3 * len(judged) else "bad"
    )
    return _sentence(tone, text)


def _against_baseline(rows: Rows, floor: str) -> Sentence:
    """The model against a floor, and by name on what this floor is meant to be bad at."""
    scores = [s for s in SCORES if s.group != "copies" and math.isfinite(_loss(rows[MODEL], s))]
    better = [s.name for s in scores if _loss(rows[MODEL], s) < _loss(rows[floor], s)]
    must = [name for name in (VARIETY if floor == MEAN_CURVE else RHYTHM) if name in {s.name for s in scores}]
    lost = [name for name in must if name not in better]
    article = "the mean curve" if floor == MEAN_CURVE else "series with shuffled hours"
    text = f"Closer to real than {article} on {len(better)} of {len(scores)} scores"
    if lost:
        return _sentence("bad", f"{text}, but not on {_titles(lost)}, where that floor is easily beaten.")
    return _sentence("good", f"{text}, {_titles(must)} included." if must else f"{text}.")


def _against_baselines(rows: Rows) -> Sentence | None:
    """On how many scores the model is closer to real than each generator that is fitted without a network."""
    scores = [s for s in SCORES if s.group != "copies" and math.isfinite(_loss(rows[MODEL], s))]
    wins = {
        floor: sum(_loss(rows[MODEL], score) < _loss(rows[floor], score) for score in scores)
        for floor in BASELINES
        if floor in rows
    }
    if not wins:
        return None
    accuracies = [f"{'the ' if floor != PCA_GMM else ''}{floor} on {count}" for floor, count in wins.items()]
    text = f"Of {len(scores)} scores, closer to real than {', than '.join(accuracies)}"
    lost = [floor for floor, count in wins.items() if count <= len(scores) / 2]
    if lost:
        return _sentence("bad", f"{text}: a baseline without a network does as well or better.")
    return _sentence("good", f"{text}; these are fitted without a network.")


def _critic(rows: Rows, owners: int) -> Sentence | None:
    """How often the convolution critic finds the model out, beside real series and the baselines.

    The interval counts owners, as many on either side as the held-out series have: series of one owner are
    alike. Where the critic tells real series apart as often, the model is not to blame.
    """
    accuracies = {
        name: accuracy for name, row in rows.items() if (accuracy := row.values["critic"]) is not None
    }
    if MODEL not in accuracies:
        return None
    low, high = _wilson(accuracies[MODEL], 2 * owners)
    text = (
        f"A convolution critic is right about {accuracies[MODEL]:.0%} of synthetic and held-out series "
        f"(95 % interval {low:.0%} to {high:.0%}; 50 % is guessing"
    )
    beside = [name for name in (REAL, *BASELINES) if name in accuracies]
    text += "".join(f"; {name} {accuracies[name]:.0%}" for name in beside) + ")."
    good = (low <= 0.5 and accuracies[MODEL] < 0.65) or _like_real(rows[MODEL], rows, BY_NAME["critic"], REAL)
    return _sentence("good" if good else "warn" if accuracies[MODEL] < 0.9 else "bad", text)


def _wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of a share of `count` independent trials (Wilson 1927)."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - half, middle + half


def _variety(values: Scores) -> Sentence | None:
    ratio, repeated = values["diversity"], values["repeats"] or 0.0
    if ratio is None:
        return None
    text = f"Synthetic series differ from one another {ratio:.2f} times as much as real ones do"
    if repeated > 0:
        text += f", and {repeated:.0%} of them nearly repeat another"
    if ratio < 0.5 or repeated > 0.05:
        return _sentence("bad", text + ": the generator has collapsed onto few curves.")
    return _sentence("good" if 0.75 <= ratio <= 1.33 else "warn", text + ".")


def _copies(model: Row, rows: Rows) -> Sentence:
    share, ratio = model.values["copies"] or 0.0, model.values["nearness"]
    real = rows[REAL].values["nearness"] if REAL in rows else None
    if share > 0:
        return _sentence("bad", f"{share:.1%} of the synthetic series are near copies of training series.")
    text = "No synthetic series is a near copy of a training series"
    if ratio is not None:
        text += f"; they lie {ratio:.2f} times as far from training series as from held-out ones"
        text += f" (other real series: {real:.2f})" if real is not None else ""
    alarm = bool(explain_nearness(model, rows))
    end = ", suspiciously close to training." if alarm else ". This is a smoke alarm, not a privacy test."
    return _sentence("bad" if alarm else "note", text + end)


def explain_nearness(model: Row, rows: Rows) -> str:
    """Why a row's series are taken for copies of training series; empty where they are not."""
    share, ratio = model.values["copies"] or 0.0, model.values["nearness"]
    real = rows[REAL].values["nearness"] if REAL in rows else None
    if share > 0:
        return f"{share:.1%} near copies of training series"
    if ratio is not None and ratio < 0.8 * min(real or 1.0, 1.0):
        return f"only {ratio:.2f} times as far from training series as from held-out ones"
    return ""


def _blindness(blind: list[str], standing: Mapping[str, Standing]) -> Sentence | None:
    judged = [name for name in blind if name in standing]
    seeing = [name for name in standing if name not in blind]
    if not judged:
        return None
    text = f"{len(judged)} of {len(standing)} scores cannot tell a copier from an honest generator"
    return _sentence("note", f"{text}; only {_titles(seeing)} can." if seeing else f"{text}: none can here.")


def _evidence(measured: Measurements) -> list[Sentence]:
    series = measured.n.held_out
    few = measured.owners.get("held_out", series)
    who = f"{series} held-out series"
    if few != series:
        who += f" of only {few} owners"
    if few >= 30:
        return []
    return [_sentence("warn", f"The real side is {who}: differences that are not large may be chance.")]
