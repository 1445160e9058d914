"""From YAML and the command line to settings. The only home of YAML."""

import difflib
import os
import re
import sysconfig
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from distgan.config.base import merge_sections, nest_key
from distgan.config.schema import Config
from distgan.config.validation import add_model, expand_model_name, rename_bound
from distgan.config.validation_errors import show
from distgan.errors import UserError, reading
from distgan.files import check_path, read_text


class _Loader(yaml.SafeLoader):
    """YAML as people read it: `1e-4` is a number, only true/false are booleans, and no key stands twice."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag.rsplit(":", 1)[1] in ("null", "merge")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = len(node.value.lstrip("+-0"))
    if digits > 100:
        line = node.start_mark.line + 1
        raise UserError(f"line {line}: {node.value[:20]}… has {digits} digits; whole numbers have 64 bits")
    return int(node.value)  # YAML 1.1 would read 0123 as octal


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError(
                f"line {key_node.start_mark.line + 1}: a key must be one word, not a list or mapping"
            )
        name, line = key_node.value, key_node.start_mark.line + 1
        if name in seen:
            raise UserError(f"line {line}: key {name!r} is given already in line {seen[name]}; remove one")
        seen[name] = line
    return {
        loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value
    }


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


LARGEST = 1 << 18  # bytes of a config; the shipped ones have less than 6,000
DEEPEST = 32  # levels of a config; the tree has 5
LONGEST_CHAIN = 16  # files of `base:`
OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def _parse(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        UserError, yaml.YAMLError: it is not YAML as configs have it, or nests too deep to be one.
    """
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
            raise UserError("YAML anchors and aliases are not supported; write the value out")
        depth += isinstance(token, OPENING) - isinstance(token, CLOSING)
        if depth > DEEPEST:
            line = token.start_mark.line + 1
            raise UserError(f"line {line}: nested deeper than {DEEPEST} levels, which no setting is")
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (UserError, yaml.YAMLError):
        raise
    except Exception as error:  # what a wrong !!tag makes of PyYAML's constructors
        raise UserError(f"a value does not fit its !!tag ({type(error).__name__}: {error})") from None


def find_config(path: Path) -> Path:
    """Return the file of that path, or the shipped config of that name: `demo` is configs/demo.yaml."""
    if path.suffix or os.path.lexists(path):
        return path
    folder, name = find_shipped(), path.as_posix()
    return find_config_file(folder, name) if folder is not None and name in list_shipped() else path


def find_config_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.yaml"


def find_shipped() -> Path | None:
    """Return the folder of the shipped configs: of the checkout, or of the installed wheel."""
    checkout = Path(__file__).parents[2]
    installed = [Path(place) / "share/distgan/configs" for place in (checkout, sysconfig.get_path("data"))]
    folders = [checkout / "configs", *installed]
    return next((folder for folder in folders if find_config_file(folder, "demo").is_file()), None)


def list_shipped() -> list[str]:
    """Return the names that `--config` takes."""
    folder = find_shipped()
    if folder is None:
        return []
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def _suggest_shipped(path: Path) -> str:
    """Return the shipped configs whose names are nearest, or all outside of folders."""
    shipped = list_shipped()
    near = difflib.get_close_matches(path.stem, shipped, n=3, cutoff=0.7)
    return (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"the shipped ones are {', '.join(name for name in shipped if '/' not in name)}"
    )


