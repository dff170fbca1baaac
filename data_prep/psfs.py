"""Effective PSFs of mock images: telescope, atmosphere, detector and pixel, drawn by GalSim.

*Euclid* is diffraction limited: the pupil (measured on the telescope's pupil image: 1.2 m, a central
obscuration of 0.33 of the radius that sits 8.5 % off the axis, three struts of 12 mm that run past the
centre) is Fourier transformed at five wavelengths across the passband; a Gaussian stands for jitter, charge
diffusion and optical aberrations; the pixel closes the chain. The Gaussian's width is set so that the
effective FWHM is near the published one: 0.164" for VIS and 0.48" to 0.49" for NISP.

*Ground based* bands have a Kolmogorov profile of the survey's seeing, slightly elliptical, times the pixel.

The wings of an obscured aperture fall as slowly as 1/r in enclosed light: holding 99.7 % of it takes a
radius beyond 13" in VIS and 30" in H, wider than any cutout. Light that far out is indistinguishable from
sky, so a mock's PSF *is* the profile tapered to zero between 0.8 and 1 times `radius` and normalised to
unit sum. What that removes is recorded in `EffectivePSF.truncated` (0.3 % of the light where the radius is
large enough; 1 to 2 % from the ground, 2 to 5 % for Euclid at the default 3"), images and likelihood share
the tapered profile exactly, and nothing else is lost.

References
----------
Racca et al. 2016, SPIE 9904 and Laureijs et al. 2011 (telescope); Schirmer et al. 2022, A&A 662, A92 (NISP
passbands); Euclid Collaboration: Cropper et al. 2024 (VIS); Rowe et al. 2015, A&C 10, 121 (GalSim).
"""

import dataclasses
import functools

import galsim
import numpy as np
import scipy.fft
from jaxtyping import Bool, Float

from synergy.errors import InputError
from synergy.psf import PSF
from synergy.survey import get_band

DIAMETER = 1.2
"""Euclid's primary mirror, metres."""

OBSCURATION = 0.3295
"""Radius of Euclid's central obscuration over that of the mirror."""

NEGLIGIBLE = 1.5e-4
"""Share of a star's peak, at most, that rendering drops with the highest frequencies of a PSF."""

_OFFSET = 0.085
_STRUTS = ((0.108, -0.597, 79.2), (-0.604, 0.261, 140.1), (0.530, 0.429, 16.8))
_STRUT_WIDTH = 0.02
_PUPIL_EXTENT, _PUPIL_SIZE = 2.4, 640

_PASSBANDS = {
    "euclid.vis": (540, 910),
    "euclid.Y": (950, 1212),
    "euclid.J": (1168, 1567),
    "euclid.H": (1522, 2021),
}
_JITTER = {"euclid.vis": 0.092, "euclid.Y": 0.345, "euclid.J": 0.337, "euclid.H": 0.321}
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

    @property
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


def euclid_pupil(size: int = _PUPIL_SIZE, extent: float = _PUPIL_EXTENT) -> Bool[np.ndarray, "y x"]:
    """Return where Euclid's entrance pupil is open.

    Parameters
    ----------
    size
        Side of the image in pixels.
    extent
        Side of the image in metres.
    """
    axis = (np.arange(size) - (size - 1) / 2) * (extent / size) / (DIAMETER / 2)
    x, y = np.meshgrid(axis, axis)
    is_open = (np.hypot(x, y) < 1) & (np.hypot(x, y - _OFFSET) > OBSCURATION)
    for x0, y0, degrees in _STRUTS:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        along, across = (x - x0) * c + (y - y0) * s, (y - y0) * c - (x - x0) * s
        is_open &= (np.abs(along) > 0.45) | (np.abs(across) > _STRUT_WIDTH / 2)
    return is_open


