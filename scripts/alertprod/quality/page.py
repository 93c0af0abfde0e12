"""The summary of a night for people: text, pictures and a page."""

from pathlib import Path
from typing import Any

from alertprod.core.files import write_bytes
from alertprod.quality.brightest import brightest_alerts
from alertprod.quality.durations import read_durations
from alertprod.quality.plots import plot_conditions, plot_stamps
from alertprod.quality.report import write_report
from alertprod.quality.text import summary_text


def show_night(
    summary: dict[str, Any],
    associations: list[str],
    alerts: list[str],
    outputs: dict[str, str],
    *,
    benchmarks: str,
    config: dict,
) -> None:
    """Write the summary in words, two pictures and the report page.

    Parameters
    ----------
    summary : dict
        From `alertprod.quality.night.summarize_night`.
    associations, alerts : list of paths
        Products ``association`` and directories of alerts of the visits, in the same order.
    outputs : dict
        ``text``, ``conditions``, ``stamps``, ``page`` -> path.
    benchmarks : path
        Folder with the ``benchmark:`` files of the night's jobs; may be missing.
    config : dict
        Section ``quality``.
    """
    durations = read_durations(benchmarks)
    brightest = brightest_alerts(associations, alerts, config["stamps_shown"])
    plot_conditions(summary, outputs["conditions"])
    plot_stamps(brightest, outputs["stamps"])
    pictures = {
        "Conditions": outputs["conditions"],
        "Stamps of the brightest alerts": outputs["stamps"],
    }
    write_report(outputs["page"], summary, brightest, durations, pictures)
    text = summary_text(summary, durations, str(Path(outputs["page"])))
    write_bytes(outputs["text"], text.encode())
