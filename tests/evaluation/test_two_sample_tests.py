"""Classifier two-sample tests and the baselines beside them, kernel distances, TimeGAN's networks."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV

from distgan.evaluation import baselines
from distgan.evaluation.comparisons import Comparison, Difference, PairedComparisons, RowComparison
from distgan.evaluation.metrics import backbones, c2st, fidelity, kernels
from distgan.evaluation.metrics.descriptors import standardise
from distgan.evaluation.metrics.measure import Measure
from distgan.evaluation.metrics.point_sets import compute_frechet, compute_mmd
from distgan.evaluation.metrics.scores import BY_NAME
from distgan.evaluation.report import verdict
from distgan.evaluation.results import Row, Sentence
from distgan.pipeline.evaluate import join_unseen
from tests.helpers.fidelity import PER_DAY, homes, judge_sets, measure_against, scores, values_of


def average(target: np.ndarray, candidate: np.ndarray, owners: np.ndarray | None = None) -> dict[str, float]:
    """Scores of long series, averaged over a few draws."""
    measure = measure_against(target, owners=owners)
    made = measure.compute_descriptors(candidate)
    rng = np.random.default_rng(0)
    draws = [
        measure.compute_scores(
            made.take(rng.permutation(len(made))), measure.target.take(rng.permutation(len(target)))
        )
        for _ in range(4)
    ]
    return {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}


def of(target: np.ndarray, candidate: np.ndarray, owners: np.ndarray | None = None) -> float:
    """The accuracy of the classifier."""
    return average(target, candidate, owners)["c2st"]


# --------------------------------------------------------------------------------- classifier two-sample test


def test_the_critic_guesses_between_draws_of_one_process():
    assert of(homes(60), homes(60, seed=1)) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda series: series + 4 * series.std(),
        lambda series: 3 * series,
        lambda series: series[:, np.random.default_rng(0).permutation(series.shape[1])],
        lambda series: np.repeat(series.mean(0, keepdims=True), len(series), 0),
        lambda series: np.roll(series, 8, axis=1),  # the same homes, eight hours late
        lambda series: np.roll(series, 72, axis=1),  # the weekend on the wrong days, all else right
    ],
    ids=["shifted", "scaled", "white noise", "mean curve", "late", "wrong weekend"],
)
def test_the_critic_finds_out(wrong):
    assert of(homes(40), wrong(homes(40, seed=1))) > 0.85


def test_the_critic_takes_sets_of_unequal_sizes_and_several_channels():
    assert of(homes(20), homes(90, seed=1)) == pytest.approx(0.5, abs=0.2)
    assert of(homes(30, channels=3), homes(30, seed=1, channels=3)) == pytest.approx(0.5, abs=0.2)
    mixed = homes(30, seed=1, channels=3)
    mixed[..., 2] = mixed[::-1, :, 2]  # each channel right, but of different homes
    level = homes(30, channels=1)
    tied, apart = np.repeat(level, 2, 2), np.concatenate([level, level[::-1]], 2)
    assert of(tied, np.repeat(homes(30, seed=1), 2, 2)) < 0.7 < 0.9 < of(tied, apart)


def test_gaps_alone_tell_the_critic_nothing():
    target, candidate = homes(60), homes(60, seed=1)
    rng = np.random.default_rng(0)
    target[rng.random(target.shape) < 0.03] = np.nan
    target[:, 200:400] = np.nan
    assert of(target, candidate) == pytest.approx(0.5, abs=0.15)
    copied = Measure(candidate, target, PER_DAY).compute_descriptors(candidate)
    assert copied.to_training.max() < 1e-3  # nearness is of the series as they are


def test_the_two_sides_of_a_critic_share_no_owner():
    owner = np.array([3, 3, 1, 3, 2, 2, 9, 1])
    one, two = c2st._split_by_owner(owner)
    assert sorted([*one, *two]) == list(range(8))
    assert not set(owner[one]) & set(owner[two])
    assert abs(len(one) - len(two)) <= 2
    assert math.isnan(of(homes(8), homes(8, seed=1), owners=np.zeros(8, int)))


def test_a_critic_is_not_paid_for_knowing_owners():
    """Five homes with eight series each: on both sides, it would know every home again."""
    target = np.concatenate([home[None] + 0.05 * homes(8, seed=i) for i, home in enumerate(homes(5))])
    fresh = homes(40, seed=1)
    known = of(target, fresh)
    apart = of(target, fresh, owners=np.repeat(np.arange(5), 8))
    assert known > apart + 0.1


def test_ridge_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    signs = np.repeat([1.0, -1.0], 15)
    for columns in (4, 100):
        features = rng.standard_normal((30, columns)) + 0.6 * signs[:, None] * rng.standard_normal(columns)
        features -= features.mean(0)
        theirs = RidgeClassifierCV(alphas=c2st.ALPHAS).fit(features, signs)
        np.testing.assert_allclose(
            c2st.fit_ridge(features, signs), theirs.coef_.ravel(), rtol=1e-5, atol=1e-9
        )


def test_a_kernel_is_a_weighted_sum_at_its_places():
    series = homes(3, channels=2)
    standard = standardise(series)[0]
    fitted = kernels.fit_kernels(standard, PER_DAY)
    found = fitted.compute_features(standard, np.ones(standard.shape, bool))
    place = 0
    for offsets, weights, biases in zip(fitted.offsets, fitted.weights, fitted.biases):
        kernel = weights[5].numpy().reshape(2, 9)
        steps = standard.shape[2] - offsets.max()
        output = sum(
            kernel[c, i] * standard[1, c, o : o + steps] for c in range(2) for i, o in enumerate(offsets)
        )
        above = np.maximum(output - biases[5].item(), 0)
        assert found[1, place + 5] == pytest.approx((above > 0).mean(), abs=2e-3)
        assert found[1, place + kernels.KERNELS + 5] == pytest.approx(above.mean(), abs=1e-4)
        place += 2 * kernels.KERNELS
    assert place == found.shape[1]


@pytest.mark.parametrize(("length", "per_day"), [(8760, 24.0), (2190, 6.0), (24, 1.0), (4, 1.0), (2000, 2e7)])
def test_patterns_fit_into_the_series(length, per_day):
    found = kernels.list_patterns(length, per_day)
    assert found and all(len(offsets) == kernels.TAPS and 0 <= offsets.max() < length for offsets in found)
    if length == 8760:
        assert any(set(offsets) >= {0, 168, 336} for offsets in found)


# --------------------------------------------------------------------------------- distances of distributions


def test_the_frechet_distance_of_gaussians_has_its_closed_form():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((100_000, 3)) * [1, 2, 3]
    two = rng.standard_normal((100_000, 3)) * [2, 2, 1] + [1, 0, -1]
    assert compute_frechet(one, two) == pytest.approx(
        2 + 1 + 0 + 4, rel=0.02
    )  # |gap|² + Σ (difference of deviations)²
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert compute_frechet(one @ turn, two @ turn) == pytest.approx(compute_frechet(one, two), rel=1e-6)
    assert compute_frechet(one[:50], one[:50]) == pytest.approx(0, abs=1e-6)
    assert compute_frechet(one[:2], two[:9]) > 0  # fewer points than dimensions


def test_the_mean_discrepancy_is_its_double_sum():
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((7, 2)), rng.standard_normal((5, 2)) + 1
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(one) for b in one[:i]]
    width = 2 * np.median(pairs) ** 2
    k = lambda a, b: math.exp(-float(((a - b) ** 2).sum()) / width)  # noqa: E731
    within = [
        sum(k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j) / (len(s) * (len(s) - 1))
        for s in (one, two)
    ]
    across = sum(k(a, b) for a in one for b in two) / 35
    assert compute_mmd(one, two) == pytest.approx(sum(within) - 2 * across, rel=1e-9)


def test_the_mean_discrepancy_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(0)
    same = [compute_mmd(rng.standard_normal((30, 4)), rng.standard_normal((20, 4))) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / math.sqrt(200)
    assert min(same) < 0 < max(same)
    assert compute_mmd(rng.standard_normal((30, 4)), rng.standard_normal((20, 4)) + 1) > 5 * np.std(same)


def test_both_distances_order_generators():
    target, fresh = homes(40), homes(40, seed=1)
    shuffled = np.random.default_rng(0).permutation(target, axis=1)
    good, worse, worst = (average(target, made) for made in (fresh, fresh**1.5, shuffled))
    for name in ("context_fid", "mmd"):
        assert good[name] < worse[name] < worst[name]


def test_skew_kurtosis_peaks_and_months_have_known_answers():
    rng = np.random.default_rng(0)
    target = rng.standard_normal((40, 24 * 100, 1)).astype(np.float32)
    lopsided = (rng.exponential(1, target.shape)).astype(np.float32)
    measure = Measure(target, target, PER_DAY)
    made = measure.compute_descriptors(lopsided)
    assert made.skew.mean() == pytest.approx(2, rel=0.05)
    assert np.exp(made.tails).mean() == pytest.approx(9, rel=0.1)
    assert np.exp(measure.target.tails).mean() == pytest.approx(3, rel=0.02)
    summer = target * (1 + 3 * (np.arange(2400) > 1600))[None, :, None]
    same, wrong = (
        measure.compute_scores(measure.target),
        measure.compute_scores(measure.compute_descriptors(summer.astype(np.float32))),
    )
    assert same["months"] == same["peaks"] == same["skew"] == 0
    assert wrong["months"] > 0.2
    assert measure.target.months.shape[2] == 2 * 3


# ----------------------------------------------------------------------------------------- recurrent networks


def windows(count: int, channels: int, seed: int, *, phase: float = 0.0) -> np.ndarray:
    """Short sines of random phase, each channel following the one before: [n, 14, C] in 0 … 1."""
    rng = np.random.default_rng(seed)
    time = np.arange(14)[None, :, None] - np.arange(channels)[None, None, :]
    waves = np.sin(2 * np.pi * time / 12 + rng.uniform(0, 2 * np.pi, (count, 1, 1)) + phase)
    return (0.5 + 0.4 * waves + 0.03 * rng.standard_normal((count, 14, channels))).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_recurrent_networks_guess_between_equals_and_know_non_members(channels):
    settings = c2st.Training(units=8, steps=150, seed=0)
    real = windows(400, channels, 0)
    same = c2st.compute_discriminative(real, windows(300, channels, 1), settings)
    other = c2st.compute_discriminative(real, 1 - 0.5 * windows(500, channels, 1), settings)
    assert same.value < 0.1 and same.error == pytest.approx(math.sqrt(0.25 / 120))
    assert other.value > 0.45


def test_recurrent_networks_learn_nothing_from_gaps():
    real, made = windows(400, 2, 0), windows(400, 2, 1)
    real[:, 5:9] = np.nan
    assert c2st.compute_discriminative(real, made, c2st.Training(units=8, steps=150, seed=0)).value < 0.1


def test_a_forecaster_of_noise_is_worse_than_one_of_the_process():
    settings = c2st.Training(units=8, steps=200, seed=0)
    real = windows(200, 3, 0)
    good = c2st.compute_predictive(real, windows(200, 3, 1), settings)
    noise = np.random.default_rng(0).random(real.shape).astype(np.float32)
    assert good.value < 0.7 * c2st.compute_predictive(real, noise, settings).value


def test_a_single_channel_with_gaps_is_predicted_from_its_own_past():
    real = windows(50, 1, 0)
    real[:, 3] = np.nan
    real[4] = np.nan
    found = c2st.compute_predictive(real, real, c2st.Training(units=1, steps=2, seed=0))
    assert 0 < found.value < 1 and found.error > 0


def test_a_recurrent_network_is_the_published_one():
    """h = u h + (1 - u) c with gates that start open by 1, as TensorFlow's GRUCell, in numpy."""
    network = backbones.RecurrentNetwork(2, 3, torch.Generator().manual_seed(0))
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    x = np.random.default_rng(0).random((5, 7, 2)).astype(np.float32)
    h, sigmoid = np.zeros((5, 3)), lambda v: 1 / (1 + np.exp(-v))
    for step in range(7):
        a = x[:, step] @ weights["gru.weight_ih_l0"].T
        b = h @ weights["gru.weight_hh_l0"].T
        reset, update = sigmoid(a[:, :3] + b[:, :3] + 1), sigmoid(a[:, 3:6] + b[:, 3:6] + 1)
        h = update * h + (1 - update) * np.tanh(a[:, 6:] + reset * b[:, 6:])
    expected = h @ weights["head.weight"].T
    found = network(torch.from_numpy(x), last=True).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(weights["gru.weight_ih_l0"][6:]).max() <= math.sqrt(6 / 8)


