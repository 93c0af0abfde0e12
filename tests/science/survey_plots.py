"""Draw the figures of docs/validation.md: ``python tests/science/survey_plots.py 1 2 3``."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import survey

IMAGES = survey.ROOT / "docs" / "images"
BLUE, ORANGE, GREEN = "#30638e", "#d1603d", "#3a7d44"


def main(seeds: list[int]) -> None:
    """Measure the runs, print their figures, draw all plots."""
    import matplotlib

    matplotlib.use("Agg")
    runs = []
    for seed in seeds:
        figures = survey.measure(survey.run_of(seed))
        print(f"seed {seed}\n{survey.text(figures)}\n")
        runs.append(figures["tables"])
    IMAGES.mkdir(parents=True, exist_ok=True)
    tables = {name: survey.stack([run[name] for run in runs]) for name in runs[0]}
    completeness(tables["events"])
    purity(tables["alerts"])
    errors(tables["pulls"])
    stars(tables["stars"], tables["repeat"])


def completeness(event: dict) -> None:
    """Draw the share alerted against the true S/N."""
    import matplotlib.pyplot as plt

    edges = np.array([2, 3, 4, 5, 6, 7, 8.5, 10, 14, 20, 40, 100, 1000])
    snr = np.abs(event["change_snr"])
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for kind, colour in (("transient", ORANGE), ("variable", BLUE)):
        mine = (event["kind"] == kind) & ~event["masked"]
        share, middle = [], []
        for low, high in pairwise(edges):
            inside = mine & (snr >= low) & (snr < high)
            if inside.sum() >= 5:
                share.append(event["alerted"][inside].mean())
                middle.append(np.sqrt(low * high))
        axes.semilogx(middle, share, "o-", color=colour, label=f"{kind}s", ms=4)
    axes.axvline(10, color="0.6", lw=0.8, ls="--")
    axes.axhline(0.95, color="0.6", lw=0.8, ls="--")
    axes.set(xlabel="true S/N of the change", ylabel="share alerted", ylim=(0, 1.03))
    axes.legend(frameon=False)
    figure.savefig(IMAGES / "survey_completeness.png", dpi=110)
    plt.close(figure)


def purity(alert: dict) -> None:
    """Draw how many alerts are true and false, by S/N and by reliability."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.2), layout="constrained")
    cases = (("snr", np.geomspace(4.5, 300, 22), "S/N of the alert"),
             ("reliability", np.linspace(0, 1, 21), "reliability"))  # fmt: skip
    for axes, (name, edges, label) in zip(panels, cases, strict=True):
        for true, colour, word in ((True, BLUE, "true"), (False, ORANGE, "nothing true")):
            values = np.abs(alert[name][alert["true"] == true])
            axes.hist(values, edges, histtype="step", color=colour, label=word, lw=1.6)
        axes.set(xlabel=label, ylabel="alerts", yscale="log")
    panels[0].set_xscale("log")
    panels[0].legend(frameon=False)
    figure.savefig(IMAGES / "survey_purity.png", dpi=110)
    plt.close(figure)


def errors(pull: dict) -> None:
    """Draw pulls of flux and position, and the flux bias against S/N."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.2), layout="constrained")
    edges = np.linspace(-5, 5, 41)
    for name, colour in (("flux", BLUE), ("ra", ORANGE), ("dec", GREEN)):
        label = f"{name}: {survey.width(pull[name]):.2f}"
        panels[0].hist(pull[name], edges, histtype="step", color=colour, label=label, density=True)
    panels[0].plot(edges, np.exp(-0.5 * edges**2) / np.sqrt(2 * np.pi), "k--", lw=0.8)
    panels[0].set(xlabel="(measured - true) / error", ylabel="density")
    panels[0].legend(frameon=False)
    panels[1].semilogx(pull["snr"], 100 * pull["ratio"], ".", color="0.6", ms=2)
    steps = np.geomspace(10, max(pull["snr"].max(), 11), 8)
    for low, high in pairwise(steps):
        inside = (pull["snr"] >= low) & (pull["snr"] < high)
        if inside.sum() >= 5:
            values = 100 * pull["ratio"][inside]
            error = 1.2533 * survey.width(values) / np.sqrt(inside.sum())
            panels[1].errorbar(np.sqrt(low * high), np.median(values), error, color=BLUE, fmt="o")
    panels[1].axhline(0, color="k", lw=0.6)
    panels[1].set(xlabel="true S/N", ylabel="flux, measured - true [%]", ylim=(-20, 20))
    figure.savefig(IMAGES / "survey_errors.png", dpi=110)
    plt.close(figure)


def stars(star: dict, repeat: dict) -> None:
    """Draw the repeatability of constant stars and the astrometric error, by magnitude."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.2), layout="constrained")
    panels[0].semilogy(repeat["mag"], 1000 * repeat["scatter"], ".", color="0.6", ms=2)
    panels[0].axhline(15, color=ORANGE, lw=0.8, ls="--")
    panels[0].set(xlabel="magnitude", ylabel="scatter over visits [mmag]", ylim=(1, 200))
    edges = np.arange(14.5, 20.5, 0.5)
    for name, colour in (("east", BLUE), ("north", ORANGE)):
        values = survey._clipped(star[name])
        mag = star["mag"][np.abs(star[name]) < 200]
        rms = [
            np.sqrt(np.mean(values[(mag >= low) & (mag < low + 0.5)] ** 2))
            if ((mag >= low) & (mag < low + 0.5)).sum() > 10
            else np.nan
            for low in edges
        ]
        panels[1].semilogy(edges + 0.25, rms, "o-", color=colour, label=name, ms=4)
    panels[1].axhline(30, color="0.6", lw=0.8, ls="--")
    panels[1].set(xlabel="magnitude", ylabel="rms against truth [mas]")
    panels[1].legend(frameon=False)
    figure.savefig(IMAGES / "survey_stars.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]] or [1, 2, 3])
