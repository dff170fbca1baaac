"""Summaries of scenes against closed forms, GalSim's moments, and scenes that show nothing."""

import sys

import galsim
import numpy as np
import pytest

from synergy.errors import InputError
from synergy.metrics.arviz import to_arviz
from synergy.metrics.summaries import SMOOTHING_SCALES, summaries
from synergy.psf import FWHM_PER_SIGMA

SIZE, SCALE = 96, 0.05
BANDS = ("lsst.r", "lsst.i")
CENTRE = np.array([[48.3, 46.6]])
SIGMA = 0.6 / FWHM_PER_SIGMA  # of the moments' weight


def draw(profile, position=CENTRE[0], size=SIZE) -> np.ndarray:
    """Return an image in which the profile lies at a pixel position."""
    image = galsim.Image(size, size, xmin=0, ymin=0, scale=SCALE)
    place = galsim.PositionD(float(position[1]), float(position[0]))
    return profile.drawImage(image, center=place, method="sb").array * SCALE**2


def gaussian(flux=1e4, sigma=0.2, g1=0.0, g2=0.0):
    return galsim.Gaussian(sigma=sigma, flux=flux).shear(g1=g1, g2=g2)


def weighted_covariance(covariance: np.ndarray) -> np.ndarray:
    """Return the covariance, in (x, y), of a Gaussian times the weight."""
    return np.linalg.inv(np.linalg.inv(covariance) + np.eye(2) / SIGMA**2)


def test_fluxes_and_colours_of_a_gaussian():
    scene = np.stack([draw(gaussian(1e4)), draw(gaussian(3e4))])
    table = summaries(scene, BANDS, SCALE, CENTRE)
    for radius in (0.3, 0.8):
        # Light spread evenly over each pixel adds a pixel's variance to the Gaussian's.
        share = 1 - np.exp(-(radius**2) / (2 * (0.2**2 + SCALE**2 / 12)))
        assert table[f"flux {radius} lsst.r at 0"] == pytest.approx(1e4 * share, rel=5e-4)
        # Far above the softening, asinh magnitudes are magnitudes.
        colour = table[f"colour {radius} lsst.r-lsst.i at 0"]
        assert colour == pytest.approx(2.5 * np.log10(3), abs=1e-4)
    np.testing.assert_allclose([table[f"total flux {b}"] for b in BANDS], [1e4, 3e4], rtol=1e-4)


def test_colours_are_asinh_magnitudes_with_a_softening_per_band():
    scene = np.stack([draw(gaussian(20.0)), draw(gaussian(-5.0))])
    soft = np.array([10.0, 30.0])
    table = summaries(scene, BANDS, SCALE, CENTRE, softening=(10.0, 30.0))
    flux = np.array([table[f"flux 0.8 {band} at 0"] for band in BANDS])
    magnitude = -2.5 / np.log(10) * (np.arcsinh(flux / (2 * soft)) + np.log(soft))
    assert table["colour 0.8 lsst.r-lsst.i at 0"] == pytest.approx(magnitude[0] - magnitude[1])


@pytest.mark.parametrize(("g1", "g2"), [(0.0, 0.0), (0.2, 0.0), (-0.1, 0.25)])
def test_moments_of_a_sheared_gaussian(g1, g2):
    # The covariance of a sheared Gaussian: sigma^2 A A^T with GalSim's shear matrix of unit determinant.
    shear = np.array([[1 + g1, g2], [g2, 1 - g1]]) / np.sqrt(1 - g1**2 - g2**2)
    C = weighted_covariance(0.2**2 * shear @ shear.T)
    table = summaries(draw(gaussian(1e6, 0.2, g1, g2))[None], BANDS[:1], SCALE, CENTRE)
    assert table["T lsst.r at 0"] == pytest.approx(np.trace(C), rel=1e-3)
    assert table["e1 lsst.r at 0"] == pytest.approx((C[0, 0] - C[1, 1]) / np.trace(C), abs=1e-4)
    assert table["e2 lsst.r at 0"] == pytest.approx(2 * C[0, 1] / np.trace(C), abs=1e-4)
    assert table["offset y lsst.r at 0"] == pytest.approx(0.0, abs=1e-4)


