"""Who is the same person: near copies under several ids are found, and nobody else is taken for one."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distgan.anonymity import copy_candidates, copy_match, copy_pairs, near_copies
from distgan.anonymity.copy_pairs import Population
from distgan.anonymity.faiss_backend import find_neighbours
from distgan.anonymity.near_copies import find_near_copies, merge_owners
from distgan.errors import DiskFull, UserError
from tests.leaks import leak_scenarios

HOMES, COPIED, LENGTH = 50, 10, 336
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def population(values: np.ndarray, owners: np.ndarray | None = None, steps_per_day: float = 24) -> Population:
    codes = np.arange(len(values)) if owners is None else owners
    return Population(lambda rows: values[rows], codes, values.shape[1], values.shape[2], steps_per_day)


def homes(count: int = HOMES, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return leak_scenarios.draw_series(leak_scenarios.draw_homes(count, rng), LENGTH, rng)


def noisy(part: float) -> Change:
    return lambda x, rng: x + part * x.std(axis=1, keepdims=True) * rng.standard_normal(x.shape)


def with_gaps(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(x.shape) < 0.1, np.nan, x)


def rounded(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    unit = 0.2 * x.std(axis=1, keepdims=True)
    return np.round(x / unit) * unit


def with_half(first: int, scale: float = 1.0) -> Change:
    """Another home's series, but for a bit more than half."""

    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        other = homes(len(x), seed=7).astype(np.float64)
        other[:, first : first + 190] = scale * x[:, first : first + 190]
        return other

    return change


