"""Euclid MER cutouts: a triplet of HDUs per band, `<band>_FLUX` (or `_BGSUB`), `<band>_PSF`, `<band>_RMS`.

All bands lie on the MER grid of 0.1 arcsec, VIS at its own sampling, NISP (0.3 arcsec) and the ground-based
images resampled onto it. The zero point is the keyword ``MAGZERO`` of the image HDU, an RMS of 1e16 marks
pixels without information.

What the real files taught (three Q1 cutouts, measured):

- *Noise.* The RMS maps state the noise that *independent* pixels would need, not the scatter of single
  pixels. Over ``RMS**2``, the variance of blank pixels is 0.05 to 0.07 for NISP, 0.4 for VIS and 0.05 to
  0.17 for ground bands; the variance of averages over the FWHM of the PSF, per pixel, is 0.4 to 0.7, 0.6, and
  0.7 to 1.3. Adjacent pixels correlate by 0.8 (NISP), 0.2 to 0.26 (VIS, too) and 0.7 to 0.87. So the noise
  is stationary, with the autocorrelation and the variance of single pixels measured on the blank sky of every
  file; the RMS map only says how it varies over the image. Files with too little blank sky keep the RMS
  map, inflated where it is too small for averages over the PSF (`synergy.io.noise`). The noise of ground
  bands has modes far below the likelihood's power floor: their pure noise has a chi2 per pixel below one
  (``meta["expected_chi2"]``).
- *Model errors of resampled images.* Resampling smooths the native pixels by a kernel that depends on the
  sub-pixel phase; the stamps are one average of it. Around nuclei this exceeds the noise of the modes that
  resampling made quiet, and shows as a pattern along the native pixels: what is expected of it is added to
  the noise (`synergy.io.resampled`), as independent; and so is `RESAMPLED_ERROR` of the image, for the
  stamps of NISP and ground bands.
- *Beyond the native Nyquist frequency* (`NATIVE_NYQUIST`) resampled images hold neither sky nor noise, and
  their stamps what is left of interpolation. A quiet mode and a spurious response together would pass for
  information: stamps are low-passed there.
- *PSF stamps of NISP* are up to 0.4 pixel off-centre. Against VIS, brought to the same PSF, nine NISP images
  are off by 0.26 pixel (median, opposite to the stamps) as they are, and by 0.10 pixel
  once the stamps are centred: the offset is an accident of the stamp, and stamps are centred here. VIS and
  ground stamps are left as they are.
- *VIS stamps* are sampled at 0.1 arcsec for a FWHM of about 0.17 arcsec: undersampled, and clipped. As they
  are, they would be wrong by 4 to 8 % of the peak of a point source; the PSF behind them is recovered
  (`synergy.psf_recovery`) and its stated error added to the noise. They are tapered to zero
  between 0.7 and 1.1 arcsec, where they are not used. The model explains the rest of the three stamps to 0.4
  to 1.0 % of the peak; 98 % of its light within 3 arcsec would fall on them.
"""

import math
import re
from pathlib import Path

from synergy.errors import InputError
from synergy.io.assemble import ImageSpec
from synergy.io.images import Plane, open_fits

PIXEL_SCALE = 0.1
"""Arcsec per pixel of the MER grid, also of the PSF stamps."""

VIS_PSF_REACH = 0.65
"""Arcsec within which VIS stamps are data: they are tapered to zero between 0.7 and 1.1 arcsec."""

NATIVE_NYQUIST = {
    "NIR": 3.33,
    "MEGACAM": 2.67,
    "CFIS": 2.67,
    "HSC": 2.98,
    "WISHES": 2.98,
    "DES": 1.90,
    "DECAM": 1.90,
}
"""Cycles per arcsec that the pixels before resampling could hold: 0.3 arcsec dithered to 0.15 for NISP, 0.187
for MegaCam, 0.168 for HSC, 0.263 for DECam."""

