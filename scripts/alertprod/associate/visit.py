"""One visit of the fold: filter, attribute, match, summarise, store."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alertprod.associate import filters, objects, solar_system
from alertprod.associate.assign import match_objects
from alertprod.core.apdb import fold, history, replay
from alertprod.core.apdb.connection import Database
from alertprod.core.apdb.create import open_database
from alertprod.core.apdb.rows import bounding_circle
from alertprod.core.errors import Rejected
from alertprod.core.stage import stage
from alertprod.core.tables import (
    Table,
    conform,
    empty,
    n_rows,
    read_table,
    sort_by,
    stack,
    take,
)

log = logging.getLogger(__name__)
MATCH_COLUMNS = ["diaObjectId", "ra", "dec", "raErr", "decErr", "nDiaSources"]
MATCH_COLUMNS += ["firstDiaSourceMjdTai"]


@dataclass
class Detector:
    """What a detector contributes, and its line in the ledger."""

    number: int
    sources: Table | None = None
    status: str = "OK"
    reason: str = ""
    counts: dict[str, int] = field(default_factory=dict)

    def reject(self, reason: str) -> None:
        """Leave this detector out of the visit."""
        self.sources, self.status, self.reason = None, "REJECTED", reason
        log.warning("detector %03d is left out: %s", self.number, reason)

    def entry(self) -> dict:
        """Return the line of the ledger."""
        return {
            "detector": self.number,
            "status": self.status,
            "reason": self.reason,
            "counts": self.counts,
        }


@stage("associate", outputs=("association",))
def associate_visit(
    dia_sources: Iterable | Mapping,
    predicted: Table | None,
    *,
    visit: Mapping,
    fold_context: Mapping,
    config: Mapping,
) -> tuple[Table, dict]:
    """Associate the detections of a visit with solar-system objects and DIAObjects.

    Parameters
    ----------
    dia_sources : list of paths, or dict of detector -> path or table
        Product ``dia_sources`` of each detector; rejected ones are passed over with a line in
        the ledger. From a bare path the detector is the name of its directory.
    predicted : dict of arrays, or None
        Product ``predicted`` of the visit; None or empty: no predictions.
    visit : mapping
        ``visit``, ``midpoint_mjd_tai``, ``instrument``.
    fold_context : mapping
        ``database`` (URL or path), ``root`` (results directory), ``parent_file`` (product of the
        previous state, relative to root, None for the first), ``inputs`` (name -> content
        digest), ``code`` (digest), and optionally ``chain`` (name of the survey), ``planned``
        (visits of this run), ``allow_rollback`` (else that of config), ``now`` (processing time
        [MJD TAI]; the midpoint by default).
    config : mapping
        Section ``associate``.

    Returns
    -------
    association : dict of arrays
        One row per DIASource that entered the database, sorted by identifier, with the new
        version of its DIAObject and its solar-system object; enough to rebuild the database.
    metadata : dict
        For `write_table`: the state of the fold and the ledger.

    Raises
    ------
    BadInput
        See `alertprod.core.apdb.fold.transition` and `alertprod.core.apdb.create.adopt`.
    """
    detectors = load(dia_sources, config)
    if not predicted:
        predicted = None
    elif "visit" in predicted:
        predicted = take(predicted, predicted["visit"] == int(visit["visit"]))
    state = fold.next_state(fold.ASSOCIATE, visit, fold_context, config)
    settings = fold.settings_of(fold_context, config)
    entries: list[dict] = []

    def change(database: Database, seq: int, time: float, store: bool) -> Table:
        moment = history.Moment(seq, time, state.midpoint)
        association = associate(database, moment, detectors, predicted, config)
        entries[:] = [detector.entry() for detector in detectors]
        if store:
            replay.store_association(database, association, time)
            replay.store_ledger(database, state, entries)
        return association

    chain = fold_context.get("chain", "")
    with open_database(fold_context["database"], visit["instrument"], chain) as database:
        association = fold.transition(database, state, settings, change)
    _report(association, entries)
    return association, {**state.metadata(), "ledger": entries}


def load(dia_sources: Iterable | Mapping, config: Mapping) -> list[Detector]:
    """Read and filter the detections of each detector, in the order of the detectors."""
    if not isinstance(dia_sources, Mapping):
        dia_sources = {int(Path(path).parent.name): path for path in dia_sources}
    result = []
    for number in sorted(dia_sources):
        detector = Detector(number)
        result.append(detector)
        try:
            table = dia_sources[number]
            if not isinstance(table, Mapping):
                table = read_table(table)
        except Rejected as rejection:
            detector.reject(str(rejection))
            continue
        kept, removed = filters.keep(table, dict(config))
        detector.counts = {"detected": n_rows(table), "kept": int(kept.sum()), **removed}
        detector.sources = conform(take(table, kept), "association")
    return result


def associate(
    database: Database,
    moment: history.Moment,
    detectors: list[Detector],
    predicted: Table | None,
    config: Mapping,
) -> Table:
    """Associate the sources of all detectors with what the database knew at a moment.

    A detector with too many new objects is rejected, and the rest associated once more.
    """
    used = [d for d in detectors if d.sources is not None and n_rows(d.sources)]
    if not used:
        return empty("association")
    # Columns that only associated rows can have are made below; rows are not complete yet.
    sources = sort_by(stack([d.sources for d in used if d.sources is not None]), "diaSourceId")
    sources["timeProcessedMjdTai"] = np.full(n_rows(sources), moment.time)
    sso, columns = solar_system.attribute(sources, predicted, dict(config))
    known = _known_objects(database, moment, sources, config)
    free = np.flatnonzero(sso < 0)
    partner = np.full(n_rows(sources), -1, dtype=np.int64)
    partner[free] = match_objects(take(sources, free), known, dict(config))
    new = (sso < 0) & (partner < 0) & filters.clean(sources, dict(config))
    crowded = _reject_crowded(used, sources, new, config)
    if crowded:
        return associate(database, moment, detectors, predicted, config)
    sources |= columns
    sources["ssObjectId"] = np.where(sso >= 0, sources.get("ssSource_ssObjectId", 0), 0)
    matched = partner >= 0
    sources["diaObjectId"] = np.where(new, sources["diaSourceId"], 0)
    if matched.any():
        sources["diaObjectId"][matched] = known["diaObjectId"][partner[matched]]
    kept = (sso >= 0) | matched | new
    _count(used, sources, {"sso": sso >= 0, "matched": matched, "new": new, "dropped": ~kept})
    sources = take(sources, kept)
    sources |= _object_columns(database, moment, sources, known, config)
    return conform(sources, "association")


def _known_objects(database, moment, sources: Table, config: Mapping) -> Table:
    """Read the DIAObjects near the sources."""
    margin = 2.0 * config["radius_arcsec"] / 3600.0
    circle = bounding_circle(sources["ra"], sources["dec"], margin)
    return history.objects_in_circle(database, moment, circle, MATCH_COLUMNS)


def _reject_crowded(used: list[Detector], sources: Table, new, config: Mapping) -> bool:
    """Reject detectors with more new objects than a sane subtraction can have."""
    limit, found = config["max_new_objects"], False
    for detector in used:
        count = int((new & (sources["detector"] == detector.number)).sum())
        if count > limit:
            detector.reject(f"{count} new objects on one detector, more than {limit}")
            found = True
    return found


def _count(used: list[Detector], sources: Table, masks: dict) -> None:
    for detector in used:
        here = sources["detector"] == detector.number
        detector.counts |= {name: int((mask & here).sum()) for name, mask in masks.items()}


def _object_columns(database, moment, sources: Table, known: Table, config: Mapping) -> Table:
    """Compute the new versions of the DIAObjects and lay them beside their sources."""
    ids = np.unique(sources["diaObjectId"])
    ids = ids[ids != 0]
    if len(ids) == 0:
        return {}
    months = config["history_months"]
    old = np.intersect1d(ids, known["diaObjectId"])
    past = history.sources_of(database, moment, old, objects.SOURCE_COLUMNS, months)
    fresh = take(
        {name: sources[name] for name in objects.SOURCE_COLUMNS}, sources["diaObjectId"] != 0
    )
    forced = history.forced_of(database, moment, old, objects.FORCED_COLUMNS, months)
    versions = objects.summarise(ids, stack([past, fresh]), forced)
    versions["validityStartMjdTai"] = np.full(len(ids), moment.time)
    # Counts and first time go on beyond the months of history that the statistics use.
    place = np.searchsorted(ids, old)
    before = np.searchsorted(known["diaObjectId"], old)
    versions["nDiaSources"][place] = known["nDiaSources"][before] + 1
    first = known["firstDiaSourceMjdTai"][before]
    versions["firstDiaSourceMjdTai"][place] = np.fmin(
        versions["firstDiaSourceMjdTai"][place], first
    )
    row = np.searchsorted(ids, sources["diaObjectId"])
    owned = sources["diaObjectId"] != 0
    result = {}
    for name, column in versions.items():
        blank = np.nan if column.dtype.kind == "f" else 0
        wide = np.full(len(row), blank, dtype=column.dtype)
        wide[owned] = column[row[owned]]
        result[replay.OBJECT_PREFIX + name] = wide
    return result


def _report(association: Table, entries: list[dict]) -> None:
    for entry in entries:
        log.info(
            "detector %03d %s %s %s",
            entry["detector"],
            entry["status"],
            json.dumps(entry["counts"], sort_keys=True),
            entry["reason"],
        )
    log.info(
        "%d sources: %d solar-system, %d with an object",
        n_rows(association),
        int((association["ssObjectId"] != 0).sum()),
        int((association["diaObjectId"] != 0).sum()),
    )