def _explain_yaml(error: yaml.YAMLError) -> str:
    """Return where a file is no YAML, and why, in one line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())[:500]
    line, column = mark.line + 1, mark.column + 1
    return (
        f"line {line}, column {column}: this is no YAML ({problem}); check indentation, colons and brackets "
        "there and in the line before"
    )


def _read_tree(path: Path, seen: tuple[str, ...] = (), named_by: str = "") -> dict[str, Any]:
    """Return the file's settings over those of its `base:` (a path beside the file). `named_by` says which
    file names this one as its base.
    """
    check_path(str(path), "the config's path")
    with reading(path):
        place = os.path.realpath(path)
    if place in seen:
        raise UserError(f"{path}: base forms a circle; remove that line")
    if len(seen) == LONGEST_CHAIN:
        raise UserError(f"{path}: base spans more than {LONGEST_CHAIN} files; merge some")
    if not os.path.lexists(path):
        raise UserError(f"{named_by}there is no config {path}; {_suggest_shipped(path)}")
    text = read_text(path, LARGEST)
    if not text.strip():
        raise UserError(f"{path} is empty; a config needs at least one line, e.g. run_dir: runs/default")
    try:
        tree = _parse(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {_explain_yaml(error)}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    tree = {} if tree is None else expand_model_name(rename_bound(tree, str(path)))
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a config is `key: value` lines; this reads as {show(tree)[:60]}")
    base = tree.pop("base", None)
    if base is None:
        return add_model(tree)
    return merge_sections(_read_tree(path.parent / str(base), (*seen, place), f"{path}: base: "), tree)


def _override_key(tree: dict[str, Any], text: str) -> dict[str, Any]:
    dotted, equals, value = text.partition("=")
    if not equals or not dotted:
        raise UserError(f"{text[:80]!r} is not of the form key.sub=value, e.g. train.steps=2000")
    if dotted.count(".") > DEEPEST:
        raise UserError(
            f"unknown key {dotted[:80]!r}…: no setting is nested so deep; distgan reference lists "
            "the settings"
        )
    try:
        nested: Any = _parse(value)
    except yaml.YAMLError:
        nested = value
    except UserError as error:
        raise UserError(f"{dotted[:80]}: {error}") from None
    merged: dict[str, Any] = merge_sections(
        tree, expand_model_name(rename_bound(nest_key(dotted.strip(), nested), dotted))
    )
    return merged


def load(path: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()) -> Config:
    """Return the settings of a YAML file (or the defaults) with `key.sub=value` overrides.

    Raises:
        UserError: the file cannot be read, or a key, a value or a combination is wrong; the message is one
        line.
    """
    tree = add_model({}) if path is None else _read_tree(find_config(check_path(os.fspath(path), "--config")))
    changed, where = tree, str(path or "config")
    for text in overrides:
        changed = _override_key(changed, text)
    try:
        return from_tree(changed, where)
    except UserError:
        if (wrong := _find_wrong_overrides(tree, changed, overrides)) is None:
            raise
    return from_tree(changed, wrong)


def _find_wrong_overrides(
    tree: dict[str, Any], changed: dict[str, Any], overrides: Sequence[str]
) -> str | None:
    """Return the overrides that make `tree` into a wrong `changed`, or None where the tree is wrong alike."""
    mistake = _find_mistake(changed)
    if mistake == _find_mistake(tree):
        return None
    alone = [text for text in overrides if _find_mistake(_override_key(tree, text)) == mistake]
    named = [" ".join(text[:80].split()) for text in alone or _drop_needless(tree, overrides, mistake)]
    return ("override " if len(named) == 1 else "overrides ") + " ".join(named[:5])


def _drop_needless(tree: dict[str, Any], overrides: Sequence[str], mistake: str | None) -> list[str]:
    """Return the overrides that make the same mistake together, and no other ones."""
    needed = list(overrides)
    for place in reversed(range(len(needed))):
        fewer = needed[:place] + needed[place + 1 :]
        if _find_mistake(reduce(_override_key, fewer, tree)) == mistake:
            needed = fewer
    return needed


def _find_mistake(tree: dict[str, Any]) -> str | None:
    """Return what is wrong about the settings of a tree, or None."""
    try:
        from_tree(tree)
    except UserError as error:
        return str(error)
    return None


def from_tree(tree: Any, where: str = "config") -> Config:
    """Return the settings of a tree of plain values; keys that are left out have their defaults.

    Raises:
        UserError: a key, a value or a combination is wrong.
    """
    return Config.from_tree(tree, where)
