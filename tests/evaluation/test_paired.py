"""Verdicts by paired differences: real series must pass, and no baseline is called better than it is."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from distgan.evaluation import baselines
from distgan.evaluation.comparisons import WORDS, Difference, PairedComparisons, RowComparison
from distgan.evaluation.metrics import paired
from distgan.evaluation.metrics.scores import BY_NAME, SCORES
from distgan.evaluation.metrics.two_sample_table import TwoSampleTests
from distgan.evaluation.report import answers, verdict
from distgan.evaluation.report.terms import TERMS, Explainer
from distgan.evaluation.report.verdict import COPIER, COPIES, MODEL, REAL, SIMPLE
from distgan.evaluation.results import Facts, Findings, ScoreTable
from tests.helpers.fidelity import ALL_DRAWS, FEW_DRAWS, PER_DAY, average_over, homes, judge_sets

TRAIN, HELD_OUT, REFERENCE = homes(40, seed=1), homes(16, seed=2), homes(14, seed=4)


def judge_model(made: np.ndarray) -> ScoreTable:
    return judge_sets(TRAIN, HELD_OUT, made, REFERENCE)


@pytest.fixture(scope="module")
def real_table() -> ScoreTable:
    """Other real series as the model, judged as in a report."""
    with average_over(ALL_DRAWS):
        return judge_model(homes(60, seed=3))


def ratio(table: ScoreTable, row: str) -> str:
    found = table.paired.find(row)
    assert found is not None and found.ratio is not None
    return found.ratio.verdict


def test_real_series_are_good_a_tie_with_real_ones_and_better_than_what_is_simple(real_table):
    answer = answers.answer_good(Findings(fidelity=real_table))
    assert (answer.verdict, answer.short, answer.tone) == ("yes", "Yes", "good")
    assert ratio(real_table, REAL) == ratio(real_table, COPIER) == "tie"
    assert {ratio(real_table, row) for row in SIMPLE} == {"better"}
    against = real_table.paired.find(REAL)
    assert len(against.list_names("tie")) >= 0.9 * len(against.scores)
    model, real = (real_table.paired.find_overall(row) for row in (MODEL, REAL))
    assert 0.6 < model.value < 1.6 and model.low < 1 < model.high
    assert real.value == 1 and real.low < 1 < real.high


FAST = ("PCA+GMM", "copier", "mean curve", "shuffled hours")  # the others do not differ in kind


@pytest.mark.parametrize(
    ("name", "draws"),
    [
        *((name, FEW_DRAWS) for name in FAST),
        *(
            pytest.param(name, ALL_DRAWS, marks=pytest.mark.slow)
            for name in sorted(set(verdict.ROWS) - {MODEL, REAL})
        ),
    ],
)
def test_no_baseline_is_called_better_than_it_is(name, draws):
    """A baseline as the model, made with another seed: not good, unless it copies real series."""
    with average_over(draws):
        table = judge_model(baselines.make_baselines(TRAIN, 40, PER_DAY, 9)[name]())
    assert ratio(table, name) == "tie"
    assert ratio(table, REAL) != "better" and ratio(table, COPIER) != "better"
    answer = answers.answer_good(Findings(fidelity=table))
    if name in COPIES:
        safe = answers.answer_safe(Findings(fidelity=table), Facts("copies"))
        assert (safe.short, safe.tone) == ("No", "bad")
    else:
        assert answer.verdict in ("no", "reservations"), answer.text
        assert ratio(table, REAL) == "worse" or ratio(table, COPIER) == "worse"


def test_of_four_held_out_owners_nothing_is_concluded():
    table = judge_sets(TRAIN, homes(8, seed=2), homes(30, seed=3), owner_of={"held_out": np.arange(8) // 2})
    assert table.paired.owners < paired.FEWEST_OWNERS
    for row in table.paired.rows:
        assert row.ratio.verdict == "few" and {each.verdict for each in row.scores.values()} == {"few"}
    assert set(table.standing.values()) == {"few"}
    answer = answers.answer_good(Findings(fidelity=table))
    assert (answer.verdict, answer.short) == ("unknown", "Not enough evidence")
    assert not [s for s in table.verdict if "better than" in s.text or "orse than" in s.text]
    for found, expected in (
        ("between", "unknown"),
        ("baseline", "no"),
    ):  # a classifier may be sure all the same
        tests = TwoSampleTests(views=[], verdict=found, tone="warn", sentence="It is right about 99 %.")
        answer = answers.answer_good(Findings(fidelity=table, tests=tests))
        assert (
            answer.verdict == expected and "in the smaller set of real series can be compared" in answer.text
        )
        assert (tests.sentence in answer.text) == (expected == "no")


@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_of_four_synthetic_series_nothing_is_concluded(count):
    """A tie of four series with sixteen homes is no evidence that a generator is good."""
    with average_over(FEW_DRAWS):
        table = judge_model(homes(count, seed=3))
    for row in table.paired.rows:
        assert {each.verdict for each in row.scores.values()} == {"few"}
    assert set(table.standing.values()) == {"few"}
    answer = answers.answer_good(Findings(fidelity=table))
    said = "one synthetic series" if count == 1 else "4 synthetic series"
    assert answer.verdict == "unknown" and f"Only {said} can be compared; 6 are needed" in answer.text
    assert said in table.verdict[0].text and "significant" not in "".join(s.text for s in table.verdict)
    assert not [s for s in table.verdict if "better than" in s.text.lower() or "worse than" in s.text.lower()]


def test_the_smaller_side_is_the_evidence():
    losses = np.random.default_rng(0).gamma(9, 1, (24, len(BY_NAME)))
    found = replace(resampled(owners=40, model=losses, other=losses), synthetic=7)
    assert found.evidence == 7 and found.reach == pytest.approx(student.ppf(0.975, 6))
    few = paired.compare_rows(replace(found, synthetic=5), "model", "none")
    assert few.lacking == "5 synthetic series" and not few.is_enough
    assert paired.compare_rows(found, "model", "none").is_enough


def test_no_repeat_among_few_real_series_is_no_proof_of_a_difference():
    """Of 20 real series none repeats another, so one in 20 may: 4 % of synthetic ones are a tie."""
    base, rng = np.zeros((24, len(BY_NAME))), np.random.default_rng(0)
    place = list(BY_NAME).index("repeats")
    for share, expected in ((0.04, "tie"), (0.4, "worse")):
        made = base.copy()
        made[:, place] = rng.binomial(10, share, 24) / 10
        found = paired.compare_rows(resampled(model=made, real=base), "model", "real")
        assert found.find("real").scores["repeats"].verdict == expected


def resampled(owners: int = 9, **halves: np.ndarray) -> paired.ResampledLosses:
    """Rows whose losses are the means of their halves."""
    names = tuple(BY_NAME)
    blank = np.full(len(names), np.nan)
    return paired.ResampledLosses(
        names=names,
        losses={row: values.mean(0) for row, values in halves.items()},
        halves=halves,
        errors=dict.fromkeys(halves, blank),
        shrinkage=0.5,
        owners=owners,
        synthetic=40,
        compared=20,
    )


def test_the_interval_is_that_of_the_paired_difference():
    """Second derivation: what both rows share cancels; the rest is Student's t over the halves."""
    rng = np.random.default_rng(0)
    shared, own = rng.gamma(9, 1, (24, len(BY_NAME))), rng.normal(0, 0.01, (24, len(BY_NAME)))
    found = paired.compare_rows(resampled(model=shared + own + 0.5, other=shared), "model", "none")
    for place, difference in enumerate(found.rows[0].scores.values()):
        half = student.ppf(0.975, 8) * 0.5 * own[:, place].std(ddof=1)
        middle = 0.5 + own[:, place].mean()
        assert (difference.low, difference.high) == pytest.approx((middle - half, middle + half), abs=1e-5)
        assert difference.verdict == "worse"  # sure, though either loss varies three hundred times as much
    assert found.overall == [] and found.rows[0].ratio is None