@pytest.mark.parametrize(("backbone", "steps"), [("gru", 150), ("cnn", 150), ("transformer", 30)])
def test_every_backbone_finds_a_wrong_generator_and_no_copier(backbone, steps):
    real, wrong = windows(200, 2, 0), 1 - 0.5 * windows(200, 2, 1)
    training = c2st.Training(16, steps, 0, backbone)
    assert c2st.compute_discriminative(real, wrong, training).value > 0.4
    copied = c2st.compute_discriminative(real, real.copy(), training)
    assert copied.value < 3 * copied.error
    if backbone == "gru":
        return  # its forecasts: test_a_forecaster_of_noise_is_worse_than_one_of_the_process
    noise = np.random.default_rng(0).random(real.shape).astype(np.float32)
    shorter = replace(training, steps=60 if backbone == "cnn" else 30)
    ahead = c2st.compute_predictive(real, real.copy(), shorter).value
    assert ahead < 0.9 * c2st.compute_predictive(real, noise, shorter).value


@pytest.mark.parametrize("backbone", backbones.BACKBONES)
def test_a_backbone_predicts_from_the_past_alone(backbone):
    network = backbones.BACKBONES[backbone](3, 8, torch.Generator().manual_seed(0))
    series = torch.from_numpy(windows(4, 3, 0))
    changed = series.clone()
    changed[:, 10:] += 1
    before, after = (network(x, last=False) for x in (series, changed))
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert (before[:, 10:] - after[:, 10:]).abs().min() > 0
    assert network(series, last=True).shape == (4, 1)
    again = backbones.BACKBONES[backbone](3, 8, torch.Generator().manual_seed(0))
    torch.testing.assert_close(again(series, last=True), network(series, last=True), rtol=0, atol=0)


