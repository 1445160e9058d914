"""MiniRocket, two-sample tests cross-validated by owner, load figures, Vendi score, and the verdict they
give.
"""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from benchmarks import instruments
from distgan import config
from distgan.data.splits import assign_splits
from distgan.evaluation import baselines
from distgan.evaluation.metrics import (
    entity_loads,
    fidelity,
    minirocket,
    two_sample,
    two_sample_table,
    vendi,
)
from distgan.evaluation.metrics.minirocket import MiniRocket, choose_dilations, choose_stride, fit_minirocket
from distgan.evaluation.metrics.point_sets import compute_wasserstein
from distgan.evaluation.metrics.two_sample import Effort, Sample, compare_samples
from distgan.evaluation.report.answers import answer_good
from distgan.evaluation.report.verdict import GAUSSIAN, MEAN_CURVE, PCA_COPULA, PCA_GMM, SHUFFLED, TEMPLATE_AR
from distgan.evaluation.results import Findings
from tests.helpers.fidelity import PER_DAY

LONDON = Path(__file__).resolve().parents[3] / "shared" / "data" / "lcl_london_2013_hourly.npz"
QUICK = Effort(features=504, places=500)


def loads(count: int, seed: int, noise: float = 0.5) -> np.ndarray:
    """Loads of four weeks with a base load, habits of their own, and activity that lasts: [n, L, 1]."""
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * 28)
    phase = rng.normal(0, 1.5, (count, 1))
    active = np.exp(np.sin(2 * np.pi * (hours - 14 + phase) / 24))
    bursts = rng.gamma(1 / noise**2, noise**2, (count, len(hours)))
    lasting = (bursts + np.roll(bursts, 1, 1) + np.roll(bursts, 2, 1)) / 3
    level = rng.lognormal(0, 0.5, (count, 1))
    return (level * (0.3 + active * lasting))[..., None].astype(np.float32)


# ------------------------------------------------------------------------------------------------- MiniRocket


def test_features_are_shares_of_positive_convolutions() -> None:
    """Against the sum written out, for padded and unpadded kernels."""
    series = np.random.default_rng(0).standard_normal((3, 1, 60)).astype(np.float32)
    kernels = fit_minirocket(series, features=84 * 6)
    found, place = kernels.compute_features(series), 0
    for index, (dilation, count) in enumerate(zip(kernels.dilations, kernels.counts)):
        padding = 4 * dilation
        padded = np.pad(series[1, 0], padding)
        for kernel, triple in enumerate(combinations(range(9), 3)):
            weights = np.where(np.isin(np.arange(9), triple), 2.0, -1.0)
            output = sum(w * padded[i * dilation : i * dilation + 60] for i, w in enumerate(weights)) / 3
            used = output if (index + kernel) % 2 == 0 else output[padding:-padding]
            if kernel % 17 == 0:
                for step in range(count):
                    share = (used > kernels.biases[0][place + step]).mean()
                    assert found[1, place + step] == pytest.approx(share, abs=0.02)
            place += count
    assert place == found.shape[1] == 84 * 6


def test_biases_are_quantiles_of_outputs_of_one_series_each() -> None:
    """To the bit, against every kernel on every series and `np.quantile`."""
    series = np.random.default_rng(0).standard_normal((20, 60)).astype(np.float32)
    steps, counts = choose_dilations(60, 7)
    found = minirocket._fit_biases(series, steps, counts, 1, np.random.default_rng(1))
    rng, place = np.random.default_rng(1), 0
    levels = (np.arange(1, len(found) + 1) * ((np.sqrt(5) + 1) / 2)) % 1
    for dilation, count in zip(steps, counts):
        drawn = rng.permutation(20)[: minirocket.BIAS_SERIES]
        chosen = rng.integers(len(drawn), size=84)
        for kernel, output in enumerate(minirocket._convolve_all(series[drawn], int(dilation), 1)):
            part = slice(place, place + count)
            expected = np.quantile(output[chosen[kernel]], levels[part]).astype(np.float32)
            np.testing.assert_array_equal(found[part], expected)
            place = part.stop
    assert place == len(found) == 84 * 7


def test_a_stride_reads_every_hour_of_the_week_alike() -> None:
    assert choose_stride(8760, 1000, 24) == 5
    assert choose_stride(100, 1000, 24) == 1
    assert choose_stride(35040, 1000, 96) % 2 == 1
    series = loads(6, 0).transpose(0, 2, 1)
    whole = fit_minirocket(series, features=84 * 4)
    strided = replace(whole, stride=5)
    assert np.abs(whole.compute_features(series) - strided.compute_features(series)).mean() < 0.04