def test_the_overall_score_is_the_geometric_mean_of_ratios_up_to_ten():
    rng = np.random.default_rng(1)
    base = np.repeat(rng.gamma(9, 1, (1, len(BY_NAME))), 24, axis=0) + rng.normal(0, 1e-6, (24, len(BY_NAME)))
    twice, far = 2 * base, base.copy()
    far[:, 0] *= 1e9
    found = paired.compare_rows(resampled(model=twice, real=base, other=far), "model", "real")
    values = {line.row: line.value for line in found.overall}
    part = [s for s in SCORES if s.function is not None and s.group != "copies"]
    assert found.scores == len(part)
    shares = sum(s.name in paired.SHARES for s in part)
    assert values["real"] == 1 and values["model"] == pytest.approx(2, rel=0.01 * shares)
    assert values["other"] == pytest.approx(10 ** (1 / len(part)), rel=1e-3)
    ratio = found.find("other").ratio
    assert ratio.value == pytest.approx(values["model"] / values["other"], rel=1e-3)
    assert ratio.verdict == "worse" and found.find("real").ratio.verdict == "worse"


def test_a_difference_of_less_than_a_percent_is_a_tie():
    base = np.full((24, len(BY_NAME)), 3.0)
    for factor, expected in ((1.005, "tie"), (1.02, "worse"), (0.98, "better")):
        found = paired.compare_rows(resampled(model=factor * base, other=base), "model", "none")
        assert {each.verdict for each in found.rows[0].scores.values()} == {expected}


