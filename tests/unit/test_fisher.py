"""The diagonal of the Fisher information against a dense matrix."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from synergy.fisher import comb_spacing, fisher_diagonal
from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.psf import PSF

CENTER = SkyCoord(150 * u.deg, 2 * u.deg)
BANDS = ("lsst.r", "lsst.i")


def observe(band, size, pixel_scale, fwhm, rotation=0.0, response=None):
    rng = np.random.default_rng(size)
    mask = np.zeros((size, size), bool)
    mask[:, size // 3] = True
    return Observation(
        f"{band}-{rotation}",
        band,
        rng.normal(size=(size, size)),
        rng.uniform(0.5, 2, (size, size)),
        mask,
        PSF.gaussian(fwhm, 0.05, 2 * round(2 * fwhm / 0.05) + 1),
        Frame.tangent(CENTER, (size, size), pixel_scale, rotation),
        response,
    )


def build(side, observations, dtype=jnp.float32):
    return GaussianLikelihood.build(observations, Frame.tangent(CENTER, (side, side), 0.05), BANDS, dtype)


def dense_diagonal(likelihood):
    shape = likelihood.scene_shape
    basis = jnp.eye(np.prod(shape), dtype=likelihood.images[0].dtype).reshape(-1, *shape)
    images = jax.jit(jax.vmap(GaussianLikelihood.forward, (None, 0)))(likelihood, basis)
    whitened = zip(likelihood.noises, images, strict=True)
    return sum(np.sum(np.asarray(n.whiten(i)) ** 2, axis=(1, 2)) for n, i in whitened).reshape(shape)


SEPARATE = [observe("lsst.r", 16, 0.1, 0.2), observe("lsst.i", 8, 0.2, 0.3, rotation=20.0)]
MIXED = [*SEPARATE, observe("euclid.vis", 16, 0.1, 0.2, response={"lsst.r": 0.4, "lsst.i": 0.6})]


@pytest.mark.parametrize("observations", [SEPARATE, MIXED], ids=["separate bands", "mixed bands"])
def test_exact_with_one_source_per_comb(observations):
    with jax.enable_x64(True):
        likelihood = build(16, observations, jnp.float64)
        found = fisher_diagonal(likelihood, jax.random.key(0), spacing=16)
        np.testing.assert_allclose(found, dense_diagonal(likelihood), rtol=1e-10)


def test_combs_are_as_good_as_their_tolerance():
    likelihood = build(40, [observe("lsst.r", 20, 0.1, 0.2), observe("lsst.i", 20, 0.1, 0.25)])
    expected = dense_diagonal(likelihood)
    spacing = comb_spacing(likelihood, 0.01)
    assert 8 < spacing < 30
    found = fisher_diagonal(likelihood, jax.random.key(0), tolerance=0.01)
    inside = expected > 0.2 * expected.max()
    assert np.sqrt(np.mean((found / expected - 1)[inside] ** 2)) < 0.02
    # The test has power: combs that are too dense are far off.
    dense = fisher_diagonal(likelihood, jax.random.key(0), spacing=4)
    assert np.sqrt(np.mean((dense / expected - 1)[inside] ** 2)) > 0.1


def test_a_band_that_nobody_sees_holds_no_information():
    likelihood = build(16, SEPARATE[:1])
    assert np.all(fisher_diagonal(likelihood, jax.random.key(0))[1] == 0)
    brighter = build(16, [dataclasses.replace(SEPARATE[0], ivar=4 * SEPARATE[0].ivar)])
    four = fisher_diagonal(brighter, jax.random.key(0)) / 4
    np.testing.assert_allclose(four, fisher_diagonal(likelihood, jax.random.key(0)), rtol=1e-4, atol=1e-6)
