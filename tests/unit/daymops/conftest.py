"""A small simulated sky, made by the benchmark's generator (N-body, astropy; nothing of ours)."""

import moving_sky
import moving_world
import pytest


@pytest.fixture(scope="session", name="moving_sky")
def moving_sky_module():
    """The generator module of the benchmarks."""
    return moving_sky


@pytest.fixture(scope="session")
def small_sky():
    """Some thirty objects in nine square degrees over ten nights."""
    return moving_sky.simulate(
        seed=5, nights=10, half=(1.5, 1.5), lost=(4,),
        counts={"main": 500, "tno": 50, "trojan": 50},
    )  # fmt: skip


@pytest.fixture(scope="session")
def nights(small_sky):
    """Associations of each night: {night: [table per visit]}."""
    return moving_sky.by_visit(small_sky)


@pytest.fixture(scope="session")
def tracklets(nights):
    """Tracklet tables of all nights."""
    from alertprod.daymops import make_tracklets

    return [make_tracklets(tables, config={}) for tables in nights.values()]


@pytest.fixture(scope="session")
def linkages(tracklets):
    """Linkages over all nights."""
    from alertprod.daymops import link_tracklets

    return link_tracklets(tracklets, config={})


@pytest.fixture(scope="session", name="moving_world")
def moving_world_module():
    """The module that makes nights with found objects out of nothing but tables."""
    return moving_world


@pytest.fixture
def world(tmp_path):
    """Three nights: two objects found, one found and one seen again, nothing new."""
    world = moving_world.World(tmp_path)
    world.write(0, new=(1, 2))
    world.write(1, new=(3,), seen={1: (1,)})
    world.write(2, seen={2: (2,)})
    return world
