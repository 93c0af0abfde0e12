"""``snakemake --profile slurm`` on four nodes: the same bytes as on one machine."""

import importlib.util
import shutil
import time
from pathlib import Path

import pytest
import tiny_night as tiny
import yaml

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.integration


def _module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


slurm = _module(ROOT / "tests" / "integration" / "slurm_cluster.py")
common = _module(ROOT / "tests" / "conftest.py")
#: There is no accounting database here; everything else is the profile as it is shipped.
OPTIONS = ("--profile", "slurm", "--slurm-no-account", "--slurm-status-command", "squeue")
FAST = ("--seconds-between-status-checks", "2", "--slurm-init-seconds-before-status-checks", "5")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A night that was run on this machine."""
    survey = tmp_path_factory.mktemp("survey")
    tiny.simulate(survey)
    folder = tmp_path_factory.mktemp("local") / "night"
    folder.mkdir()
    night = tiny.Night.from_survey(survey, folder)
    night.run()
    return night


@pytest.fixture
def cluster():
    """A running cluster."""
    why = slurm.missing()
    if why:
        common.skip_or_fail("slurm", why)
    cluster = slurm.Cluster()
    try:
        yield cluster.start()
    finally:
        cluster.stop()


def slice_of(night, folder: Path):
    """Take the first night's two visits out of a copy, to be made again on the cluster."""
    copied = night.copy(folder)
    (folder / "slurm").symlink_to(ROOT / "slurm")
    path = folder / "overlay.yaml"
    overlay = yaml.safe_load(path.read_text(encoding="utf-8"))
    overlay["select"] = {"visits": [tiny.FIRST, tiny.SECOND]}
    path.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    shutil.rmtree(copied.results / tiny.FIRST[:8])
    shutil.rmtree(copied.results / "db")
    return copied


def of_night(products: dict[str, str]) -> dict[str, str]:
    """Return the products of the night that is made again."""
    return {name: value for name, value in products.items() if name.startswith(tiny.FIRST[:8])}


def test_four_nodes_give_the_bytes_of_one_machine(night, cluster, tmp_path):
    remote = slice_of(night, tmp_path / "remote")
    words = tiny.insist(remote.snakemake(*OPTIONS, *FAST))
    assert "submitted with SLURM jobid" in words
    assert of_night(remote.products()) == of_night(night.products())


def test_a_node_that_dies_costs_time_and_nothing_else(night, cluster, tmp_path):
    remote = slice_of(night, tmp_path / "remote")
    process = remote.start(*OPTIONS, *FAST)
    end = time.monotonic() + 120
    while not (name := cluster.busy_node()):
        assert time.monotonic() < end, remote.words()
        assert process.poll() is None, remote.words()
        time.sleep(0.5)
    time.sleep(4)
    assert cluster.kill_node(name) > 0
    assert process.wait(tiny.LIMIT_S) == 0, remote.words()
    assert "down" in cluster.states() or "down*" in cluster.states()
    assert of_night(remote.products()) == of_night(night.products())
