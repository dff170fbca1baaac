"""Euclid's telescope: its pupil, and the diffraction pattern through a passband, drawn by GalSim.

The pupil was measured on the telescope's pupil image: 1.2 m, a central obscuration of 0.33 of the radius that
sits 8.5 % off the axis, three struts of 12 mm that run past the centre. It is Fourier transformed at five
wavelengths across the passband. A Gaussian (`JITTER`) stands for jitter, charge diffusion and optical
aberrations; its width is set so that the effective FWHM is near the published one: 0.164" for VIS and 0.48"
to 0.49" for NISP.

References
----------
Racca et al. 2016, SPIE 9904 and Laureijs et al. 2011 (telescope); Schirmer et al. 2022, A&A 662, A92 (NISP
passbands); Euclid Collaboration: Cropper et al. 2024 (VIS).
"""

import galsim
import numpy as np
from jaxtyping import Bool

DIAMETER = 1.2
"""Euclid's primary mirror, metres."""

OBSCURATION = 0.3295
"""Radius of Euclid's central obscuration over that of the mirror."""

PASSBANDS = {
    "euclid.vis": (540, 910),
    "euclid.Y": (950, 1212),
    "euclid.J": (1168, 1567),
    "euclid.H": (1522, 2021),
}
"""Band -> shortest and longest wavelength, nm."""

JITTER = {"euclid.vis": 0.092, "euclid.Y": 0.345, "euclid.J": 0.337, "euclid.H": 0.321}
"""Band -> FWHM in arcsec of all blur that is neither diffraction nor pixel."""

_OFFSET = 0.085
_STRUTS = ((0.108, -0.597, 79.2), (-0.604, 0.261, 140.1), (0.530, 0.429, 16.8))
_STRUT_WIDTH = 0.02
_PUPIL_EXTENT, _PUPIL_SIZE = 2.4, 640
_GSPARAMS = galsim.GSParams(
    folding_threshold=2e-3, maxk_threshold=1e-5, kvalue_accuracy=1e-6, maximum_fft_size=16384
)


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


def diffraction(band: str) -> galsim.GSObject:
    """Return the diffraction pattern in a Euclid band, the mean over five wavelengths of equal photon number.

    Parameters
    ----------
    band
        One of `PASSBANDS`.
    """
    pupil = galsim.Image(euclid_pupil().astype(float), scale=_PUPIL_EXTENT / _PUPIL_SIZE)
    low, high = PASSBANDS[band]
    wavelengths = low + (high - low) * (np.arange(5) + 0.5) / 5
    parts = [diffraction_at(wavelength, pupil, 1 / len(wavelengths)) for wavelength in wavelengths]
    return galsim.Sum(parts, gsparams=_GSPARAMS)


def diffraction_at(wavelength: float, pupil: galsim.Image, flux: float = 1.0) -> galsim.GSObject:
    """Return the diffraction pattern of a pupil at one wavelength.

    Parameters
    ----------
    wavelength
        nm.
    pupil
        Where the telescope is open, with its scale in metres per pixel.
    flux
        Flux of the result.
    """
    aperture = galsim.Aperture(diam=DIAMETER, lam=wavelength, pupil_plane_im=pupil, gsparams=_GSPARAMS)
    return galsim.OpticalPSF(lam=wavelength, diam=DIAMETER, aper=aperture, gsparams=_GSPARAMS, flux=flux)
