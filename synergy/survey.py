r"""Bands: pixel scale, zero point, exposures, sky, seeing and detector noise of each instrument and filter.

The numbers come from `surveycodex`, which collects what each survey publishes, with corrections where that
table does not say what a joint analysis needs, or is out of date:

- *Euclid*: `full_exposure_time` is one exposure there, and the Wide Survey takes four dithers of each field;
  NISP integrates for an effective 87.2 s (not 112 s); the VIS gain is 3.48 e/ADU in the Q1 headers, which
  ties its zero points: 24.57 (1 ADU/s) + 2.5 log10(3.48) = 25.92 (1 e/s).
- *LSST*: the ten-year survey as simulated, not the dark sky at zenith. Zero points and extinction are those
  of measured throughputs (Jones, SMTN-002, version 1.9; the table's are up to 0.35 mag brighter); visits of
  30 s, airmass, sky and seeing are the medians of a simulated survey (Bianco, Jones & Ivezic, PSTN-054).
  Both notes count the sky's light without extinction, so on a zero point :math:`Z - k(X - 1)` with the
  atmosphere it shines as :math:`m - kX`; and they give the seeing as that of a Gaussian of the same noise,
  which exceeds the FWHM (SMTN-002).
- *HSC*: the Wide layer, 150 s (g, r) and 200 s (i, z, y) each.
- Read noise is not in the table, in electrons per pixel and exposure: VIS 4.4 (Euclid Collaboration), LSST
  5.5 (median of its amplifiers, PSTN-054), HSC 4.5; assumed: MegaCam 5, DECam 7, SDSS 5, ACS 5. NISP 9.8 is
  what the RMS maps of Q1's images hold beside the photons of the sky, dark current and all else included:
  the same in Y, J and H within 2 % (``tests/benchmarks/depths.py``).
"""

import dataclasses
import functools
import math

from synergy.errors import InputError
from synergy.units import magnitude_from_flux, nanojanskys_per_unit

SCENE_BANDS = (
    *(f"lsst.{band}" for band in "ugrizy"),
    "euclid.vis",
    *(f"euclid.{band}" for band in "YJH"),
)
"""The bands of the default scene, in order of wavelength within each survey."""


@dataclasses.dataclass(frozen=True)
class Instrument:
    """A camera as a survey uses it, and where its numbers are found.

    Parameters
    ----------
    name
        Name of the camera.
    survey
        Its survey in `surveycodex`.
    filters
        Name of our band -> (the filter in `surveycodex`, exposures per field).
    read_noise
        Assumed read noise, electrons per pixel and exposure.
    exposure_time
        Seconds of one exposure, replacing the table's; None to split the table's total over the exposures.
    gain
        Electrons per ADU, replacing the table's.
    numbers
        Name of our band -> what replaces the table's numbers of it: fields of `Band`.
    """

    name: str
    survey: str
    filters: dict[str, tuple[str, int]]
    read_noise: float
    exposure_time: float | None = None
    gain: float | None = None
    numbers: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Band:
    """One filter of one instrument over a whole survey.

    Parameters
    ----------
    name
        Our name, such as ``"lsst.r"``.
    instrument
        Name of the camera.
    pixel_scale
        Arcsec per pixel.
    zeropoint
        AB magnitude of 1 electron per second.
    exposure_time
        Seconds of one exposure.
    n_exposures
        Exposures per field.
    sky_brightness
        AB magnitudes per square arcsec, of what shines through the same extinction as a source.
    psf_fwhm
        Arcsec.
    gain
        Electrons per ADU.
    read_noise
        Electrons per pixel and exposure.
    """

    name: str
    instrument: str
    pixel_scale: float
    zeropoint: float
    exposure_time: float
    n_exposures: int
    sky_brightness: float
    psf_fwhm: float
    gain: float
    read_noise: float

    @property
    def total_time(self) -> float:
        """Seconds of all exposures together."""
        return self.exposure_time * self.n_exposures

    @property
    def nJy_per_electron(self) -> float:  # noqa: N802 (the unit's own spelling)
        """Flux in nJy of a source that gives one electron in all exposures together."""
        return nanojanskys_per_unit(self.zeropoint) / self.total_time

    @property
    def sky_electrons(self) -> float:
        """Mean sky electrons per pixel in all exposures together."""
        rate = 10.0 ** (0.4 * (self.zeropoint - self.sky_brightness))
        return rate * self.pixel_scale**2 * self.total_time

    def sky_variance(self) -> float:
        """Return the variance of an empty pixel in nJy^2: sky photons and read noise of all exposures."""
        electrons = self.sky_electrons + self.n_exposures * self.read_noise**2
        return electrons * self.nJy_per_electron**2

    def depth(self, aperture_arcsec: float, nsigma: float = 5.0) -> float:
        """Return the AB magnitude that stands `nsigma` above the empty sky in a round aperture.

        Parameters
        ----------
        aperture_arcsec
            Diameter of the aperture; all light is taken to fall inside.
        nsigma
            Signal-to-noise ratio.
        """
        n_pixels = math.pi * (0.5 * aperture_arcsec / self.pixel_scale) ** 2
        return float(magnitude_from_flux(nsigma * math.sqrt(n_pixels * self.sky_variance())))


