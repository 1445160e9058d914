"""A release of any size: copied windows are searched in all of it, and a sample says what it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distgan.data.store.metadata import Axis, Meta
from distgan.data.store.reader import Store
from distgan.data.store.writer import StoreWriter
from distgan.evaluation.attacks import fragments, released
from distgan.evaluation.attacks.attack_data import AttackData
from distgan.evaluation.attacks.fragments import exact, hashes, matching
from distgan.evaluation.attacks.fragments.exact import find_exact
from distgan.evaluation.attacks.fragments.windows import collect_rows
from distgan.evaluation.attacks.released import ReleasedSeries, describe_misses
from tests.leaks import fragment_leaks
from tests.leaks.leak_scenarios import Population, read_by_coarse_meters

OWNERS, LENGTH, DAY = 100, 168, 24


@pytest.fixture(scope="module")
def attack_data() -> AttackData:
    return Population.draw(OWNERS, LENGTH, seed=3).attack_data


def on_disk(series: np.ndarray, place: Path) -> Store:
    meta = Meta(Axis("2020-01-01T00:00:00", 3600, series.shape[1]), ("kWh",), "kWh", {}, {})
    with StoreWriter(place, meta) as writer:
        writer.append(series)
    return Store.open(place)


def test_parts_in_memory_and_on_disk_are_read_as_one(attack_data: AttackData, tmp_path: Path) -> None:
    made = attack_data.synthetic
    whole = ReleasedSeries((made[:30], on_disk(made[30:80], tmp_path / "a.zarr"), made[80:80], made[80:]))
    assert (whole.num_series, whole.shape, whole.num_values) == (len(made), made.shape[1:], made.size)
    some = whole.choose(40, np.random.default_rng(0))
    assert len(np.unique(some)) == 40 and (np.diff(some) > 0).all()
    np.testing.assert_array_equal(whole.read_rows(some), made[some])
    np.testing.assert_array_equal(np.concatenate([values for _, values in whole.iterate_blocks()]), made)


def test_one_copied_day_outside_the_sample_is_found(
    attack_data: AttackData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One member's 24 hours in one of 100 series on disk, of which the other attacks see ten."""
    monkeypatch.setattr(released, "BLOCK_BYTES", 4 * LENGTH * 7)
    made = attack_data.synthetic.copy()
    made[77, 101:125] = attack_data.members.series[3, 50:74]
    whole = ReleasedSeries((made[:40], on_disk(made[40:], tmp_path / "b.zarr")))
    sampled = replace(attack_data, synthetic=made[:10])
    assert fragments.search_exact(sampled)[0].sure == 0
    measured, _, note = fragments.search_exact(replace(sampled, released=whole))
    assert measured.sure == measured.value == 1 and "1 members and 0 non-members" in note


LEAKS = ("days of other members", "gaps of 5 %", "reversed", "interleaved", "differences")


@pytest.mark.parametrize("kind", LEAKS)
def test_block_by_block_finds_what_one_block_finds(
    attack_data: AttackData, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = attack_data.synthetic.copy()
    made[:4] = fragment_leaks.EXACT[kind](attack_data.members.series, 4, DAY, np.random.default_rng(0))
    assert_alike_in_blocks(replace(attack_data, synthetic=made), monkeypatch)


@pytest.mark.parametrize("most", [500, 20_000])
def test_coarse_values_are_compared_in_longer_windows_block_by_block_too(
    attack_data: AttackData, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where windows match too often, longer ones are compared, however early that is noticed."""
    monkeypatch.setattr(exact, "MOST_MATCHES", most)
    assert_alike_in_blocks(read_by_coarse_meters(attack_data), monkeypatch)


def assert_alike_in_blocks(attack_data: AttackData, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = find_exact(collect_rows(attack_data), attack_data.make_rng("test"))
    monkeypatch.setattr(released, "BLOCK_BYTES", 4 * LENGTH * 9)
    monkeypatch.setattr(matching, "IN_CACHE", 4 * LENGTH)
    monkeypatch.setattr(matching, "MOST_PENDING", 300)
    assert any(look.found != (0, 0) for look in at_once)
    assert find_exact(collect_rows(attack_data), attack_data.make_rng("test")) == at_once


@pytest.mark.parametrize("steps", [1, 2, 3, 6, 7, 24, 60])
def test_hashes_by_doubling_are_those_by_prefixes(steps: int) -> None:
    mixed = hashes.mix(np.random.default_rng(0).integers(0, 9, (5, 60)).astype(np.uint64))
    prefixes = hashes.hash_prefixes(mixed)
    expected = prefixes[:, steps:] - prefixes[:, :-steps] * hashes.compute_power(steps)
    np.testing.assert_array_equal(hashes.hash_steps(mixed, steps), expected)


def test_a_filter_forgets_no_key_and_adds_few() -> None:
    keys = np.random.default_rng(0).integers(0, 2**63, (2, 20_000)).astype(np.uint64) * np.uint64(2)
    table = matching.Filter(20_000)
    table.add(keys[0])
    assert table.contains(keys[0]).all() and table.contains(keys[1].reshape(100, 200)).mean() < 0.002


def test_what_a_sample_misses_is_said() -> None:
    """The rule of three: with 0 of n the share is below 3 / n at 95 % confidence."""
    assert "fewer than one in 3,333 of the series" in describe_misses(10_000)
    assert (1 - 1 / 3_333) ** 10_000 < 0.05
