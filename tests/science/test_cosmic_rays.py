"""How many cosmic rays are found, how few stars are hurt, and what it costs.

The sky is the simulator's; the truth is its map of the electrons that cosmic rays left.
"""

import time

import numpy as np
import pytest
import yaml

from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.instruments.camera import read_camera
from alertprod.isr import remove_signature
from alertprod.isr.lacosmic import find_cosmic_rays
from alertprod.simulate import api
from alertprod.simulate.hardware import chip
from alertprod.simulate.rawfile import write_raw

pytestmark = pytest.mark.science
VISIT, DETECTOR = 2026100900021, 0
SKY_SIGMA = 5.0  # a pixel that counts as hit, in units of the snap's noise


@pytest.fixture(scope="module")
def world(root, tmp_path_factory):
    """Two snaps of a rich field with cosmic rays: paths, truth, camera, configuration."""
    path = root / "config" / "instruments" / "simcam.yaml"
    rng = np.random.default_rng(1)
    n = 2500
    mag = 14.5 + 2.6 * np.log10(1 + 400 * rng.random(n)) / np.log10(2) * 0.36
    points = api.Points(
        ra=340.0 + rng.uniform(-0.01, 0.33, n) / np.cos(np.radians(8.4)),
        dec=-8.4 + rng.uniform(-0.33, 0.01, n),
        flux=10 ** (0.4 * (31.4 - mag)),
    )
    speed = 4e-4  # degrees in a snap: a fast asteroid
    start = np.array([[340.1, 340.1 + speed], [340.1 + 1.1 * speed, 340.1 + 2.1 * speed]])
    trails = api.Trails(
        ra=start[None], dec=np.full((1, 2, 2), -8.5), flux=np.array([10 ** (0.4 * 14.4)])
    )
    camera = api.read_camera(path)
    observation = api.Observation(
        VISIT, "r", 340.0, -8.4, begin=(61322.05, 61322.0508), exposure=60.0
    )
    made = api.simulate_detector(
        camera, DETECTOR, observation, api.Scene(points=points, trails=trails), seed=3
    )
    folder = tmp_path_factory.mktemp("raw")
    paths = write_snaps(folder, camera, observation, made)
    with open(root / "config" / "default.yaml", encoding="utf-8") as handle:
        config = yaml.safe_load(handle)["isr"]
    config["require"] = []
    return paths, made, read_camera(path), config, defects(camera)


def write_snaps(folder, camera, observation, made):
    """Write the snaps as the simulator does."""
    paths = []
    for k, snap in enumerate(made.snaps):
        header = {"IMGTYPE": "OBJECT", "TIMESYS": "TAI", "FILTER": "r_03", "EXPTIME": 60.0,
                  "MJD-BEG": observation.begin[k]}  # fmt: skip
        paths.append(folder / f"{k}.fits")
        write_raw(paths[-1], camera, camera.detectors[DETECTOR], header, snap.segments)
    return paths


def row():
    return {
        "visit": str(VISIT), "detector": "000", "night": "20261009", "purpose": "science",
        "band": "r", "physical_filter": "r_03", "midpoint_mjd_tai": "61322.0502",
        "exposure_s": "120", "ra": "340.0", "dec": "-8.4", "rotation": "0", "airmass": "1.0",
    }  # fmt: skip


def defects(root_camera):
    """The true defects as a defect map, so that hot pixels are not counted as rays."""
    state = chip(root_camera, root_camera.detectors[DETECTOR])
    bad = np.asarray(state.defects, bool)
    mask = np.where(bad, bits("BAD"), 0).astype(np.int32)
    return Exposure(bad, mask, np.ones(bad.shape), {"DETECTOR": DETECTOR})


def hit_pixels(made, snaps):
    """Pixels with a cosmic ray well above the noise, and the charge beneath."""
    charge = sum(made.snaps[k].cosmics for k in snaps)
    base = np.maximum(made.snaps[snaps[0]].electrons - made.snaps[snaps[0]].cosmics, 0)
    hit = charge > SKY_SIGMA * np.sqrt(base + 50)
    full = np.any([made.snaps[k].full for k in snaps], axis=0)
    return hit & ~full, base


