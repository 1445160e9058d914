"""The manifest of a bank, and its verification without any data."""

import hashlib
import math
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distgan import config
from distgan.anonymity.dp import mechanism
from distgan.anonymity.dp.ledger import Head
from distgan.anonymity.group_size import (
    compute_minimum_group_size,
    compute_tracing_auc,
    count_attribute_numbers,
    count_released_numbers,
)
from distgan.anonymity.groups import TOLERANCE
from distgan.anonymity.statics import (
    AttributeColumn,
    GroupValue,
    find_column_violations,
    find_group_violations,
)
from distgan.errors import UserError
from distgan.files import read_json, read_tensors
from distgan.run import MANIFEST

SCHEMA = 3
TENSORS = "bank.safetensors"
TENSOR_FORMS = {  # dtype and shape: G groups, K numbers of a condition, C channels
    "conditions": ("float32", "GK"),
    "sizes": ("int64", "G"),
    "effective": ("int64", "G"),
    "attributes_mean": ("float32", "GC2"),
    "attributes_std": ("float32", "GC2"),
    "centre": ("float32", "K"),
    "scale": ("float32", "K"),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Group(_Strict):
    size: int
    effective: int
    lowered: int
    largest_share: float
    tracing_auc: float
    label: str | None = None
    owners: int | None = None
    share: float | None = None
    attributes: dict[str, GroupValue] | None = None


class LedgerHead(_Strict):
    """The end of the ledger of private releases when the bank was made: it may only have grown since."""

    lines: int = Field(ge=1)
    digest: str = Field(pattern="^[0-9a-f]{32}$")


class DPGuarantee(_Strict):
    """The promise of a differentially private bank to every entity, and its noise."""

    mechanism: Literal["discrete Gaussian"] = "discrete Gaussian"
    epsilon: float
    delta: float
    multiplier: float  # of the noise of all releases together, in sensitivities
    tracing_bound: float  # AUC that no attack on the bank exceeds
    clip: float
    insecure: bool
    ledger: LedgerHead

    @property
    def head(self) -> Head:
        return Head(self.ledger.lines, self.ledger.digest)


class _Manifest(_Strict):
    """The content of a manifest: an unknown key is a violation, so there is no room for ids."""

    schema_version: Literal[3] = Field(alias="schema")
    study: bool
    settings: config.Bank
    channels: int
    released: int
    minimum_group_size: int = Field(alias="floor")  # the file's key
    privacy: DPGuarantee | None
    sha256: dict[str, str]
    attributes: list[AttributeColumn] | None = None
    groups: list[_Group]


def choose_strictest(held: config.Bank) -> config.Bank | None:
    """Return the limits that a release requires of a bank: the default ones, where its own are laxer. None
    for a study, which is refused anyway.
    """
    if held.study:
        return None
    share = min(held.max_share, config.Bank().max_share)
    return config.Bank(condition_dim=held.condition_dim, max_share=share)


def find_violations(folder: Path, required: config.Bank | None = None) -> list[str]:
    """Return the promises that the bank in `folder` breaks, from its two files alone; nothing, if it holds.

    A study's bank and one with repeatable noise always break them.

    Args:
        required: limits that the bank must keep besides its own, e.g. a regulator's.
    """
    manifest, violations = inspect_bank(folder, required)
    if manifest is not None and manifest.study:
        violations.insert(
            0, f"it is for research only (bank.training {manifest.settings.training}): never release it"
        )
    if manifest is not None and manifest.privacy is not None and manifest.privacy.insecure:
        violations.insert(0, "its noise can be reproduced (privacy.insecure_seed), so it protects nothing")
    return violations


def inspect_bank(folder: Path, required: config.Bank | None) -> tuple[_Manifest | None, list[str]]:
    """Return the manifest of a bank, None where it cannot be read, and what is wrong with the bank."""
    try:
        manifest = _Manifest.model_validate(read_json(folder / MANIFEST))
        tensors = read_tensors(folder / TENSORS)
    except ValidationError as error:
        first = error.errors()[0]
        return None, [f"{MANIFEST}: {'.'.join(map(str, first['loc']))}: {first['msg']}"]
    except UserError as error:
        return None, [str(error)]
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in (MANIFEST, TENSORS))
    violations = [f"{name} does not belong in a bank" for name in foreign]
    if manifest.sha256 != {TENSORS: hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()}:
        violations.append(f"{TENSORS} does not have the manifest's sha256")
    if manifest.study != manifest.settings.study:
        violations.append(f"study is {manifest.study}, and bank.training {manifest.settings.training}")
    if len({group.label is None for group in manifest.groups}) > 1:
        violations.append("some groups have a label and some do not")
    if len({group.owners is None for group in manifest.groups}) > 1:
        violations.append("some groups record their owners and some do not")
    violations += _check_attributes(manifest) + _check_shares(manifest)
    misshapen = _check_tensors(tensors, manifest)
    if misshapen:
        return manifest, violations + misshapen
    if manifest.privacy is not None:
        violations += _check_guarantee(manifest.privacy)
    for settings in [manifest.settings] if required is None else [manifest.settings, required]:
        fewest = compute_minimum_group_size(settings, manifest.released)
        if settings is manifest.settings and manifest.minimum_group_size != fewest:
            violations.append(
                f"the minimum group size is {fewest}, but the manifest says {manifest.minimum_group_size}"
            )
        elif manifest.attributes and manifest.privacy is None and manifest.minimum_group_size < fewest:
            violations.append(
                f"its attributes are stated of {manifest.minimum_group_size} entities, below the minimum of "
                f"{fewest}"
            )
        for number, group in enumerate(manifest.groups):
            violations += [
                f"group {number}: {text}" for text in _check_group(group, fewest, manifest, settings)
            ]
    for number, group in enumerate(manifest.groups):
        stated = (group.size, group.effective)
        if stated != (tensors["sizes"][number], tensors["effective"][number]):
            violations.append(f"group {number}: size or effective members differ from {TENSORS}")
    return manifest, violations


