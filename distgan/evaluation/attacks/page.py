"""The verdict of a release as one HTML page that opens offline."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from distgan.evaluation.report import finite, number


def render(verdict: Mapping[str, Any]) -> str:
    """The page for the content of verdict.json."""
    return _template().render(verdict=finite(verdict))


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template("verdict.html.jinja")