@pytest.mark.parametrize("length", [9, 168, 2190, 8760])
def test_dilations_fit_and_counts_sum(length: int) -> None:
    dilations, counts = choose_dilations(length, 119)
    assert counts.sum() == 119 and dilations[0] == 1 and 8 * dilations[-1] <= length - 1
    assert (np.diff(dilations) > 0).all()


def test_several_channels_are_seen_alone_and_in_pairs() -> None:
    series = np.random.default_rng(0).standard_normal((8, 3, 40)).astype(np.float32)
    kernels = fit_minirocket(series, features=84 * 6)
    assert kernels.mixes == ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
    assert kernels.compute_features(series).shape == (8, 84 * 6)


def test_units_of_channels_change_no_feature() -> None:
    """In a sum of raw values the channel of the larger unit would be all that is seen."""
    series = np.random.default_rng(0).standard_normal((8, 2, 40)).astype(np.float32)
    scaled = series * np.array([[1], [2.0**17]], np.float32)  # watts beside megawatts, exact in float32
    found = [fit_minirocket(each, features=84 * 3).compute_features(each) for each in (series, scaled)]
    np.testing.assert_array_equal(*found)


def test_features_are_those_of_aeon() -> None:
    rocket = pytest.importorskip("aeon.transformations.collection.convolution_based")
    series = np.random.default_rng(0).standard_normal((6, 1, 500)).astype(np.float32).cumsum(2)
    theirs = rocket.MiniRocket(random_state=0)
    expected = theirs.fit_transform(series)
    dilations, counts, biases = theirs.parameters[-3:]
    ours, own = choose_dilations(500, 119)
    np.testing.assert_array_equal(ours, dilations)
    np.testing.assert_array_equal(own, counts)
    kernels = MiniRocket(((0,),), np.ones(1), dilations, counts, ((biases / 3).astype(np.float32),))
    np.testing.assert_allclose(kernels.compute_features(series), expected, atol=0.01)  # rounding at a bias


# ----------------------------------------------------------------------------------------- two-sample tests


def test_real_against_real_is_guessing_and_every_change_is_found() -> None:
    real, other = Sample(loads(40, 0)), loads(40, 1)
    for view in ("weeks", "series"):
        same = compare_samples(real, Sample(other), view, PER_DAY, QUICK)
        assert same is not None and same.low <= 0.5  # few folds of few series guess below one half
    changed = {"weeks": loads(40, 1, noise=0.8), "series": 2 * other}
    for view, made in changed.items():
        found = compare_samples(real, Sample(made), view, PER_DAY, QUICK)
        assert found is not None and found.low > 0.6, view


def test_owners_are_never_on_both_sides() -> None:
    """Five owners with eight near copies each: known again, they would be told from others in all cases."""
    one = np.concatenate([home[None] + 0.02 * loads(8, i) for i, home in enumerate(loads(5, 0))])
    two = np.concatenate([home[None] + 0.02 * loads(8, 9 + i) for i, home in enumerate(loads(5, 1))])
    owners = np.repeat(np.arange(5), 8)
    apart = compare_samples(Sample(one, owners), Sample(two, owners), "series", PER_DAY, QUICK)
    known = compare_samples(Sample(one), Sample(two), "series", PER_DAY, QUICK)
    assert apart is not None and known is not None and known.value > apart.value + 0.15
    assert apart.owners == (5, 5) and apart.high - apart.low > known.high - known.low


@pytest.mark.parametrize("unit", [1, 1e6])
def test_what_channels_do_together_is_found_in_any_unit(unit: float) -> None:
    rng = np.random.default_rng(0)
    first, other, alone = rng.standard_normal((3, 30, 100)).astype(np.float32)
    together, apart = (np.stack([x, unit * y], 2) for x, y in ((first, first), (other, alone)))
    found = compare_samples(Sample(together), Sample(apart), "series", PER_DAY, QUICK)
    assert found is not None and found.value > 0.95


