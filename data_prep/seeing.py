r"""What the atmosphere and a telescope do to ground-based images, drawn by GalSim.

A Kolmogorov profile, convolved with a Gaussian for optics, dome and camera, slightly sheared. The diffraction
of a mirror of 4 to 8 m (0.03" to 0.015") is invisible beside them. A survey's seeing is the FWHM of the two
together. Turbulence scales as :math:`\lambda^{-1/5}`, and the surveys' seeing per band already does, or says
in which conditions each band is observed; so a night that is better or worse than usual multiplies the
atmosphere's part in all bands by one factor, drawn log-normally.

References
----------
Fried 1966, JOSA 56, 1372 (seeing and wavelength); Jones, SMTN-002 (Rubin: telescope 0.25", design 0.08",
camera 0.30"); Miyazaki et al. 2018, PASJ 70, S1 (HSC: below 0.2"); Flaugher et al. 2015, AJ 150, 150 (DECam).
"""

import dataclasses
from collections.abc import Sequence

import galsim
import numpy as np

from synergy.survey import get_band

TELESCOPE = {"lsstcam": 0.40, "hsc": 0.2, "decam": 0.35, "megacam": 0.35, "sdss": 0.5}
"""Camera -> FWHM in arcsec of its optics, dome and detectors; those after HSC are assumed."""

ELLIPTICITY = 0.012
"""Standard deviation of either component of a ground-based PSF's shear, where conditions scatter."""

_ADD = 1.87  # power in which the widths of a Kolmogorov profile and a Gaussian add up, to 0.8 %


@dataclasses.dataclass(frozen=True)
class Seeing:
    """What the atmosphere and the telescope do to a ground-based image.

    Parameters
    ----------
    fwhm
        FWHM of both in arcsec, without the pixel.
    telescope
        FWHM of the telescope's part in arcsec.
    shear
        Reduced shear ``(g1, g2)`` along the image's pixel axes.
    """

    fwhm: float
    telescope: float = 0.0
    shear: tuple[float, float] = (0.02, -0.01)

    @property
    def profile(self) -> galsim.GSObject:
        """The PSF before the pixel, of unit flux."""
        g1, g2 = self.shear
        if self.telescope == 0:
            return galsim.Kolmogorov(fwhm=self.fwhm).shear(g1=g1, g2=g2)
        atmosphere = galsim.Kolmogorov(fwhm=(self.fwhm**_ADD - self.telescope**_ADD) ** (1 / _ADD))
        parts = [atmosphere, galsim.Gaussian(fwhm=self.telescope)]
        return galsim.Convolve(parts).shear(g1=g1, g2=g2)


def draw_seeing(bands: Sequence[str], scatter: float, rng: np.random.Generator) -> dict[str, Seeing]:
    """Draw the conditions in which one camera takes its images.

    Parameters
    ----------
    bands
        Its bands, ground based.
    scatter
        Standard deviation of the logarithm of the atmosphere's FWHM, which all bands share; with none, the
        conditions are always the usual ones, and the shear is that of `Seeing`'s default.
    rng
        Random numbers; as many are used for any bands and scatter.
    """
    factor = float(np.exp(scatter * rng.standard_normal()))
    g1, g2 = (float(g) for g in ELLIPTICITY * rng.standard_normal(2))
    seeing = {}
    for band in bands:
        telescope, usual = TELESCOPE[get_band(band).instrument], get_band(band).psf_fwhm
        if scatter == 0:
            seeing[band] = Seeing(usual, telescope)
            continue
        atmosphere = factor * (usual**_ADD - telescope**_ADD) ** (1 / _ADD)
        fwhm = (atmosphere**_ADD + telescope**_ADD) ** (1 / _ADD)
        seeing[band] = Seeing(fwhm, telescope, (g1, g2))
    return seeing


def on_ground(band: str) -> bool:
    """Return whether a band is observed through the atmosphere."""
    return get_band(band).instrument in TELESCOPE
