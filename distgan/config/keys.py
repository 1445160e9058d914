"""The keys of a section of the settings, read from its class: name, type, default, meaning."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from distgan.config.family import Family

Row = tuple[str, str, str, str]  # dotted name, type, default, meaning


def iterate_keys(kind: type[BaseModel], families: Iterable[type[Family]]) -> Iterator[Row]:
    """Yield every key of a tree of that class. Those of `families` follow one another as `model.…`."""
    for row in iterate_section(kind, ""):
        if row[0] == "model":
            for section in families:
                yield from iterate_section(section, "model.")
        else:
            yield row


def iterate_section(section: type[BaseModel], prefix: str) -> Iterator[Row]:
    """Yield the keys of a section and of those inside it, each name after `prefix`."""
    for name, field in section.model_fields.items():
        if field.annotation is Family:
            yield f"{prefix}{name}", "section", "", ""
            continue
        alternatives = [part for part in (field.annotation, *get_args(field.annotation)) if _is_section(part)]
        if alternatives and get_origin(field.annotation) not in (tuple, dict):
            for part in alternatives:
                yield from iterate_section(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _format_type(field), _format_default(field), field.description or ""
            if alternatives:
                one = "[]" if get_origin(field.annotation) is tuple else ".KEY"
                yield from iterate_section(alternatives[0], f"{prefix}{name}{one}.")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _format_type(field: FieldInfo) -> str:
    def format_kind(kind: Any) -> str:
        if get_origin(kind) is Literal:
            return " | ".join(str(value) for value in get_args(kind))
        if get_origin(kind) is tuple:
            return f"list of {format_kind(get_args(kind)[0])}"
        if get_origin(kind) is dict:
            return f"map to {format_kind(get_args(kind)[1])}"
        if get_args(kind):
            return " | ".join(format_kind(part) for part in get_args(kind))
        return "null" if kind is type(None) else "section" if _is_section(kind) else kind.__name__

    bounds = [
        f"{sign} {getattr(rule, attribute)}"
        for rule in field.metadata
        for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if hasattr(rule, attribute)
    ]
    return ", ".join([format_kind(field.annotation), *bounds])


def _format_default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, tuple):
        value = [item.model_dump() if isinstance(item, BaseModel) else item for item in value]
    return json.dumps(value)
