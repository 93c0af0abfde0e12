"""Runs that are killed without warning, and started again with the same command."""

import shutil
import time

import numpy as np
import pytest

pytestmark = pytest.mark.workflow


def wait_for_jobs(night, process, number: int, limit: float) -> None:
    """Wait until a run has finished some jobs (or has ended)."""
    before = night.words().count("Finished jobid")
    deadline = time.monotonic() + limit
    while process.poll() is None and time.monotonic() < deadline:
        if night.words().count("Finished jobid") >= before + number:
            return
        time.sleep(0.05)


def test_killed_run_ends_with_the_same_products_when_started_again(night, expected, tiny, tmp_path):
    broken = night.copy(tmp_path / "night")
    for name in (*tiny.NIGHTS, "db"):
        shutil.rmtree(broken.results / name)
    orphan = broken.visit(tiny.THIRD) / "001" / ".difference.fits.4711.0badcafe.tmp"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"half a pro")
    rng = np.random.default_rng(20261008)
    killed = 0
    # Snakemake alone (its jobs must see to their own end), then everything, then alone again.
    for group, (least, most) in ((False, (1, 4)), (True, (4, 8)), (False, (4, 9))):
        process = broken.start("-c2")
        wait_for_jobs(broken, process, int(rng.integers(least, most)), tiny.LIMIT_S)
        time.sleep(rng.uniform(0.0, 1.5))
        killed += process.poll() is None
        tiny.kill(process, group=group)
        broken.unlock()
    assert killed == 3
    broken.run()
    assert broken.products() == expected[0]
    assert broken.database() == expected[1]
    assert not list(broken.results.rglob("*.tmp"))
    assert "Nothing to be done" in broken.run()


def test_job_ends_with_its_parent(tiny, tmp_path):
    import os
    import signal
    import subprocess
    import sys

    code = (
        "import os, subprocess, sys\n"
        "child = 'import time; from alertprod.job import die_with_parent; die_with_parent(); '"
        "        'print(1, flush=True); time.sleep(600)'\n"
        "process = subprocess.Popen([sys.executable, '-c', child], stdout=subprocess.PIPE)\n"
        "process.stdout.readline()\n"
        "print(process.pid, flush=True)\n"
        "process.wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=tiny.environment(), stdout=subprocess.PIPE, text=True
    )
    with parent:
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and alive(child):
        time.sleep(0.05)
    left = alive(child)
    if left:
        os.kill(child, signal.SIGKILL)
    assert not left


def alive(pid: int) -> bool:
    """Say whether a process runs (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as handle:
            return handle.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