def rim(mask):
    from scipy.ndimage import binary_dilation

    return binary_dilation(mask, np.ones((3, 3)), iterations=2)


def test_a_pair_of_snaps_finds_nearly_all_and_hurts_no_star(world):
    paths, made, camera, config, known = world
    result = remove_signature(paths, camera, row(), defects=known, config=config)
    hit, base = hit_pixels(made, [0, 1])
    found = result.bad("CR")
    completeness = (found & hit).sum() / hit.sum()
    far = found & ~rim(hit)
    stars = base > 3 * np.median(base)
    print(f"pair: {hit.sum()} px hit, completeness {completeness:.3f}, {far.sum()} px far from any")
    assert hit.sum() > 300
    assert completeness > 0.97
    assert far.sum() < 0.08 * found.sum()
    assert (far & stars).sum() <= 5


def test_the_repaired_pixels_are_as_good_as_their_variance_says(world):
    paths, made, camera, config, known = world
    config = {**config, "cosmic_rays": {**config["cosmic_rays"]}}
    result = remove_signature(paths, camera, row(), defects=known, config=config)
    truth = sum(s.electrons - s.cosmics for s in made.snaps)
    repaired = result.bad("CR") & ~result.bad("INTRP", "SAT")
    # against each pixel's own charge without the rays: read noise and the lost snap's Poisson
    pull = (result.image - truth)[repaired] / np.sqrt(result.variance[repaired])
    assert abs(np.median(pull)) < 0.25
    assert np.percentile(np.abs(pull), 68) < 1.15


def test_one_snap_does_as_well_as_astroscrappy_and_much_faster(world):
    import astroscrappy

    paths, made, camera, config, known = world
    config = {**config, "cosmic_rays": {**config["cosmic_rays"], "find": False}}
    raw = remove_signature(paths[:1], camera, row(), defects=known, config=config)
    noise = np.full(raw.shape, 49.0, np.float32)
    ignore = raw.bad("SAT", "BAD")
    setting = config["cosmic_rays"]["single"]
    find_cosmic_rays(raw.image, noise, ignore, config=setting)
    started = time.process_time()
    ours = find_cosmic_rays(raw.image, noise, ignore, config=setting)
    our_time = time.process_time() - started
    started = time.process_time()
    theirs, _ = astroscrappy.detect_cosmics(
        raw.image, inmask=ignore, gain=1.0, readnoise=7.0, sigclip=4.5, sigfrac=0.33, objlim=5.0,
        niter=4, sepmed=True, cleantype="medmask", satlevel=1e9,
    )  # fmt: skip
    their_time = time.process_time() - started
    hit, base = hit_pixels(made, [0])
    score = {}
    for name, found in (("ours", ours), ("astroscrappy", theirs)):
        far = found & ~rim(hit)
        stars = (far & (base > 3 * np.median(base))).sum()
        score[name] = (found & hit).sum() / hit.sum(), (found & hit).sum() / found.sum(), stars
        print(f"{name}: completeness {score[name][0]:.3f}, purity {score[name][1]:.3f}, "
              f"{stars} px on stars")  # fmt: skip
    print(f"CPU {our_time:.3f} s against {their_time:.3f} s: {their_time / our_time:.0f} times")
    assert score["ours"][0] > score["astroscrappy"][0] - 0.02
    assert score["ours"][1] > score["astroscrappy"][1] - 0.02
    assert score["ours"][2] <= score["astroscrappy"][2]
    assert their_time > 15 * our_time


def test_a_fast_asteroid_survives_the_pair(world):
    paths, _made, camera, config, known = world
    result = remove_signature(paths, camera, row(), defects=known, config=config)
    x, y = camera.nominal_wcs(DETECTOR, 340.0, -8.4, 0.0).sky_to_pix(340.1004, -8.5)
    x, y = round(float(x)), round(float(y))
    box = (slice(y - 3, y + 4), slice(x - 4, x + 5))
    peak = result.image[box].max() - np.median(result.image)
    assert peak > 10 * np.sqrt(np.median(result.variance))  # it is there
    assert not (result.mask[box] & bits("CR")).any()
