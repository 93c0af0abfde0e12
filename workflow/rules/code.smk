"""
Digests of the library's code: an edit reruns just the stages that it touches.

Snakemake compares script times, not what a script imports; so every rule carries, among its
params, a digest of its stage's package and of all it imports from the library.
"""

import hashlib
import re
from functools import cache
from pathlib import Path

LIBRARY = Path(workflow.basedir) / "scripts"
# What only carries messages and files about changes no product.
PLUMBING = {"alertprod", "alertprod.job", "alertprod.core.errors"}
PLANS_ONLY = {"start", "allow_rollback"}
IMPORT = re.compile(
    r"^\s*(?:from\s+(alertprod[\w.]*)\s+import\s+(\([^)]*\)|[^\n#]*)|import\s+(alertprod[\w.]*))",
    re.M,
)


@cache
def imports(name):
    """Return the library modules that a name names in its import statements."""
    text = source(name)
    names = set()
    for parent, members, whole in IMPORT.findall(text):
        if whole:
            names.add(whole)
            continue
        names.add(parent)
        names.update(f"{parent}.{name}" for name in re.findall(r"\w+", members))
    return frozenset(name for name in names if source(name) is not None)


@cache
def source(name):
    """Return the text of a library name, or None where there is no such name."""
    stem = LIBRARY / name.replace(".", "/")
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None


@cache
def code(stage):
    """Return the digest of a stage: its package and all it imports, however deep."""
    package = LIBRARY / "alertprod" / stage
    found = {f"alertprod.{stage}"} | {
        f"alertprod.{stage}.{path.stem}" for path in package.glob("*.py")
    }
    queue = sorted(found)
    while queue:
        name = queue.pop()
        if source(name) is None:
            continue
        new = imports(name) - found - PLUMBING
        found |= new
        queue += sorted(new)
    total = hashlib.sha256()
    for name in sorted(found - PLUMBING):
        total.update(f"{name}\n{source(name) or ''}".encode())
    return total.hexdigest()[:16]


def section(stage):
    """Return the configuration of a stage, without what only plans a run."""
    return {key: value for key, value in config[stage].items() if key not in PLANS_ONLY}


def settings(*stages):
    """Return what a rule's products depend on besides its files, one dict of each kind.

    Snakemake compares params as a set of values without names: two keys that swapped their
    values would go unnoticed, so there is one dict of sections and one of digests.
    """
    return {
        "sections": {stage: section(stage) for stage in stages},
        "code": {stage: code(stage) for stage in stages},
    }
