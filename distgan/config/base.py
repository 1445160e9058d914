"""What every section of the settings shares."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def _lists_to_tuples(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _lists_to_tuples(value) for name, value in tree.items()}
    return tuple(_lists_to_tuples(value) for value in tree) if isinstance(tree, list) else tree


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def key(default: Any, meaning: str, **rules: Any) -> Any:
    """A setting: its default (`...` if it has none), what it means with its unit, and its bounds."""
    return Field(default, description=meaning, **rules)


def _heads_divide(section: Any, width: int, heads: int) -> Any:
    if width % heads:
        raise ValueError(
            f"width {width} is not a multiple of heads {heads}; use {(width // heads + 1) * heads}"
        )
    return section


def _merge(base: Any, over: Any) -> Any:
    """Sections merge key by key; a section that names another model replaces the base's."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    return {**base, **{name: _merge(base.get(name), value) for name, value in over.items()}}


def _nest_key(dotted: str, value: Any) -> Any:
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return value