def cut_later(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What begins four days later, and goes on after the end."""
    return np.concatenate([x[:, 96:], homes(len(x), seed=8)[:, :96]], axis=1)


def around_a_large_mean(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mean of five deviations, and 3 % of noise in proportion to every value."""
    raised = x - x.mean(axis=1, keepdims=True) + 5 * x.std(axis=1, keepdims=True)
    return raised * (1 + 0.03 * rng.standard_normal(x.shape))


CHANGES: dict[str, Change] = {
    "exact": lambda x, rng: x,
    "scaled and raised": lambda x, rng: 0.7 * x + 3,
    "negated": lambda x, rng: 5 - x,
    "shifted in a circle": lambda x, rng: np.roll(x, 29, axis=1),
    "cut later": cut_later,
    "reversed": lambda x, rng: x[:, ::-1],
    "noise of 3 %": noisy(0.03),
    "noise of 5 %": noisy(0.05),
    "rounded": rounded,
    "gaps": with_gaps,
    "a long gap": lambda x, rng: np.where(np.arange(LENGTH)[None, :, None] // 100 == 1, np.nan, x),
    "first half": with_half(0),
    "last half, scaled": with_half(LENGTH - 190, 1.4),
    "first half, negated": with_half(0, -1.0),
    "first half, reversed": lambda x, rng: with_half(0)(x[:, ::-1], rng),
    "first half, negated and reversed, with noise": lambda x, rng: noisy(0.02)(
        with_half(0, -1.0)(x[:, ::-1], rng), rng
    ),
    "shifted, scaled, with noise": lambda x, rng: noisy(0.03)(2 * np.roll(x, 24, axis=1), rng),
}


@pytest.mark.parametrize("name", CHANGES)
def test_near_copies_are_found_and_nothing_else(name: str) -> None:
    rng = np.random.default_rng(3)
    originals = homes()
    copies = CHANGES[name](originals[:COPIED].astype(np.float64), rng).astype(np.float32)
    found = {tuple(pair) for pair in find_near_copies(population(np.concatenate([originals, copies])))}
    wanted = {(row, HOMES + row) for row in range(COPIED)}
    assert len(found & wanted) >= COPIED - 1
    assert found <= wanted


def sentinels(value: float, count: int) -> Change:
    """At so many steps, the same for all, stands a value that is no reading."""

    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        changed = x.copy()
        changed[:, rng.choice(LENGTH, count, replace=False)] = value
        return changed

    return change


def outage(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Zeros for a tenth of the time, in three parts."""
    off = np.zeros(LENGTH, bool)
    for first in (40, 150, 270):
        off[first : first + 12] = True
    return np.where(off[None, :, None], 0, x)


def spikes(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At the same dozen steps, of the same heights up to 2 % in each series' own size."""
    changed, steps = x.copy(), rng.choice(LENGTH, 12, replace=False)
    heights = rng.uniform(5, 30, (1, 12, 1)) * rng.uniform(0.98, 1.02, (len(x), 12, 1))
    changed[:, steps] += heights * x.std(axis=1, keepdims=True)
    return changed


EVENTS = {
    "sentinels": sentinels(-9999, 10),
    "many sentinels": sentinels(9999, 17),
    "an outage": outage,
    "spikes": spikes,
}


QUICK = [("sentinels", HOMES), ("an outage", 10), ("spikes", HOMES)]


@pytest.mark.parametrize(
    ("name", "shared_by"),
    [
        pytest.param(name, count, marks=() if (name, count) in QUICK else pytest.mark.slow)
        for name in EVENTS
        for count in (HOMES, 10)
    ],
)
def test_what_happened_to_a_town_makes_nobody_the_same_person(name: str, shared_by: int) -> None:
    """And copies of homes that it happened to are found."""
    rng = np.random.default_rng(4)
    values = homes()
    values[:shared_by] = EVENTS[name](values[:shared_by], rng)
    assert len(find_near_copies(population(values))) == 0
    copies = np.roll(1.3 * values[:5], 24, axis=1)
    found = {tuple(pair) for pair in find_near_copies(population(np.concatenate([values, copies])))}
    assert found <= {(row, HOMES + row) for row in range(5)} and len(found) >= 4


def test_noise_in_proportion_to_a_large_mean_is_noise() -> None:
    """15 % of the deviation, white; of series that are not mostly peaks, whose likeness tells less."""
    originals = np.log(homes())
    copies = around_a_large_mean(originals[:COPIED], np.random.default_rng(3)).astype(np.float32)
    found = {tuple(pair) for pair in find_near_copies(population(np.concatenate([originals, copies])))}
    wanted = {(row, HOMES + row) for row in range(COPIED)}
    assert found <= wanted and len(found) >= COPIED - 2


def test_few_people_under_many_ids() -> None:
    """6 homes under 10 ids each: what is copied often is not taken for what all have in common."""
    rng = np.random.default_rng(1)
    values = np.concatenate([noisy(0.03)(homes(6), rng) for _ in range(10)]).astype(np.float32)
    names = merge_owners([f"id{row:02d}" for row in range(60)], find_near_copies(population(values)))
    assert len(set(names)) == 6


def phases(count: int) -> np.ndarray:
    """Homes of one daily rhythm, at another hour and of another size: nothing identifies any."""
    rng = np.random.default_rng(0)
    time = np.arange(LENGTH)
    waves = np.sin(2 * np.pi * (time - rng.uniform(0, 24, (count, 1))) / 24)
    return (rng.uniform(1, 2, (count, 1)) + waves)[..., None].astype(np.float32)


def sparse(count: int) -> np.ndarray:
    """One to three readings that are not zero, as of a holiday home."""
    rng = np.random.default_rng(0)
    values = np.zeros((count, LENGTH, 1), np.float32)
    for row in values:
        row[rng.choice(LENGTH, rng.integers(1, 4), replace=False)] = rng.integers(1, 3)
    return values


def flat(count: int) -> np.ndarray:
    values = np.ones((count, LENGTH, 1), np.float32) * np.arange(count)[:, None, None]
    values[::3, 100:110] = np.nan
    values[1::3] += 1e-6 * np.random.default_rng(0).standard_normal((len(values[1::3]), LENGTH, 1))
    values[:4] = 0
    values[5] = np.nan
    return values


def smooth(count: int) -> np.ndarray:
    """A common course and a slow one of each home's own: neighbours correlate at 0.97 and more."""
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.standard_normal((count + 1, LENGTH)), axis=1)
    steps = (steps - steps.mean(axis=1, keepdims=True)) / steps.std(axis=1, keepdims=True)
    return (steps[:1] + 0.17 * steps[1:])[..., None].astype(np.float32)


@pytest.mark.parametrize("make", [homes, phases, sparse, flat, smooth])
def test_honest_populations_have_none(make: Callable[[int], np.ndarray]) -> None:
    assert len(find_near_copies(population(make(60)))) == 0


def test_smooth_series_with_much_in_common_are_distinguished_from_copies_with_noise() -> None:
    values = smooth(60)
    copies = noisy(0.01)(values[:10], np.random.default_rng(5)).astype(np.float32)
    found = {tuple(pair) for pair in find_near_copies(population(np.concatenate([values, copies])))}
    assert found == {(row, 60 + row) for row in range(10)}


def test_one_shared_channel_of_three_is_no_copy_and_two_are() -> None:
    """Stations share a weather channel; a person's own channels identify the person."""
    values = np.concatenate([homes(30, seed) for seed in range(3)], axis=2)
    shared = values.copy()
    shared[:4, :, 0] = values[:1, :, 0]
    assert len(find_near_copies(population(shared))) == 0
    shared[1, :, 1] = 2 * shared[0, :, 1]
    assert find_near_copies(population(shared)).tolist() == [[0, 1]]


def test_series_of_one_owner_are_no_pair() -> None:
    values = np.concatenate([homes(20), homes(20)])
    owners = np.tile(np.arange(20), 2)
    assert len(find_near_copies(population(values, owners))) == 0
    assert len(find_near_copies(population(values))) == 20


def test_merged_owners_have_the_first_name_and_nobody_else_is_renamed() -> None:
    owners = ["d", "b", "c", "a", "b", "e"]
    assert merge_owners(owners, np.array([[0, 1], [4, 2]])) == ["b", "b", "b", "a", "b", "e"]
    assert merge_owners(owners, np.empty((0, 2), np.int64)) == owners


def test_memory_and_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many series fewer windows each are taken, and blocks are small; copies are found still."""
    limits = {"MOST_WINDOWS": 6 * (HOMES + COPIED), "PAIRS_AT_LEAST": 1, "VALUES_AT_ONCE": 16 * LENGTH}
    limits |= {"SCRATCH_BYTES": 1, "KEYS_AT_ONCE": 1000}
    for module in (copy_pairs, copy_candidates, copy_match, near_copies):
        for name, value in limits.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    values = np.concatenate([homes(), (1.5 * np.roll(homes()[:COPIED], 24, axis=1))])
    read_at_once = []

    def read(rows: np.ndarray) -> np.ndarray:
        read_at_once.append(len(rows))
        return values[rows]

    many = Population(read, np.arange(len(values)), LENGTH, 1, 24)
    assert len(find_near_copies(many)) >= COPIED - 1
    assert np.median(read_at_once) <= 16
    assert isinstance(copy_candidates.describe_spectra(many), np.memmap)


def test_windows_of_many_series_wait_in_a_file_that_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(copy_pairs, "SCRATCH_BYTES", 1)
    scratch = copy_pairs.make_scratch((3, 2))
    scratch[:] = 7
    assert isinstance(scratch, np.memmap) and (np.array(scratch) == 7).all()
    spilled = copy_pairs.Spill(np.int64)
    assert len(spilled.read()) == 0
    spilled.append(np.arange(3))
    spilled.append(np.empty(0))
    spilled.append(np.arange(2))
    np.testing.assert_array_equal(spilled.read(), [0, 1, 2, 0, 1])
    assert not list(tmp_path.iterdir())


def test_a_folder_of_temporary_files_that_takes_nothing_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(copy_pairs, "SCRATCH_BYTES", 1)
    spilled = copy_pairs.Spill(np.int64)
    spilled.file.close()
    spilled.file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  every write finds the disk full
    with pytest.raises(DiskFull, match=r"temporary files in .*set TMPDIR"):
        spilled.append(np.arange(3))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    for make in (lambda: copy_pairs.make_scratch((3, 2)), lambda: copy_pairs.Spill(np.int64)):
        with pytest.raises(UserError, match=r"TMPDIR .*absent is no folder that can be written"):
            make()
    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "absent")])
    with pytest.raises(UserError, match=r"no folder of temporary files can be written; set TMPDIR"):
        copy_pairs.make_scratch((3, 2))


@pytest.mark.parametrize("hubs", [1, 50])
def test_meetings_are_counted_in_bounded_parts_however_uneven(
    monkeypatch: pytest.MonkeyPatch, hubs: int
) -> None:
    """What is alike in all series meets the same few of them."""
    monkeypatch.setattr(copy_candidates, "KEYS_AT_ONCE", 1000)
    rng, people = np.random.default_rng(0), population(homes(300))
    width = 4 * LENGTH
    first = rng.integers(0, hubs, 20_000)
    keys = (first * people.size + rng.integers(first + 1, people.size)) * width + rng.integers(
        0, width, 20_000
    )
    meetings = copy_candidates.Meetings()
    meetings.keys.append(keys)
    meetings.closeness.append(np.arange(20_000))
    parts = list(meetings.iterate_parts(people))
    assert max(len(part) for part, _ in parts) < 1500
    pairs = [set((part // width).tolist()) for part, _ in parts]
    assert sum(map(len, pairs)) == len(set().union(*pairs)) == len(np.unique(keys // width))
    found = np.concatenate([closeness for _, closeness in parts]).astype(np.int64)
    np.testing.assert_array_equal(np.sort(found), np.arange(20_000))
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), keys[found])


def test_gaps_are_filled_row_by_row() -> None:
    values = homes(40)[:, :, 0].copy()
    rng = np.random.default_rng(0)
    values[::3][rng.random(values[::3].shape) < 0.2] = np.nan
    values[5, :9] = values[6] = values[8, -5:] = np.nan
    expected = np.zeros_like(values)
    for row, series in enumerate(values):
        known = np.flatnonzero(~np.isnan(series))
        for step in range(LENGTH if len(known) else 0):
            before = known[known <= step]
            expected[row, step] = series[before[-1] if len(before) else known[0]]
    np.testing.assert_array_equal(copy_pairs.fill_forward(values), expected)
    np.testing.assert_array_equal(copy_pairs.fill_forward(values[:3]), expected[:3])


def test_series_of_many_pairs_are_read_once_and_compared_as_alone() -> None:
    values = homes(30)
    values[7, 40:60] = np.nan
    values[20] = np.roll(values[4], 29, axis=0)
    values[21] = values[3][::-1]
    asked: list[np.ndarray] = []

    def read(rows: np.ndarray) -> np.ndarray:
        asked.append(rows)
        return values[rows]

    people = Population(read, np.arange(30), LENGTH, 1, 24)
    first, second = np.array([4, 4, 4, 7, 3]), np.array([20, 9, 7, 4, 21])
    one, other = people.read_pairs(first, second)
    np.testing.assert_array_equal(one, values[first])
    np.testing.assert_array_equal(other, values[second])
    together = copy_candidates.find_best_lags(people, first, second)
    assert [rows.tolist() for rows in asked] == [[3, 4, 7, 9, 20, 21]] * 2
    alone = [
        copy_candidates.find_best_lags(people, first[at : at + 1], second[at : at + 1]) for at in range(5)
    ]
    joined = copy_pairs.Candidates.join(alone, people)
    for name in ("first", "second", "lag", "reverse"):
        np.testing.assert_array_equal(getattr(together, name), getattr(joined, name))
    assert (4, 20, 29, False) in zip(
        together.first.tolist(), together.second.tolist(), together.lag.tolist(), together.reverse.tolist()
    )


def test_few_meetings_count_if_their_windows_are_close() -> None:
    """Two of 16 windows meet by chance in most pairs of series; those of a copy are closer."""
    people = population(homes(300))
    met = {5: [0.9, 0.8], 6: [0.3, 0.4], 7: [0.1, 0.2, 0.1], 8: [0.9]}  # pairs of series 0
    meetings = copy_candidates.Meetings()
    for second, closeness in met.items():
        meetings.keys.append(np.full(len(closeness), second * 4 * LENGTH + LENGTH + 3))
        meetings.closeness.append(np.array(closeness, np.float32))
    found = copy_candidates.find_most_met(meetings, people, radius=4, least=2, kept=8)
    assert found.second.tolist() == [5, 7]
    assert found.lag.tolist() == [3, 3]


def test_neighbours_by_lists_are_those_of_all_distances() -> None:
    points = np.random.default_rng(0).standard_normal((21_000, 8)).astype(np.float32)
    points[20_000:] = points[:1000]  # beyond what is searched exhaustively
    distances, places = find_neighbours(points, 2)
    assert (distances[20_000:, 0] == 0).all()
    np.testing.assert_array_equal(places[20_000:, 0], np.arange(1000))
    few_distances, few = find_neighbours(points[:500], 2)
    exact = np.linalg.norm(points[:500, None] - points[None, :500], axis=2)
    np.fill_diagonal(exact, np.inf)
    np.testing.assert_array_equal(few[:, 0], exact.argmin(axis=1))
    np.testing.assert_allclose(few_distances[:, 0], exact.min(axis=1) ** 2, rtol=1e-3)
