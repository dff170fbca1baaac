"""Observations: one image of one band, with everything that is needed to compare a scene with it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from jaxtyping import Bool, Float

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.noise_spectrum import correlation_factor
from synergy.psf import FWHM_PER_SIGMA, PSF
from synergy.stationary import check_correlation
from synergy.varying_psf import VaryingPSF


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """One image as an instrument delivered it, in nJy.

    Pixels that carry no information (masked, or of zero inverse variance) may hold anything on input; they
    are stored as ``image = 0``, ``ivar = 0``, ``mask = True``. Arrays are stored as native float64.

    Parameters
    ----------
    name
        Unique name, such as ``"lsst.r"`` or ``"lsst.r-visit2"``.
    band
        Name of its band.
    image
        Fluxes in nJy per pixel.
    ivar
        Inverse of the total variance of each pixel in nJy^-2; 0 where there is no information.
    mask
        True = bad.
    psf
        Effective PSF in the axes of the image's pixels; a `VaryingPSF` where it depends on band or position.
    frame
        Pixel grid.
    response
        Scene band -> weight, for an image that sees several bands of the scene; None where it sees its own.
    response_error
        Relative error of the response.
    positions
        ICRS right ascension and declination of each pixel centre in degrees, in place of the frame's WCS:
        for images that are distorted beyond an affine map (`Frame.positions` gives what the WCS says).
    correlation
        Autocorrelation of the noise at integer separations ``(dy, dx)``, zero separation (where it is 1) in
        the middle of an array of odd sides; None where the noise is independent between pixels.
    independent
        Beside a `correlation`: the part of the total variance that is independent between pixels all the
        same, nJy^2 (see `synergy.stationary`); None for no such part.
    meta
        Anything worth keeping: origin, native pixel scale, ...

    Raises
    ------
    InputError
        If shapes differ, an image value with weight is not finite, an inverse variance is negative or not
        finite, no pixel carries information, the correlation is none, or the independent variance is
        negative, above the total, or without a correlation.
    """

    name: str
    band: str
    image: Float[np.ndarray, "_y _x"]
    ivar: Float[np.ndarray, "_y _x"]
    mask: Bool[np.ndarray, "_y _x"]
    psf: PSF | VaryingPSF
    frame: Frame
    response: dict[str, float] | None = None
    response_error: float = 0.0
    positions: Float[np.ndarray, "_y _x 2"] | None = None
    correlation: Float[np.ndarray, "_dy _dx"] | None = None
    independent: Float[np.ndarray, "_y _x"] | None = None
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        image, ivar = (np.array(a, dtype=np.float64) for a in (self.image, self.ivar))
        mask = np.array(self.mask, dtype=bool)
        for what, array in (("an image", image), ("an ivar", ivar), ("a mask", mask)):
            if array.shape != self.frame.shape:
                raise InputError(
                    self.name,
                    f"{what} of shape {array.shape} in a frame of {self.frame.shape}",
                    "one shape",
                    "Cut image, ivar, mask and WCS alike.",
                )
        self._check_geometry()
        wrong = ~mask & ~(np.isfinite(ivar) & (ivar >= 0))
        if np.any(wrong):
            raise InputError(
                self.name,
                f"{np.count_nonzero(wrong)} unmasked pixels whose inverse variance is negative or not finite",
                "positive numbers, or 0 where there is no information",
                "Mask those pixels.",
            )
        bad = mask | (ivar == 0)
        if not np.all(np.isfinite(image[~bad])):
            raise InputError(
                self.name,
                f"{np.count_nonzero(~np.isfinite(image[~bad]))} pixels with weight that are not finite",
                "finite values",
                "Mask those pixels, or set their ivar to 0.",
            )
        if np.all(bad):
            raise InputError(
                self.name,
                "no pixel that carries information",
                "at least one",
                "Check its mask and variance, or drop it.",
            )
        for field, array in (
            ("image", np.where(bad, 0.0, image)),
            ("ivar", np.where(bad, 0.0, ivar)),
            ("mask", bad),
        ):
            object.__setattr__(self, field, array)
        self._check_correlation()

    def _check_correlation(self) -> None:
        if self.correlation is not None:
            correlation = np.array(self.correlation, np.float64)
            check_correlation(correlation, self.name)
            object.__setattr__(self, "correlation", correlation)
        if self.independent is None:
            return
        independent = self.independent
        if self.correlation is not None and independent.shape == self.frame.shape:
            independent = np.where(self.mask, 0.0, independent.astype(np.float64))
            fits = np.all((independent >= 0) & (independent * self.ivar < 1 + 1e-6))
        else:
            fits = False
        if not fits:
            raise InputError(
                self.name,
                "independent variances that are negative, above the total, or without a correlation",
                "the independent part of the total variance 1 / ivar, beside a `correlation`",
                "Leave it out where all noise is independent, or correct ivar.",
            )
        object.__setattr__(self, "independent", independent)

    def _check_geometry(self) -> None:
        """Refuse maps over the image that do not fit it."""
        maps = self.psf.maps if isinstance(self.psf, VaryingPSF) else None
        if maps is not None and maps.shape[1:] != self.frame.shape:
            raise InputError(
                self.name,
                f"PSF weights of shape {maps.shape[1:]} in a frame of {self.frame.shape}",
                "one shape",
                "Cut the PSF's weights like the image.",
            )
        if self.positions is None:
            return
        if self.positions.shape != (*self.frame.shape, 2) or not np.all(np.isfinite(self.positions)):
            raise InputError(
                self.name,
                f"positions of shape {self.positions.shape} in a frame of {self.frame.shape}",
                "finite ICRS degrees (ra, dec) for every pixel",
                "Take them from Frame.positions, or leave them out.",
            )

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio of the whole image.

        The root of how far the chi-squared of an empty sky exceeds the number of pixels; over the scatter of
        averages over the PSF where noise is correlated.
        """
        excess = float(np.sum(self.ivar * self.image**2) - np.count_nonzero(~self.mask))
        return math.sqrt(max(excess, 0.0) / self._correlation_factor)

    @property
    def depth(self) -> float:
        """Median inverse variance per arcsec^2, nJy^-2 arcsec^2, for averages over the size of the PSF."""
        return float(np.median(self.ivar[~self.mask])) * self.frame.pixel_scale**2 / self._correlation_factor

    @property
    def _correlation_factor(self) -> float:
        sigma = self.psf.fwhm / FWHM_PER_SIGMA / self.frame.pixel_scale
        return correlation_factor(self.correlation, sigma)


