r"""Effective PSFs of mock images: telescope, atmosphere, detector and pixel, drawn by GalSim.

*Euclid* is diffraction limited (`data_prep.euclid_optics`).

*Ground based* bands see through the atmosphere (`data_prep.seeing`). The pixel closes the chain.

The wings of an obscured aperture fall as slowly as 1/r in enclosed light: holding 99.7 % of it takes a
radius beyond 13" in VIS and 30" in H, wider than any cutout. Light that far out is indistinguishable from
sky, so a mock's PSF *is* the profile tapered to zero between 0.8 and 1 times `radius` and normalised to
unit sum. What that removes is recorded in `EffectivePSF.truncated` (0.3 % of the light where the radius is
large enough; 1 to 2 % from the ground, 2 to 5 % for Euclid at the default 3"), images and likelihood share
the tapered profile exactly, and nothing else is lost.

Reference: Rowe et al. 2015, A&C 10, 121 (GalSim).
"""

import dataclasses
import functools

import galsim
import numpy as np
import scipy.fft
from jaxtyping import Float

from data_prep.euclid_optics import JITTER, PASSBANDS, diffraction
from data_prep.seeing import Seeing, on_ground
from synergy.errors import InputError
from synergy.psf import PSF
from synergy.survey import get_band
from synergy.windows import fade

NEGLIGIBLE = 1.5e-4
"""Share of a star's peak, at most, that rendering drops with the highest frequencies of a PSF."""

_STAMP_SCALE = {"euclid.vis": 0.025}
_GSPARAMS = galsim.GSParams(
    folding_threshold=2e-3, maxk_threshold=1e-5, kvalue_accuracy=1e-6, maximum_fft_size=16384
)


@dataclasses.dataclass(frozen=True, eq=False)
class EffectivePSF:
    """One effective PSF in two forms: a stamp for the likelihood, a GalSim profile for rendering.

    Parameters
    ----------
    band
        Name of the band.
    psf
        The stamp.
    truncated
        Share of the physical profile's light that the taper removed.
    """

    band: str
    psf: PSF
    truncated: float

    @functools.cached_property
    def profile(self) -> galsim.GSObject:
        """The stamp as a GalSim object of unit flux, in arcsec along the image's pixel axes."""
        image = galsim.Image(self.psf.image.copy(), scale=self.psf.pixel_scale)
        return galsim.InterpolatedImage(image, x_interpolant="lanczos15", flux=1.0, gsparams=_GSPARAMS)

    @property
    def radius(self) -> float:
        """Arcsec from the centre, along the axes, at which the stamp ends."""
        return max(self.psf.image.shape) / 2 * self.psf.pixel_scale

    @functools.cached_property
    def limit(self) -> float:
        """Frequency in cycles per arcsec beyond which lies no more than `NEGLIGIBLE` of a star's peak."""
        padded = [scipy.fft.next_fast_len(n) for n in self.psf.image.shape]
        amplitude = np.abs(scipy.fft.rfft2(self.psf.image, padded)).ravel()
        radius = np.hypot.outer(np.fft.fftfreq(padded[0]), np.fft.rfftfreq(padded[1])).ravel()
        outwards = np.argsort(radius)
        beyond = 1 - np.cumsum(amplitude[outwards]) / amplitude.sum()
        return float(radius[outwards][np.argmax(beyond <= NEGLIGIBLE)] / self.psf.pixel_scale)


def physical_psf(band: str, seeing: Seeing | None = None) -> galsim.GSObject:
    """Return the effective PSF before the taper, as GalSim composes it from its parts.

    Parameters
    ----------
    band
        Name of a Euclid or ground-based band.
    seeing
        Conditions; the survey's FWHM when omitted. Ground-based bands only.

    Raises
    ------
    InputError
        If the band has no PSF model here, or Euclid is asked for a seeing.
    """
    pixel_scale = get_band(band).pixel_scale
    if band in PASSBANDS:
        if seeing is not None:
            raise InputError(
                band, f"a seeing of {seeing.fwhm} arcsec", "none", "Only ground-based images have a seeing."
            )
        optics = galsim.Convolve([diffraction(band), galsim.Gaussian(fwhm=JITTER[band])], gsparams=_GSPARAMS)
    elif on_ground(band):
        optics = (seeing or Seeing(get_band(band).psf_fwhm)).profile
    else:
        raise InputError(band, "no PSF model", "a Euclid or ground-based band", "Use a measured PSF stamp.")
    return galsim.Convolve([optics, galsim.Pixel(pixel_scale)], gsparams=_GSPARAMS)


@functools.lru_cache(maxsize=64)
def effective_psf(
    band: str, seeing: Seeing | None = None, radius: float = 3.0, stamp_scale: float | None = None
) -> EffectivePSF:
    """Return the effective PSF of a mock image.

    Parameters
    ----------
    band
        Name of a Euclid or ground-based band.
    seeing
        Conditions; the survey's FWHM and a shear of (0.02, -0.01) when omitted. Ground-based bands only.
    radius
        Arcsec at which the wings end.
    stamp_scale
        Arcsec per pixel of the stamp, fine enough for the PSF to hold no power beyond its Nyquist limit;
        0.025 for VIS and 0.05 otherwise when omitted.
    """
    scale = stamp_scale or _STAMP_SCALE.get(band, 0.05)
    size = 2 * round(radius / scale) + 1
    physical = physical_psf(band, seeing)
    stamp = physical.drawImage(nx=size, ny=size, scale=scale, method="no_pixel", dtype=float).array
    return tapered(stamp, scale, radius, band)


def tapered(stamp: Float[np.ndarray, "y x"], pixel_scale: float, radius: float, band: str) -> EffectivePSF:
    """Return a PSF whose wings end at a radius.

    Parameters
    ----------
    stamp
        Surface brightness per stamp pixel of a point source of unit flux, effective.
    pixel_scale
        Arcsec per pixel of the stamp.
    radius
        Arcsec at which the wings end.
    band
        Name of the band.
    """
    y, x = ((np.arange(n) - (n - 1) / 2) * pixel_scale for n in stamp.shape)
    stamp = stamp * fade(np.hypot.outer(y, x), 0.8 * radius, radius)
    total = float(stamp.sum())
    return EffectivePSF(band, PSF.from_stamp(stamp, pixel_scale, source=band), 1 - total)