def test_every_verdict_has_words_and_one_tone():
    assert {word.tone for word in WORDS.values()} == {"good", "warn", "bad", "note"}
    assert WORDS["few"].text == WORDS["insufficient"].text  # the same finding, the same words
    texts = {}
    for word in WORDS.values():
        assert texts.setdefault(word.text.lower(), word.tone) == word.tone, word


@pytest.mark.parametrize(
    ("repeats", "said"), [(0.0, "they are far too alike"), (0.9, "has collapsed onto few curves")]
)
def test_noise_without_variety_has_not_collapsed_onto_few_curves(repeats, said):
    worse = Difference(value=1.0, low=0.5, high=1.5, verdict="worse")
    row = RowComparison(row=REAL, ratio=None, scores={"diversity": worse, "repeats": worse})
    compared = PairedComparisons(owners=30, needed=6, scores=0, overall=[], rows=[row])
    sentence = verdict._describe_variety({"diversity": 0.4, "repeats": repeats}, compared)
    assert sentence.tone == "bad" and said in sentence.text


def test_shares_and_names_are_written_as_they_are():
    shares = {0: "0%", 1: "100%", 0.25: "25.0%", 0.0004: "0.04%", 0.9996: "99.96%", 1e-6: "0.0001%"}
    assert {share: verdict.format_share(share) for share in shares} == shares
    titles = verdict.list_titles(["vendi", "context_fid", "coverage"])
    assert titles == "Vendi score, Fréchet distance and coverage"


def test_a_term_is_a_link_where_it_first_occurs_and_text_is_escaped():
    explain = Explainer()
    text = explain("AUC < 0.6 of held-out owners, AUC again")
    assert text.count('<a class="term"') == 3 and "&lt; 0.6" in text and text.endswith("AUC again")
    assert explain.used == ["auc", "held-out", "owner"] and "<a" not in explain("AUC & owners")
    assert set(explain.used) <= set(TERMS) and math.isfinite(len(TERMS))


@pytest.mark.parametrize("count", [1, 3])
def test_very_few_synthetic_series_are_no_evidence(count: int) -> None:
    """Three series have no halves, while those of the other rows do."""
    table = judge_model(homes(count, seed=3))
    assert {ratio(table, row) for row in (REAL, *SIMPLE)} == {"few"}
    assert answers.answer_good(Findings(fidelity=table)).short == "Not enough evidence"