def _filters(prefix: str, exposures: dict[str, int]) -> dict[str, tuple[str, int]]:
    return {f"{prefix}.{band}": (band, number) for band, number in exposures.items()}


def _lsst(
    zenith: float, extinction: float, visits: int, airmass: float, sky: float, seeing: float
) -> tuple[int, dict[str, float]]:
    """Return the visits of a band, and its numbers from those at zenith and outside the atmosphere."""
    return visits, {
        "zeropoint": zenith - extinction * (airmass - 1),
        "sky_brightness": sky - extinction * airmass,
        "psf_fwhm": 0.822 * seeing + 0.052,
    }


_LSST = {
    "u": _lsst(26.52, 0.47, 56, 1.16, 22.59, 1.16),
    "g": _lsst(28.51, 0.21, 74, 1.18, 21.98, 1.11),
    "r": _lsst(28.36, 0.13, 184, 1.18, 20.94, 1.05),
    "i": _lsst(28.17, 0.10, 187, 1.18, 20.01, 1.01),
    "z": _lsst(27.78, 0.07, 166, 1.19, 18.80, 0.97),
    "y": _lsst(26.82, 0.17, 171, 1.20, 18.20, 0.95),
}

_INSTRUMENTS = (
    Instrument("vis", "Euclid_VIS", {"euclid.vis": ("IE", 4)}, 4.4, exposure_time=565.0, gain=3.48),
    Instrument(
        "nisp",
        "Euclid_NISP",
        {f"euclid.{band}": (f"{band}E", 4) for band in "YJH"},
        9.8,
        exposure_time=87.2,
    ),
    Instrument(
        "lsstcam",
        "LSST",
        _filters("lsst", {band: visits for band, (visits, _) in _LSST.items()}),
        5.5,
        exposure_time=30.0,
        numbers={f"lsst.{band}": numbers for band, (_, numbers) in _LSST.items()},
    ),
    Instrument("hsc", "HSC", _filters("hsc", {"g": 4, "r": 4, "i": 6, "z": 6, "y": 6}), 4.5),
    Instrument("megacam", "CFHTLS", _filters("megacam", {"u": 5, "g": 5, "r": 4, "i": 7, "z": 6}), 5.0),
    Instrument("decam", "DES", _filters("decam", dict.fromkeys("griz", 10)), 7.0),
    Instrument("sdss", "SDSS", _filters("sdss", dict.fromkeys("ugriz", 1)), 5.0),
    Instrument("acs", "COSMOS", {"hst.F814W": ("f814w", 4)}, 5.0),
)


def available_bands() -> tuple[str, ...]:
    """Return the names that `get_band` knows."""
    return tuple(name for instrument in _INSTRUMENTS for name in instrument.filters)


@functools.cache
def get_band(name: str) -> Band:
    """Return the numbers of one band.

    Parameters
    ----------
    name
        Our name of the band, such as ``"lsst.r"`` or ``"euclid.vis"``.

    Raises
    ------
    InputError
        If no survey table describes the band.
    """
    found = [instrument for instrument in _INSTRUMENTS if name in instrument.filters]
    if not found:
        raise InputError(
            "get_band", f"the band {name!r}", f"one of {', '.join(available_bands())}", "Check its spelling."
        )
    import surveycodex  # the table takes half a second to import

    (instrument,) = found
    key, n_exposures = instrument.filters[name]
    survey = surveycodex.get_survey(instrument.survey)
    entry = survey.get_filter(key)
    exposure_time = instrument.exposure_time
    if exposure_time is None:
        exposure_time = entry.full_exposure_time.to_value("s") / n_exposures
    band = Band(
        name=name,
        instrument=instrument.name,
        pixel_scale=float(survey.pixel_scale.to_value("arcsec")),
        zeropoint=float(entry.zeropoint.value),
        exposure_time=float(exposure_time),
        n_exposures=n_exposures,
        sky_brightness=float(entry.sky_brightness.value),
        psf_fwhm=float(entry.psf_fwhm.to_value("arcsec")),
        gain=float(survey.gain.value if instrument.gain is None else instrument.gain),
        read_noise=instrument.read_noise,
    )
    return dataclasses.replace(band, **instrument.numbers.get(name, {}))
