"""Alert production that anyone can run."""

import hashlib
import os
from pathlib import Path

__version__ = "0.1.0"


def _compiled_code() -> str:
    """Return a directory for compiled pixel loops that changes whenever any of them does.

    Numba looks at the file of a compiled function only, not at those of the functions it calls.
    It lies beside the clone, not beside the sources, which may be read-only.
    """
    total = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        text = path.read_bytes()
        if b"njit" in text:
            total.update(text)
    return str(Path(__file__).parents[2] / ".cache" / "numba" / total.hexdigest()[:12])


# Same inputs, same bytes: threaded BLAS sums in an order that depends on the machine's load.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = _compiled_code()