def _check_attributes(manifest: _Manifest) -> list[str]:
    """Check attributes that are not those of bank.by, or that groups state otherwise than the manifest
    allows.
    """
    columns = manifest.attributes or []
    names = [column.name for column in columns]
    if names != list(manifest.settings.by):
        return [f"its attributes are [{', '.join(names)}], and bank.by [{', '.join(manifest.settings.by)}]"]
    return find_column_violations(columns, manifest.channels) + [
        f"group {number}: {text}"
        for number, group in enumerate(manifest.groups)
        for text in find_group_violations(columns, group.attributes or {})
    ]


def _check_guarantee(guarantee: DPGuarantee) -> list[str]:
    """Check that the promise's noise gives its ε and δ, less the part of δ that the grid takes."""
    if not (guarantee.multiplier > 0 and guarantee.epsilon > 0):
        return ["the privacy guarantee has no noise"]
    delta = mechanism.compute_delta(guarantee.epsilon, guarantee.multiplier)
    bound = mechanism.compute_tracing_bound(guarantee.multiplier)
    found = []
    if not delta <= guarantee.delta * (1 - mechanism.RESERVE) * (1 + 1e-6):
        found.append(
            f"its noise gives delta {delta:.2g} at epsilon {guarantee.epsilon:g}, not {guarantee.delta:.2g}"
        )
    if not math.isclose(bound, guarantee.tracing_bound, rel_tol=1e-6):
        found.append(
            f"its noise bounds membership inference at {bound:.4f}, but the manifest says "
            f"{guarantee.tracing_bound:.4f}"
        )
    return found


def _check_tensors(tensors: dict[str, np.ndarray], manifest: _Manifest) -> list[str]:
    """Check for tensors that are missing, unknown, not finite, or not of the type and shape the manifest
    implies.
    """
    if set(tensors) != set(TENSOR_FORMS):
        return [
            f"{TENSORS} holds {', '.join(sorted(tensors))}; a bank holds {', '.join(sorted(TENSOR_FORMS))}"
        ]
    size = {
        "G": len(manifest.groups),
        "K": manifest.settings.condition_dim,
        "C": manifest.channels,
        "2": 2,
    }
    found = []
    for name, (dtype, letters) in TENSOR_FORMS.items():
        shape = tuple(size[letter] for letter in letters)
        if tensors[name].shape != shape or tensors[name].dtype != dtype:
            found.append(f"{name} is {tensors[name].dtype} {tensors[name].shape}, not {dtype} {shape}")
        elif not np.isfinite(tensors[name]).all():
            found.append(f"{name} contains NaN or infinity")
    numbers = count_attribute_numbers(column.kind for column in manifest.attributes or ())
    released = count_released_numbers(manifest.settings.condition_dim, manifest.channels, numbers)
    if manifest.released != released:
        found.append(f"{released} numbers are released per group, but the manifest says {manifest.released}")
    return found if manifest.groups else [*found, "there are no groups"]


def _check_shares(manifest: _Manifest) -> list[str]:
    """Check the groups' shares of the series, if they are stated: above 0, together 1 but for rounding."""
    stated = [group.share for group in manifest.groups if group.share is not None]
    if not stated:
        return []
    if len(stated) < len(manifest.groups):
        return ["some groups state their share of the series and some do not"]
    whole = min(stated) > 0 and abs(sum(stated) - 1) <= 0.06  # each is rounded by a twentieth at most
    return [] if whole else ["the groups' shares of the series are not those of a whole"]


def _check_group(group: _Group, fewest: int, manifest: _Manifest, settings: config.Bank) -> list[str]:
    """Check one group's numbers. Comparisons say what must hold, so that NaN cannot pass.

    With weights of 1 and, for `lowered` entities, less, (Σw)²/Σw² lies between size − lowered and size.
    """
    if not 1 <= group.effective <= group.size:
        return [f"{group.effective} effective members of {group.size} entities are impossible"]
    auc = compute_tracing_auc(manifest.released, group.effective)
    rules = {
        f"{group.effective} effective members are below the minimum of {fewest}": group.effective >= fewest,
        f"{group.lowered} of {group.size} entities with a lowered weight cannot make {group.effective} "
        "effective members": (
            manifest.study or (group.lowered >= 0 and group.size - group.lowered <= group.effective)
        ),
        f"{group.lowered} lowered weights for a largest share of {group.largest_share:g} are impossible": (
            group.lowered == 0 or group.largest_share >= settings.max_share - 0.01
        ),
        f"{group.owners} effective owners of {group.effective} effective members are impossible": (
            group.owners is None or 1 <= group.owners <= (group.size if manifest.study else group.effective)
        ),
        f"one entity carries {group.largest_share:.4f} of the load, above {settings.max_share:g}": (
            manifest.study or 0 <= group.largest_share <= settings.max_share * (1 + 10 * TOLERANCE)
        ),
        f"membership inference succeeds at {auc:.4f}, but the manifest says {group.tracing_auc:.4f}": (
            math.isclose(auc, group.tracing_auc, rel_tol=1e-6)
        ),
        f"membership inference succeeds at {auc:.4f}, above {settings.max_tracing_auc:g}": (
            manifest.study or auc <= settings.max_tracing_auc + 1e-6
        ),
    }
    return [text for text, holds in rules.items() if not holds]
