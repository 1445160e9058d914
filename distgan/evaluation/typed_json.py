"""The base of all typed results: frozen, strict about unknown keys, and ready for JSON."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class JsonResult(BaseModel):
    """An immutable result; `model_copy` returns a copy with other fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the JSON file."""
        content: dict[str, Any] = make_json_ready(self.model_dump(by_alias=True))
        return content


def make_json_ready(content: Any) -> Any:
    """Make content ready for JSON: NaN and infinities become None, numpy's numbers plain ones."""
    if isinstance(content, Mapping):
        return {str(key): make_json_ready(value) for key, value in content.items()}
    if hasattr(content, "tolist"):
        return make_json_ready(content.tolist())
    if isinstance(content, list | tuple):
        return [make_json_ready(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if content is None or isinstance(content, str | bool | int | float):
        return content
    return str(content)
