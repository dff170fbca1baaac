"""What is known beforehand about the telescopes whose PSF stamps need help.

*Euclid*: 1.2 m, a central obscuration of 0.33 of the radius that sits 8.5 % off the axis, three struts of 12
mm that run past the centre (measured on the telescope's pupil image; Racca et al. 2016, SPIE 9904). Passbands
from Cropper et al. 2024 and Schirmer et al. 2022. The expected blur is what takes the diffraction limit to
the published width. *From the ground*: the survey's seeing.
"""

from synergy.errors import InputError
from synergy.psf_recovery.model import Telescope
from synergy.psf_recovery.optics import Optics, Pupil
from synergy.psf_recovery.seeing import Seeing
from synergy.survey import available_bands, get_band

EUCLID_PUPIL = Pupil(
    diameter=1.2,
    obscuration=0.3295,
    offset=(0.085, 0.0),
    struts=(
        (-0.597, 0.108, 79.2, 0.9, 0.02),
        (0.261, -0.604, 140.1, 0.9, 0.02),
        (0.429, 0.530, 16.8, 0.9, 0.02),
    ),
)

_EUCLID = {  # passband in nm, expected blur in arcsec
    "euclid.vis": ((540.0, 910.0), 0.04),
    "euclid.Y": ((950.0, 1212.0), 0.14),
    "euclid.J": ((1168.0, 1567.0), 0.14),
    "euclid.H": ((1522.0, 2021.0), 0.14),
}
_WAVELENGTHS = {"u": 368.0, "g": 478.0, "r": 622.0, "i": 753.0, "z": 870.0, "y": 973.0}


def telescope(band: str) -> Telescope:
    """Return the model of the PSFs of a band.

    Parameters
    ----------
    band
        Name of a Euclid or ground-based band, such as ``"euclid.vis"`` or ``"lsst.r"``.

    Raises
    ------
    InputError
        If there is none.
    """
    if band in _EUCLID:
        passband, blur = _EUCLID[band]
        return Optics(EUCLID_PUPIL, passband, blur)
    letter = band.rpartition(".")[2]
    if band not in available_bands() or letter not in _WAVELENGTHS:
        raise InputError(
            band, "no model of its PSF", "a Euclid or ground-based band", "Use the stamp as it is."
        )
    return Seeing(get_band(band).psf_fwhm, _WAVELENGTHS[letter])
