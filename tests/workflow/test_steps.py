"""Step by step on one core elsewhere: the same bytes; and what an edit of a stage runs again."""

import shutil

import pytest

pytestmark = pytest.mark.workflow
FOLD = {"associate_visit", "package_alerts", "publish_visit", "reassign_sources"}
QUALITY = {"measure_visit", "show_asteroids", "summarize_night"}
DAYMOPS = {"make_tracklets", "link_tracklets", "fit_orbits", "report_discoveries"}
#: A later night predicts what earlier nights have found.
PREDICT = {"predict_night", "predict_visit"}
AFTER = FOLD | QUALITY | DAYMOPS | PREDICT | {"sync_apdb", "store_moving_objects", "all"}


def test_cores_granularity_and_directory_do_not_change_a_byte(stepwise, expected):
    products, database = stepwise.products(), stepwise.database()
    assert set(products) == set(expected[0])
    assert {n for n in products if products[n] != expected[0][n]} == set()
    assert database == expected[1]


def test_temporary_products_are_gone(stepwise):
    assert not list(stepwise.results.rglob("isr.fits"))


@pytest.fixture(scope="module")
def clone(tiny, tmp_path_factory):
    """Make copies of the clone, each with an edited module."""

    def edited(module: str):
        folder = tmp_path_factory.mktemp("clone")
        for name in ("workflow", "scripts", "envs"):
            shutil.copytree(tiny.ROOT / name, folder / name)
        shutil.copy(tiny.ROOT / "Snakefile", folder)
        path = folder / "scripts" / "alertprod" / module
        path.write_text(path.read_text() + "\nEDITED = True\n")
        return folder

    return edited


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        ("difference/solve.py", {"subtract_template", "measure_sources"} | AFTER),
        ("sources/measure.py", {"measure_sources"} | AFTER),
        ("associate/assign.py", AFTER),
        ("quality/text.py", QUALITY | {"all"}),
        ("job.py", set()),
    ],
)
def test_edit_of_a_stage_reruns_that_stage_and_what_follows(stepwise, tiny, clone, module, rules):
    edited = tiny.Night(stepwise.folder, clone(module))
    assert set(edited.plan()) == rules


def test_edit_of_daymops_reruns_the_associations_of_later_nights_only(stepwise, tiny, clone):
    counts = tiny.Night(stepwise.folder, clone("daymops/linking.py")).plan()
    assert set(counts) == AFTER
    assert counts["associate_visit"] == 1 and counts["make_tracklets"] == 2
