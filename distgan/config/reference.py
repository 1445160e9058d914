"""Every key as a page of documentation."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from distgan.config.families import FAMILIES
from distgan.config.family import FILTER_STAGES, Family
from distgan.config.keys import Row, iterate_keys, iterate_section
from distgan.config.schema import Config

CAPABILITIES = {
    "fitted": "fitted at once, without gradients",
    "recurrent": "computes in float32, step by step; needs `engine.zero` 0 in half precision",
    "whole_batch": "needs whole batches; `engine.micro_batch` is refused",
    "needs_labels": "needs labels (`bank.by_label`) or attributes (`bank.by`)",
    "any_length": "generates series of any length",
    "stores_real_series": "stores real series in its weights; never released",
    "recomputes": "supports `engine.checkpoint_activations`",
}
OWN_LOSSES = {
    "generator": "has its own generator loss; `objective.moments` and `features` are refused",
    "all": "has its own losses; `objective.loss`, `augment`, `moments` and `features` are refused",
}


def iterate_reference(families: Iterable[type[Family]] = tuple(FAMILIES.values())) -> Iterator[Row]:
    """Yield every key of a config. Those of `families` follow one another as `model.…`."""
    return iterate_keys(Config, families)


def describe_capabilities(section: type[Family]) -> str:
    """Return what a family's class variables state, in one line; empty where all are the defaults."""
    said = [words for name, words in CAPABILITIES.items() if getattr(section, name)]
    if section.stages == FILTER_STAGES:
        said.insert(0, f"filters series and makes none; its stages are {' and '.join(FILTER_STAGES)}")
    if section.own_loss != "none":
        said.append(OWN_LOSSES[section.own_loss])
    return "; ".join(said)


def format_reference() -> str:
    """Return the page `configs/REFERENCE.md`: the keys that every config has, then those of each family."""
    lines = [
        "# Every setting",
        "",
        "Made by `distgan reference > configs/REFERENCE.md`; a test compares it with `distgan/config/`.",
        "",
        "A key is set in a YAML file (`train: {steps: 500}`) or on the command line (`train.steps=500`). "
        "`null` means not set.",
        *_format_general_sections(),
        "",
        "# The keys of `model`, by family",
        "",
        "`model: NAME` chooses a family and is short for `model: {name: NAME}`. A family from outside the "
        "package is a file in the working directory (`model: NAME.py`) or an installed package "
        "([how](../distgan/models/README.md)).",
    ]
    for name, section in FAMILIES.items():
        able, meaning = describe_capabilities(section), str(section.model_fields["name"].description)
        lines += ["", f"## `{name}`", "", f"{meaning[0].upper()}{meaning[1:]}.", ""]
        lines += [f"Capabilities: {able}.", ""] if able else []
        lines += _format_table(row for row in iterate_section(section, "model.") if row[0] != "model.name")
    return "\n".join(lines) + "\n"


def _format_general_sections() -> list[str]:
    """Return the tables of the keys that every config has, one for each section of the tree."""
    lines: list[str] = []
    for section, rows in groupby(
        iterate_reference(()), key=lambda row: row[0].rpartition(".")[0].partition(".")[0]
    ):
        heading = f"`{section}`: {Config.model_fields[section].description}" if section else "The run"
        lines += ["", f"## {heading}", "", *_format_table(rows)]
    return lines


def _format_table(rows: Iterable[Row]) -> list[str]:
    body = [
        f"| `{name}` | {kind.replace('|', 'or')} | `{default}` | {meaning} |"
        for name, kind, default, meaning in rows
    ]
    return ["| key | type | default | meaning |", "|---|---|---|---|", *body] if body else ["No other keys."]