def test_units_are_defined_for_a_univariate_series():
    assert [c2st.count_hidden_units(channels) for channels in (1, 2, 6, 28)] == [1, 1, 3, 14]


def test_short_series_get_recurrent_scores_where_they_are_asked_for():
    sets = windows(24, 2, 0), windows(12, 2, 1), windows(24, 2, 2), windows(12, 2, 3)
    assert c2st.compute_recurrent_scores(sets[1], sets[2], steps=0, seed=0) == {}
    assert c2st.compute_recurrent_scores(homes(20), homes(20), steps=8, seed=0) == {}
    results = judge_sets(*sets, steps_per_day=1, networks=fidelity.TrainedScores(4, ("gru", "cnn")))
    json.dumps(results.to_json(), allow_nan=False)
    assert results.by_name[verdict.MODEL].values["predictive_transformer"] is None
    names = ("discriminative", "discriminative_32", "predictive", "discriminative_cnn", "predictive_cnn")
    for name in names:
        found = results.by_name[verdict.MODEL]
        assert found.values[name] is not None and found.noise[name] > 0
        assert found.noise_to[verdict.REAL][name] > found.noise[name]
        assert name in results.standing


# -------------------------------------------------------------------------------------------------- baselines


def test_baselines_are_what_they_say():
    train = homes(40, seed=1)
    train[3, 100:150] = np.nan
    made = {name: make() for name, make in baselines.make_baselines(train, 25, PER_DAY, 0).items()}
    assert set(made) | {verdict.MODEL, verdict.REAL} == set(verdict.ROWS)
    noise = (made[verdict.NOISY_COPIER] - train)[0]
    assert noise.std() == pytest.approx(0.05 * train[0].std(), rel=0.05)
    days = made[verdict.SHUFFLED_DAYS].reshape(40, -1, 24)
    assert sorted(map(bytes, days[0])) == sorted(map(bytes, train[0].reshape(-1, 24)))
    assert not np.array_equal(days[0], train[0].reshape(-1, 24))
    for name in (verdict.GAUSSIAN, verdict.PCA_GMM, verdict.CLUSTER_MEAN):
        assert made[name].shape == (25, *train.shape[1:]) and np.isfinite(made[name]).all()
        assert np.abs(made[name].mean(0) - np.nanmean(train, 0)).mean() < 0.2 * np.nanstd(train)