def physical_psf(
    band: str, seeing: float | None = None, shear: tuple[float, float] = (0.0, 0.0)
) -> galsim.GSObject:
    """Return the effective PSF before the taper, as GalSim composes it from its parts.

    Parameters
    ----------
    band
        Name of a Euclid or ground-based band.
    seeing
        FWHM of the atmosphere in arcsec; the survey's when omitted. Ground-based bands only.
    shear
        Reduced shear ``(g1, g2)`` of the profile in pixel axes, before the pixel.

    Raises
    ------
    InputError
        If the band has no PSF model here, or Euclid is asked for a seeing.
    """
    pixel_scale = get_band(band).pixel_scale
    if band.startswith("hst."):
        raise InputError(band, "no PSF model", "a Euclid or ground-based band", "Use a measured PSF stamp.")
    if band in _PASSBANDS:
        if seeing is not None:
            raise InputError(
                band, f"a seeing of {seeing} arcsec", "none", "Only ground-based images have a seeing."
            )
        parts = [_diffraction(band), galsim.Gaussian(fwhm=_JITTER[band])]
    else:
        parts = [galsim.Kolmogorov(fwhm=seeing or get_band(band).psf_fwhm)]
    optics = galsim.Convolve(parts, gsparams=_GSPARAMS).shear(g1=shear[0], g2=shear[1])
    return galsim.Convolve([optics, galsim.Pixel(pixel_scale)], gsparams=_GSPARAMS)


@functools.lru_cache(maxsize=128)
def effective_psf(
    band: str, seeing: float | None = None, shear: tuple[float, float] | None = None, radius: float = 3.0
) -> EffectivePSF:
    """Return the effective PSF of a mock image.

    The stamp is oversampled (0.025"/pixel for VIS, 0.05" otherwise), so that no PSF here holds power beyond
    its Nyquist limit.

    Parameters
    ----------
    band
        Name of a Euclid or ground-based band.
    seeing
        FWHM of the atmosphere in arcsec; the survey's when omitted. Ground-based bands only.
    shear
        Reduced shear ``(g1, g2)`` in pixel axes; when omitted, none for Euclid and (0.02, -0.01) from the
        ground.
    radius
        Arcsec at which the wings end.
    """
    if shear is None:
        shear = (0.0, 0.0) if band in _PASSBANDS else (0.02, -0.01)
    scale = _STAMP_SCALE.get(band, 0.05)
    size = 2 * round(radius / scale) + 1
    physical = physical_psf(band, seeing, shear)
    stamp = physical.drawImage(nx=size, ny=size, scale=scale, method="no_pixel", dtype=float).array
    stamp = stamp * _taper(size, scale, radius)
    total = float(stamp.sum())
    psf = PSF.from_stamp(stamp, scale, source=band)
    return EffectivePSF(band, psf, 1 - total)


@functools.lru_cache(maxsize=16)
def _diffraction(band: str) -> galsim.GSObject:
    """Return the optical PSF, the mean over five wavelengths of equal photon number."""
    low, high = _PASSBANDS[band]
    pupil = galsim.Image(euclid_pupil().astype(float), scale=_PUPIL_EXTENT / _PUPIL_SIZE)
    wavelengths = low + (high - low) * (np.arange(5) + 0.5) / 5
    profiles = []
    for wavelength in wavelengths:
        aperture = galsim.Aperture(diam=DIAMETER, lam=wavelength, pupil_plane_im=pupil, gsparams=_GSPARAMS)
        profiles.append(
            galsim.OpticalPSF(
                lam=wavelength, diam=DIAMETER, aper=aperture, gsparams=_GSPARAMS, flux=1 / len(wavelengths)
            )
        )
    return galsim.Sum(profiles, gsparams=_GSPARAMS)


def _taper(size: int, pixel_scale: float, radius: float) -> Float[np.ndarray, "y x"]:
    """Return a round window: 1 out to 0.8 of the radius, a raised cosine down to 0 at the radius."""
    axis = (np.arange(size) - (size - 1) / 2) * pixel_scale
    phase = np.clip((np.hypot(axis[:, None], axis) / radius - 0.8) / 0.2, 0, 1)
    return 0.5 * (1 + np.cos(np.pi * phase))
