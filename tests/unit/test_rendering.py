"""Fast rendering against naive GalSim: one convolution per source and band."""

import astropy.units as u
import galsim
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from data_prep.psfs import effective_psf
from data_prep.render import image_frame, tangent_map
from data_prep.rendering import render_images, render_truth
from data_prep.sky import LightMaps, Sky, SkySource
from data_prep.spectra import _map_spectra, map_spectra
from synergy.frame import Frame

BANDS = ("lsst.u", "lsst.r", "euclid.vis", "euclid.J")
SCENE = Frame.tangent(SkyCoord(150.1 * u.deg, 2.2 * u.deg), (72, 64), 0.05, rotation=15.0)
EXACT = galsim.GSParams(
    folding_threshold=1e-4,
    maxk_threshold=1e-5,
    kvalue_accuracy=1e-6,
    stepk_minimum_hlr=10,
    maximum_fft_size=16384,
)


def make_light(shape, radius, seed):
    """Return four clumpy, lopsided maps that end before the edge."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape) - (np.array(shape)[:, None, None] - 1) / 2
    inside = np.clip(1 - (2 * y / shape[0]) ** 2 - (2 * x / shape[1]) ** 2, 0, 1)
    maps = np.stack(
        [
            np.exp(-np.hypot(y - shift, x + shift) / scale + 0.5 * rng.standard_normal(shape)) * inside
            for scale, shift in zip(radius * np.array([0.5, 0.8, 1.0, 1.3]), (0, 1, 3, -2), strict=True)
        ]
    )
    maps /= maps.sum(axis=(1, 2), keepdims=True)
    populations = (("E", 0.0),) * 4
    return LightMaps(f"g{seed}", f"g{seed}", maps, np.full(4, 0.25), populations, True, radius)


def turned(scale, degrees, axis_ratio):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return scale * np.array([[c, -s], [s, c]]) @ np.diag([axis_ratio, 1.0])


def make_sky():
    """Return galaxies big and small, inclined, mirrored, fine and coarse, some at an edge, and a star."""
    rng = np.random.default_rng(5)
    big, small = make_light((96, 90), 9.0, 1), make_light((31, 40), 3.0, 2)
    places = [
        (big, (0.2, -0.3), turned(0.025, 30, 0.6), 300.0),
        (small, (-0.9, 0.8), turned(0.02, 110, 0.9), 60.0),
        (big, (1.7, 1.2), turned(0.01, 200, 0.4) @ np.diag([1.0, -1.0]), 80.0),
        (small, (-1.2, -1.9), turned(0.11, 75, 0.7), 90.0),
    ]
    galaxies = [
        SkySource(light, flux * rng.uniform(0.3, 1, (4, len(BANDS))), centre, matrix, 0.5)
        for light, centre, matrix, flux in places
    ]
    star = SkySource(None, np.array([[10.0, 15.0, 12.0, 20.0]]), (-0.53, -0.61), np.eye(2), 0.0)
    return Sky(BANDS, (*galaxies, star))


SKY = make_sky()


def naive(band, psf, frame, scene=SCENE):
    """Draw every source by GalSim."""
    matrix, offset = tangent_map(scene, frame)
    image = np.zeros(frame.shape)
    for source in SKY.sources:
        fluxes = source.fluxes[:, BANDS.index(band)]
        x, y = matrix @ np.array(source.centre[::-1])
        if source.light is None:
            profile = galsim.DeltaFunction(flux=fluxes[0])
        else:
            light = galsim.Image(np.tensordot(fluxes, source.light.maps, 1), scale=1.0)
            profile = galsim.InterpolatedImage(light, x_interpolant="quintic", gsparams=EXACT)
            to_image = matrix @ source.matrix[::-1, ::-1]
            profile = profile.transform(*to_image.ravel()) / abs(np.linalg.det(to_image))
        ny, nx = frame.shape
        image += (
            galsim.Convolve(profile.shift(x, y), psf, gsparams=EXACT)
            .drawImage(nx=nx, ny=ny, scale=frame.pixel_scale, offset=offset, method="no_pixel", dtype=float)
            .array
        )
    return image


def test_truth_is_that_of_naive_galsim():
    truth = render_truth(SKY, SCENE)
    assert truth.shape == (len(BANDS), *SCENE.shape)
    model = galsim.Gaussian(fwhm=0.1)
    for band, ours in zip(BANDS, truth, strict=True):
        expected = naive(band, model, SCENE)
        assert np.max(np.abs(ours - expected)) < 2e-4 * expected.max()


@pytest.mark.parametrize(
    ("bands", "shape", "scale", "dither", "rotation", "flipped"),
    [
        (("euclid.vis",), (36, 32), 0.1, (0.3, -0.2), 15.0, False),
        (("euclid.vis",), (35, 33), 0.1, (-0.4, 0.1), 62.0, True),
        (("euclid.J",), (12, 11), 0.3, (0.1, 0.4), 15.0, True),
        (("lsst.u", "lsst.r"), (18, 16), 0.2, (0.45, 0.3), -160.0, False),
        (("lsst.r", "lsst.u"), (17, 16), 0.2, (0.0, 0.0), 15.0, False),
    ],
)
def test_images_are_those_of_naive_galsim(bands, shape, scale, dither, rotation, flipped):
    frame = image_frame(SCENE, shape, scale, dither, rotation, flipped)
    psfs = [effective_psf(band) for band in bands]
    images = render_images(SKY, SCENE, frame, psfs)
    assert list(images) == list(bands)
    for psf in psfs:
        expected = naive(psf.band, psf.profile, frame)
        assert np.max(np.abs(images[psf.band] - expected)) < 1e-4 * expected.max()


def test_images_do_not_depend_on_what_was_drawn_before():
    frames = [image_frame(SCENE, (18, 16), 0.2, dither, rotation=20.0) for dither in ((0.1, 0.2), (0.3, 0.0))]
    psfs = [effective_psf(band) for band in ("lsst.u", "lsst.r")]

    def drawn(jobs):
        _map_spectra.cache_clear()
        return {
            job: render_truth(SKY, SCENE)
            if job == "truth"
            else np.stack(list(render_images(SKY, SCENE, frames[job], psfs).values()))
            for job in jobs
        }

    one, other = drawn(("truth", 0, 1)), drawn((1, 0, "truth"))
    for job, image in one.items():
        np.testing.assert_array_equal(image, other[job])


def test_parity_of_a_flipped_frame():
    plain, flipped = (image_frame(SCENE, (9, 9), 0.2, rotation=40.0, flipped=f) for f in (False, True))
    np.testing.assert_allclose(flipped.jacobian, plain.jacobian * [1.0, -1.0], atol=1e-9)


def test_empty_sky_is_dark():
    frame = image_frame(SCENE, (8, 8), 0.2)
    far = SkySource(None, np.ones((1, 4)), (40.0, 0.0), np.eye(2), 0.0)
    for sources in ((), (far,)):
        sky = Sky(BANDS, sources)
        assert not render_truth(sky, SCENE).any()
        assert not render_images(sky, SCENE, frame, [effective_psf("lsst.r")])["lsst.r"].any()


@pytest.mark.parametrize("shape", [(41, 41), (40, 33)])
def test_spectra_of_maps_are_those_of_galsim(shape):
    light = make_light(shape, 5.0, 3)
    frequencies = np.random.default_rng(0).uniform(-0.8, 0.8, (2, 300))
    spectra = map_spectra(light, 1.2)
    centring = np.exp(-2j * np.pi * np.array(spectra.origin) @ frequencies)
    ours = spectra.at(frequencies).T * centring
    for number, row in enumerate(ours):
        profile = galsim.InterpolatedImage(galsim.Image(light.maps[number], scale=1.0), gsparams=EXACT)
        galsims = [profile.kValue(2 * np.pi * fx, 2 * np.pi * fy) for fy, fx in frequencies.T]
        np.testing.assert_allclose(row, galsims, atol=5e-5)