def test_baselines_of_a_seed_are_the_same_and_of_few_series_fewer():
    train = homes(9, seed=1)
    one, two = (baselines.make_baselines(train, 5, PER_DAY, 3) for _ in range(2))
    assert all(np.array_equal(one[name](), two[name]()) for name in one)
    assert verdict.PCA_GMM not in baselines.make_baselines(train[:5], 5, PER_DAY, 3)
    assert verdict.SHUFFLED_DAYS not in baselines.make_baselines(train, 5, 1.0, 3)


def test_fitted_baselines_do_not_depend_on_the_units_of_channels():
    train = np.concatenate([homes(20, seed=1), homes(20, seed=2)], axis=2)
    units = np.array([2.0**-40, 2.0**-54], np.float32)  # exact in float32
    made, again = (baselines.make_baselines(each, 8, PER_DAY, 3) for each in (train, train * units))
    for name in baselines.CLASSICAL:
        np.testing.assert_array_equal(made[name]() * units, again[name]())


def test_fitted_baselines_are_negative_only_in_channels_that_are():
    train = np.concatenate([homes(20, seed=1), homes(20, seed=2) - 1], axis=2)
    assert train[..., 0].min() >= 0 > train[..., 1].min()
    for name, make in baselines.make_baselines(train, 8, PER_DAY, 3).items():
        if name in baselines.CLASSICAL:
            lowest = make().min((0, 1))
            assert lowest[0] >= 0 > lowest[1]


