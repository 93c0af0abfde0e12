"""What DayMOPS has learned about earlier sources reaches the database, as a state of the fold.

A source that association took for a new DIAObject, and that linking gave to an asteroid, moves to
the solar-system object. Rubin's package does this with the wall clock and for good; here the time
comes from the data and every old value goes to a journal, so that rolling back to any visit and
going on again leads to the same database.

References
----------
DMTN-293; lsst.dax.apdb.Apdb.reassignDiaSourcesToSSObjects (columns that change).
"""

import logging
from collections.abc import Mapping

import numpy as np

from alertprod.core.apdb import fold, history, replay
from alertprod.core.apdb.connection import Database
from alertprod.core.apdb.create import open_database
from alertprod.core.stage import stage
from alertprod.core.tables import Table, conform, empty, n_rows, sort_by

log = logging.getLogger(__name__)
COLUMNS = ["diaSourceId", "diaObjectId", "ssObjectId", "midpointMjdTai", "timeWithdrawnMjdTai"]
EVER = 1e6  # months


@stage("associate", outputs=("reassigned",))
def reassign_sources(
    attributed: Table | None, *, visit: Mapping, fold_context: Mapping, config: Mapping
) -> tuple[Table, dict]:
    """Give sources to the solar-system objects that were found in them.

    Parameters
    ----------
    attributed : dict of arrays, or None
        Product ``attributed`` of the night.
    visit : mapping
        The last visit of the night: ``visit``, ``midpoint_mjd_tai``, ``instrument``.
    fold_context, config : mapping
        See `alertprod.associate.visit.associate_visit`.

    Returns
    -------
    reassigned : dict of arrays
        Product ``reassigned``, sorted by source: those that had no solar-system object yet.
    metadata : dict
        For `write_table`: the state of the fold.
    """
    state = fold.next_state(fold.REASSIGN, visit, fold_context, config)
    settings = fold.settings_of(fold_context, config)

    def change(database: Database, seq: int, time: float, store: bool) -> Table:
        moment = history.Moment(seq, time, state.midpoint, inclusive=True)
        found = reassigned(database, moment, attributed)
        if store:
            replay.store_reassigned(database, state, found)
        return found

    chain = fold_context.get("chain", "")
    with open_database(fold_context["database"], visit["instrument"], chain) as database:
        table = fold.transition(database, state, settings, change)
    log.info(
        "%d sources move to solar-system objects, %d DIAObjects end",
        n_rows(table),
        len(np.unique(table["diaObjectId"][table["closed"]])),
    )
    return table, state.metadata()


def reassigned(database: Database, moment: history.Moment, attributed: Table | None) -> Table:
    """Return which sources move, as of a moment, and which DIAObjects they leave empty."""
    if not attributed or not n_rows(attributed):
        return empty("reassigned")
    rows = history.sources(database, moment, attributed["diaSourceId"], COLUMNS)
    free = rows["ssObjectId"] == 0
    wanted = dict(
        zip(attributed["diaSourceId"].tolist(), attributed["ssObjectId"].tolist(), strict=True)
    )
    source, owner = rows["diaSourceId"][free], rows["diaObjectId"][free]
    objects = np.unique(owner[owner != 0])
    left = history.sources_of(database, moment, objects, COLUMNS, EVER)
    staying = left["diaObjectId"][~np.isin(left["diaSourceId"], source)]
    table = {
        "diaSourceId": source,
        "ssObjectId": np.array([wanted[int(i)] for i in source], dtype=np.int64),
        "diaObjectId": owner,
        "ssObjectReassocTimeMjdTai": np.full(len(source), moment.time),
        "closed": (owner != 0) & ~np.isin(owner, staying),
    }
    return conform(sort_by(table, "diaSourceId"), "reassigned")
