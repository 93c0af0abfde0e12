"""Who may import whom: rules -> scripts -> one stage -> core, instruments -> the world."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
LIBRARY = SCRIPTS / "alertprod"
SHARED = {"core", "instruments"}
#: What a module may import besides its own package and what all share.
ALLOWED = {
    "core": set(),
    "instruments": {"core"},
    "simulate": set(),
    "commands": None,  # the command line stands above everything
    "cli": {"commands", "core"},
    "job": SHARED,
    "process": None,
}
#: Too slow to load in every pixel job; needed only inside some function, if at all.
SLOW = {"pandas", "matplotlib", "photutils", "ccdproc", "scipy.signal", "sklearn", "galsim"}
SLOW |= {"lsst.dax.apdb", "astropy.coordinates", "astropy.table", "astropy.io"}
PACKAGES = sorted(p.name for p in LIBRARY.iterdir() if (p / "__init__.py").exists())
STAGES = [name for name in PACKAGES if name not in {"core", "instruments", "simulate", "commands"}]
MODULES = sorted(LIBRARY.rglob("*.py"))
JOBS = sorted(SCRIPTS.glob("*.py"))


def imported(tree):
    """Return the names of the modules that a tree imports, with `from a import b` as a.b, too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "use absolute imports"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def parts_of_library(names):
    """Return the packages and modules of the library among the names of modules."""
    known = {*PACKAGES, *(p.stem for p in LIBRARY.glob("*.py"))}
    found = {name.split(".")[1] for name in names if name.startswith("alertprod.")}
    return found & known


def home(path):
    """Return the package of the library (or the module directly in it) to which a file belongs."""
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    return parts[0]


def identified(path):
    return str(path.relative_to(ROOT))


def test_modules_import_only_what_lies_below_them():
    wrong = {}
    for path in MODULES:
        mine = home(path)
        allowed = ALLOWED.get(mine, SHARED)
        used = parts_of_library(imported(parsed(path))) - {mine}
        if allowed is None:
            allowed = used - {"simulate"}
        if not used <= allowed:
            wrong[identified(path)] = used - allowed
    assert not wrong


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_script_uses_one_stage_or_the_composer(path):
    used = parts_of_library(imported(parsed(path))) - SHARED - {"job"}
    assert len(used) <= 1, f"more than one stage: {sorted(used)}"
    assert used <= {*STAGES, "process", "simulate"}


def test_a_stage_exists_for_every_word_of_the_design():
    assert {"calibs", "isr", "calibrate", "template", "difference", "sources"} <= set(STAGES)
    assert {"ephemerides", "associate", "alerts", "daymops", "quality"} <= set(STAGES)


def test_only_the_job_module_knows_the_engine():
    for path in MODULES:
        tree = parsed(path)
        assert not {name for name in imported(tree) if name.split(".")[0] == "snakemake"}, path
        if path in (LIBRARY / "job.py", LIBRARY / "simulate" / "job.py"):
            continue
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        assert "snakemake" not in names, path


def test_slow_packages_are_imported_only_where_they_are_used():
    wrong = {}
    for path in MODULES:
        if home(path) in {"simulate", "ingest"}:
            continue
        top = ast.Module([node for node in parsed(path).body if not _is_definition(node)], [])
        names = imported(top)
        slow = {n for n in names for one in SLOW if n == one or n.startswith(f"{one}.")}
        if slow:
            wrong[identified(path)] = slow
    assert not wrong


def _is_definition(node):
    return isinstance(node, ast.FunctionDef | ast.ClassDef)


def test_simulator_and_algorithms_share_no_code():
    for path in (LIBRARY / "simulate").glob("*.py"):
        assert parts_of_library(imported(parsed(path))) <= {"simulate"}, path.name


def test_the_walk_sees_an_offender():
    tree = ast.parse(
        "def f():\n    from alertprod.isr.snaps import combine\n    import snakemake\n"
    )
    assert parts_of_library(imported(tree)) == {"isr"}
    assert "snakemake" in imported(tree)