def mask_disc(observations: Sequence[Observation], center: SkyCoord, radius: float) -> list[Observation]:
    """Mask a disc of sky in all images: a saturated star, say, which no linear model explains.

    Parameters
    ----------
    observations
        The images.
    center
        Its centre.
    radius
        Its radius in arcsec.

    Returns
    -------
    list[Observation]
        The images, those that the disc touches with larger masks.

    Raises
    ------
    InputError
        If the disc touches no pixel that carries information, or leaves an image none.
    """
    masked, touched = [], False
    for observation in observations:
        degrees = observation.frame.positions() if observation.positions is None else observation.positions
        inside = SkyCoord(*np.moveaxis(degrees, -1, 0), unit="deg").separation(center).arcsec <= radius
        touched |= bool(np.any(inside & ~observation.mask))
        masked.append(dataclasses.replace(observation, mask=observation.mask | inside))
    if not touched:
        raise InputError(
            "mask",
            f"no usable pixel within {radius:g} arcsec of {center.icrs.to_string(precision=5)}",
            "a disc of sky that the images show",
            "Check its position and radius, or leave it out.",
        )
    return masked


def response_row(observation: Observation, bands: Sequence[str]) -> Float[np.ndarray, " band"]:
    """Return the weight of each scene band in an observation.

    Parameters
    ----------
    observation
        The image.
    bands
        Bands of the scene.

    Raises
    ------
    InputError
        If the image sees a band that the scene does not have.
    """
    response = observation.response if observation.response is not None else {observation.band: 1.0}
    missing = sorted(set(response) - set(bands))
    if missing or not response:
        raise InputError(
            observation.name,
            f"an image that sees {', '.join(missing) or 'no band at all'}",
            f"bands of the scene ({', '.join(bands)})",
            "Give the observation a `response` over the scene's bands, or choose a prior that has the band.",
        )
    return np.array([float(response.get(band, 0.0)) for band in bands])
