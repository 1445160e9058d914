"""Normal scores and partial whitening: exact inverses, gaps, what is learned, and what is refused."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from distgan import config
from distgan.data.joint_scaling import JointScaling
from distgan.data.normal_scores import NormalScores, ScoreTable
from distgan.data.scaling import Scaler
from distgan.data.scaling_statistics import (
    SAMPLE_READINGS,
    choose_sample,
    compute_location_and_scale,
    compute_range,
)
from distgan.data.store.metadata import Axis, Meta
from distgan.data.whitening import Whitening
from distgan.errors import Mismatch, UserError
from distgan.pipeline.digests import ARTEFACTS
from distgan.pipeline.early_checks import Training, refuse_scaling
from distgan.pipeline.prepare import BoundChecker
from distgan.pipeline.training_data import read_scaler, write_scaler
from distgan.run import Run

OWNERS = 40
EACH = 8  # series of an owner


def make_series(length: int = 6) -> np.ndarray:
    """Return [320, L, 4]: a level, a skewed one, one of three values with many zeros, and a constant."""
    rng = np.random.default_rng(0)
    level = rng.normal(20, 5, (OWNERS * EACH, 1)) + rng.normal(0, 0.1, (OWNERS * EACH, length)).cumsum(1)
    few = rng.choice([0.0, 1.5, 4.0], (OWNERS * EACH, length), p=[0.6, 0.3, 0.1])
    columns = level, rng.exponential(2, level.shape), few, np.full(level.shape, 7.0)
    return np.stack(columns, axis=2).astype(np.float32)


WHOSE = np.repeat(np.arange(OWNERS), EACH)
WAYS = [
    {"scope": scope, "method": method, "marginal": marginal, "whitening": whitening}
    for scope in ("series", "dataset")
    for method, marginal, whitening in (
        ("standard", "normal_scores", 0.0),
        ("standard", "none", 0.5),
        ("minmax", "normal_scores", 1.0),
        ("minmax", "none", 0.0),
    )
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
@pytest.mark.parametrize("least", [1, 15])
def test_every_way_is_undone_exactly(way: dict, least: int) -> None:
    values = make_series()
    scaler = Scaler.fit([values[:100], values[100:]], config.Scaling(**way), owners=WHOSE, least=least)
    attributes = scaler.compute_attributes(values)
    scaled = scaler.scale(values, attributes)
    assert np.isfinite(scaled).all() and scaled.dtype == np.float32
    size = np.abs(values).max(axis=(0, 1))
    np.testing.assert_allclose(scaler.restore(scaled, attributes) / size, values / size, atol=1e-5)
    limits = config.Bounds(lower=0.0, upper=25.0)
    bounded = Scaler.fit([values], config.Scaling(**way), limits, WHOSE, least)
    wild = bounded.standardise(
        torch.randn(50, 6, 4) * 3, torch.ones(50, 6, 4), torch.from_numpy(attributes[:50])
    )
    assert wild.abs().max() <= 1
    restored = bounded.restore(wild.numpy(), attributes[:50])
    assert restored.min() >= 0 and restored.max() <= 25


@pytest.mark.parametrize("way", [WAYS[0], WAYS[1], WAYS[5], WAYS[6]])
def test_scaled_training_series_stay_as_they_are(way: dict) -> None:
    """The discriminator sees generated series as it sees real ones: what `standardise` does is idempotent."""
    values = make_series()
    settings = config.Scaling(**way, bound=1e4)  # nothing is cut off
    scaler = Scaler.fit([values], settings, owners=WHOSE, least=2)
    attributes = scaler.compute_attributes(values)
    scaled = torch.from_numpy(scaler.scale(values, attributes))
    scaled.requires_grad_()
    again = scaler.standardise(scaled, torch.ones_like(scaled), torch.from_numpy(attributes))
    gradient = torch.autograd.grad((again * torch.randn_like(again)).sum(), scaled)[0]
    assert gradient.isfinite().all() and gradient.abs().sum(dim=(0, 1))[:3].min() > 0
    # six steps of few values, standardised by themselves: equal but for rounding, and atoms are exact
    kept = [0, 1, 3] if way["scope"] == "series" and way["marginal"] != "none" else [0, 1, 2, 3]
    torch.testing.assert_close(again[..., kept], scaled[..., kept], atol=1e-4, rtol=0)


def test_normal_scores_are_normal_and_keep_what_repeats() -> None:
    values = make_series()
    scores = NormalScores.fit(values, WHOSE, 15).to_scores(torch.from_numpy(values)).numpy()
    assert stats.kstest(scores[..., 0].ravel(), "norm").statistic < 0.02
    assert stats.kstest(scores[..., 1].ravel(), "norm").statistic < 0.02
    assert len(np.unique(scores[..., 2])) == 3 and np.ptp(scores[..., 3]) == 0
    order = np.argsort(values[..., 1], axis=None)
    assert (np.diff(scores[..., 1].ravel()[order]) >= 0).all()


def test_generated_readings_fall_on_what_people_share_and_go_on_beyond() -> None:
    values = make_series()
    tables = NormalScores.fit(values, WHOSE, 15)
    anywhere = torch.linspace(-6, 6, 501).double()
    few = tables.tables[2].to_readings(anywhere)
    assert set(few.unique().tolist()) == {0.0, 1.5, 4.0}
    skewed = tables.tables[1].to_readings(anywhere)
    assert (skewed.diff() > 0).all() and skewed[-1] > values[..., 1].max()
    assert (tables.tables[3].to_readings(anywhere) == 7).all()


def test_no_knot_is_of_fewer_owners_than_asked_for() -> None:
    """One owner's readings, all of them extreme, move no knot beyond what others have."""
    rng = np.random.default_rng(1)
    readings, owners = rng.normal(size=4000), np.repeat(np.arange(OWNERS), 100)
    usual = ScoreTable.fit(readings, owners, 15)
    readings[owners == 3] = 1000 + np.arange(100)
    found = ScoreTable.fit(readings, owners, 15)
    assert usual.values.abs().max() < 4 and found.values.sort().values.equal(found.values)
    lowest = np.sort(readings)[: np.searchsorted(np.sort(readings), float(found.values[0])) + 1]
    assert len(np.unique(owners[np.isin(readings, lowest)])) >= 7  # about half of a bin of 15 owners or more
    assert float(found.values[-1]) < 1100 / 15 + 4  # a mean over at least 15 owners
    few = ScoreTable.fit(readings[owners < 9], owners[owners < 9], 15)
    assert few.values.tolist() == [0.0]  # nothing is learned of nine


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_whitening_evens_out_directions(share: float) -> None:
    values = torch.from_numpy(make_series()[..., :3]).double()
    flat = Whitening.fit(values, share).whiten(values).flatten(1)
    spread = torch.linalg.eigvalsh(values.flatten(1).T.cov())
    found = torch.linalg.eigvalsh(flat.T.cov())
    expected = (spread / spread[-1]) ** (1 - share)
    torch.testing.assert_close(found / found[-1], expected, rtol=1e-6, atol=1e-9)
    assert abs(float(flat.std()) - 1) < 1e-9


