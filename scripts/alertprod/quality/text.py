"""The summary of a night in words: what is printed at the end of a run."""

from typing import Any

#: Columns of the table of bands: heading, figure, format.
COLUMNS = (
    ("visits", "nVisits", "d"),
    ("images", "nImages", "d"),
    ("seeing", "seeing", ".2f"),
    ("zero pt", "zeroPoint", ".3f"),
    ("sky e-", "skyLevel", ".0f"),
    ("depth", "limitingMag", ".2f"),
    ("WCS mas", "wcsRmsMas", ".0f"),
    ("kernel", "kernelSum", ".3f"),
    ("chi2", "residualChi2", ".2f"),
)


def summary_text(summary: dict[str, Any], durations: list[dict], report: str) -> str:
    """Write the summary of a night for the terminal.

    Parameters
    ----------
    summary : dict
        From `alertprod.quality.night.summarize_night`.
    durations : list of dict
        From `alertprod.quality.durations.read_durations`; may be empty.
    report : str
        Where the page with the pictures is.
    """
    used = summary["nImages"] - summary["nRejected"]
    lines = [
        f"Night {summary['night']}: {_many(summary['nVisits'], 'visit')}, "
        f"{_many(summary['nImages'], 'image')}, {used} used, {summary['nRejected']} rejected"
    ]
    for group in summary["rejections"]:
        lines.append(f"  rejected  {group['count']} x {group['product']}: {group['reason']}")
        lines.append(f"            {_shortened(group['images'])}")
    lines += ["", *band_table(summary["bands"]), "", *_counts(summary)]
    for outlier in summary["outliers"]:
        lines.append(f"  stands out  {outlier_text(outlier)}")
    if durations:
        lines += ["", *_durations(durations)]
    lines.append(f"  report      {report}")
    return "\n".join(lines) + "\n"


def band_table(bands: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of the table of medians by band."""
    lines = ["  band " + "".join(f"{heading:>9}" for heading, _, _ in COLUMNS)]
    for band, row in bands.items():
        cells = (_number(row[name], form) for _, name, form in COLUMNS)
        lines.append(f"  {band:<5}" + "".join(f"{cell:>9}" for cell in cells))
    return lines


def outlier_text(outlier: dict[str, Any]) -> str:
    """Say in what an image stands out."""
    return (
        f"{outlier['visit']}/{outlier['detector']:03d} {outlier['band']}: {outlier['quantity']} "
        f"{outlier['value']:.4g}, others {outlier['median']:.4g} ({outlier['sigma']:+.0f} sigma)"
    )


def _counts(summary: dict[str, Any]) -> list[str]:
    n, m = summary["sum"], summary["movingObjects"]
    return [
        f"  sources     {n['numDiaSources']} ({n['numDiaSourcesGood']} unflagged, "
        f"{n['numNegative']} negative, {n['numDipoles']} dipoles, "
        f"{n['numTrailedDiaSrc']} trailed)",
        f"  objects     {n['numNewDiaObjects']} new, {n['numUpdatedDiaObjects']} seen again; "
        f"{n['numAssociatedSsObjects']} known solar-system detections of "
        f"{summary['numTotalSolarSystemObjects']} predicted",
        f"  alerts      {n['numAlerts']}, with {n['numForced']} forced photometry points",
        f"  asteroids   {_many(m['numTracklets'], 'tracklet')}, "
        f"{_many(m['numLinkages'], 'linkage')}, {_many(m['numOrbits'], 'orbit')} "
        f"({m['numNewOrbits']} new, {m['numUpdatedOrbits']} improved)",
    ]


def _durations(durations: list[dict]) -> list[str]:
    lines = [f"  {'rule':<22}{'jobs':>7}{'median s':>10}{'total s':>10}{'peak MB':>10}"]
    lines += [
        f"  {row['rule']:<22}{row['jobs']:>7}{row['median_s']:>10.2f}{row['total_s']:>10.1f}"
        f"{row['peak_mb']:>10.0f}"
        for row in durations
    ]
    return [*lines, ""]


def _shortened(names: list[str], most: int = 4) -> str:
    shown = " ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _number(value, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
