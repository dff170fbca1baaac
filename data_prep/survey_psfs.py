"""The PSFs of one survey's images of one pair: models in drawn conditions, or measured stamps.

A stamp at the detector's own sampling that undersamples its PSF leaves out what lies between its pixels. It
is recovered with the model of the band's telescope (`synergy.psf_recovery`) or refused, as it is when
images are read.
"""

import functools
from pathlib import Path

import numpy as np

from data_prep.mock_config import StampSettings, SurveySettings
from data_prep.psfs import EffectivePSF, effective_psf, tapered
from data_prep.seeing import draw_seeing, on_ground
from synergy.errors import InputError
from synergy.io.assemble import UNDERSAMPLED
from synergy.io.images import Plane
from synergy.psf import PSF
from synergy.psf_recovery import recover, telescope
from synergy.survey import get_band

_STAMP_SCALE = {"euclid.vis": 0.05}
_COARSE_STAMP_SCALE = 0.1
"""Arcsec per stamp pixel: coarser than the usual ones, and still without power at the Nyquist limit."""


def draw_psfs(settings: SurveySettings, folder: Path | None, rng: np.random.Generator) -> list[EffectivePSF]:
    """Draw the effective PSF of each band of a survey, for one pair.

    Parameters
    ----------
    settings
        The survey: its bands, PSF stamps, scatter of the seeing, end of the wings.
    folder
        Where PSF stamps lie; None where there are none.
    rng
        Random numbers; as many are used whatever the settings say.

    Raises
    ------
    InputError
        If a band has neither a model nor a stamp, or its stamp cannot be used.
    """
    stamps = settings.psf
    ground = [band for band in settings.bands if band not in stamps and on_ground(band)]
    seeing = draw_seeing(ground, settings.seeing_scatter, rng)
    psfs = []
    for band in settings.bands:
        if band in stamps:
            plane = Plane((folder or Path()) / stamps[band].file)
            psfs.append(measured_psf(plane, band, stamps[band], settings.psf_radius))
        else:
            scale = _STAMP_SCALE.get(band, _COARSE_STAMP_SCALE)
            psfs.append(effective_psf(band, seeing.get(band), settings.psf_radius, scale))
    return psfs


@functools.lru_cache(maxsize=64)
def measured_psf(plane: Plane, band: str, stamp: StampSettings, radius: float) -> EffectivePSF:
    """Return the effective PSF that a stamp holds, or the oversampled one behind it.

    Parameters
    ----------
    plane
        Where the stamp lies.
    band
        Name of the band.
    stamp
        What is known of it.
    radius
        Arcsec at which the wings end; no further than the stamp does.

    Raises
    ------
    InputError
        If the stamp cannot be read, is none, or is undersampled and cannot be recovered.
    """
    native = get_band(band).pixel_scale
    scale = stamp.pixel_scale or native
    psf = PSF.from_stamp(plane.read().astype(np.float64), scale, center=stamp.center, source=plane)
    if psf.undersampling_error > UNDERSAMPLED:
        if abs(scale / native - 1) > 1e-3:
            raise InputError(
                plane,
                f"a PSF of FWHM {psf.fwhm / scale:.2f} of its pixels of {scale:g} arcsec: undersampled",
                f"finer pixels, or the detector's of {native:g} arcsec, whose response is known",
                "Give an oversampled stamp.",
            )
        psf = recover(psf.image, scale, telescope(band), center="source", source=plane).psf
    return tapered(psf.image, psf.pixel_scale, min(radius, min(psf.image.shape) / 2 * psf.pixel_scale), band)
