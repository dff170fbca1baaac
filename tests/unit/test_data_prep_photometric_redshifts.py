"""Photometric redshifts of galaxies whose redshift is known: spectra and photometry are GalSim's.

The galaxies are single templates, reddened, with the redshifts that galaxies of their magnitude have and 3 %
photometry. A template is not among the mixtures that explain it, but near many of them. The statistics are
those of the field: the normalised median absolute deviation of ``(z - true) / (1 + true)``, and the share of
outliers beyond 0.15.
"""

from pathlib import Path

import galsim
import numpy as np

from data_prep.photometric_redshifts import REDSHIFTS, likely_redshift, log_redshifts
from data_prep.readers.hst import BANDS as HST_BANDS
from synergy.filters import filter_curve
from synergy.templates import TYPES, calzetti
from synergy.units import NJY_ZEROPOINT

NUMBER = 120
NOISE = 0.03
MORE_BANDS = ("lsst.u", "lsst.g", "lsst.r", "lsst.i", "euclid.J")


def bandpass(band):
    table = galsim.LookupTable(*filter_curve(band), interpolant="linear")
    return galsim.Bandpass(table, wave_type="Ang").withZeropoint("AB")


def spectrum(name, excess, redshift):
    path = Path(galsim.meta_data.share_dir) / "SEDs" / f"CWW_{name}_ext.sed"
    sed = galsim.SED(str(path), wave_type="Ang", flux_type="flambda")
    dust = galsim.LookupTable(sed.wave_list, 10 ** (-0.4 * excess * calzetti(10.0 * sed.wave_list)), "linear")
    return (sed * galsim.SED(dust, "nm", "1")).atRedshift(redshift)


def galaxies(bands, reference):
    """Return types, redshifts, AB magnitudes with noise, and the magnitude in the reference band."""
    rng = np.random.default_rng(0)
    brightness = rng.uniform(20.0, 24.5, NUMBER)
    redshifts = np.clip(rng.gamma(3.0, 0.0417 * brightness - 0.744), 0.06, 2.4)
    types = rng.choice(TYPES, NUMBER)
    excess = rng.uniform(0.0, np.where(types == "E", 0.05, 0.3))
    passes = [bandpass(band) for band in bands]
    magnitudes = np.array(
        [
            [spectrum(*each).calculateMagnitude(band) for band in passes]
            for each in zip(types, excess, redshifts, strict=True)
        ]
    )
    magnitudes += (brightness - magnitudes[:, bands.index(reference)])[:, None]
    return types, redshifts, magnitudes + NOISE * rng.standard_normal(magnitudes.shape), brightness


def errors(bands, magnitudes, redshifts):
    fluxes = 10 ** (0.4 * (NJY_ZEROPOINT - magnitudes))
    found = np.array([likely_redshift(bands, each) for each in fluxes])
    return (found - redshifts) / (1 + redshifts)


def spread(error):
    return 1.4826 * np.median(np.abs(error - np.median(error)))


def outliers(error):
    return np.mean(np.abs(error) > 0.15)


def test_three_hst_bands_tell_old_galaxies_and_little_of_young_ones():
    types, redshifts, magnitudes, brightness = galaxies(HST_BANDS, "hst.F814W")
    error = errors(HST_BANDS, magnitudes, redshifts)
    guess = (2 * (0.0417 * brightness - 0.744) - redshifts) / (1 + redshifts)
    assert spread(error) < 0.12 < spread(guess)
    assert outliers(error) < 0.3 < outliers(guess)
    assert abs(np.median(error)) < 0.08
    old = types == "E"
    assert spread(error[old]) < 0.05
    assert outliers(error[old]) < 0.06
    assert outliers(error[~old]) < 0.4


def test_probabilities_are_not_too_narrow():
    _, redshifts, magnitudes, brightness = galaxies(HST_BANDS, "hst.F814W")
    cumulative = np.cumsum(np.exp(log_redshifts(HST_BANDS, magnitudes, brightness)), axis=1)
    low, high = (REDSHIFTS[np.argmax(cumulative >= share, axis=1)] for share in (0.16, 0.84))
    assert 0.68 - 2 * np.sqrt(0.68 * 0.32 / NUMBER) < np.mean((redshifts > low) & (redshifts < high)) < 0.9


def test_five_bands_tell_all():
    _, redshifts, magnitudes, _ = galaxies(MORE_BANDS, "lsst.i")
    error = errors(MORE_BANDS, magnitudes, redshifts)
    assert spread(error) < 0.06
    assert outliers(error) < 0.06