def test_the_spectrum_baseline_has_the_spectrum_and_days_keep_the_day():
    train, target = homes(60, seed=1), homes(40)
    made = {name: make() for name, make in baselines.make_baselines(train, 40, PER_DAY, 0).items()}
    found = {name: scores(target, values, train) for name, values in made.items()}
    assert found[verdict.GAUSSIAN]["spectrum"] < 0.3 * found[verdict.SHUFFLED]["spectrum"]
    assert found[verdict.SHUFFLED_DAYS]["daily_profile"] < 0.3 * found[verdict.SHUFFLED]["daily_profile"]
    assert found[verdict.SHUFFLED_DAYS]["weekly_profile"] > 1.5 * found[verdict.COPIER]["weekly_profile"]
    assert found[verdict.NOISY_COPIER]["copies"] == 1


def test_the_verdict_says_when_a_baseline_is_as_good():
    train, held_out = homes(40, seed=1), homes(14, seed=2)
    poor = baselines.make_baselines(train, 40, PER_DAY, 0)[verdict.MEAN_CURVE]()
    sentences = judge_sets(train, held_out, poor, homes(12, seed=4)).verdict
    assert any(s.tone in ("bad", "warn") and "a tie with mean curve" in s.text for s in sentences)
    assert any(s.tone == "bad" and "classifier that is trained to tell" in s.text for s in sentences)


