"""Signature removal of tiny raw files whose truth is known."""

import numpy as np
import pytest

from alertprod.core.errors import Rejected
from alertprod.core.exposure import Exposure
from alertprod.core.masks import bits
from alertprod.isr import remove_signature

SKY = 500.0  # electrons per snap


@pytest.fixture
def config(default_config):
    setting = default_config["isr"]
    setting["require"] = []
    return setting


def stars(tinycam, rng, n=25, fwhm=2.6):
    """Round Gaussian stars, electrons per snap."""
    y, x = np.mgrid[: tinycam.NY, : tinycam.NX]
    image = np.zeros((tinycam.NY, tinycam.NX))
    sigma = fwhm / 2.3548
    for _ in range(n):
        cx, cy = rng.uniform(5, tinycam.NX - 5), rng.uniform(5, tinycam.NY - 5)
        flux = 10 ** rng.uniform(4, 5.2)
        image += (
            flux
            / (2 * np.pi * sigma**2)
            * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
        )
    return image


def snaps(tinycam, folder, scene, rng, hits=(), exposures=(15.0, 15.0), electrons=None):
    """Write snaps of a scene [electrons per 15 s]; hits: (snap, y, x, electrons)."""
    paths = []
    for k, seconds in enumerate(exposures):
        counts = rng.poisson(scene * seconds / 15.0).astype(float)
        for snap, y, x, charge in hits:
            if snap == k:
                counts[y, x] += charge
        paths.append(
            tinycam.write_raw(
                folder / f"{k}.fits",
                counts,
                rng,
                EXPTIME=seconds,
                CURINDEX=k,
                MAXINDEX=2,
                MJD_BEG=tinycam.MJD + k * 17 / 86400,
            )
        )
    return paths


def master(tinycam, values, unit="1", **meta):
    image = np.broadcast_to(np.asarray(values, np.float32), (tinycam.NY, tinycam.NX)).copy()
    return Exposure(
        image=image,
        mask=np.zeros(image.shape, np.int32),
        variance=np.ones(image.shape, np.float32),
        meta={"BUNIT": unit, "DETECTOR": 0, **meta},
    )


