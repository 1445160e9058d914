"""The attack finds what leaks, in whom it leaks, and little else."""

import numpy as np
import pytest

from distgan.anonymity.group_size import compute_tracing_auc
from distgan.evaluation.attacks import tracing
from distgan.evaluation.attacks.tracing import Attack, Sample


def attacked(sizes: list[int], dim: int = 12, seed: int = 0, each: int = 150) -> list[Attack]:
    """Groups of normal latents far from one another, their exact means, and non-members of every group."""
    rng = np.random.default_rng(seed)
    centres = 20 * rng.standard_normal((len(sizes), dim))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    members = centres[groups] + rng.standard_normal((len(groups), dim))
    beside = np.repeat(np.arange(len(sizes)), each)
    non_members = centres[beside] + rng.standard_normal((len(beside), dim))
    means = np.stack([members[groups == group].mean(axis=0) for group in range(len(sizes))])
    return tracing.run_attack(Sample(members, groups), Sample(non_members, beside), means, limit=0.65)


@pytest.mark.parametrize("size", [15, 60])
def test_success_is_what_the_bound_says(size: int) -> None:
    found = np.mean([attacked([size] * 12, seed=seed, each=400)[0].auc for seed in range(3)])
    assert found == pytest.approx(compute_tracing_auc(12, size), abs=0.04)


def test_what_all_hide_the_smallest_groups_show() -> None:
    attacks = {each.exposure: each for each in attacked([4, 1500, 1500, 1500])}
    assert attacks["all"].auc < 0.6
    assert attacks["smallest groups"].auc > 0.85
    assert attacks["smallest groups"].verdict == "over its limit"
    assert attacks["all"].verdict == "within its limit"


def test_means_of_others_accuse_no_group() -> None:
    """Released means of other people: few non-members in a small group tell no more than many."""
    found: dict[str, list[float]] = {}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sizes = np.array([500, 400, 300, 60])
        centres = 3 * rng.standard_normal((4, 8))
        groups, beside = np.repeat(np.arange(4), sizes), rng.choice(4, 300, p=sizes / sizes.sum())
        members, non_members = (centres[of] + rng.standard_normal((len(of), 8)) for of in (groups, beside))
        means = centres + rng.standard_normal((4, 8)) / np.sqrt(sizes)[:, None]
        for each in tracing.run_attack(
            Sample(members, groups), Sample(non_members, beside), means, limit=0.65, seed=seed
        ):
            found.setdefault(each.exposure, []).append(each.auc)
    assert np.mean(found["all"]) == pytest.approx(0.5, abs=0.02)
    assert np.mean(found["smallest groups"]) == pytest.approx(0.5, abs=0.05)


def test_members_of_a_mean_are_told_from_non_members() -> None:
    """Four probes of a group of hundreds: over all it looks harmless."""
    rng = np.random.default_rng(0)
    members, non_members = rng.standard_normal((2, 400, 30))
    averaged = np.zeros(400, bool)
    averaged[:4] = True
    one = np.zeros(400, int)
    mean = members[:4].mean(axis=0)[None]
    attacks = tracing.run_attack(Sample(members, one, averaged), Sample(non_members, one), mean, limit=0.65)
    by_name = {each.exposure: each for each in attacks}
    assert by_name["all"].auc < 0.6
    assert by_name["averaged"].auc > 0.9
    assert by_name["averaged"].members == 4


def test_an_outlier_is_found_among_the_outliers() -> None:
    rng = np.random.default_rng(1)
    members, non_members = rng.standard_normal((2, 200, 4))
    members[:3] += [30, 0, 0, 0]
    non_members[:8] += [0, 30, 0, 0]
    one = np.zeros(200, int)
    by_name = {
        each.exposure: each
        for each in tracing.run_attack(
            Sample(members, one), Sample(non_members, one), members.mean(axis=0)[None], limit=0.65
        )
    }
    assert by_name["outliers"].auc > by_name["all"].auc


def test_nobody_in_the_mean_is_guessing_and_few_are_too_few_to_tell() -> None:
    rng = np.random.default_rng(0)
    members, non_members = rng.standard_normal((2, 300, 6))
    one = np.zeros(300, int)
    found = tracing.run_attack(
        Sample(members, one), Sample(non_members, one), rng.standard_normal((1, 6)), limit=0.65
    )[0]
    assert found.low < 0.5 < found.high
    few = tracing.run_attack(
        Sample(members[:6], one[:6]), Sample(non_members[:6], one[:6]), np.zeros((1, 6)), limit=0.65
    )[0]
    assert few.verdict == "not enough evidence"
    assert (
        tracing.run_attack(
            Sample(members, one), Sample(non_members[:2], one[:2]), np.zeros((1, 6)), limit=0.65
        )
        == []
    )


def test_intervals_cover() -> None:
    """95 of 100 hold the truth, in pairs of normals one deviation apart: AUC Φ(1/√2) = .760."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        _, low, high = tracing.estimate_auc(rng.normal(1, 1, 40), rng.normal(0, 1, 60))
        hits += low <= 0.7602 <= high
    assert 0.91 < hits / 300 < 0.985


def test_the_interval_counts_owners_not_their_series() -> None:
    """40 owners of 9 alike series each: intervals that count series miss the truth far too often."""
    rng, hits, narrow = np.random.default_rng(0), 0, 0
    codes = np.repeat(np.arange(40), 9)
    for _ in range(200):
        inside, outside = (np.repeat(rng.normal(0, 1, 40), 9) + rng.normal(0, 0.2, 360) for _ in range(2))
        _, low, high = tracing.estimate_auc(inside, outside, codes, codes + 40)
        hits += low <= 0.5 <= high
        _, low, high = tracing.estimate_auc(inside, outside)
        narrow += low <= 0.5 <= high
    assert hits > 180 and narrow < 120


def test_with_one_series_an_owner_the_interval_is_that_of_series() -> None:
    rng = np.random.default_rng(1)
    inside, outside = rng.normal(1, 1, 40), rng.normal(0, 1, 60)
    codes = rng.permutation(100)
    assert tracing.estimate_auc(inside, outside, codes[:40], codes[40:]) == pytest.approx(
        tracing.estimate_auc(inside, outside)
    )


def test_an_owner_of_several_series_is_no_proof_of_a_leak() -> None:
    """Nobody is in the means; the attacker must not know other series of whom is scored."""
    rng, found = np.random.default_rng(2), []
    owners = np.repeat(np.arange(40), 4)
    for _ in range(30):
        inside, outside = (
            np.repeat(rng.normal(size=(40, 6)), 4, 0) + 0.1 * rng.normal(size=(160, 6)) for _ in "ab"
        )
        members = Sample(inside, np.zeros(160, int), owners=owners)
        others = Sample(outside, np.zeros(160, int), owners=owners)
        mean = rng.normal(size=(1, 6)) / 40**0.5
        found.append(tracing.run_attack(members, others, mean, limit=0.65)[0])
    assert abs(np.mean([each.auc for each in found]) - 0.5) < 0.05
    assert sum(each.low > 0.5 for each in found) <= 4
