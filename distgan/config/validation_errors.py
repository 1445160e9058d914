"""From pydantic's errors to one line in the words of a config: key, value, rule, and what to write."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from distgan.config.families import FAMILIES
from distgan.config.family import Family
from distgan.config.keys import iterate_keys
from distgan.errors import UserError

KINDS = {  # of pydantic's errors, by what their names begin with
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a finite number",
    "bool": "must be true or false",
    "string": "must be text",
    "tuple": "must be a list",
    "list": "must be a list",
    "dict": "must be a map, {key: value}",
    "model": "must be a section, {key: value}",
    "none": "must be null",
}
RULES = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be above"),
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be below"),
    "too_short": ("min_length", "needs this many values or more:"),
    "too_long": ("max_length", "takes this many values at most:"),
}


def explain_first(
    error: ValidationError, tree: Any, kind: type[BaseModel], family: type[Family] | None
) -> str:
    """Return the first mistake in one line: key, value, rule, and the nearest valid key for an unknown
    one.

    Args:
        kind: the class of the whole tree, and `family` that of its section `model`, if it is known.
    """
    mistakes = error.errors()
    mistake = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    name = _name_key(mistake, tree)
    others = {other for each in mistakes if not name.startswith(other := _name_key(each, tree))}
    more = f" (and {len(others)} more)" if others else ""
    if mistake["type"] == "extra_forbidden":
        families = dict.fromkeys([*([family] if family else []), *FAMILIES.values()])
        rows = iterate_keys(kind, families)
        known = list(dict.fromkeys(part for row, *_ in rows for part in _list_prefixes(row)))
        return f"{explain_unknown(name, known)}{more}"
    if mistake["type"] == "value_error":
        rule = mistake["msg"].removeprefix("Value error, ")
        at_key = isinstance(mistake.get("ctx", {}).get("error"), UserError)  # its message names the key
        return (f"{name}: " if name and not at_key else "") + rule + more
    if mistake["type"] == "missing" and isinstance(mistake["loc"][-1], int):  # a pair with one number
        return f"{name.rpartition('[')[0]} is {show(mistake['input'])}; it needs another value{more}"
    if mistake["type"] == "missing":
        return f"{name} is missing, and it has no default{more}"
    rules = [_word_rule(each) for each in mistakes if _name_key(each, tree) == name]
    value, rule = mistake["input"], " or ".join(dict.fromkeys(rules)).replace(" or must be ", " or ")
    return f"{name} is {show(value)[:100]}; it {rule}{_suggest(value, rules)}{more}"


def _name_key(mistake: Mapping[str, Any], tree: Any) -> str:
    """Return the key of a mistake as the tree has it: without the kinds of a union, which pydantic adds."""
    name, found = "", tree
    for part in mistake["loc"]:
        if isinstance(found, Mapping) and part in found:
            found, name = found[part], f"{name}.{part}" if name else str(part)
        elif isinstance(found, Sequence) and not isinstance(found, str) and isinstance(part, int):
            name += f"[{part}]"
            found = found[part] if part < len(found) else None
        elif mistake["type"] == "missing" and isinstance(found, Mapping) and part == mistake["loc"][-1]:
            name += f".{part}"
    return name


def _word_rule(mistake: Mapping[str, Any]) -> str:
    """Return the rule that a value breaks."""
    kind, facts = str(mistake["type"]), mistake.get("ctx", {})
    if kind in RULES:
        bound, words = RULES[kind]
        return f"{words} {facts[bound]}".removesuffix(".0")
    if kind == "literal_error":
        return f"must be {facts['expected']}"
    return KINDS.get(kind.split("_")[0], mistake["msg"][:1].lower() + mistake["msg"][1:])


def _suggest(value: Any, rules: Sequence[str]) -> str:
    """Return what to write instead, where the value shows what is meant."""
    if isinstance(value, float) and value.is_integer() and KINDS["int"] in rules:
        return f"; write {int(value)}"
    if isinstance(value, str) and rules == [KINDS["bool"]] and value.lower() in ("yes", "no", "on", "off"):
        return f"; write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    if isinstance(value, str | int | float) and not isinstance(value, bool) and rules == [KINDS["tuple"]]:
        return f", e.g. [{value}]"
    if isinstance(value, int | float) and not isinstance(value, bool) and rules == [KINDS["string"]]:
        return f"; write it in quotes: \"'{value}'\""
    return ""


def show(value: Any) -> str:
    """Return a value as YAML writes it in one line, text in quotes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {show(inner)}' for name, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(show, value))}]"
    return repr(value)


def explain_unknown(dotted: str, known: Iterable[str]) -> str:
    """Return the message about a key that is none, with the nearest that is."""
    if dotted in known:
        return f"unknown key {dotted!r}: another model has it"
    if len(dotted) > 100:
        return f"unknown key {dotted[:80]!r}…"
    near = difflib.get_close_matches(dotted, list(known), n=1, cutoff=0.5)
    last = dotted.rpartition(".")[2]
    near = near or [name for name in known if name.rpartition(".")[2] == last][:1]
    return f"unknown key {dotted!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _list_prefixes(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
