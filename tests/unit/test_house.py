"""Rules of the house that a reader should not have to remember."""

import ast
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "scripts" / "alertprod"
MODULES = sorted([*LIBRARY.rglob("*.py"), *(ROOT / "scripts").glob("*.py")])
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
LONGEST_MODULE, LONGEST_FUNCTION, MOST_PARAMETERS = 400, 60, 7
#: Written in pieces, so that this file passes its own test.
PLACES = re.compile(r"(?<![\w.*<>}{$-])/(?:" + "|".join(["work", "home", "root", "Users"]) + r")/")
INDEXES = re.compile(
    "|".join(["pypi" + r"\.", "python" + "hosted", "index" + "-url", "ana" + "conda"])
)
TEXT = {".py", ".smk", ".yaml", ".yml", ".md", ".rst", ".toml", ".txt", ".lock", ".cff", ".jinja"}
BLOCK = re.compile(r"^rule (\w+):\n((?:[ \t]+.*\n|\n)+)", re.M)


def repository_files():
    """Return the files under version control (or all, where there is no git)."""
    found = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if found.returncode == 0:
        paths = [ROOT / name for name in found.stdout.split("\0") if name]
    else:
        paths = [p for p in ROOT.rglob("*") if not any(q.startswith(".") for q in p.parts)]
    return [p for p in paths if p.is_file() and (p.suffix in TEXT or p.suffix == "")]


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def rules():
    """Return rule name -> (file, text) of all rules."""
    found = {}
    for path in RULES:
        for name, text in BLOCK.findall(path.read_text(encoding="utf-8") + "\n"):
            found[path.name, name] = (path, text)
    return found


def identified(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("pattern", [PLACES, INDEXES], ids=["machine paths", "package indexes"])
def test_repository_names_no_place_of_its_making(pattern):
    found = []
    for path in repository_files():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [
            f"{path.relative_to(ROOT)}:{n}: {line.strip()}"
            for n, line in enumerate(lines, 1)
            if pattern.search(line)
        ]
    assert not found, "\n".join(found)


def test_the_patterns_would_find_an_offender():
    assert PLACES.search("open('/" + "home/someone/data')")
    assert INDEXES.search("pip install --index" + "-url x")
    assert not PLACES.search("<results>/work/x and ../home/y")


def test_modules_are_short():
    lengths = {identified(p): len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES}
    assert not {name: n for name, n in lengths.items() if n >= LONGEST_MODULE}


def test_functions_are_short():
    long = {
        f"{identified(path)}:{node.name}": length
        for path in MODULES
        for node in functions(path)
        if (length := node.end_lineno - node.lineno + 1 - _docstring_lines(node))
        >= LONGEST_FUNCTION
    }
    assert not long


def test_functions_have_few_parameters():
    """A stage's parameters are a rule's inputs, and compiled loops take plain arrays."""
    many = {
        f"{identified(path)}:{node.name}": count
        for path in MODULES
        for node in functions(path)
        if not _decorators(node) & {"stage", "njit", "jit", "vectorize", "guvectorize"}
        and (count := _parameters(node)) > MOST_PARAMETERS
    }
    assert not many


def _parameters(node):
    named = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")])


def _docstring_lines(node):
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
        return first.end_lineno - first.lineno + 1
    return 0


def _decorators(node):
    calls = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return {getattr(call, "id", getattr(call, "attr", "")) for call in calls}


def test_compiled_loops_do_not_trade_truth_for_speed():
    for path in MODULES:
        found = re.findall(r"\b(?:fastmath|parallel)\s*=\s*True", path.read_text(encoding="utf-8"))
        assert not found, identified(path)


def test_public_functions_say_what_they_do():
    silent = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        public = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        public = [node for node in public if not node.name.startswith("_")]
        silent += [
            f"{identified(path)}:{getattr(node, 'name', '')}"
            for node in (tree, *public)
            if not ast.get_docstring(node)
        ]
    assert not silent


@pytest.mark.parametrize("key", sorted(rules()), ids="/".join)
def test_rule_has_environment_log_benchmark_and_a_script_of_its_name(key):
    path, text = rules()[key]
    assert '"""' in text, "a rule says in a line what it does"
    assert "run:" not in text.split(), "no run: blocks"
    script = re.search(r'script:\s*"([^"]+)"', text)
    if script is None:
        assert "input:" in text and "output:" not in text, "only a target may have no script"
        return
    where = (path.parent / script.group(1)).resolve()
    assert where.is_file() and where.stem == key[1]
    environment = re.search(r'conda:\s*"([^"]+)"', text)
    assert environment and (path.parent / environment.group(1)).resolve().is_file()
    assert "log:" in text and "benchmark:" in text


def test_every_script_belongs_to_a_rule():
    named = {name for _, name in rules()}
    simulator = (ROOT / "workflow" / "simulate.smk").read_text(encoding="utf-8")
    named |= set(re.findall(r"scripts/(simulate_\w+)\.py", simulator))
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} == named


def test_conda_environment_agrees_with_the_lock():
    spec = importlib.util.spec_from_file_location("make", ROOT / "envs" / "make_pipeline.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    stored = (ROOT / "envs" / "pipeline.yaml").read_text(encoding="utf-8")
    assert stored == maker.environment(), "run: python envs/make_pipeline.py"
    locked = maker.pinned((ROOT / "envs" / "requirements.lock").read_text(encoding="utf-8"))
    assert yaml.safe_load(stored)["dependencies"][-1]["pip"] == locked
    assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.+!]+", line) for line in locked)