def test_gaps_enter_as_the_mean_of_their_place_in_real_and_generated_series() -> None:
    values = make_series()
    gaps = np.random.default_rng(2).random(values.shape) < 0.1
    gappy = np.where(gaps, np.nan, values)
    settings = config.Scaling(scope="dataset", whitening=0.5, marginal="normal_scores", bound=1e4)
    scaler = Scaler.fit([gappy], settings, owners=WHOSE, least=5)
    attributes = scaler.compute_attributes(values)
    real = scaler.scale(gappy, attributes)
    assert (np.isnan(real) == gaps).all()
    whole = torch.from_numpy(scaler.scale(values, attributes))
    made = scaler.standardise(whole, torch.from_numpy(~gaps).float(), torch.from_numpy(attributes))
    np.testing.assert_allclose(made.numpy()[~gaps], real[~gaps], atol=1e-4)


def test_one_location_and_scale_for_all_counts_owners_alike_and_no_single_extreme() -> None:
    values = make_series()[..., :1]
    many = np.concatenate([values, np.repeat(values[:1] + 50, 500, axis=0)])
    owners = np.concatenate([WHOSE, np.zeros(500, int)])
    location, _ = compute_location_and_scale([many[:50], many[50:]], owners)
    assert abs(location[0] - values.mean()) < 2  # 38 if every series counted
    middle, half = compute_range([many], owners, 15)
    assert middle[0] + half[0] < 40  # the extreme of owner 0 is 70
    rows = choose_sample(owners, 6, 15)
    assert np.bincount(owners[rows]).max() <= len(rows) / 15 and len(np.unique(owners[rows])) == OWNERS
    assert len(choose_sample(np.arange(1000), SAMPLE_READINGS // 100, 15)) == 100


def test_what_is_learned_does_not_depend_on_blocks_or_on_the_bank() -> None:
    values = make_series()
    settings = config.Scaling(scope="dataset", whitening=0.5, marginal="normal_scores")
    one = Scaler.fit([values], settings, owners=WHOSE, least=5)
    many = Scaler.fit(np.array_split(values, 7), settings, owners=WHOSE, least=5)
    assert one == many
    attributes = one.compute_attributes(values)
    np.testing.assert_array_equal(one.scale(values, attributes), many.scale(values, 1.01 * attributes))


def test_all_values_are_surveyed_for_the_bounds() -> None:
    values = make_series()
    values[-1, 2, 1] = -1
    watched = BoundChecker(np.array_split(values, 4), config.Bounds(lower=0.0), "float32")
    Scaler.fit(watched, config.Scaling(marginal="normal_scores"), config.Bounds(lower=0.0), WHOSE, 5)
    assert (watched.measured, watched.below) == (values.size, 1)


def test_a_scaler_comes_back_whole_and_another_one_is_noticed(tmp_path: Path) -> None:
    values, run = make_series(), Run(tmp_path)
    settings = config.Scaling(scope="dataset", whitening=0.5, marginal="normal_scores")
    scaler = Scaler.fit([values], settings, owners=WHOSE, least=5)
    meta = Meta(Axis("2020-01-01", 3600, 6), tuple("abcd"), "kWh", {}, {})
    write_scaler(run, scaler, meta)
    found, _ = read_scaler(run)
    attributes = scaler.compute_attributes(values)
    assert (
        found == scaler
        and hashlib.sha256(run.scaler_tensors.read_bytes()).hexdigest() in run.scaler.read_text()
    )
    np.testing.assert_array_equal(found.scale(values, attributes), scaler.scale(values, attributes))
    digest = ARTEFACTS["scaler"].digest(run)
    content = bytearray(run.scaler_tensors.read_bytes())
    content[-1] ^= 1
    run.scaler_tensors.write_bytes(content)
    assert ARTEFACTS["scaler"].digest(run) != digest
    with pytest.raises(Mismatch, match=r"scaler\.safetensors is not the one"):
        read_scaler(run)
    run.scaler_tensors.unlink()
    with pytest.raises(UserError, match=r"no scaler\.safetensors"):
        read_scaler(run)


@pytest.mark.parametrize(
    "shape, given, words",
    [
        (
            (30, 3000, 1),
            {"whitening": 0.5},
            "3,000 readings of a series, and 2,048 are the limit; set data.windows",
        ),
        ((30, 20, 2), {"whitening": 0.5}, "needs more than 40 training series, and there are 30"),
        ((14, 5, 1), {"marginal": "normal_scores"}, "of 14 owners, and bank.min_members wants 15"),
        ((14, 5, 1), {"scope": "dataset"}, "set data.scaling.scope=series, or lower bank.min_members"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(shape: tuple, given: dict, words: str) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with pytest.raises(UserError) as refusal:
        Scaler.fit([values], config.Scaling(**given), least=15)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_early_checks_refuse_before_anything_is_stored() -> None:
    def refuse(*overrides: str, entities: int = 30, windows: int = 1, length: int = 40) -> None:
        settings = config.load(None, ["data.source=x.npz", *overrides])
        training = Training(*[np.arange(entities)] * 2, np.ones(entities), None, windows, 1)
        refuse_scaling(settings, training, length)

    refuse("data.scaling.whitening=0.5", windows=10)
    refuse("data.scaling.marginal=normal_scores")
    for changed, words in (
        ({"windows": 1}, "needs more than 40 training series, and there are 30"),
        (
            {"windows": 100, "length": 3000},
            "set data.windows.length=2048 or less, or data.scaling.whitening=0",
        ),
        ({"windows": 10, "entities": 14}, "of 14 owners, and bank.min_members wants 15"),
    ):
        with pytest.raises(UserError) as refusal:
            refuse("data.scaling.whitening=0.5", **changed)
        assert words in str(refusal.value)


def test_runs_of_before_keep_their_identity_and_filters_refuse_one_length() -> None:
    plain = config.load(None, ["data.source=x.npz"])
    assert plain.identity == config.load(None, ["data.source=x.npz", "data.scaling.whitening=0"]).identity
    assert plain.identity != config.load(None, ["data.source=x.npz", "data.scaling.whitening=0.5"]).identity
    assert "scope" not in Scaler("none", "standard", 1.0, 2.0, None).to_dict()
    with pytest.raises(UserError, match=r"set data\.scaling\.whitening=0"):
        config.load(None, ["model=nr_gan", "data.scaling.whitening=0.5"])


def test_joint_scaling_works_on_its_own() -> None:
    values = make_series()
    joint = JointScaling.fit(values, config.Scaling(whitening=0.5, marginal="normal_scores"))
    back = joint.invert(joint.apply(torch.from_numpy(values)))
    np.testing.assert_allclose(back.numpy(), values, atol=1e-5)


def test_the_ends_of_every_range_are_one_reading_each() -> None:
    """Rounding made several atoms of -1 and of 1, far apart in normal scores; generated series had one."""
    rng = np.random.default_rng(0)
    x = (rng.normal(0, 200, (60, 30, 2)) + rng.uniform(500, 2000, (60, 1, 2))).astype(np.float32)
    settings = config.load(None, ["data.scaling.method=minmax", "data.scaling.marginal=normal_scores"])
    scaler = Scaler.fit([x], settings.data.scaling, least=5)
    attributes = scaler.compute_attributes(x)
    scaled = torch.from_numpy(scaler.scale(x, attributes))
    for ends in (scaled.amin(1), scaled.amax(1)):
        assert (ends == ends[0]).all()
    again = scaler.standardise(scaled, torch.ones_like(scaled), torch.from_numpy(attributes))
    torch.testing.assert_close(again, scaled, rtol=0, atol=1e-6)
    np.testing.assert_allclose(scaler.restore(scaled.numpy(), attributes), x, rtol=0, atol=0.01)
