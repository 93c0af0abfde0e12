"""Pages of a night: HTML files that hold their own pictures."""

import base64
from pathlib import Path
from typing import Any

from alertprod.core.files import write_bytes
from alertprod.quality.text import COLUMNS, outlier_text

TEMPLATES = Path(__file__).parents[3] / "workflow" / "report"


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
    render(
        "night.html.jinja",
        path,
        summary=summary,
        alerts=[{k: v for k, v in alert.items() if not hasattr(v, "shape")} for alert in alerts],
        durations=durations,
        columns=COLUMNS,
        outlier_text=outlier_text,
        pictures={title: embedded(picture) for title, picture in pictures.items()},
    )


def render(template: str, path: str | Path, **facts: Any) -> None:
    """Fill a template of ``workflow/report`` and write the page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["figure"] = figure
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    write_bytes(path, environment.from_string(text).render(**facts).encode())


def figure(value, form: str = ".4g") -> str:
    """Format a figure; a dash where there is none."""
    return "–" if value is None else f"{value:{form}}"


def embedded(path: str | Path) -> str:
    """Return a PNG as an address that a page can hold."""
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()