def test_owners_left_out_are_left_out() -> None:
    """The closed form of the errors against refitting without each owner."""
    rng = np.random.default_rng(0)
    features, signs = rng.standard_normal((24, 40)), np.repeat([1.0, -1.0], 12)
    owners, strength = np.repeat(np.arange(8), 3), 30.0
    centred = features - features.mean(0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    found = two_sample._leave_owners_out(np.maximum(values, 0), vectors, signs, owners, np.ones(24), strength)
    expected = 0.0
    for owner in range(8):
        rest = owners != owner
        model = Ridge(strength).fit(features[rest], signs[rest])
        expected += float(np.square(model.predict(features[~rest]) - signs[~rest]).sum())
    assert found == pytest.approx(expected, rel=1e-4)


def test_gaps_alone_tell_nothing_and_short_records_have_no_weeks() -> None:
    real, made = loads(40, 0), loads(40, 1)
    real[:, 100:200] = np.nan
    found = compare_samples(Sample(real), Sample(made), "series", PER_DAY, QUICK)
    assert found is not None and found.low <= 0.5
    assert compare_samples(Sample(real[:, :200]), Sample(made[:, :200]), "weeks", PER_DAY, QUICK) is None
    assert compare_samples(Sample(real[:3]), Sample(made), "series", PER_DAY, QUICK) is None  # three owners


def test_an_interval_covers_what_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        chance = 0.7
        scores = np.where(rng.random(60) < chance, 1.0, -1.0) * np.repeat([1.0, -1.0], 30)
        owners = [np.arange(30), np.arange(30)]
        found = two_sample.summarise(scores, np.repeat([1.0, -1.0], 30), owners)
        covered += found.low <= chance <= found.high
    assert covered / 300 > 0.92
    assert two_sample.compute_auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 0.875


# ------------------------------------------------------------------------------------ load figures, variety


def test_load_figures_have_known_answers() -> None:
    day = np.r_[np.full(6, 1.0), np.full(18, 3.0)]
    values = np.tile(day, 28)[None].repeat(3, 0)
    values[1, :5] = 0
    values[2, 24 * 7 : 24 * 10] = 0.1
    layout = entity_loads.fit_layout(values[:1], 24)
    assert layout.night.nonzero()[0].tolist() == list(range(6))
    found = entity_loads.measure_loads(values, layout)
    figures = [dict(zip(entity_loads.FIGURES, row)) for row in found]
    assert figures[0]["mean"] == 2.5 and figures[0]["night"] == pytest.approx(0.4)
    assert figures[0]["zeros"] == figures[0]["any_zero"] == figures[0]["low_run"] == 0
    assert figures[0]["night_change"] == figures[0]["night_variation"] == 0
    assert figures[0]["flat"] == pytest.approx(1 - 55 / 671) and figures[0]["lag_day"] == pytest.approx(1)
    assert figures[1]["any_zero"] == 1 and figures[1]["zeros"] == pytest.approx(5 / 672)
    assert figures[2]["low_run"] == 3


def test_a_ratio_of_halves_varies_as_that_of_whole_sets() -> None:
    """The error of a ratio is the spread over halves in the unit of whole sets: without that, 1.4 times too
    small where figures go together.
    """
    assert entity_loads.compare_units((15, 30), (30, 30)) == pytest.approx(1.5**0.5)
    growth = entity_loads.compare_units((20, 20), (40, 40))
    rng = np.random.default_rng(0)
    wholes, spreads = [], []
    for _ in range(40):
        sides = [rng.standard_normal((40, 1)) + rng.standard_normal((40, 6)) for _ in range(2)]
        wholes.append(average_distance(*sides))
        parts = [[side[rng.permutation(40)[:20]] for side in sides] for _ in range(24)]
        spreads.append(growth * np.std([average_distance(*part) for part in parts]))
    assert growth == pytest.approx(2**0.5) and np.mean(spreads) == pytest.approx(np.std(wholes), rel=0.2)


def average_distance(one: np.ndarray, two: np.ndarray) -> float:
    """Return the geometric mean of distances, in units of those between sets of these sizes."""
    expected = np.sqrt(1 / len(one) + 1 / len(two))
    return float(np.exp(np.log(compute_wasserstein(one, two) / expected).mean()))


def test_gaps_hide_no_turns_and_shares_of_variance_sum_over_pairs_of_frequencies() -> None:
    """A load that rises and falls in turn does so wherever three steps are measured. The fastest wave of
    daily totals, every other day, has the variance of its square, any other of half of it.
    """
    saw = 1 + np.tile([0.0, 1.0], 24 * 14)[None]
    saw[0, ::10] = np.nan
    turns = list(entity_loads.FIGURES).index("turns")
    assert entity_loads.measure_loads(saw, LAYOUT)[0, turns] == 1
    day = np.arange(28)
    totals = 5 + np.cos(2 * np.pi * 2 * day / 28) + 0.5 * (-1.0) ** day
    season, weeks = entity_loads._split_variance(totals[None], np.array([5.0]))
    assert season[0] == pytest.approx(0) and weeks[0] == pytest.approx(0.5 / (0.5 + 0.25))


def test_peaks_of_sums_are_of_as_many_loads_as_there_are_real_ones() -> None:
    """Ten real loads: the mean of fifty synthetic ones would have a lower peak."""
    real = Sample(loads(10, 0))
    reference = instruments.fit_reference(real, loads(10, 1), 24, features=False)
    many, few = (instruments.read_instruments(reference, loads(count, 2), ()).peak for count in (200, 10))
    ten = np.mean([loads(10, seed)[..., 0].mean(0).max() for seed in range(20, 40)])
    fifty = np.mean([loads(50, seed)[..., 0].mean(0).max() for seed in range(20, 40)])
    assert abs(many - ten) < abs(many - fifty) and few > 0


def test_seams_are_found_at_borders_alone() -> None:
    values = loads(10, 0)[..., 0]
    assert instruments.measure_seams(values, 24, 168).mean() == pytest.approx(1, abs=0.3)
    for week in range(0, 672, 168):
        values[:, week : week + 168] += 5 * (week // 168 % 2)
    assert instruments.measure_seams(values, 24, 168).mean() > 3


def test_tokens_of_a_day_have_no_other_midnights() -> None:
    """Every midnight is a border then: no figure, and no warning."""
    real = Sample(loads(12, 0))
    reference = instruments.fit_reference(real, loads(12, 1), 24, token=24, features=False)
    assert math.isnan(instruments.read_instruments(reference, loads(12, 2), ()).seams)


def test_distances_are_one_between_real_sets_and_grow() -> None:
    figures = [entity_loads.measure_loads(loads(60, seed)[..., 0], LAYOUT) for seed in range(3)]
    unit = entity_loads.fit_unit(np.concatenate(figures[:2]))
    same = entity_loads.average_ratios(entity_loads.compare_loads(figures[0], figures[2], unit))
    wrong = entity_loads.measure_loads(loads(60, 3, noise=0.8)[..., 0], LAYOUT)
    far = entity_loads.average_ratios(entity_loads.compare_loads(figures[0], wrong, unit))
    assert 0.6 < same < 1.6 and far > 2 * same


LAYOUT = entity_loads.Layout(24, np.arange(24) < 6)


@pytest.mark.filterwarnings("error")
def test_a_figure_that_no_load_has_is_left_out_without_a_warning() -> None:
    figures = entity_loads.measure_loads(loads(20, 0)[..., 0], LAYOUT)
    figures[:, 3] = np.nan
    unit = entity_loads.fit_unit(figures)
    ratios = entity_loads.compare_loads(figures[:10], figures[10:], unit)
    assert np.isnan(ratios[3]) and np.isfinite(entity_loads.average_ratios(ratios))


@pytest.mark.parametrize("sizes", [(17, 17), (20, 41), (1, 5)])
def test_distances_of_figures_are_wasserstein_distances(sizes: tuple[int, int]) -> None:
    """Second derivation: the area between the two distribution functions, missing values left out."""
    rng = np.random.default_rng(0)
    one, two = (rng.lognormal(0, 1.5, (size, 3)) for size in sizes)
    two[1:, 1], two[:, 2] = np.nan, np.nan
    found = compute_wasserstein(one, two)
    for column in (0, 1):
        sides = [np.sort(side[~np.isnan(side[:, column]), column]) for side in (one, two)]
        places = np.sort(np.concatenate(sides))
        first, second = (np.searchsorted(side, places[:-1], "right") / len(side) for side in sides)
        assert found[column] == pytest.approx(np.sum(np.abs(first - second) * np.diff(places)))
    assert np.isnan(found[2])


def test_the_unit_of_a_load_changes_no_ratio() -> None:
    loads = np.random.default_rng(0).gamma(2.0, 0.2, (40, 24 * 15)) * np.linspace(0.2, 3, 40)[:, None]
    loads[3] = 0
    results = []
    for factor in (1e-9, 1.0, 1e9):
        figures = entity_loads.measure_loads(factor * loads, LAYOUT)
        unit = entity_loads.fit_unit(figures)
        results.append(
            (entity_loads.compare_loads(figures[::2], 1.3 * figures[1::2], unit), unit.place(figures))
        )
    for ratios, points in results[1:]:
        np.testing.assert_allclose(ratios, results[0][0], rtol=1e-6)
        np.testing.assert_allclose(points, results[0][1], atol=1e-6)


def test_the_vendi_score_counts_groups() -> None:
    """Friedman and Dieng: n for points far apart, 1 for equal ones, the exponential of the entropy for
    groups.
    """
    far = 100 * np.eye(12)
    assert vendi.count_effectively(far, 1.0) == pytest.approx(12)
    assert vendi.count_effectively(np.zeros((12, 3)), 1.0) == pytest.approx(1)
    groups = np.repeat(far[:3], [6, 3, 3], axis=0)
    entropy = -sum(p * math.log(p) for p in (0.5, 0.25, 0.25))
    assert vendi.count_effectively(groups, 1.0) == pytest.approx(math.exp(entropy))
    assert vendi.fit_width(np.zeros((3, 2))) == 1


def test_catch22_compares_distributions() -> None:
    pytest.importorskip(instruments.CATCH22)
    one, two = (instruments.measure_catch22(loads(12, seed)[:, :200, 0]) for seed in (0, 1))
    assert one.shape == (12, 22) and np.isfinite(one).all()
    noise = instruments.measure_catch22(np.random.default_rng(0).standard_normal((12, 200)))
    assert instruments.compare_features(one, one).max() == 0
    assert instruments.compare_features(one, two).mean() < instruments.compare_features(one, noise).mean()


def test_catch22_that_is_absent_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from distgan.errors import UserError

    monkeypatch.setattr(instruments, "has_catch22", lambda: False)
    with pytest.raises(UserError, match=r"catch22 needs pycatch22; pip install"):
        instruments.measure_catch22(np.zeros((1, 20)))


# ---------------------------------------------------------------------------------------------- the verdict


def judge(train: np.ndarray, held_out: np.ndarray, reference: np.ndarray, made: np.ndarray, per_day: float):
    """The answer to whether the series are good, and the two-sample tests."""
    table = fidelity.evaluate(fidelity.Sets(train, held_out, made, reference), per_day)
    real = np.concatenate([held_out, reference])
    tests = two_sample_table.evaluate(two_sample_table.Sides(real, np.arange(len(real)), made), per_day)
    return answer_good(Findings(fidelity=table, tests=tests)), tests


@pytest.mark.parametrize("name", ["real", TEMPLATE_AR, pytest.param(GAUSSIAN, marks=pytest.mark.slow)])
def test_real_loads_pass_and_baselines_fail(name: str) -> None:
    train, held_out, reference, fresh = (loads(20, seed) for seed in range(4))
    made = fresh if name == "real" else baselines.make_baselines(train, 20, PER_DAY, 1)[name]()
    answer, tests = judge(train, held_out, reference, made, PER_DAY)
    assert tests is not None
    assert (answer.verdict == "yes") == (name == "real"), (answer.text, tests.sentence)


@pytest.mark.slow
@pytest.mark.skipif(not LONDON.exists(), reason="needs ../shared/data/lcl_london_2013_hourly.npz")
@pytest.mark.parametrize("seed", [0, 1])
def test_real_homes_pass_and_every_baseline_fails(seed: int) -> None:
    """London in steps of four hours: 80 homes to train on, 80 held out, 40 that play the synthetic series."""
    with np.load(LONDON) as file:
        values, ids = file["x"], [str(name) for name in file["ids"]]
    values = values.reshape(200, 2190, 4, 1).sum(2)
    usable = np.isnan(values).mean((1, 2)) <= 0.05
    shares = config.Splits(train=0.4, held_out=0.4, reference=0.2)
    splits = assign_splits(ids, shares, seed)[usable]
    train, unseen, fresh = (values[usable][splits == name] for name in ("train", "held_out", "reference"))
    held_out, reference = unseen[::2], unseen[1::2]
    rows = baselines.make_baselines(train, 60, 6.0, seed)
    for name in ("real", PCA_GMM, PCA_COPULA, TEMPLATE_AR, GAUSSIAN, MEAN_CURVE, SHUFFLED):
        made = fresh if name == "real" else rows[name]()
        answer, _ = judge(train, held_out, reference, made, 6.0)
        assert (answer.verdict == "yes") == (name == "real"), (name, answer.text)
