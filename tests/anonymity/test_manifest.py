"""A bank on disk: equal bytes, nothing per member, and a manifest in which every forgery is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from distgan.anonymity.bank import Bank
from distgan.anonymity.groups import (
    Members,
)
from distgan.anonymity.manifest import find_violations
from distgan.errors import Mismatch
from tests.helpers.groups import bank_of, household_data, make_bank_of, members_of, settings_of_bank


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
    make_bank_of(data, settings_of_bank()).save(tmp_path / "one")
    shuffled = {key: value[order] for key, value in data.items()}
    make_bank_of(shuffled, settings_of_bank()).save(tmp_path / "two")
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
        (lambda m: m["groups"][0].update(tracing_auc=0.5), "membership inference succeeds at"),
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
        banks.append(make_bank_of(data, settings_of_bank()))
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
