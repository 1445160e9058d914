"""A keyed hash of the owner's id decides its split: nobody else moves it, and no split is silently empty."""

import re
from pathlib import Path

import numpy as np
import pytest

from distgan import config
from distgan.data.splits import Cut, assign_splits
from distgan.errors import UserError
from distgan.pipeline import prepare

OWNERS = [f"home{number}" for number in range(400)]
ALL = config.Splits(train=1.0, held_out=0.0, reference=0.0)


def test_a_split_never_parts_an_owner_and_is_the_same_each_time() -> None:
    owners = [OWNERS[number % 50] for number in range(150)]
    sides = assign_splits(owners, config.Splits(), 1)
    for name in set(owners):
        assert len({side for owner, side in zip(owners, sides) if owner == name}) == 1
    shuffled = np.random.default_rng(0).permutation(150)
    again = assign_splits([owners[number] for number in shuffled], config.Splits(), 1)
    np.testing.assert_array_equal(again, sides[shuffled])


def test_one_owner_more_or_less_moves_nobody() -> None:
    everybody = dict(zip(OWNERS, assign_splits(OWNERS, config.Splits(), 0)))
    for gone in OWNERS[::7]:
        others = [name for name in OWNERS if name != gone]
        assert list(assign_splits(others, config.Splits(), 0)) == [everybody[name] for name in others]
    more = dict(zip(["new", *OWNERS], assign_splits(["new", *OWNERS], config.Splits(), 0)))
    assert everybody.items() <= more.items()


def test_preparing_one_owner_more_leaves_the_others_where_they_were(tmp_path: Path) -> None:
    """From the file on: who trains, and with which values."""
    rng, trained = np.random.default_rng(0), []
    values = rng.gamma(2, 1, (80, 48)).astype(np.float32)
    for count in (79, 80):
        path = tmp_path / f"{count}.npz"
        np.savez(path, x=values[80 - count :], ids=np.array([f"home{n}" for n in range(80 - count, 80)]))
        settings = config.load(None, [f"data.source={path}", "encoder.patch=12", "model.patch=12"])
        found, splits = prepare.read_source(settings, tmp_path / "parts")
        rows = found.read_rows(0, found.num_series)[splits == "train"]
        trained.append(dict(zip(np.array(found.owners)[splits == "train"], rows)))
    fewer, more = trained
    assert set(more) - set(fewer) <= {"home0"} and set(fewer) <= set(more)
    for name, row in fewer.items():
        np.testing.assert_array_equal(row, more[name])


def test_the_seed_is_the_key() -> None:
    sides = [assign_splits(OWNERS, config.Splits(), seed) for seed in (0, 1, 10)]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        agreement = (sides[one] == sides[other]).mean()
        assert agreement == pytest.approx(0.7**2 + 0.2**2 + 0.1**2, abs=0.12)


@pytest.mark.parametrize(
    "shares", [(0.7, 0.2, 0.1), (0.5, 0.5, 0.0), (0.6, 0.0, 0.4), (0.45, 0.45, 0.1), (1.0, 0.0, 0.0)]
)
def test_shares_are_kept_on_average_and_a_share_of_0_is_empty(shares: tuple[float, float, float]) -> None:
    chosen = config.Splits(train=shares[0], held_out=shares[1], reference=shares[2])
    many = [f"{number}" for number in range(20_000)]
    sides = assign_splits(many, chosen, 3)
    for name, share in zip(("train", "held_out", "reference"), shares):
        found = np.mean(sides == name)
        assert found == pytest.approx(share, abs=5 * (share * (1 - share) / len(many)) ** 0.5)


def test_validation_owners_come_out_of_the_training_share() -> None:
    cut = Cut.from_shares(config.Splits(train=0.5, held_out=0.3, reference=0.2), 0.1)
    assert cut.shares == pytest.approx({"train": 0.4, "validation": 0.1, "held_out": 0.3, "reference": 0.2})
    assert [end / 2**64 for end in cut.ends] == pytest.approx([0.4, 0.5, 0.8, 1.0])


def test_odd_ids_are_ids() -> None:
    odd = ["", " ", "ä", "a\u0308", "\ud800", "0", "00", "x" * 5000]
    assert len(assign_splits(odd, ALL, 0)) == len(odd)
    assert set(assign_splits([*odd, *OWNERS], config.Splits(), 2**63)) == {"train", "held_out", "reference"}


@pytest.mark.parametrize("count", [3, 4, 5, 9, 12])
def test_an_empty_split_is_refused_with_a_seed_that_works(count: int) -> None:
    owners, refused = OWNERS[:count], 0
    for seed in range(12):
        try:
            assert set(assign_splits(owners, config.Splits(), seed)) == {"train", "held_out", "reference"}
        except UserError as error:
            refused += 1
            assert re.search(r"falls into \w+ with data\.splits .* and seed", str(error))
            better = re.search(r"set seed=(\d+) \(which gives (\d+) to train, (\d+) to held_out", str(error))
            assert better, error
            sides = assign_splits(owners, config.Splits(), int(better[1])).tolist()
            assert (sides.count("train"), sides.count("held_out")) == (int(better[2]), int(better[3]))
    assert refused


def test_under_privacy_no_seed_is_looked_for_in_the_data() -> None:
    with pytest.raises(UserError, match=r"give more series, raise data\.splits\.\w+") as caught:
        for seed in range(12):
            assign_splits(OWNERS[:5], config.Splits(), seed, suggest=False)
    assert "set seed=" not in str(caught.value)


def test_too_few_owners_are_one_line() -> None:
    with pytest.raises(UserError, match="2 owners of series cannot fill the splits"):
        assign_splits(["a", "b", "a"], config.Splits(), 0)
    with pytest.raises(UserError, match="1 owner of series cannot fill the splits"):
        assign_splits(["a"], config.Splits(), 0)
    assert set(assign_splits(["a"], ALL, 0)) == {"train"}


def test_shares_that_are_suggested_are_settings() -> None:
    """A split of no owners gives its share to the training split; the training split keeps owners."""
    seen = set()
    for seed in range(12):
        for owners in (["a"], ["a", "b"]):
            with pytest.raises(UserError) as mistake:
                assign_splits(owners, config.Splits(), seed)
            remedy = str(mistake.value).partition("give more series")[2].removeprefix(", or set ").split()
            seen.add(tuple(remedy))
            assert config.load(None, remedy).data.splits.train > 0
    assert ("data.splits.held_out=0", "data.splits.train=0.9") in seen