def test_offsets_of_a_gaussian_beside_the_position():
    """The product with the weight has its centre at d / (1 + s^2 / weight^2)."""
    image = draw(gaussian(1e6), CENTRE[0] + [2.0, -1.0])
    table = summaries(image[None], BANDS[:1], SCALE, CENTRE)
    share = 1 / (1 + 0.2**2 / SIGMA**2)
    assert table["offset y lsst.r at 0"] == pytest.approx(2 * SCALE * share, rel=1e-3)
    assert table["offset x lsst.r at 0"] == pytest.approx(-1 * SCALE * share, rel=1e-3)


def test_moments_agree_with_galsim_for_any_image():
    """Moments of the image times the weight, by GalSim, moved from its centroid to the position."""
    rng = np.random.default_rng(0)
    image = draw(galsim.Exponential(half_light_radius=0.3, flux=1e6).shear(g1=0.3, g2=0.1))
    image = image * (1 + 0.5 * rng.standard_normal(image.shape))
    y, x = np.indices(image.shape)
    weight = np.exp(-((y - CENTRE[0, 0]) ** 2 + (x - CENTRE[0, 1]) ** 2) / (2 * (SIGMA / SCALE) ** 2))
    place = galsim.PositionD(CENTRE[0, 1], CENTRE[0, 0])
    theirs = galsim.utilities.unweighted_moments(galsim.Image(image * weight, xmin=0, ymin=0), place)
    xx, yy = theirs["Mxx"] + theirs["Mx"] ** 2, theirs["Myy"] + theirs["My"] ** 2
    xy = theirs["Mxy"] + theirs["Mx"] * theirs["My"]
    ours = summaries(image[None], BANDS[:1], SCALE, CENTRE, softening=1e-6)
    found = {name: ours[f"{name} lsst.r at 0"] for name in ("offset y", "offset x", "T", "e1", "e2")}
    assert found["offset y"] == pytest.approx(theirs["My"] * SCALE, abs=1e-5)
    assert found["offset x"] == pytest.approx(theirs["Mx"] * SCALE, abs=1e-5)
    assert found["T"] == pytest.approx((xx + yy) * SCALE**2, rel=1e-4)
    assert found["e1"] == pytest.approx((xx - yy) / (xx + yy), abs=1e-4)
    assert found["e2"] == pytest.approx(2 * xy / (xx + yy), abs=1e-4)


