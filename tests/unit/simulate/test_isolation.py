"""The simulator shares no code with the pipeline."""

import ast
import subprocess
import sys


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_module_of_the_simulator_names_another_part_of_the_library(root):
    files = sorted((root / "scripts" / "alertprod" / "simulate").glob("*.py"))
    files += sorted((root / "scripts").glob("simulate_*.py"))
    assert len(files) > 10
    for path in files:
        ours = [name for name in imported(path) if name.split(".")[0] == "alertprod"]
        foreign = [n for n in ours if n != "alertprod" and not n.startswith("alertprod.simulate")]
        assert not foreign, f"{path.name} imports {foreign}"


def test_importing_the_simulator_loads_no_other_part_of_the_library(root):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import alertprod.simulate.survey;"
        "print(*[m for m in sys.modules if m.startswith('alertprod.')"
        " and not m.startswith('alertprod.simulate')])"
    )
    command = [sys.executable, "-c", program, str(root / "scripts")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""
