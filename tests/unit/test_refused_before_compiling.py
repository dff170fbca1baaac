"""Bad input is refused before anything is compiled: a wrong file must not cost a minute of XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from jax import monitoring

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.psf import PSF

CENTER = SkyCoord(150 * u.deg, 2 * u.deg)
SHAPE = (6, 5)
SCENE = Frame.tangent(CENTER, (24, 24), 0.05)
GOOD = PSF.gaussian(0.8, 0.2, 15)


@pytest.fixture
def compilations():
    """Collect the name of every compilation while a test runs."""
    events = []

    def listen(event, duration, **_):
        if "compile" in event or "trace" in event:
            events.append(event)

    monitoring.register_event_duration_secs_listener(listen)
    yield events
    monitoring.unregister_event_duration_listener(listen)


def build(**changes):
    values = {
        "image": np.ones(SHAPE),
        "ivar": np.full(SHAPE, 4.0),
        "mask": np.zeros(SHAPE, bool),
        "psf": GOOD,
        "frame": Frame.tangent(CENTER, SHAPE, 0.2),
    }
    observation = Observation("r", "lsst.r", **{**values, **changes})
    return GaussianLikelihood.build([observation], SCENE, ("lsst.r",))


def with_pixel(value):
    array = np.full(SHAPE, 4.0)
    array[2, 3] = value
    return array


def singular_header():
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0})
    header.update(CRPIX1=3.0, CRPIX2=3.5, CD1_1=1e-5, CD1_2=2e-5, CD2_1=2e-5, CD2_2=4e-5)
    return header


def spoiled_stamp(value):
    stamp = GOOD.image.copy()
    stamp[3, 4] = value
    return stamp


BAD = {
    "PSF with NaN": (lambda: build(psf=PSF.from_stamp(spoiled_stamp(np.nan), 0.2)), "not finite"),
    "PSF with inf": (lambda: build(psf=PSF.from_stamp(spoiled_stamp(np.inf), 0.2)), "not finite"),
    "unchecked PSF with NaN": (lambda: build(psf=PSF(spoiled_stamp(np.nan), 0.2)), "not finite"),
    "singular WCS": (lambda: build(frame=Frame.from_header(singular_header(), SHAPE)), "singular"),
    "negative variance": (lambda: build(ivar=with_pixel(-1.0)), "negative"),
    "infinite inverse variance": (lambda: build(ivar=with_pixel(np.inf)), "not finite"),
    "all masked": (lambda: build(mask=np.ones(SHAPE, bool)), "no pixel"),
    "NaN with weight": (lambda: build(image=with_pixel(np.nan)), "not finite"),
    "image of another shape": (lambda: build(image=np.ones((5, 6))), "an image of shape"),
    "ivar of another shape": (lambda: build(ivar=np.ones((6, 6))), "an ivar of shape"),
    "mask of another shape": (lambda: build(mask=np.zeros((5, 5), bool)), "a mask of shape"),
    "another sky": (
        lambda: build(frame=Frame.tangent(SkyCoord(10 * u.deg, 2 * u.deg), SHAPE, 0.2)),
        "different parts of the sky",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_before_compiling(case, compilations):
    make, found = BAD[case]
    with pytest.raises(InputError, match=found) as error:
        make()
    assert error.value.source
    assert error.value.expected
    assert error.value.remedy
    assert compilations == []


def test_the_listener_hears_compilations(compilations):
    likelihood = build()
    jax.jit(likelihood.score)(jnp.ones(likelihood.scene_shape, jnp.float32)).block_until_ready()
    assert any("backend_compile" in event for event in compilations)
