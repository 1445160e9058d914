"""What every section of the settings shares."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def convert_lists(tree: Any) -> Any:
    """Return a tree of JSON or YAML with tuples in place of lists, as strict sections take them."""
    if isinstance(tree, dict):
        return {name: convert_lists(value) for name, value in tree.items()}
    return tuple(convert_lists(value) for value in tree) if isinstance(tree, list) else tree


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def key(default: Any, meaning: str, **rules: Any) -> Any:
    """Return a setting: its default (`...` if it has none), what it means with its unit, and its bounds."""
    return Field(default, description=meaning, **rules)


def check_heads(section: Any, width: int, heads: int) -> Any:
    """Return the section, if its width divides into its attention heads.

    Raises:
        ValueError: it does not.
    """
    if width % heads:
        raise ValueError(
            f"width {width} is not a multiple of heads {heads}; use {(width // heads + 1) * heads}"
        )
    return section


WHOLE_MAPS = {"generate": ("attributes", "shares")}  # maps that a later one replaces, as values are


def merge_sections(base: Any, over: Any, replaced: tuple[str, ...] = ()) -> Any:
    """Merge sections key by key; a section that names another model replaces the base's."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    merged = {
        name: value if name in replaced else merge_sections(base.get(name), value, WHOLE_MAPS.get(name, ()))
        for name, value in over.items()
    }
    return {**base, **merged}


def nest_key(dotted: str, value: Any) -> Any:
    """Return {"a": {"b": value}} for the key `a.b`."""
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return value
