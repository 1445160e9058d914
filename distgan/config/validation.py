"""From a tree of plain values to checked settings: older names of keys, short forms, errors in one line."""

from typing import Any, TypeVar

from pydantic import ValidationError

from distgan.config.base import Section, convert_lists
from distgan.config.families import DEFAULT
from distgan.config.family import Family
from distgan.config.registry import find_family
from distgan.config.validation_errors import explain_first
from distgan.errors import UserError

S = TypeVar("S", bound=Section)

RENAMED_KEYS = {
    "data.splits.holdout": "data.splits.held_out",
    "privacy.steadiness_range": "privacy.asinh_ratio_range",
    "privacy.log_size_range": "privacy.log_rms_range",
    "evaluate.critic_steps": "evaluate.recurrent_steps",
    "model.critic_width": "model.discriminator_width",
    "model.critic_depth": "model.discriminator_depth",
    "model.critic_dropout": "model.discriminator_dropout",
    "model.critic_floor": "model.discriminator_threshold",
}


def _refuse_older_keys(tree: Any, where: str) -> None:
    """
    Raises:
        UserError: a key has an older name; names the present one.
    """
    for older, newer in RENAMED_KEYS.items():
        found = tree
        for part in older.split("."):
            found = found[part] if isinstance(found, dict) and part in found else None
        if found is not None:
            raise UserError(f"{where}: {older} is now called {newer}; write {newer}")


def rename_bound(tree: Any, where: str) -> Any:
    """Return the tree with `data.scaling.lower_bound`, as it was called before, at `data.bounds.lower`.

    Raises:
        UserError: both are given and differ.
    """
    _refuse_older_keys(tree, where)
    data = tree.get("data") if isinstance(tree, dict) else None
    scaling = data.get("scaling") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(scaling, dict) or "lower_bound" not in scaling:
        return tree
    older, bounds = scaling["lower_bound"], data.get("bounds", {})
    if not isinstance(bounds, dict):
        return tree
    newer = bounds.get("lower")
    if older is not None and newer is not None and older != newer:
        raise UserError(
            f"{where}: data.scaling.lower_bound {older!r:.40} and data.bounds.lower {newer!r:.40} are two "
            "names of one setting and differ; keep data.bounds.lower alone"
        )
    rest = {name: value for name, value in scaling.items() if name != "lower_bound"}
    lower = {"lower": older if newer is None else newer}
    return {**tree, "data": {**data, "scaling": rest, "bounds": {**bounds, **lower}}}


def expand_model_name(tree: Any) -> Any:
    """Expand `model: tts_gan`, which is short for `model: {name: tts_gan}`."""
    if isinstance(tree, dict) and isinstance(tree.get("model"), str):
        return {**tree, "model": {"name": tree["model"]}}
    return tree


def add_model(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the tree with its model's name, the default one if it names none."""
    model = tree.get("model", {})
    return {**tree, "model": {"name": DEFAULT, **model}} if isinstance(model, dict) else tree


def validate_tree(kind: type[S], tree: Any, where: str) -> S:
    """Return the settings, of class `kind`, of a tree of plain values; keys that are left out have their
    defaults.

    Raises:
        UserError: a key, a value or a combination is wrong; the message begins with `where`.
    """
    tree = expand_model_name(rename_bound(convert_lists(tree), where))
    if isinstance(tree, dict):
        tree = add_model(tree)
    try:
        settings = kind.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {explain_first(error, tree, kind, _find_section(tree))}") from None
    _check_sizes(settings.model_dump(), "")
    return settings


def _check_sizes(value: Any, name: str) -> None:
    """
    Raises:
        UserError: a whole number does not fit 64 bits.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_sizes(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple):
        for inner in value:
            _check_sizes(inner, name)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise UserError(f"{name} is {value}; whole numbers have 64 bits, use a smaller one")


def _find_section(tree: Any) -> type[Family] | None:
    """Return the section of the tree's family, or None where it names none that is."""
    try:
        return find_family(tree["model"]["name"])
    except (UserError, LookupError, TypeError):
        return None
