"""The report page of a night: one HTML file that holds its own pictures."""

import base64
from pathlib import Path
from typing import Any

from alertprod.core.files import write_bytes
from alertprod.quality.text import COLUMNS, outlier_text

PAGE = Path(__file__).parents[3] / "workflow" / "report" / "night.html.jinja"


def write_report(
    path: str | Path,
    summary: dict[str, Any],
    alerts: list[dict[str, Any]],
    durations: list[dict[str, Any]],
    pictures: dict[str, str | Path],
) -> None:
    """Write the page.

    Parameters
    ----------
    path : path
        ``<results>/{night}/report/index.html``; links to products are relative to it.
    summary, alerts, durations
        From `summarize_night`, `brightest_alerts` and `read_durations`.
    pictures : dict
        Title -> PNG file, put into the page itself.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["figure"] = figure
    template = environment.from_string(PAGE.read_text(encoding="utf-8"))
    text = template.render(
        summary=summary,
        alerts=[{k: v for k, v in alert.items() if not hasattr(v, "shape")} for alert in alerts],
        durations=durations,
        columns=COLUMNS,
        outlier_text=outlier_text,
        pictures={title: _embedded(picture) for title, picture in pictures.items()},
    )
    write_bytes(path, text.encode())


def figure(value, form: str = ".4g") -> str:
    """Format a figure; a dash where there is none."""
    return "–" if value is None else f"{value:{form}}"


def _embedded(path: str | Path) -> str:
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()