NATIVE_SCALE = {
    "VIS": 0.1,
    "NIR": 0.3,
    "MEGACAM": 0.187,
    "CFIS": 0.187,
    "HSC": 0.168,
    "WISHES": 0.168,
    "DES": 0.263,
    "DECAM": 0.263,
}
"""Arcsec per pixel of the exposures."""

RESAMPLED_ERROR = 0.02
"""Relative error of the stamps of NISP and ground bands."""

_IMAGE = re.compile(r"(?P<band>.+)_(FLUX|BGSUB)$")
_INSTRUMENTS = {
    "MEGACAM": "megacam",
    "CFIS": "megacam",
    "HSC": "hsc",
    "WISHES": "hsc",
    "DES": "decam",
    "DECAM": "decam",
}
_NISP = {"NIR_Y": "euclid.Y", "NIR_J": "euclid.J", "NIR_H": "euclid.H"}

_RESAMPLED_NOTE = (
    f"image was resampled onto the 0.1 arcsec MER grid; {RESAMPLED_ERROR:.0%} of it added to the noise"
)


def is_mer(names: list[str]) -> bool:
    """Return whether HDU names look like a MER cutout."""
    return any(_IMAGE.match(name) for name in names)


def band_of(label: str, source: object) -> str:
    """Translate MER's name of a band to ours.

    Raises
    ------
    InputError
        If it is unknown.
    """
    label = label.upper()
    if label == "VIS":
        return "euclid.vis"
    if label in _NISP:
        return _NISP[label]
    instrument, _, letter = label.rpartition("_")
    if instrument in _INSTRUMENTS and letter in tuple("UGRIZY"):
        return f"{_INSTRUMENTS[instrument]}.{letter.lower()}"
    raise InputError(
        source,
        f"band {label}",
        f"VIS, {', '.join(_NISP)} or one of {', '.join(sorted(_INSTRUMENTS))} with _U to _Y",
        "Name the band in a manifest.",
    )


def mer_images(path: Path) -> list[ImageSpec]:
    """Return where the images of a MER cutout lie.

    Raises
    ------
    InputError
        If there is no image, or an image has no PSF or RMS beside it.
    """
    with open_fits(path) as hdus:
        names = [hdu.name.strip().upper() for hdu in hdus]
    specs = []
    for number, name in enumerate(names):
        match = _IMAGE.match(name)
        if not match:
            continue
        label = match["band"]
        partners = {}
        for part in ("PSF", "RMS"):
            if f"{label}_{part}" not in names:
                raise InputError(
                    f"{path}[{label}_{part}]",
                    "no such HDU",
                    f"the {part} that belongs to {name}",
                    "Download the cutout again with all three HDUs per band, or remove the band.",
                )
            partners[part] = Plane(path, names.index(f"{label}_{part}"))
        band = band_of(label, f"{path}[{name}]")
        vis = band == "euclid.vis"
        specs.append(
            ImageSpec(
                name=band,
                band=band,
                image=Plane(path, number),
                psf=partners["PSF"],
                noise=partners["RMS"],
                noise_kind="rms",
                zeropoint="MAGZERO",
                psf_pixel_scale=PIXEL_SCALE,
                calibration_error=0.0 if vis else RESAMPLED_ERROR,
                recentre_psf=band in _NISP.values(),
                psf_limit=math.inf if vis else NATIVE_NYQUIST[label.upper().split("_")[0]],
                recover=band if vis else None,
                psf_reach=VIS_PSF_REACH if vis else math.inf,
                native_scale=NATIVE_SCALE[label.upper().split("_")[0]],
                notes=() if vis else (_RESAMPLED_NOTE,),
            )
        )
    if not specs:
        raise InputError(
            path,
            f"HDUs {', '.join(names)}",
            "an image HDU named <band>_FLUX or <band>_BGSUB",
            "Use a MER cutout, or describe the file in a manifest.",
        )
    return specs
