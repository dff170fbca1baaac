"""Observations: one image of one band, with everything that is needed to compare a scene with it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.psf import PSF
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
        Inverse variance in nJy^-2; 0 where there is no information.
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
    meta
        Anything worth keeping: origin, native pixel scale, ...

    Raises
    ------
    InputError
        If shapes differ, an image value with weight is not finite, an inverse variance is negative or not
        finite, or no pixel carries information.
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

        The root of how far the chi-squared of an empty sky exceeds the number of pixels.
        """
        excess = np.sum(self.ivar * self.image**2) - np.count_nonzero(~self.mask)
        return math.sqrt(max(float(excess), 0.0))


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
