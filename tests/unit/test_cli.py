"""The command line itself."""

import subprocess
import sys

import pytest

from alertprod.cli import build_parser, main


def test_every_command_says_what_it_does():
    parser = build_parser()
    (actions,) = [a for a in parser._actions if hasattr(a, "choices") and a.choices]
    assert {"ingest", "refcat"} <= set(actions.choices)
    assert all(action.help for action in actions._choices_actions)


def test_help_is_quick_because_parsers_import_nothing_heavy(root):
    code = "import sys; import alertprod.cli as c; c.build_parser(); print(*sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=root / "scripts",
    ).stdout.split()
    assert not {"numba", "astropy", "scipy", "pandas", "pyarrow"} & set(out)


def test_no_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "usage: alertprod" in capsys.readouterr().err
