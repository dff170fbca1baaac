"""Folding the spectrum gives what the inverse DFT matrices give, on grids of any parity and flip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from synergy import operators
from synergy.frame import Frame
from synergy.operators import Operator, adjoint
from synergy.pixel_sampling import Folded, Separable
from synergy.psf import PSF

CENTER = SkyCoord(150 * u.deg, 2 * u.deg)
H = 0.05


def frame(shape, steps, shift):
    """Frame of pixels of `steps` (y, x) scene pixels, negative = flipped; displaced by scene pixels."""
    centre = (np.array(shape) - 1) / 2 - np.array(shift) / np.array(steps)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [CENTER.ra.deg, CENTER.dec.deg]
    wcs.wcs.crpix = centre[::-1] + 1
    wcs.wcs.cdelt = np.array([-steps[1], steps[0]]) * H / 3600
    return Frame(shape, wcs)


# Scene shape, image shape, steps along (y, x), shift in scene pixels, FWHM of the PSF in arcsec. A PSF of 0.3
# ends below the scene's Nyquist limit, one of 0.19 near it; 0.19 over 0.1 is undersampled.
CASES = {
    "undersampled": ((48, 48), (24, 24), (2, 2), (0.0, 0.0), 0.19),
    "well sampled": ((48, 47), (12, 11), (4, 4), (0.3, -0.7), 0.8),
    "odd, dithered": ((47, 45), (15, 16), (3, 3), (0.37, 1.21), 0.3),
    "flipped": ((48, 45), (16, 15), (-3, 3), (0.2, 0.1), 0.3),
    "turned": ((40, 45), (7, 8), (-6, -6), (-0.4, 0.25), 0.48),
    "steps differ": ((48, 48), (24, 12), (2, -4), (0.0, 0.5), 0.5),
    "same grid": ((48, 47), (48, 47), (1, 1), (0.0, 0.0), 0.3),
    "same grid, shifted and flipped": ((48, 47), (48, 47), (1, -1), (0.25, -0.5), 0.3),
    "larger than the scene": ((32, 32), (24, 24), (2, 2), (0.0, 0.0), 0.3),
}


def both(case, monkeypatch, dtype):
    scene_shape, image_shape, steps, shift, fwhm = CASES[case]
    scene, image = frame(scene_shape, (1, 1), (0, 0)), frame(image_shape, steps, shift)
    psf = PSF.gaussian(fwhm, fwhm / 6, 41)
    made = []
    for threshold in (0, np.inf):
        monkeypatch.setattr(operators, "FOLDING_PAYS", threshold)
        made.append(Operator.build(scene, image, psf, np.ones(1), dtype))
    assert [type(operator.sampler) for operator in made] == [Folded, Separable]
    return made


@pytest.mark.parametrize("case", CASES)
def test_folding_equals_dft_matrices(case, monkeypatch):
    with jax.enable_x64(True):
        folded, separable = both(case, monkeypatch, jnp.float64)
        # A scene is never sharper than the model PSF: what is dropped beyond the band limit is then small.
        y, x = np.indices(folded.scene_shape) - np.array(folded.scene_shape)[:, None, None] / 2.7
        scene = jnp.asarray(np.exp(-(y**2 + x**2) / (2 * 0.85**2))[None])
        found, expected = (np.asarray(jax.jit(Operator.__call__)(o, scene)) for o in (folded, separable))
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-12), (jnp.float32, 1e-5)])
def test_adjoint(case, dtype, tolerance, monkeypatch):
    with jax.enable_x64(True):
        folded, _ = both(case, monkeypatch, dtype)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(1, *folded.scene_shape)).astype(dtype)
        y = rng.normal(size=CASES[case][1]).astype(dtype)
        forward, backward = jax.jit(lambda op, x, y: (op(x), adjoint(op, x.shape)(y)))(folded, x, y)
        assert forward.dtype == backward.dtype == dtype
        left, right = (float(np.vdot(np.float64(a), np.float64(b))) for a, b in ((y, forward), (backward, x)))
        assert abs(left - right) < tolerance * np.linalg.norm(y) * np.linalg.norm(forward)


def test_large_images_are_folded_and_small_ones_are_not():
    psf = PSF.gaussian(0.3, 0.05, 41)
    for size, kind in ((32, Separable), (256, Folded)):
        scene, image = frame((2 * size, 2 * size), (1, 1), (0, 0)), frame((size, size), (2, 2), (0, 0))
        assert isinstance(Operator.build(scene, image, psf, np.ones(1)).sampler, kind)


def test_a_psf_that_reaches_the_nyquist_limit_is_not_folded(monkeypatch):
    monkeypatch.setattr(operators, "FOLDING_PAYS", 0)
    scene, image = frame((48, 48), (1, 1), (0, 0)), frame((24, 24), (2, 2), (0, 0))
    assert isinstance(
        Operator.build(scene, image, PSF.gaussian(0.1, 0.05, 41), np.ones(1)).sampler, Separable
    )
