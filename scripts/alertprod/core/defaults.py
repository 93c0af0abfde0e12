"""The defaults of ``config/default.yaml``, for callers who give only what differs."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEFAULT = Path(__file__).parents[3] / "config" / "default.yaml"


@cache
def _sections() -> dict[str, Any]:
    with open(DEFAULT, encoding="utf-8") as handle:
        return yaml.load(handle, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def complete(config: Mapping[str, Any] | None, stage: str) -> dict[str, Any]:
    """Return a stage's section with the defaults filled in.

    The workflow always hands over whole sections; a notebook or a test need not.
    """
    return {**_sections()[stage], **(config or {})}
