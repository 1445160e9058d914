"""A bank always keeps its promises or is not made; statistics are those of the weighted group."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from distgan.anonymity.groups import (
    GroupedSeries,
    count_effective_members,
    merge_small_groups,
)
from distgan.errors import UserError
from tests.helpers.groups import (
    SLACK,
    bank_of,
    grouped,
    household_data,
    make_bank_of,
    members_of,
    settings_of_bank,
)


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
        bank = make_bank_of(data, settings)
    except UserError as error:
        assert "\n" not in str(error)
        return
    channels = data["attributes"].shape[1]
    members = merge_small_groups(
        GroupedSeries(data["points"], data["loads"], data["groups"], entities=data["entities"]),
        settings,
        channels,
    )
    means = bank.conditions.astype(np.float64) * bank.scale + bank.centre
    for group in range(bank.num_groups):
        inside = members.groups == group
        entities, codes = np.unique(members.entities[inside], return_inverse=True)
        weights = np.bincount(codes, weights=members.weights[inside])
        loads = np.bincount(codes, weights=members.loads[inside])
        assert bank.sizes[group] == len(entities) >= bank.minimum_group_size
        assert weights.sum() == pytest.approx(1)
        assert count_effective_members(weights) >= bank.minimum_group_size * (1 - 1e-9)
        assert (weights * loads).max() <= settings.max_share * (weights * loads).sum() * SLACK
        expected = members.weights[inside] @ members.points[inside].astype(np.float64)
        np.testing.assert_allclose(means[group], expected, atol=1e-5 * np.abs(data["points"]).max())
        # nobody's own latent, in units of the latents' deviation
        assert np.abs((data["points"][inside] - expected) / bank.scale).max(axis=1).min() > 0.9e-6
    assert np.all(bank.tracing_auc <= settings.max_tracing_auc + 1e-9)
    assert bank.largest_share.max() <= settings.max_share * SLACK


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
        make_bank_of(data, settings_of_bank())


def test_statistics_are_those_of_the_weighted_group() -> None:
    data = household_data(channels=2)
    bank = make_bank_of(data, settings_of_bank())
    members = merge_small_groups(grouped(data), settings_of_bank(), 2)
    inside = members.groups == 1
    weights = members.weights[inside]
    level, spread = data["attributes"][inside, 1].T
    size = np.log(np.sqrt(level**2 + spread**2))
    mean = weights @ size
    assert bank.attributes_mean[1, 1, 1] == pytest.approx(mean, rel=1e-5)
    assert bank.attributes_std[1, 1, 1] == pytest.approx(np.sqrt(weights @ (size - mean) ** 2), rel=1e-4)
    assert np.sinh(bank.attributes_mean[..., 0]) == pytest.approx(2, abs=0.1)  # level / spread


def test_stated_shares_are_whole_per_cents_that_reveal_no_load() -> None:
    """Rounded up from the exact share of the weighted load, or the limit itself."""
    bank, members = bank_of(), members_of()
    for group, stated in enumerate(bank.largest_share):
        inside = members.groups == group
        carried = members.weights[inside] * members.loads[inside]
        share = carried.max() / carried.sum()
        assert share - 1e-9 <= stated < share + 0.01
        assert 100 * stated == pytest.approx(round(100 * stated), abs=1e-9)
