"""Bring images of one sky onto each other, to a small fraction of a pixel, by what they show.

Astrometry of different surveys agrees to some hundredths of an arcsec, a joint deconvolution at space
resolution needs better: an error of a tenth of the FWHM leaves residuals of 15 % of the peak. The sharpest
image is taken as the reference. It is convolved with the other image's PSF and sampled on its pixels (with
the operators of the likelihood), the other image is convolved with a round Gaussian as wide as the
reference's PSF, and the shift, flux ratio and sky level that bring the two together are fitted by
Gauss-Newton steps. The WCS is moved, the pixels are not touched.

A source looks different in different bands, which moves its centroid: the shift is a property of the
*sources* as much as of the astrometry. All images of one instrument therefore move together, by the shift
of the image that determines it best (the one most like the reference), if that is significant and small;
and it is always written down.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.units import arcsec
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.observation import Observation
from synergy.operators import Operator, inside
from synergy.psf import FWHM_PER_SIGMA, MODEL_FWHM

ROUNDS = 6
SIGNIFICANT = 3.0
"""Shifts of fewer standard errors (both components together) are not applied."""
LARGEST = 0.5
"""Arcsec; larger shifts are refused: more likely a mismatch of sources than an error of astrometry."""


@dataclasses.dataclass(frozen=True)
class Shift:
    """By how much the pixel coordinates of an image disagree with the reference.

    Parameters
    ----------
    value
        Shift: pixels (y, x), or arcsec (north, east).
    error
        Its standard error, for residuals of the size found, correlated over the PSF.
    """

    value: Float[np.ndarray, " 2"]
    error: Float[np.ndarray, " 2"]

    @property
    def significant(self) -> bool:
        """Whether the shift is larger than its error allows."""
        return bool(np.linalg.norm(self.value / self.error) > SIGNIFICANT)


def measure_shift(reference: Observation, other: Observation) -> Shift:
    """Measure by how much the pixel coordinates of `other` disagree with the reference.

    Parameters
    ----------
    reference
        The sharper image.
    other
        The image to be moved.

    Raises
    ------
    InputError
        If the two do not overlap, or nothing stands out in either.
    """
    target = _blurred(other.image, reference.psf.fwhm / other.frame.pixel_scale)
    plane = jnp.asarray(_blurred(reference.image, MODEL_FWHM).astype(np.float32))
    # Sky within the reach of the PSF of the reference's edge is not described by it.
    weight = other.ivar * inside(reference.frame, other.frame, margin=1.5 * other.psf.fwhm)
    if not weight.any():
        raise InputError(
            other.name,
            f"an image that shares too little sky with {reference.name} to be registered",
            "an overlap wider than three times its PSF",
            "Register larger images, or do not ask for it.",
        )
    position = np.zeros(2)
    for _ in range(ROUNDS):
        operator = Operator.build(reference.frame, moved(other.frame, position), other.psf, np.ones(1))
        model = np.asarray(operator(plane[None]), np.float64)
        slope_y, slope_x = np.gradient(model)
        # To first order, model(p + step) = model + step . gradient.
        design = np.stack([model, np.ones_like(model), slope_y, slope_x])[:, weight > 0].T
        root = np.sqrt(weight[weight > 0])[:, None]
        solution, *_ = np.linalg.lstsq(design * root, target[weight > 0] * root[:, 0], rcond=None)
        residual = (design @ solution - target[weight > 0]) * root[:, 0]
        if solution[0] <= 0:
            break
        step = solution[2:] / solution[0]
        position = position + step
        if np.abs(step).max() < 1e-3:
            break
    normal = np.linalg.pinv((design * root).T @ (design * root))
    scatter = max(1.0, float(residual @ residual) / len(residual))
    # What is left over is correlated over the PSF: so many pixels count as one.
    scatter *= max(1.0, 4 * math.pi * (other.psf.fwhm / other.frame.pixel_scale / FWHM_PER_SIGMA) ** 2)
    flux = solution[0]
    error = np.sqrt(scatter * np.diag(normal)[2:]) / abs(flux) if flux != 0 else np.full(2, np.inf)
    if not (flux > 0 and np.isfinite(error).all() and error.max() * other.frame.pixel_scale < LARGEST):
        raise InputError(
            other.name,
            f"no common sources with {reference.name}",
            "sources that both images show",
            "Do not register these images.",
        )
    return Shift(position, error)


def register(observations: Sequence[Observation]) -> list[Observation]:
    """Move the WCS of all images onto the sharpest one, instrument by instrument.

    Parameters
    ----------
    observations
        Images of one sky.

    Returns
    -------
    list[Observation]
        In the same order; all but the reference with ``meta["shift"]`` (arcsec north and east) and a note.

    Raises
    ------
    InputError
        If a significant shift is implausibly large, or no image of an instrument has anything in common
        with the reference.
    """
    reference = min(observations, key=lambda o: o.psf.fwhm)
    others = [o for o in observations if o is not reference]
    best = {
        key: _best_shift(reference, [o for o in others if _instrument(o) == key])
        for key in map(_instrument, others)
    }
    return [o if o is reference else _registered(reference, o, *best[_instrument(o)]) for o in observations]


def moved(frame: Frame, pixels: Float[np.ndarray, " 2"]) -> Frame:
    """Return a frame whose pixel p looks where the old one's pixel ``p + pixels`` did.

    Parameters
    ----------
    frame
        A frame.
    pixels
        Shift (y, x).
    """
    wcs = frame.wcs.deepcopy()
    wcs.wcs.crpix = wcs.wcs.crpix - np.asarray(pixels)[::-1]
    return Frame(frame.shape, wcs)


def _instrument(observation: Observation) -> str:
    return observation.band.split(".")[0]


def _best_shift(reference: Observation, others: list[Observation]) -> tuple[Shift, str]:
    """Return the shift of the image that determines it best, arcsec (north, east), and its name."""
    found, problem = [], None
    for other in others:
        try:
            shift = measure_shift(reference, other)
        except InputError as error:
            problem = error
            continue
        jacobian = other.frame.jacobian
        error = np.sqrt(jacobian**2 @ shift.error**2)
        found.append((Shift(jacobian @ shift.value, error), other.name))
    if not found:
        raise problem
    return min(found, key=lambda item: float(np.hypot(*item[0].error)))


def _registered(reference: Observation, other: Observation, shift: Shift, measured_on: str) -> Observation:
    """Apply an instrument's shift, arcsec (north, east)."""
    (north, east), (error_north, error_east) = shift.value, shift.error
    errors = f"({error_north:.3f}, {error_east:.3f}) arcsec, from {measured_on}"
    text = f"(north, east) = ({north:+.3f}, {east:+.3f}) +- {errors}"
    if shift.significant and math.hypot(north, east) > LARGEST:
        raise InputError(
            other.name,
            f"an image that is off from {reference.name} by {text}",
            f"at most {LARGEST} arcsec",
            "Correct its WCS, or do not register these images.",
        )
    done = "moved" if shift.significant else "not moved (not significant): measured"
    applied = shift.value if shift.significant else np.zeros(2)
    notes = [*other.meta.get("notes", []), f"registered to {reference.name}: {done} {text}"]
    meta = other.meta | {"shift": applied.tolist(), "notes": notes}
    pixels = np.linalg.solve(other.frame.jacobian, applied)
    positions = None if other.positions is None else _displaced(other.positions, applied)
    return dataclasses.replace(other, frame=moved(other.frame, pixels), positions=positions, meta=meta)


def _displaced(
    positions: Float[np.ndarray, "y x 2"], shift: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "y x 2"]:
    """Return sky positions moved by a shift, arcsec (north, east)."""
    sky = SkyCoord(*np.moveaxis(positions, -1, 0), unit="deg")
    sky = sky.spherical_offsets_by(shift[1] * arcsec, shift[0] * arcsec)
    return np.stack([sky.ra.deg, sky.dec.deg], axis=-1)


def _blurred(image: Float[np.ndarray, "y x"], fwhm: float) -> Float[np.ndarray, "y x"]:
    return gaussian_filter(image, fwhm / FWHM_PER_SIGMA, mode="constant")
