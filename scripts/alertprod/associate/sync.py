"""A database that was deleted, restored or left behind follows its files again."""

from collections.abc import Iterable
from pathlib import Path

from alertprod.core.apdb import fold, replay
from alertprod.core.apdb.create import open_database


def sync_apdb(
    products: Iterable[str], database: str, *, root: str, instrument: str, chain: str = ""
) -> fold.State | None:
    """Bring the database to the last state that the products record, if it is not there yet.

    A database that holds that state already, and perhaps later nights that were not selected,
    stays as it is.

    Parameters
    ----------
    products : iterable of paths
        Products of the fold (``forced.parquet`` of the last visit of each night); the one of the
        latest state counts.
    database : str
        URL or path.
    root : str
        Results directory.
    instrument, chain : str
        Whose database it is.

    Returns
    -------
    State or None
        The last state of the products; None without products.
    """
    states = [(fold.state_of(Path(path)), Path(path)) for path in products]
    if not states:
        return None
    state, path = max(states, key=lambda entry: (entry[0].time, entry[0].step == fold.PACKAGE))
    settings = fold.Settings(root=Path(root), allow_rollback=True)
    with open_database(database, instrument, chain) as connection:
        connection.begin()
        if fold.number_of(connection, state.token) is None:
            replay.catch_up(connection, path, state.token, settings)
        connection.commit()
    return state
