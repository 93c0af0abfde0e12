"""Alert production that anyone can run."""

import os
from pathlib import Path

__version__ = "0.1.0"

# Same inputs, same bytes: threaded BLAS sums in an order that depends on the machine's load.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# Compiled pixel loops live beside the clone, not beside the sources, which may be read-only.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[2] / ".cache" / "numba"))
