"""One visit of the fold, second step: forced photometry into the database, alerts into files."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alertprod.alerts import cutouts, forced, packet
from alertprod.alerts.publish import FilePublisher, Publisher
from alertprod.core.apdb import fold, history, replay
from alertprod.core.apdb.connection import Database
from alertprod.core.apdb.create import open_database
from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.fits import read_exposure
from alertprod.core.stage import stage
from alertprod.core.tables import Table, empty, n_rows, sort_by, stack, take

log = logging.getLogger(__name__)
STAMPS = ("cutoutDifference", "cutoutScience", "cutoutTemplate")


@dataclass(frozen=True)
class Images:
    """Where the images of one detector-visit are (or the images themselves)."""

    difference: Any
    calexp: Any
    template: Any

    def read(self) -> tuple[Exposure, Exposure, Exposure]:
        """Read difference, science and template image; raises Rejected."""
        paths = (self.difference, self.calexp, self.template)
        read = [path if isinstance(path, Exposure) else read_exposure(path) for path in paths]
        return read[0], read[1], read[2]


@stage("alerts", outputs=("forced",))
def package_alerts(
    association: Table,
    images: Mapping[int, Images],
    alerts: Publisher | str | Path,
    *,
    visit: Mapping,
    fold_context: Mapping,
    config: Mapping,
) -> tuple[Table, dict]:
    """Measure forced photometry, store it, and write one container of alerts per detector.

    Parameters
    ----------
    association : dict of arrays
        Product ``association`` of the visit; ``fold_context['parent_file']`` is its file.
    images : dict
        Detector -> `Images` (see `images_by_detector`).
    alerts : Publisher, or the directory of a `FilePublisher`
        Takes the container of each detector; a rejected detector has one without alerts that
        gives the reason.
    visit : mapping
        ``visit``, ``midpoint_mjd_tai``, ``instrument``; optionally ``reason`` and
        ``target_name`` of the observation.
    fold_context : mapping
        As for `associate_visit`.
    config : mapping
        Section ``alerts``.

    Returns
    -------
    forced : dict of arrays
        Product ``forced``: DIAObjects with enough detections on each detector, then targets;
        sorted by detector.
    metadata : dict
        For `write_table`: the state of the fold and the ledger.
    """
    publisher = alerts if isinstance(alerts, Publisher) else FilePublisher(alerts)
    state = fold.next_state(fold.PACKAGE, visit, fold_context, config)
    settings = fold.settings_of(fold_context, config)
    entries: list[dict] = []

    def change(database: Database, seq: int, time: float, store: bool) -> Table:
        moment = history.Moment(seq, time, state.midpoint)
        work = Packaging(database, moment, association, dict(visit), dict(config))
        tables, entries[:] = [empty("forced")], []
        for detector in sorted(images):
            table, entry, container = work.detector(detector, images[detector])
            publisher.publish(state.visit, detector, container)
            tables.append(table)
            entries.append(entry)
        measured = stack(tables)
        if store:
            replay.store_forced(database, measured)
            replay.store_ledger(database, state, entries)
        return measured

    chain = fold_context.get("chain", "")
    with open_database(fold_context["database"], visit["instrument"], chain) as database:
        measured = fold.transition(database, state, settings, change)
    return measured, {**state.metadata(), "ledger": entries}


def images_by_detector(
    calexps: Iterable[str], differences: Iterable[str], templates: Iterable[str]
) -> dict[int, Images]:
    """Sort image files by detector, which is the name of their directory."""
    found: dict[int, dict[str, str]] = {}
    for name, paths in (("calexp", calexps), ("difference", differences), ("template", templates)):
        for path in paths:
            found.setdefault(int(Path(path).parent.name), {})[name] = str(path)
    return {detector: Images(**paths) for detector, paths in sorted(found.items())}


class Packaging:
    """The work of one visit, detector by detector, on the database as of the visit."""

    def __init__(
        self,
        database: Database,
        moment: history.Moment,
        association: Table,
        visit: dict,
        config: dict,
    ) -> None:
        self.database, self.moment, self.visit, self.config = database, moment, visit, config
        self.association = association
        self.now = history.Moment(moment.seq, moment.time, moment.midpoint, inclusive=True)

    def detector(self, number: int, images: Images) -> tuple[Table, dict, bytes]:
        """Return forced photometry, line of the ledger and container of a detector."""
        facts = {"visit": self.visit["visit"], "detector": number, "status": "OK", "reason": ""}
        try:
            difference, calexp, template = images.read()
        except Rejected as rejection:
            log.warning("detector %03d is left out: %s", number, rejection)
            facts |= {"status": "REJECTED", "reason": str(rejection)}
            entry = {k: facts[k] for k in ("detector", "status", "reason")} | {"counts": {}}
            return empty("forced"), entry, packet.container([], facts)
        objects = forced.objects_on(
            self.database, self.now, difference, self.config["forced_detections"]
        )
        targets = list(self.config["targets"] or [])
        aperture = float(self.config.get("target_aperture_px", 0.0))
        measured = forced.measure(objects, targets, difference, calexp, self.moment.time, aperture)
        rows = take(self.association, self.association["detector"] == number)
        stamps = self.stamps(rows, (difference, calexp, template))
        alerts = self.alerts(rows, measured, stamps)
        counts = {"forced": n_rows(measured), "alerts": len(alerts)}
        log.info("detector %03d: %s", number, counts)
        entry = {"detector": number, "status": "OK", "reason": "", "counts": counts}
        return measured, entry, packet.container(alerts, facts)

    def alerts(self, rows: Table, measured: Table, stamps: list[dict]) -> list[dict]:
        """Assemble the alerts of a detector with their histories."""
        ids = np.unique(rows["diaObjectId"][rows["diaObjectId"] != 0])
        months = self.config["history_months"]
        names = [n for n in packet.fields("diaSource") if n in self.database.columns("DiaSource")]
        past = history.sources_of(self.database, self.moment, ids, names, months)
        names = list(packet.fields("diaForcedSource"))
        before = history.forced_of(self.database, self.moment, ids, names, months)
        mine = take({name: measured[name] for name in names}, np.isin(measured["diaObjectId"], ids))
        both = sort_by(stack([before, mine]), "diaObjectId", "midpointMjdTai", "diaForcedSourceId")
        return packet.alerts(rows, past, both, stamps, self.visit)

    def stamps(self, rows: Table, exposures: tuple[Exposure, ...]) -> list[dict[str, bytes]]:
        """Cut the three stamps of every source of a detector."""
        if n_rows(rows) == 0:
            return []
        small, large = self.config["cutout_smallest_px"], self.config["cutout_largest_px"]
        places = zip(rows["x"].tolist(), rows["y"].tolist(), rows["bboxSize"].tolist(), strict=True)
        boxes = [cutouts.box_round(x, y, size, small, large) for x, y, size in places]
        result: list[dict[str, bytes]] = [{} for _ in boxes]
        for name, exposure in zip(STAMPS, exposures, strict=True):
            cutter = cutouts.Cutter(exposure)
            psfs = cutter.psfs(rows["x"], rows["y"])
            for index, box in enumerate(boxes):
                psf = None if psfs is None else psfs[index]
                result[index][name] = cutter.cut(box, psf)
        return result