def test_wilsons_interval_is_his():
    assert verdict._compute_wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert verdict._compute_wilson(1.0, 10)[1] == pytest.approx(1)


# ----------------------------------------------------------------------------- the sentence on the classifier


def heard(model: float, real: float, owners: int) -> Sentence:
    """The sentence on a classifier that is right so often about the model and about other real series."""

    def said(name: str, value: float) -> Row:
        values = {**dict.fromkeys(BY_NAME), "minirocket": value}
        noise = dict.fromkeys(BY_NAME, 0.02)
        return Row(name=name, meaning="", n=9, values=values, noise=noise, noise_to={verdict.REAL: noise})

    rows = {name: said(name, value) for name, value in ((verdict.MODEL, model), (verdict.REAL, real))}
    off = model - real
    judged: Comparison = "worse" if off > 0.03 else "tie"
    difference = Difference(value=off, low=off - 0.03, high=off + 0.03, verdict=judged)
    row = RowComparison(row=verdict.REAL, ratio=None, scores={"minirocket": difference})
    compared = PairedComparisons(owners=owners, needed=6, scores=0, overall=[], rows=[row])
    found = verdict._describe_classifier(rows, compared, owners)
    assert found is not None
    return found


def test_the_classifiers_interval_counts_owners():
    assert (heard(0.56, 0.5, 4).tone, heard(0.56, 0.5, 200).tone) == ("good", "warn")
    windows = np.repeat(homes(4, seed=2), 3, axis=0) * np.float32(1.1)
    table = judge_sets(
        homes(12, seed=1),
        windows,
        homes(12, seed=3),
        homes(4, seed=4),
        owner_of={"held_out": np.repeat(np.arange(4), 3)},
    )
    sentence = next(s.text for s in table.verdict if "classifier" in s.text)
    low, high = verdict._compute_wilson(values_of(table, verdict.MODEL)["minirocket"], 2 * 4)
    assert table.n.target_owners == 4 and f"{low:.0%} to {high:.0%}" in sentence


def test_other_real_series_are_not_distinguished_by_their_owners():
    """Six owners of ten series each: with owners on both of its sides a classifier would know them again."""
    habits = np.repeat(homes(12, seed=5), 10, axis=0) * np.random.default_rng(0).gamma(50, 0.02, (120, 1, 1))
    owner, sets = (
        np.repeat(np.arange(12), 10),
        (homes(12, seed=1), habits[:60], homes(12, seed=3), habits[60:]),
    )
    kept = {"held_out": owner[:60], "reference": owner[60:]}
    accuracy = {
        known: values_of(judge_sets(*sets, owner_of=kept if known else {}), verdict.REAL)["c2st"]
        for known in (False, True)
    }
    assert accuracy[False] > 0.7 > accuracy[True] + 0.1


def test_owners_of_different_splits_are_different_owners():
    """However they are numbered: those of a run from 0 in every split, those of files by their ids."""
    held_out, reference = homes(8, seed=2), homes(6, seed=4)
    numbered = {"held_out": np.arange(8) // 2, "reference": np.arange(6) // 2}
    named = {"held_out": np.array(list("aabbccdd")), "reference": np.array(list("eeffgg"))}
    for owner_of in (numbered, named):
        sets = fidelity.Sets(homes(9), held_out, homes(5, seed=3), reference, owner_of=owner_of)
        sides = join_unseen(sets)
        codes = np.unique(sides.owners, return_inverse=True)[1]
        assert codes.max() == 6 and (np.bincount(codes) == 2).all() and len(sides.real) == 14
    every = join_unseen(fidelity.Sets(homes(9), held_out, homes(5, seed=3), reference))
    assert len(np.unique(every.owners)) == 14


def test_a_model_is_not_blamed_where_real_series_are_distinguished_as_often():
    assert heard(0.8, 0.82, 200).tone == "good"
    assert heard(0.95, 0.6, 4).tone == "bad"
