"""Figures as JSON files."""

import json
from pathlib import Path
from typing import Any

from alertprod.core.files import write_bytes


def write_json(path: str | Path, content: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Write figures with their provenance; equal figures give equal bytes.

    Raises
    ------
    ValueError
        If a figure is not finite: JSON has no word for it, None stands for what is not known.
    """
    text = json.dumps({**content, "provenance": provenance}, indent=1, allow_nan=False)
    write_bytes(path, (text + "\n").encode())