def test_all_steps_together_give_back_the_scene(tinycam, tmp_path, config):
    """Bias structure, dark current, flat and gains, all undone: electrons and their noise."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: tinycam.NY, : tinycam.NX]
    response = 1.0 + 0.1 * np.sin(x / 9.0) * np.cos(y / 11.0)
    rate = 2.0 + 0.01 * x  # electrons per second of dark current
    truth = np.full(response.shape, SKY)
    pulls = []
    for _ in range(4):
        paths = snaps(tinycam, tmp_path, truth * response + rate * 15.0, rng)
        result = remove_signature(
            paths,
            tinycam.camera(),
            tinycam.row(),
            dark=master(tinycam, rate, "electron/s"),
            flat=master(tinycam, response, BAND="r"),
            config=config,
        )
        pulls.append((result.image - 2 * SKY) / np.sqrt(result.variance))
    pulls = np.array(pulls)[:, 1:-1, 1:-1]
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size) + 0.02
    # the noise of the row's overscan level adds a few per cent
    assert 0.97 < pulls.std() < 1.06
    assert result.meta["BUNIT"] == "electron"
    assert result.meta["NSNAP"] == 2
    assert result.meta["READNOIS"] == pytest.approx(
        np.sqrt(2 * np.mean(np.square(tinycam.NOISE))), rel=1e-6
    )
    assert result.meta["SATLEVEL"] == pytest.approx(2 * 40000 * 1.5)
    assert result.wcs == tinycam.camera().nominal_wcs(0, 150.0, -20.0, 10.0)


def test_the_variance_of_a_snap_is_poisson_plus_read_noise(tinycam, tmp_path, config):
    rng = np.random.default_rng(6)
    paths = snaps(tinycam, tmp_path, np.full((tinycam.NY, tinycam.NX), 2000.0), rng, exposures=[15])
    result = remove_signature(paths, tinycam.camera(), tinycam.row(), config=config)
    corner = result.variance[:32, :48]
    assert np.median(corner) == pytest.approx(2000 + 36, rel=0.01)
    assert result.meta["NSNAP"] == 1


def test_a_cosmic_ray_in_one_snap_takes_the_value_of_the_other(tinycam, tmp_path, config):
    rng = np.random.default_rng(7)
    hits = [(0, 20, 30 + k, 2500.0) for k in range(6)] + [(1, 50, 60, 800.0)]
    paths = snaps(tinycam, tmp_path, np.full((tinycam.NY, tinycam.NX), SKY), rng, hits)
    result = remove_signature(paths, tinycam.camera(), tinycam.row(), config=config)
    for _, y, x, _ in hits:
        assert result.mask[y, x] & bits("CR")
        assert not result.mask[y, x] & bits("INTRP")
        assert abs(result.image[y, x] - 2 * SKY) < 6 * np.sqrt(result.variance[y, x])
        # twice one snap: four times its variance
        assert result.variance[y, x] == pytest.approx(4 * (SKY + 45), rel=0.25)
    assert result.meta["NCRPIX"] < 7 + 15


def test_unequal_snaps_are_scaled_by_their_exposures(tinycam, tmp_path, config):
    rng = np.random.default_rng(8)
    hits = [(0, 20, 30, 20000.0), (1, 40, 60, 20000.0)]
    paths = snaps(
        tinycam, tmp_path, np.full((tinycam.NY, tinycam.NX), SKY), rng, hits, (30.0, 15.0)
    )
    result = remove_signature(paths, tinycam.camera(), tinycam.row(), config=config)
    assert np.median(result.image) == pytest.approx(3 * SKY, rel=0.01)
    assert result.variance[20, 30] == pytest.approx(9 * (SKY + 45), rel=0.2)
    assert result.variance[40, 60] == pytest.approx(1.5**2 * (2 * SKY + 50), rel=0.2)
    for y, x in ((20, 30), (40, 60)):
        assert abs(result.image[y, x] - 3 * SKY) < 5 * np.sqrt(result.variance[y, x])


def test_stars_whose_seeing_changes_are_no_cosmic_rays(tinycam, tmp_path, config):
    field = np.random.default_rng(9)
    sharp, soft = (stars(tinycam, np.random.default_rng(9), fwhm=f) for f in (2.5, 2.8))
    paths = []
    for k, scene in enumerate((sharp, soft)):
        counts = field.poisson(SKY + scene).astype(float)
        paths.append(tinycam.write_raw(tmp_path / f"{k}.fits", counts, field))
    result = remove_signature(paths, tinycam.camera(), tinycam.row(), config=config)
    core = sharp > 2000
    assert core.sum() > 60
    assert np.count_nonzero(result.bad("CR") & core) <= 2


def test_a_fast_asteroid_in_two_places_is_no_cosmic_ray(tinycam, tmp_path, config):
    rng = np.random.default_rng(10)
    scene = SKY + stars(tinycam, np.random.default_rng(11))
    y, x = np.mgrid[: tinycam.NY, : tinycam.NX]
    sigma = 2.6 / 2.3548
    paths, where = [], []
    for k in range(2):
        trail = np.zeros(scene.shape)
        for step in np.linspace(0, 1, 21):
            cx, cy = 20.0 + 6 * (k + step), 45.0 + 3 * (k + step)
            trail += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)) * 250.0
        counts = rng.poisson(scene + trail).astype(float)
        paths.append(tinycam.write_raw(tmp_path / f"{k}.fits", counts, rng))
        where.append(trail > 500)
    assert all(w.sum() > 10 for w in where)
    result = remove_signature(paths, tinycam.camera(), tinycam.row(), config=config)
    for w in where:
        assert np.count_nonzero(result.bad("CR") & w) == 0


def test_one_snap_interpolates_over_its_cosmic_rays(tinycam, tmp_path, config):
    rng = np.random.default_rng(12)
    hits = [(0, 20 + k, 30 + k, 2500.0) for k in range(6)]
    scene = np.full((tinycam.NY, tinycam.NX), SKY)
    paths = snaps(tinycam, tmp_path, scene, rng, hits, exposures=[15.0])
    result = remove_signature(paths, tinycam.camera(), tinycam.row(), config=config)
    for _, y, x, _ in hits:
        assert result.mask[y, x] & bits("CR") and result.mask[y, x] & bits("INTRP")
        assert abs(result.image[y, x] - SKY) < 150


def test_a_saturated_star_in_both_snaps_is_marked_and_kept(tinycam, tmp_path, config):
    rng = np.random.default_rng(13)
    scene = np.full((tinycam.NY, tinycam.NX), SKY)
    scene[10:13, 20:23] = 39500 * 1.5
    result = remove_signature(
        snaps(tinycam, tmp_path, scene, rng), tinycam.camera(), tinycam.row(), config=config
    )
    assert result.bad("SAT")[9:14, 19:24].all()  # grown by one pixel
    assert np.count_nonzero(result.bad("SAT")) == 25
    assert not (result.bad("SAT") & result.bad("CR")).any()
    assert result.image[11, 21] > 1e5


def test_the_tail_of_a_saturated_star_is_suspect(tinycam, tmp_path, config):
    text = tinycam.description()["detectors"]
    text[0]["saturation_tail"] = [0, 12, 0, 0]
    scene = np.zeros((tinycam.NY, tinycam.NX))
    scene[10, 20] = 39500 * 1.5
    path = tinycam.write_raw(tmp_path / "a.fits", scene, np.random.default_rng(1))
    camera = tinycam.camera(detectors=text)
    result = remove_signature([path], camera, tinycam.row(), config=config)
    where = np.argwhere(result.bad("SUSPECT"))
    assert where.tolist() == [[10, x] for x in range(20, 33)]


def test_defects_are_interpolated_from_their_neighbours(tinycam, tmp_path, config):
    rng = np.random.default_rng(14)
    x = np.arange(tinycam.NX) + np.zeros((tinycam.NY, 1))
    scene = SKY + 5.0 * x
    hot = scene.copy()
    hot[:, 40] = 20000.0
    hot[10, 10] = 20000.0
    defects = master(tinycam, 0.0)
    defects.mask[:, 40] |= bits("BAD")
    defects.mask[10, 10] |= bits("BAD")
    result = remove_signature(
        snaps(tinycam, tmp_path, hot, rng),
        tinycam.camera(),
        tinycam.row(),
        defects=defects,
        config=config,
    )
    assert (result.mask[:, 40] & bits("BAD", "INTRP") == bits("BAD", "INTRP")).all()
    assert result.image[:, 40].mean() == pytest.approx(2 * (SKY + 200), rel=0.02)
    assert result.image[10, 10] == pytest.approx(2 * (SKY + 50), abs=150)


def test_pixels_that_the_flat_does_not_know_are_no_data(tinycam, tmp_path, config):
    rng = np.random.default_rng(15)
    flat = master(tinycam, 1.0, BAND="r")
    flat.image[0:30, 0:30] = 0.0
    paths = snaps(tinycam, tmp_path, np.full((tinycam.NY, tinycam.NX), SKY), rng)
    result = remove_signature(paths, tinycam.camera(), tinycam.row(), flat=flat, config=config)
    assert result.bad("NO_DATA")[:30, :30].all()
    assert not result.bad("NO_DATA")[31:, 31:].any()
    assert np.isfinite(result.image).all() and (result.variance > 0).all()


@pytest.mark.parametrize("missing", ["bias", "dark", "flat"])
def test_a_required_master_that_is_missing_rejects(tinycam, tmp_path, config, missing):
    rng = np.random.default_rng(16)
    paths = snaps(tinycam, tmp_path, np.full((tinycam.NY, tinycam.NX), SKY), rng)
    config["require"] = [missing]
    with pytest.raises(Rejected, match=f"no master {missing} for detector 0, band r"):
        remove_signature(paths, tinycam.camera(), tinycam.row(), config=config)


def test_what_cannot_be_used_is_rejected_with_its_reason(tinycam, tmp_path, config):
    rng = np.random.default_rng(17)
    camera, row = tinycam.camera(), tinycam.row()
    paths = snaps(tinycam, tmp_path, np.full((tinycam.NY, tinycam.NX), SKY), rng)
    cases = [
        ([*paths, paths[0]], {}, "3 snaps"),
        (paths, {"flat": master(tinycam, 1.0, BAND="g")}, "flat is of band g"),
        (paths, {"bias": Exposure(*(np.zeros((3, 3)) for _ in range(3)))}, r"bias has \(3, 3\)"),
        ([paths[0], tmp_path / "none.fits"], {}, r"none\.fits: the raw file is missing"),
    ]
    data = paths[1].read_bytes()
    paths.append(tmp_path / "cut.fits")
    paths[2].write_bytes(data[: len(data) // 2])
    cases.append(([paths[0], paths[2]], {}, r"cut\.fits: truncated"))
    corrupt = bytearray(data)
    corrupt[-3000] ^= 0xFF
    (tmp_path / "flip.fits").write_bytes(corrupt)
    cases.append(([tmp_path / "flip.fits"], {}, r"flip\.fits: corrupt pixels"))
    bright = tinycam.write_raw(tmp_path / "bright.fits", np.full((64, 96), 1e6))
    cases.append(([bright], {}, r"bright\.fits: 100% of the pixels are saturated"))
    for files, masters, words in cases:
        with pytest.raises(Rejected, match=words):
            remove_signature(files, camera, row, **masters, config=config)


def test_the_result_does_not_depend_on_a_second_run(tinycam, tmp_path, config):
    rng = np.random.default_rng(18)
    paths = snaps(tinycam, tmp_path, SKY + stars(tinycam, rng), rng, [(0, 9, 9, 3000.0)])
    first, second = (
        remove_signature(paths, tinycam.camera(), tinycam.row(), config=config) for _ in range(2)
    )
    assert first == second
