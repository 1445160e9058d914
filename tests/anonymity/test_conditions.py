"""The bank's promises: enough entities, no dominating load, nobody's own latent, a manifest to check them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from distgan import config
from distgan.anonymity.attributes import asinh_ratio_and_log_rms, draw_ratio_and_log_rms, location_and_scale
from distgan.anonymity.bank import Bank, make_bank
from distgan.anonymity.conditioning import Conditioner
from distgan.anonymity.group_size import count_released_numbers, minimum_group_size, tracing_auc
from distgan.anonymity.groups import (
    Members,
    capped_weights,
    effective_members,
    effective_owners,
    merge_small_groups,
)
from distgan.anonymity.manifest import find_violations
from distgan.anonymity.projection import Projection, fit_projection
from distgan.errors import Mismatch, UserError
from tests.helpers.groups import Ranks, household_data, settings_of_bank

SLACK = 1 + 1e-11


def bank_of(settings: config.Bank | None = None, **changes: Any) -> Bank:
    return make_bank(**household_data(**changes), settings=settings or settings_of_bank())


def members_of(settings: config.Bank | None = None, **changes: Any) -> Members:
    data = household_data(**changes)
    channels = data.pop("attributes").shape[1]
    return merge_small_groups(**data, settings=settings or settings_of_bank(), channels=channels)


# ------------------------------------------------------------------------------------------------- floor


@pytest.mark.parametrize(("released", "members"), [(12, 41), (16, 54), (128, 432), (2, 15)])
def test_floor_keeps_tracing_below_its_limit_and_is_the_smallest(released: int, members: int) -> None:
    settings = settings_of_bank()
    assert minimum_group_size(settings, released) == members
    assert tracing_auc(released, members) <= settings.max_tracing_auc
    if members > settings.min_members:
        assert tracing_auc(released, members - 1) > settings.max_tracing_auc


def test_floor_is_never_below_min_members() -> None:
    assert minimum_group_size(settings_of_bank(min_members=100), 12) == 100
    assert minimum_group_size(settings_of_bank(max_tracing_auc=0.999), 12) == 15


def test_released_numbers_count_the_condition_and_the_attributes() -> None:
    assert count_released_numbers(8, 1) == 12
    assert bank_of(channels=3).released == 2 + 4 * 3


@pytest.mark.parametrize(("released", "members"), [(4, 15), (16, 15), (16, 125), (64, 30)])
def test_a_simulated_attack_succeeds_as_the_formula_says(released: int, members: int) -> None:
    """One target a trial: in the mean or not, scored by its inner product with the released mean."""
    rng = np.random.default_rng(0)
    trials = 4000
    others = rng.standard_normal((trials, released)) * np.sqrt((members - 1) / members**2)
    target, stranger = rng.standard_normal((2, trials, released))
    released_mean = others + target / members
    inside = np.sum(target * released_mean, axis=1)
    outside = np.sum(stranger * released_mean, axis=1)
    success = np.mean(inside[:, None] > outside[None, :])
    assert success == pytest.approx(tracing_auc(released, members), abs=0.03)


# ------------------------------------------------------------------------------------------------ narrow


def test_narrow_finds_the_principal_directions() -> None:
    rng = np.random.default_rng(0)
    latents = (rng.standard_normal((500, 6)) * [9, 5, 3, 0.1, 0.1, 0.1] + 4).astype(np.float32)
    projection = fit_projection(latents, 3)
    assert projection.explained > 0.99
    np.testing.assert_allclose(projection.directions.T @ projection.directions, np.eye(3), atol=1e-5)
    points = projection(latents)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-3)
    assert np.all(np.diff(points.std(axis=0)) < 0)
    values = np.linalg.svd(latents - latents.mean(axis=0), compute_uv=False) ** 2
    assert projection.explained == pytest.approx(values[:3].sum() / values.sum(), rel=1e-5)


def test_narrow_does_not_depend_on_the_order_and_can_be_kept(tmp_path: Path) -> None:
    latents = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
    one, other = fit_projection(latents, 2), fit_projection(latents[::-1], 2)
    np.testing.assert_allclose(one.directions, other.directions, atol=1e-5)
    one.save(tmp_path / "projection.safetensors")
    kept = Projection.load(tmp_path / "projection.safetensors")
    np.testing.assert_array_equal(kept(latents), one(latents))
    assert kept.explained == one.explained


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (np.full((20, 4), np.nan), "NaN"),
        (np.full((20, 4), 3.0), "collapsed"),
        (np.eye(20)[:, :1], "above encoder.latent_dim 1"),
    ],
)
def test_narrow_refuses_unusable_latents(latents: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit_projection(latents, 2)


# ----------------------------------------------------------------------------------------------- weights

loads_of_a_group = st.lists(
    st.one_of(st.floats(0, 1e9, allow_nan=False), st.sampled_from([0.0, 1.0, 1e-12, 1e12])),
    min_size=1,
    max_size=80,
).map(np.array)


@given(loads=loads_of_a_group, max_share=st.sampled_from([0.05, 0.15, 0.2, 1 / 3, 0.5, 1.0]))
@hypothesis_settings(max_examples=300, deadline=None)
def test_no_entity_carries_more_than_its_share(loads: np.ndarray, max_share: float) -> None:
    weights = capped_weights(loads, max_share)
    bearing = np.count_nonzero(loads > 1e-30 * loads.max())
    if weights is None:
        assert 0 < bearing < 1 / max_share + 1e-9  # too few carry a load for any weights to fit
        return
    assert weights.sum() == pytest.approx(1)
    assert weights.min() > 0
    carried = weights * loads
    assert carried.max() <= max_share * carried.sum() * SLACK


@given(loads=loads_of_a_group)
@hypothesis_settings(max_examples=100, deadline=None)
def test_weights_are_lowered_no_more_than_needed(loads: np.ndarray) -> None:
    seven = max(loads.max(), 1.0) * np.geomspace(0.01, 1, 7)  # enough for shares of .15
    loads = np.append(loads, seven)
    weights = capped_weights(loads, 0.15)
    assert weights is not None
    carried = weights * loads
    lowered = weights < weights.max() * (1 - 1e-9)
    if lowered.any():  # all who are lowered end exactly at the limit
        np.testing.assert_allclose(carried[lowered] / carried.sum(), 0.15, rtol=1e-6)
    else:
        assert loads.max() <= 0.15 * loads.sum() * (1 + 1e-6)


def test_water_filling_agrees_with_bisection() -> None:
    loads = np.random.default_rng(0).lognormal(0, 2.5, 60)
    low, high = 0.0, float(loads.max())
    for _ in range(200):
        level = (low + high) / 2
        filled = np.minimum(loads, level)
        low, high = (level, high) if level <= 0.15 * filled.sum() else (low, level)
    expected = np.minimum(1, low / loads)
    np.testing.assert_allclose(capped_weights(loads, 0.15), expected / expected.sum(), rtol=1e-9)


def test_effective_members_of_equal_weights_is_their_number() -> None:
    assert effective_members(np.full(50, 1 / 50)) == pytest.approx(50)
    assert effective_members(np.array([0.9, 0.1])) < 1.3


def test_whoever_owns_most_of_a_group_makes_it_one_of_few() -> None:
    members = members_of()
    everyone = np.arange(len(members.groups))
    counts = np.bincount(members.groups)
    assert effective_owners(members, members.entities) == tuple(bank_of().effective)
    rich = np.where((members.groups == 0) & (everyone % 4 > 0), -1, everyone)  # three quarters of group 0
    held, *others = effective_owners(members, np.unique(rich, return_inverse=True)[1])
    assert held == 1 and counts[0] > 40
    assert tuple(others) == effective_owners(members, members.entities)[1:]


# ------------------------------------------------------------------------------------------------- banks


@st.composite
def adversarial_households(draw: st.DrawFn) -> dict[str, Any]:
    """Latents, loads, groups and windows in shapes that would break a careless bank."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.integers(1, 260))
    points = rng.standard_normal((n, 2)).astype(np.float32)
    shape = draw(st.sampled_from(["normal", "pairs", "outlier", "same", "grid"]))
    if shape == "pairs":
        points[1::2] = points[: n // 2 * 2 : 2]
    elif shape == "outlier":
        points[0] = 1e6
    elif shape == "same":
        points[:] = 1.5
    elif shape == "grid":
        points = rng.integers(-1, 2, (n, 2)).astype(np.float32)
    kind = draw(st.sampled_from(["equal", "heavy", "one giant", "mostly zero", "none"]))
    loads = np.ones(n) if kind == "equal" else rng.lognormal(0, 3, n)
    if kind == "one giant":
        loads[rng.integers(n)] = 1e12
    elif kind == "mostly zero":
        loads[rng.random(n) < 0.9] = 0
    elif kind == "none":
        loads[:] = 0
    spread = rng.lognormal(0, 1, (n, 1))
    return {
        "points": points,
        "attributes": np.stack([rng.standard_normal((n, 1)), spread], axis=-1),
        "loads": loads,
        "groups": rng.integers(0, draw(st.integers(1, 20)), n) * 7,
        "entities": rng.integers(0, draw(st.sampled_from([n, n, max(1, n // 3)])), n),
    }


@given(data=adversarial_households())
@hypothesis_settings(max_examples=150, deadline=None)
def test_a_bank_always_holds_its_promises_or_is_not_made(data: dict[str, Any]) -> None:
    settings = settings_of_bank()
    try:
        bank = make_bank(**data, settings=settings)
    except UserError as error:
        assert "\n" not in str(error)
        return
    channels = data["attributes"].shape[1]
    members = merge_small_groups(
        data["points"], data["loads"], data["groups"], settings, channels, data["entities"]
    )
    means = bank.conditions.astype(np.float64) * bank.scale + bank.centre
    for group in range(bank.num_groups):
        inside = members.groups == group
        entities, codes = np.unique(members.entities[inside], return_inverse=True)
        weights = np.bincount(codes, weights=members.weights[inside])
        loads = np.bincount(codes, weights=members.loads[inside])
        assert bank.sizes[group] == len(entities) >= bank.floor
        assert weights.sum() == pytest.approx(1)
        assert effective_members(weights) >= bank.floor * (1 - 1e-9)
        assert (weights * loads).max() <= settings.max_share * (weights * loads).sum() * SLACK
        expected = members.weights[inside] @ members.points[inside].astype(np.float64)
        np.testing.assert_allclose(means[group], expected, atol=1e-5 * np.abs(data["points"]).max())
        # nobody's own latent, in units of the latents' deviation
        assert np.abs((data["points"][inside] - expected) / bank.scale).max(axis=1).min() > 0.9e-6
    assert np.all(bank.tracing_auc <= settings.max_tracing_auc + 1e-9)
    assert bank.largest_share.max() <= settings.max_share * SLACK


def test_settled_groups_stay_settled() -> None:
    members = members_of(groups=30, n=900)
    again = merge_small_groups(
        members.points, members.loads, members.groups, settings_of_bank(), 1, members.entities
    )
    np.testing.assert_array_equal(members.groups, again.groups)
    np.testing.assert_array_equal(members.weights, again.weights)


def test_a_dominated_group_joins_its_nearest_neighbour() -> None:
    data = household_data(n=300, groups=3)
    data["points"] += np.float32(100) * (data["groups"] == 2)[:, None]
    data["loads"][data["groups"] == 1] = 0
    data["loads"][np.flatnonzero(data["groups"] == 1)[0]] = 1e6  # alone with a load: no weights can help
    bank = make_bank(**data, settings=settings_of_bank())
    assert sorted(bank.sizes) == sorted([np.sum(data["groups"] == 2), np.sum(data["groups"] != 2)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 20}, "20 entities are fewer than the 21"),
        ({"n": 0}, "no latents"),
    ],
)
def test_too_few_entities_are_one_clear_error(changes: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bank_of(**changes)


def damage(key: str, value: float) -> Callable[[dict[str, np.ndarray]], None]:
    def apply(data: dict[str, np.ndarray]) -> None:
        data[key].reshape(-1)[-1] = value

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage("points", np.nan), "latents contain NaN"),
        (damage("loads", np.nan), "loads contain NaN or negative"),
        (damage("loads", -1), "loads contain NaN or negative"),
        (damage("attributes", 0), "scales above 0"),
        (damage("attributes", np.inf), "must be finite"),
        (lambda data: data.update(loads=np.eye(1, 600)[0]), "so much of the load"),
        (lambda data: data.update(points=np.ones((600, 2))), "collapsed"),
        (lambda data: data.update(points=np.ones((600, 3))), "condition_dim is 2"),
        (lambda data: data.update(loads=np.ones(3)), "3 loads"),
    ],
)
def test_unusable_input_is_one_clear_error(
    change: Callable[[dict[str, np.ndarray]], None], message: str
) -> None:
    data = household_data()
    change(data)
    with pytest.raises(UserError, match=message):
        make_bank(**data, settings=settings_of_bank())


def test_statistics_are_those_of_the_weighted_group() -> None:
    data = household_data(channels=2)
    bank = make_bank(**data, settings=settings_of_bank())
    data_without = {key: value for key, value in data.items() if key != "attributes"}
    members = merge_small_groups(**data_without, settings=settings_of_bank(), channels=2)
    inside = members.groups == 1
    weights = members.weights[inside]
    level, spread = data["attributes"][inside, 1].T
    size = np.log(np.sqrt(level**2 + spread**2))
    mean = weights @ size
    assert bank.attributes_mean[1, 1, 1] == pytest.approx(mean, rel=1e-5)
    assert bank.attributes_std[1, 1, 1] == pytest.approx(np.sqrt(weights @ (size - mean) ** 2), rel=1e-4)
    assert np.sinh(bank.attributes_mean[..., 0]) == pytest.approx(2, abs=0.1)  # level / spread


def test_drawn_attributes_follow_the_group_and_the_generator() -> None:
    bank = bank_of(channels=2)
    groups = np.repeat(np.arange(bank.num_groups), 4000)
    drawn = bank.draw_attributes(groups, np.random.default_rng(1))
    assert drawn.shape == (len(groups), 2, 2)
    assert drawn[..., 1].min() > 0
    third = asinh_ratio_and_log_rms(drawn[groups == 2])
    np.testing.assert_allclose(third.mean(0), bank.attributes_mean[2], atol=0.02)
    np.testing.assert_allclose(third.std(0), bank.attributes_std[2], rtol=0.05)
    np.testing.assert_array_equal(drawn, bank.draw_attributes(groups, np.random.default_rng(1)))


def test_a_few_drawn_levels_cover_their_distribution_evenly() -> None:
    bank = bank_of()
    groups = np.arange(60) % bank.num_groups
    for seed in range(5):
        drawn = asinh_ratio_and_log_rms(bank.draw_attributes(groups, np.random.default_rng(seed)))
        for group in range(bank.num_groups):
            spread = bank.attributes_std[group]
            off = np.abs(drawn[groups == group].mean(0) - bank.attributes_mean[group])
            assert (off < 0.2 * spread).all()  # of independent draws the deviation alone is spread / √10


def test_networks_are_told_level_and_spread_in_units_of_the_population() -> None:
    data = household_data(n=3000, channels=2)
    bank = make_bank(**data, settings=settings_of_bank())
    told = bank.told(data["attributes"])
    assert told.shape == (3000, 4) and told.dtype == np.float32
    np.testing.assert_allclose(told.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(told.std(0), 1, atol=0.1)
    given = torch.from_numpy(bank.given(np.zeros(3000, np.int64), data["attributes"]))
    np.testing.assert_allclose(bank.attributes_told(given), data["attributes"], rtol=1e-4, atol=1e-5)
    alike = bank_of(channels=1)
    one = dataclasses.replace(alike, attributes_std=0 * alike.attributes_std)
    assert np.isfinite(one.told(np.ones((3, 1, 2)))).all()  # a population of one size


@pytest.mark.parametrize("deviation", [0.0, 0.05, 0.6, 2.0])
def test_drawn_sizes_have_the_mean_and_deviation_asked_for_and_are_gamma(deviation: float) -> None:
    normal = np.random.default_rng(0).standard_normal((200_000, 2))
    mean = np.broadcast_to([1.5, -2.0], normal.shape)
    steadiness, size = draw_ratio_and_log_rms(mean, np.full(normal.shape, deviation), normal).T
    np.testing.assert_allclose([steadiness.mean(), size.mean()], [1.5, -2.0], atol=0.02)
    np.testing.assert_allclose([steadiness.std(), size.std()], deviation, rtol=0.01, atol=0.002)
    if deviation == 0.6:
        shape, _, scale = stats.gamma.fit(np.exp(size[:5000]), floc=0)
        assert stats.kstest(np.exp(size), stats.gamma(shape, scale=scale).cdf).statistic < 0.02
        assert stats.skew(size) < -0.3  # a normal logarithm has none


@given(level=st.floats(-1e4, 1e4), spread=st.floats(1e-2, 1e4))
def test_steadiness_and_size_are_undone(level: float, spread: float) -> None:
    attributes = np.array([[level, spread]])
    again = location_and_scale(asinh_ratio_and_log_rms(attributes))
    np.testing.assert_allclose(again, attributes, rtol=1e-6, atol=1e-12 + 1e-9 * abs(level))


# ------------------------------------------------------------------------------------------ allocation


@given(count=st.integers(0, 10**7), seed=st.integers(0, 1000), groups=st.integers(1, 12))
@hypothesis_settings(max_examples=60, deadline=None)
def test_allocation_is_in_proportion(count: int, seed: int, groups: int) -> None:
    bank = bank_of(seed=seed % 3, groups=groups)
    given_out = bank.allocate(count)
    exact = count * bank.sizes / bank.sizes.sum()
    assert given_out.sum() == count
    assert np.all(given_out >= np.floor(exact - 1e-6))
    assert np.all(given_out <= np.ceil(exact + 1e-6))


def test_allocating_as_many_as_there_are_entities_gives_the_sizes() -> None:
    bank = bank_of()
    np.testing.assert_array_equal(bank.allocate(int(bank.sizes.sum())), bank.sizes)


# ---------------------------------------------------------------------------------- files and proof


def test_a_saved_bank_comes_back(tmp_path: Path) -> None:
    bank = bank_of()
    bank.save(tmp_path / "bank")
    kept = Bank.load(tmp_path / "bank")
    for name in ("conditions", "sizes", "effective", "attributes_mean", "attributes_std", "centre", "scale"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(bank, name))
        assert getattr(kept, name).dtype == getattr(bank, name).dtype
    np.testing.assert_array_equal(kept.largest_share, bank.largest_share)
    np.testing.assert_array_equal(kept.lowered, bank.lowered)
    assert kept.settings == bank.settings
    assert find_violations(tmp_path / "bank") == []


def test_saving_twice_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        bank_of().save(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_bank_holds_nothing_per_member(tmp_path: Path) -> None:
    """Same groups, members in another order: the same files, so nothing follows the members."""
    data = household_data(n=500)
    order = np.random.default_rng(3).permutation(500)
    make_bank(**data, settings=settings_of_bank()).save(tmp_path / "one")
    shuffled = {key: value[order] for key, value in data.items()}
    make_bank(**shuffled, settings=settings_of_bank()).save(tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("one", "two"))
    assert [group["size"] for group in one["groups"]] == [group["size"] for group in two["groups"]]
    assert set(one["groups"][0]) == {"size", "effective", "lowered", "largest_share", "tracing_auc"}
    size = (tmp_path / "one" / "bank.safetensors").stat().st_size
    assert size == (tmp_path / "two" / "bank.safetensors").stat().st_size < 2000


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m["groups"][0].update(size=m["groups"][0]["size"] + 1),
            "size or effective members differ",
        ),
        (lambda m: m["groups"][0].update(size=2, effective=2), "below the minimum"),
        (lambda m: m["groups"][0].update(effective=10**6), "effective members of"),
        (lambda m: m["groups"][0].update(effective=m["groups"][0]["size"] - 50), "cannot make"),
        (lambda m: m["groups"][0].update(lowered=-1), "lowered weight cannot make"),
        (lambda m: m["groups"][0].update(lowered=3, largest_share=0.05), "are impossible"),
        (lambda m: m.update(study=True), "study is True"),
        (lambda m: m["groups"][0].update(largest_share=0.2), "above 0.15"),
        (lambda m: m["groups"][0].update(largest_share=-1), "carries -1"),
        (lambda m: m["groups"][0].update(tracing_auc=0.5), "tracing succeeds at"),
        (lambda m: m["groups"][0].update(ids=["home 7"]), "Extra inputs"),
        (lambda m: m["groups"][0].update(owners=1), "some groups record their owners and some do not"),
        (lambda m: m["groups"][0].update(owners=10**6), "1000000 effective owners"),
        (lambda m: m["groups"].pop(), "conditions is float32"),
        (lambda m: m.update(floor=2), "the minimum group size is 21"),
        (lambda m: m.update(released=2), "the manifest says 2"),
        (lambda m: m.update(schema=1), "schema"),
        (lambda m: m.pop("groups"), "groups"),
        (lambda m: m["settings"].update(min_members=500), "below the minimum of 500"),
        (lambda m: m["settings"].update(max_share=7), "max_share"),
        (lambda m: m.update(sha256={"bank.safetensors": "0" * 64}), "sha256"),
    ],
)
def test_every_forged_manifest_is_found(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    bank_of().save(tmp_path / "bank")
    edit(tmp_path / "bank" / "manifest.json", change)
    assert any(message in violation for violation in find_violations(tmp_path / "bank"))
    with pytest.raises(Mismatch, match="run the same command again") as caught:
        Bank.load(tmp_path / "bank")
    assert caught.value.exit_code == 5


def test_a_manifest_does_not_tell_loads_apart(tmp_path: Path) -> None:
    """The largest load ten times larger, or ten entities as large: nothing to see but a coarse share."""
    banks = []
    for largest in (2000.0, 20000.0):
        data = household_data(n=300, groups=1)
        data["loads"] = np.ones(300)
        data["loads"][7] = largest
        banks.append(make_bank(**data, settings=settings_of_bank()))
        banks[-1].save(tmp_path / str(largest))
    one, two = ((tmp_path / name / "manifest.json").read_text() for name in ("2000.0", "20000.0"))
    assert json.loads(one)["groups"] == json.loads(two)["groups"]
    assert banks[0].lowered.tolist() == [1]
    assert banks[0].largest_share.tolist() == [0.15]


def test_not_a_number_never_passes(tmp_path: Path) -> None:
    bank_of().save(tmp_path / "bank")
    path = tmp_path / "bank" / "manifest.json"
    edit(path, lambda manifest: manifest["groups"][0].update(largest_share=float("nan")))
    assert find_violations(tmp_path / "bank")


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
@hypothesis_settings(max_examples=40, deadline=None)
def test_every_flipped_bit_of_the_tensors_is_found(
    place: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bank") / "bank"
    bank_of(n=60, groups=1).save(folder)
    content = bytearray((folder / "bank.safetensors").read_bytes())
    content[place % len(content)] ^= 1 << bit
    (folder / "bank.safetensors").write_bytes(content)
    assert find_violations(folder)


def test_missing_and_foreign_files_are_found(tmp_path: Path) -> None:
    assert find_violations(tmp_path) == [f"{tmp_path / 'manifest.json'} is missing"]
    bank_of().save(tmp_path / "bank")
    (tmp_path / "bank" / "members.csv").write_text("home 7")
    assert find_violations(tmp_path / "bank") == ["members.csv does not belong in a bank"]
    (tmp_path / "bank" / "bank.safetensors").unlink()
    assert "is missing" in find_violations(tmp_path / "bank")[0]


def test_stricter_limits_can_be_asked_of_a_bank(tmp_path: Path) -> None:
    bank_of().save(tmp_path / "bank")
    assert find_violations(tmp_path / "bank", required=settings_of_bank()) == []
    assert find_violations(tmp_path / "bank", required=settings_of_bank(min_members=5000))
    assert find_violations(tmp_path / "bank", required=settings_of_bank(max_share=0.001))


def test_members_are_kept_for_the_owner_alone(tmp_path: Path) -> None:
    members = members_of()
    members.save(tmp_path / "members.safetensors")
    assert (tmp_path / "members.safetensors").stat().st_mode & 0o777 == 0o600
    kept = Members.load(tmp_path / "members.safetensors")
    for name in Members.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(kept, name), getattr(members, name))


# ---------------------------------------------------------------------------------------------- training


def conditions_of(
    training: str, rows: list[int], sample: list[int], step: int = 3, seed: int = 5
) -> np.ndarray:
    conditioner = Conditioner(bank_of(), members_of(), training=training, seed=seed)
    return conditioner.drawn(torch.tensor(rows), torch.tensor(sample), step).numpy()[:, 2:]


def test_mean_training_gives_the_banks_conditions() -> None:
    bank, members = bank_of(), members_of()
    found = conditions_of("mean", [0, 5, 17], [0, 1, 2])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, bank.conditions[members.groups[[0, 5, 17]]])


def test_only_the_discriminator_is_told_a_series_own_level_and_spread() -> None:
    data = household_data()
    bank, members = bank_of(), members_of()
    conditioner = Conditioner(bank, members, seed=5)
    rows, sample = torch.arange(600), torch.arange(600)
    own = torch.from_numpy(data["attributes"].astype(np.float32))
    real, drawn = conditioner.real(rows, sample, 3, own), conditioner.drawn(rows, sample, 3)
    np.testing.assert_allclose(real[:, :2], bank.told(data["attributes"]), atol=1e-5)
    np.testing.assert_array_equal(real[:, 2:], drawn[:, 2:])
    other = conditioner.drawn(rows, sample, 4)
    assert (other[:, :2] != drawn[:, :2]).all()
    half = conditioner.drawn(rows[300:], sample[300:], 3)
    np.testing.assert_array_equal(half, drawn[300:])


def test_subset_training_depends_on_seed_step_and_sample_alone() -> None:
    whole = conditions_of("subset", [0, 5, 17, 90], [0, 1, 2, 3])
    halves = [conditions_of("subset", [0, 5], [0, 1]), conditions_of("subset", [17, 90], [2, 3])]
    np.testing.assert_array_equal(whole, np.concatenate(halves))
    for other in (
        conditions_of("subset", [0], [9]),
        conditions_of("subset", [0], [0], step=4),
        conditions_of("subset", [0], [0], seed=6),
    ):
        assert not np.array_equal(whole[:1], other)


def test_subset_training_is_right_on_average_and_never_one_latent() -> None:
    bank, members = bank_of(), members_of()
    conditioner = Conditioner(bank, members, training="subset", seed=0)
    rows = torch.zeros(3000, dtype=torch.int64)
    found = conditioner.drawn(rows, torch.arange(3000), 0).numpy()[:, 2:]
    group = members.groups[0]
    np.testing.assert_allclose(found.mean(axis=0), bank.conditions[group], atol=0.05)
    points = (members.points - bank.centre) / bank.scale
    # a mean of at least k members varies no more than the deviation over √k
    assert found.std(axis=0).max() <= points[members.groups == group].std(axis=0).max() / np.sqrt(bank.floor)
    assert np.abs(found[:, None] - points[members.groups == group]).max(axis=2).min() > 0


def test_every_part_keeps_the_floor_and_the_share() -> None:
    data = household_data(n=400, groups=2)
    data["loads"] = np.random.default_rng(1).lognormal(0, 1.5, 400)
    settings = settings_of_bank()
    bank = make_bank(**data, settings=settings)
    members = merge_small_groups(data["points"], data["loads"], data["groups"], settings, 1)
    conditioner = Conditioner(bank, members, training="subset")
    in_order = np.lexsort([members.entities, members.groups])
    for seed in range(50):
        part = in_order[conditioner.part(0, np.random.default_rng(seed))]
        assert np.all(members.groups[part] == 0)
        weights, carried = members.weights[part], members.weights[part] * members.loads[part]
        assert len(np.unique(members.entities[part])) >= bank.floor
        assert effective_members(weights / weights.sum()) >= bank.floor * (1 - 1e-9)
        assert carried.max() <= settings.max_share * carried.sum() * SLACK


def test_another_bank_is_refused() -> None:
    with pytest.raises(UserError, match="groups"):
        Conditioner(bank_of(groups=6), members_of(groups=2))


# ------------------------------------------------------------------------------------------------- study


def study_of(training: str, tmp_path: Path, **changes: Any) -> Bank:
    bank = bank_of(settings_of_bank(training=training, min_members=1, **changes), groups=30, n=60)
    bank.save(tmp_path / "bank")
    return Bank.load(tmp_path / "bank")


def test_a_study_of_probes_does_what_the_seeds_do_and_is_refused(tmp_path: Path) -> None:
    bank = study_of("probes", tmp_path, probes=4)
    assert min(bank.sizes) < 15
    assert max(bank.effective) <= 4
    assert "for study only (bank.training probes)" in find_violations(tmp_path / "bank")[0]
    owned = dataclasses.replace(bank, owners=tuple(map(int, bank.sizes)))  # more than its four probes
    owned.save(tmp_path / "owned")
    assert len(find_violations(tmp_path / "owned")) == len(find_violations(tmp_path / "bank"))
    wide = settings_of_bank(training="probes", condition_dim=1000, min_members=1)
    assert bank_of(wide, dim=1000, groups=6).conditions.shape == (6, 1000)


def test_probes_are_means_of_few_members() -> None:
    settings = settings_of_bank(training="probes", min_members=1, probes=2)
    bank, members = bank_of(settings), members_of(settings)
    conditioner = Conditioner(bank, members, training="probes", seed=1)
    found = conditioner.drawn(torch.zeros(20, dtype=torch.int64), torch.arange(20), 0).numpy()[:, 2:]
    inside = (members.points[members.groups == members.groups[0]] - bank.centre) / bank.scale
    pairs = ((inside[:, None] + inside[None]) / 2).reshape(-1, 2)
    for condition in found:
        assert np.abs(pairs - condition).max(axis=1).min() < 1e-5


def test_leave_one_out_gives_its_left_out_member_away(tmp_path: Path) -> None:
    """Why it is for study only: from the group's mean and the series' condition follows the latent."""
    settings = settings_of_bank(training="leave_one_out")
    bank, members = bank_of(settings), members_of(settings)
    conditioner = Conditioner(bank, members, training="leave_one_out")
    found = conditioner.drawn(torch.tensor([3]), torch.tensor([0]), 0).numpy()[0, 2:]
    inside = members.points[members.groups == members.groups[3]].astype(np.float64)
    n, mean = len(inside), inside.mean(axis=0)
    left_out = n * mean - (n - 1) * (found * bank.scale + bank.centre)
    np.testing.assert_allclose(left_out, members.points[3], atol=1e-3)
    bank.save(tmp_path / "bank")
    assert "never release" in find_violations(tmp_path / "bank")[0]


def test_two_processes_narrow_as_one_does() -> None:
    rng = np.random.default_rng(0)
    blocks = [(rng.standard_normal((100, 5)) * [5, 3, 1, 1, 1] + 2).astype(np.float32) for _ in range(6)]
    ranks = Ranks(2)
    found = ranks.run(
        lambda rank: fit_projection(
            lambda: iter(blocks[:2] if rank == 0 else blocks[2:]), 3, ranks.total(rank)
        )
    )
    one = fit_projection(lambda: iter(blocks), 3)
    for each in found:
        assert isinstance(each, Projection)
        np.testing.assert_array_equal(each.directions, one.directions)
        np.testing.assert_array_equal(each.centre, one.centre)
