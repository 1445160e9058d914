"""Every key as a page of documentation."""

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from distgan.config.schema import Config


def reference() -> Iterator[tuple[str, str, str, str]]:
    """Every key of the tree: (dotted name, type, default, meaning). Alternatives of `model` follow one
    another.
    """
    yield from _reference(Config, "")


def _reference(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in section.model_fields.items():
        alternatives = [part for part in (field.annotation, *get_args(field.annotation)) if _is_section(part)]
        if alternatives and get_origin(field.annotation) not in (tuple, dict):
            for part in alternatives:
                yield from _reference(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _type_name(field), _default(field), field.description or ""
            if alternatives:
                one = "[]" if get_origin(field.annotation) is tuple else ".KEY"
                yield from _reference(alternatives[0], f"{prefix}{name}{one}.")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _type_name(field: FieldInfo) -> str:
    def name(kind: Any) -> str:
        if get_origin(kind) is Literal:
            return " | ".join(str(value) for value in get_args(kind))
        if get_origin(kind) is tuple:
            return f"list of {name(get_args(kind)[0])}"
        if get_origin(kind) is dict:
            return f"map to {name(get_args(kind)[1])}"
        if get_args(kind):
            return " | ".join(name(part) for part in get_args(kind))
        return "null" if kind is type(None) else "section" if _is_section(kind) else kind.__name__

    bounds = [
        f"{sign} {getattr(rule, attribute)}"
        for rule in field.metadata
        for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if hasattr(rule, attribute)
    ]
    return ", ".join([name(field.annotation), *bounds])


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, tuple):
        value = [item.model_dump() if isinstance(item, BaseModel) else item for item in value]
    return json.dumps(value)


def reference_markdown() -> str:
    """The page `configs/REFERENCE.md`."""
    lines = [
        "# Every setting",
        "",
        "Made by `distgan reference > configs/REFERENCE.md`; a test compares it with `distgan/config.py`.",
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{name}` | {kind.replace('|', 'or')} | `{default}` | {meaning} |"
        for name, kind, default, meaning in reference()
    ]
    return "\n".join(lines) + "\n"
