"""Frames as numbers: the FITS keywords of a gnomonic projection, to the last digit.

A header's text rounds them (to 12 digits in places). Every frame of a mock is square to the sky or turned,
flipped or sheared, but its map from pixels to the tangent plane is linear: CRPIX, CRVAL and CD say it all.
"""

import dataclasses

import numpy as np
from astropy.wcs import WCS
from jaxtyping import Float

from synergy.errors import InputError
from synergy.frame import Frame

_EXACT = 1e-11  # degrees


@dataclasses.dataclass(frozen=True, eq=False)
class TangentKeywords:
    """A gnomonic projection (``RA---TAN``, ``DEC--TAN``) in ICRS, in the convention of FITS: x first, from 1.

    Parameters
    ----------
    crpix
        Reference pixel.
    crval
        Its right ascension and declination in degrees.
    cd
        Degrees per pixel.
    """

    crpix: Float[np.ndarray, " 2"]
    crval: Float[np.ndarray, " 2"]
    cd: Float[np.ndarray, "2 2"]

    @classmethod
    def of(cls, frame: Frame, source: object) -> "TangentKeywords":
        """Return the keywords of a frame.

        Parameters
        ----------
        frame
            The frame.
        source
            What to name in errors.

        Raises
        ------
        InputError
            If it is of another projection, distorted or not ICRS.
        """
        wcs = frame.wcs
        found = cls(np.array(wcs.wcs.crpix), np.array(wcs.wcs.crval), np.array(wcs.pixel_scale_matrix))
        corners = frame.corners[:, ::-1]
        off = found.wcs().wcs_pix2world(corners, 0) - wcs.all_pix2world(corners, 0)
        if wcs.wcs.radesys != "ICRS" or not np.all(np.abs(off) < _EXACT):
            raise InputError(
                source,
                f"a frame of {' and '.join(wcs.wcs.ctype)}, {wcs.wcs.radesys or 'of no system'}, that is not "
                "CRPIX, CRVAL and CD alone",
                "an undistorted gnomonic projection in ICRS",
                "Make frames with Frame.tangent, or turn and flip its CD matrix.",
            )
        return found

    def wcs(self) -> WCS:
        """Return the projection."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.radesys = ["RA---TAN", "DEC--TAN"], "ICRS"
        wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.pc, wcs.wcs.cdelt = self.crpix, self.crval, self.cd, [1.0, 1.0]
        wcs.wcs.set()
        return wcs

    def frame(self, shape: tuple[int, int]) -> Frame:
        """Return the frame of an image of `shape`."""
        return Frame(shape, self.wcs())

    @property
    def pixel_scale(self) -> float:
        """Arcsec: the root of a pixel's area at the reference pixel."""
        return float(3600 * np.sqrt(abs(np.linalg.det(self.cd))))

    def position(self, pixel: Float[np.ndarray, " 2"]) -> tuple[float, float]:
        """Return the ICRS right ascension and declination in degrees of a pixel coordinate (y, x)."""
        ra, dec = self.wcs().wcs_pix2world(pixel[None, ::-1], 0)[0]
        return float(ra), float(dec)

    def arrays(self) -> dict[str, Float[np.ndarray, "..."]]:
        """Return the keywords by name."""
        return {"crpix": self.crpix, "crval": self.crval, "cd": self.cd}