def test_truth_and_draws_are_summarised_alike():
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(2, 3, 2, SIZE, SIZE)).astype(np.float32)
    positions = np.array([[48.3, 46.6], [-0.5, 95.5]])  # and the very corner
    whole = summaries(draws, BANDS, SCALE, positions)
    one = summaries(draws[1, 2], BANDS, SCALE, positions)
    assert whole.names == one.names
    assert len(set(whole.names)) == len(whole.names) == whole.values.shape[-1]
    assert whole.values.shape[:2] == (2, 3)
    np.testing.assert_allclose(whole.values[1, 2], one.values, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(
        whole["T lsst.i at 1"], whole.values[..., whole.names.index("T lsst.i at 1")]
    )


def test_summaries_move_with_the_source():
    """Whole pixels away from the edge, a source keeps what is measured about it."""
    place = np.array([[40.0, 52.0]])
    first = summaries(draw(gaussian(g1=0.2))[None], BANDS[:1], SCALE, CENTRE)
    moved = draw(gaussian(g1=0.2), CENTRE[0] + [-8.0, 5.0])[None]
    second = summaries(moved, BANDS[:1], SCALE, CENTRE + np.array([-8.0, 5.0]))
    local = [i for i, name in enumerate(first.names) if name.endswith(" at 0")]
    np.testing.assert_allclose(first.values[local], second.values[local], rtol=1e-5, atol=1e-6)
    # Turned by 90 degrees e1 and e2 change sign.
    image = draw(gaussian(g1=0.2, g2=0.1), place[0])
    turned = np.rot90(image)  # (y, x) -> (SIZE - 1 - x, y)
    tables = (
        summaries(image[None], BANDS[:1], SCALE, place),
        summaries(np.ascontiguousarray(turned)[None], BANDS[:1], SCALE, np.array([[SIZE - 1 - 52.0, 40.0]])),
    )
    for name, sign in (("e1", -1), ("e2", -1), ("T", 1), ("flux 0.3", 1)):
        values = [table[f"{name} lsst.r at 0"] for table in tables]
        assert values[1] == pytest.approx(sign * values[0], rel=1e-5)


@pytest.mark.parametrize("level", [0.0, -3.0, -1e-12, 1e8])
def test_empty_and_negative_scenes_have_finite_summaries(level):
    scene = np.full((2, SIZE, SIZE), level)
    table = summaries(scene, BANDS, SCALE, CENTRE)
    assert np.isfinite(table.values).all()
    # A flat scene has no ellipticity; an empty one has nothing at all.
    assert table["e1 lsst.r at 0"] == pytest.approx(0.0, abs=1e-3)
    if level == 0.0:
        assert not table.values.any()
    # A source and its negative: all but the colour change sign.
    positive, negative = (
        summaries(s * np.stack([draw(gaussian())] * 2), BANDS, SCALE, CENTRE) for s in (1, -1)
    )
    plain = [i for i, name in enumerate(positive.names) if not name.startswith("colour")]
    np.testing.assert_allclose(positive.values[plain], -negative.values[plain])


def test_random_functionals_have_unit_norm_and_one_seed():
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((1500, 2, 24, 24))
    none = np.empty((0, 2))
    table = summaries(noise, BANDS, SCALE, none)
    names = [f"random {fwhm:g} {i}" for fwhm in SMOOTHING_SCALES for i in range(2)]
    assert table.names == ("total flux lsst.r", "total flux lsst.i", *names)
    # Unit norm: unit white noise has unit variance, to 1 part in sqrt(2 / 1500).
    np.testing.assert_allclose(table.values[:, 2:].var(axis=0), 1.0, atol=4 * np.sqrt(2 / 1500))
    again, other = (summaries(noise[:1], BANDS, SCALE, none, seed=seed) for seed in (0, 1))
    np.testing.assert_allclose(table.values[:1], again.values, rtol=1e-9)
    assert np.abs(other.values - again.values)[0, 2:].min() > 1e-3


def test_bad_input_is_refused():
    scene = np.zeros((2, SIZE, SIZE))
    for bands in (BANDS[:1], ("lsst.r", "lsst.r")):
        with pytest.raises(ValueError, match="as many names"):
            summaries(scene, bands, SCALE, CENTRE)
    with pytest.raises(ValueError, match="lie off"):
        summaries(scene, BANDS, SCALE, np.array([[10.0, 96.0]]))
    with pytest.raises(ValueError, match="lie off"):
        summaries(scene, BANDS, SCALE, np.array([[np.nan, 3.0]]))
    with pytest.raises(ValueError, match="not finite"):
        summaries(np.where(np.arange(SIZE) == 3, np.nan, scene), BANDS, SCALE, CENTRE)
    for wrong in ({"radii": (0.3, 0.0)}, {"weight_fwhm": -1.0}):
        with pytest.raises(ValueError, match="positive arcsec"):
            summaries(scene, BANDS, SCALE, CENTRE, **wrong)
    for softening in (0.0, (1.0, 2.0, 3.0)):
        with pytest.raises(ValueError, match="positive nJy"):
            summaries(scene, BANDS, SCALE, CENTRE, softening=softening)


def test_arviz_takes_the_summaries():
    scenes = np.random.default_rng(0).normal(size=(5, 2, 32, 32))
    draws, truth = (summaries(x, BANDS, SCALE, np.array([[15.0, 16.0]])) for x in (scenes, scenes[0]))
    tree = to_arviz(draws, truth)
    value = tree["posterior"]["value"]
    assert value.dims == ("chain", "draw", "summary")
    np.testing.assert_array_equal(
        value.sel(summary="total flux lsst.r").values[0], draws["total flux lsst.r"]
    )
    assert (
        float(tree["constant_data"]["truth"].sel(summary="total flux lsst.i")) == truth["total flux lsst.i"]
    )
    with pytest.raises(InputError, match="to_arviz"):
        to_arviz(truth)
    with pytest.raises(InputError, match="truth of shape"):
        to_arviz(draws, draws)


def test_without_arviz_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    draws = summaries(np.zeros((5, 2, 32, 32)), BANDS, SCALE, np.array([[15.0, 16.0]]))
    with pytest.raises(InputError, match="no library 'arviz_base'"):
        to_arviz(draws)
