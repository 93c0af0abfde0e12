"""What every job of ``workflow/simulate.smk`` needs."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("alertprod.simulate")


@contextmanager
def logged(snakemake) -> Iterator[None]:
    """Log to the rule's file how long it took, or why it failed."""
    Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=snakemake.log[0], filemode="w", level=logging.INFO)
    start = time.process_time()
    try:
        yield
    except Exception:
        log.exception("%s failed", snakemake.rule)
        print(f"{snakemake.rule} failed; see {snakemake.log[0]}", file=sys.stderr)
        sys.exit(1)
    log.info("%s took %.1f s of CPU", snakemake.rule, time.process_time() - start)
