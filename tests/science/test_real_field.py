"""The real field, raw frames to light curve, against what the field itself and the sky say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import real_fakes
import real_field

pytestmark = pytest.mark.science


@pytest.fixture(scope="module")
def run(root, real_data):
    """Run the real field (what is there already is not made again); returns the figures."""
    folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "ALERTPROD_REAL_DATA": str(real_data),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["bash", "scripts/real_field.sh", "2"]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    figures = real_field.measure(root)
    print(real_field.text(figures))
    return figures


def test_frames_are_solved_from_a_pointing_that_drifts(run):
    assert run["solved"] >= 70
    assert run["tycho_least"] >= 8
    assert run["rms_worst"] < 0.6


def test_frames_are_registered_star_to_star(run):
    assert run["shift_worst"] <= 0.1
    assert run["scatter_median"] <= 0.1


def test_next_to_nothing_is_detected_where_nothing_changes(run):
    assert run["subtracted"] >= 70
    assert run["area"] >= 0.80
    assert run["positive"] < 1.5
    assert run["negative"] < 1.5


def test_fakes_are_found_and_kept(run, root):
    config, rows = real_field.load(root)
    chosen = rows[3::9]
    results = [real_fakes.recovered(row["folder"], config, seed=1) for row in chosen]
    kept = sum(kept for _, kept in results) / (60 * len(chosen))
    found = sum(found for found, _ in results) / (60 * len(chosen))
    print(f"fakes at S/N 12 to 30: {found:.3f} found, {kept:.3f} found and kept")
    assert kept >= 0.85


def test_the_planet_dims_its_star_as_published(run):
    for depth in (run["depth"], run["difference_depth"]):
        assert 0.016 < depth < 0.029
    assert abs(run["depth"] - run["difference_depth"]) < 0.006
    assert run["scatter"] <= 0.010
    assert abs(run["middle_off_minutes"]) < 10


def test_bright_stars_repeat(run):
    assert len(run["repeat"]) == 5
    assert max(run["repeat"]) <= 0.012
