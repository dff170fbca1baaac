"""Depth of the mocks' images beside what the surveys publish.

Run as ``python tests/benchmarks/depths.py [--shared DIR]``.

*Measured*: images of blank sky and of one star are made like those of any pair. In blank ones, the scatter of
fluxes, weighted by the PSF (matched, as in PSF photometry) or summed over a round aperture, is the noise; on
the star, the same measurement must give its flux, or the aperture's share of it. The depth is the AB
magnitude of so many times the noise. Apertures are not corrected for light outside.

*Published*:

- VIS: 25.6 at 10 sigma in 1.3" apertures (McCracken et al. 2025, arXiv:2503.15303; four nominal and two short
  exposures).
- NISP: 24.5 at 5 sigma, the Wide Survey's requirement, which does not say in which aperture (Mellier et al.
  2024, arXiv:2405.13491).
- LSST, *SRD*: ten-year point sources, from design specifications (Ivezic et al. 2019, ApJ 873, 111, table 1).
  *As built*: depths of single visits from measured throughputs at zenith (Jones, SMTN-002), scaled by
  that note's formula to the airmass of 1.2 at which our seeing is stated, plus 1.25 log10 of the number of
  visits.
- HSC: the noise of real PDR3 images of the UltraDeep field COSMOS (tract 9813), in averages over the size of
  the PSF on their blank sky (`synergy.io.correlated`), and the number of exposures that reaches it.
"""

import argparse
import math
import os
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from scipy.signal import fftconvolve

from data_prep.cameras import observe_sky
from data_prep.mock_config import SurveySettings
from data_prep.sky import Sky, SkySource
from data_prep.survey_psfs import draw_psfs
from synergy.frame import Frame
from synergy.io.correlated import measure_blank_sky
from synergy.observation import Observation
from synergy.survey import get_band
from synergy.units import magnitude_from_flux

SCENE = Frame.tangent(SkyCoord(150.1 * u.deg, 2.2 * u.deg), (640, 640), 0.05)
STAR = 3e4

# band -> single-visit depth at zenith, extinction per airmass (SMTN-002)
AS_BUILT = {
    "u": (23.70, 0.47),
    "g": (24.97, 0.21),
    "r": (24.52, 0.13),
    "i": (24.13, 0.10),
    "z": (23.56, 0.07),
    "y": (22.55, 0.17),
}
SRD = {"u": 26.1, "g": 27.4, "r": 27.5, "i": 26.8, "z": 26.1, "y": 24.9}
AIRMASS = 1.2
HSC_ZEROPOINT = 27.0


def disc(diameter: float, pixel_scale: float) -> np.ndarray:
    """Return how much of each pixel lies within a round aperture centred on a pixel."""
    fine, half = 11, math.ceil(diameter / 2 / pixel_scale) + 1
    axis = (np.arange((2 * half + 1) * fine) - ((2 * half + 1) * fine - 1) / 2) / fine * pixel_scale
    inside = np.hypot.outer(axis, axis) < diameter / 2
    return inside.reshape(2 * half + 1, fine, 2 * half + 1, fine).mean(axis=(1, 3))


def images(band: str, flux: float, exposures: int | None, seed: int) -> Observation:
    """Return an image with a star in the middle of a pixel."""
    scale = get_band(band).pixel_scale
    even = 1 - round(SCENE.shape[0] * SCENE.pixel_scale / scale + 0.2) % 2
    star = SkySource(None, np.array([[flux]]), (even * scale / 2, even * scale / 2), np.eye(2), 0.0)
    settings = SurveySettings(bands=(band,), dithered=False, exposures=exposures)
    rng = np.random.default_rng(seed)
    psfs = draw_psfs(settings, None, rng)
    (made,) = observe_sky(Sky((band,), (star,) if flux else ()), SCENE, settings, psfs, rng)
    return made


def matched_weights(made: Observation) -> np.ndarray:
    """Return the weights of PSF photometry on uniform noise, whose sum over a star is its flux."""
    scale, half = made.frame.pixel_scale, math.ceil(2.5 / made.frame.pixel_scale)
    axis = np.arange(-half, half + 1) * scale
    psf = made.psf
    along_y, along_x = (
        np.sinc(axis[:, None] / psf.pixel_scale + (n - 1) / 2 - np.arange(n)) for n in psf.image.shape
    )
    seen = along_y @ psf.image @ along_x.T * (scale / psf.pixel_scale) ** 2
    return seen / np.sum(seen**2)


def measure(
    band: str, aperture: float | None, nsigma: float, exposures: int | None = None
) -> tuple[float, float]:
    """Return the depth, and the flux of the star as measured over its true flux."""
    scale = get_band(band).pixel_scale
    weights = matched_weights(images(band, 0.0, None, 0)) if aperture is None else disc(aperture, scale)

    def fluxes(flux: float, seed: int) -> np.ndarray:
        return fftconvolve(images(band, flux, exposures, seed).image, weights[::-1, ::-1], "same")

    margin = len(weights) // 2
    noise = np.std([fluxes(0.0, seed)[margin:-margin, margin:-margin] for seed in range(1, 7)])
    star = np.mean([fluxes(STAR, seed).max() for seed in range(4)])
    return float(magnitude_from_flux(nsigma * noise)), float(star / STAR)


def real_hsc(folder: Path, nsigma: float) -> dict[str, float]:
    """Return the depth of real UltraDeep images in PSF photometry, from noise at the size of the PSF."""
    depths: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*cutout*.fits")):
        band = "hsc." + path.name.split("HSC-")[1][0].lower()
        image = fits.getdata(path, 1).astype(float) * 10 ** (0.4 * (31.4 - HSC_ZEROPOINT))
        weights = matched_weights(images(band, 0.0, None, 0))
        sky = measure_blank_sky(image, ~np.isfinite(image), 4)
        noise = math.sqrt(sky.block_variance * np.sum(weights**2))
        depths.setdefault(band, []).append(float(magnitude_from_flux(nsigma * noise)))
    return {band: float(np.median(each)) for band, each in depths.items()}


def row(band: str, what: str, measured: tuple[float, float], published: float) -> None:
    """Print one line."""
    depth, recovered = measured
    line = f"{band:11} {what:42} {depth:6.2f}  {published:6.2f}  {depth - published:+6.2f}"
    print(f"{line}   {recovered:.3f}")  # noqa: T201


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("SYNERGY_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--shared", type=Path, default=Path(default))
    arguments = parser.parse_args()
    print(f"{'band':11} {'definition':42} {'mocks':>6}  {'publ.':>6}  {'diff.':>6}   star")  # noqa: T201
    row("euclid.vis", '10 sigma, aperture of 1.3"', measure("euclid.vis", 1.3, 10), 25.6)
    for band in ("euclid.Y", "euclid.J", "euclid.H"):
        row(band, "5 sigma, PSF", measure(band, None, 5), 24.5)
        row(band, '5 sigma, aperture of 2"', measure(band, 2.0, 5), 24.5)
    for letter, (visit, extinction) in AS_BUILT.items():
        band = get_band(f"lsst.{letter}")
        measured = measure(band.name, None, 5)
        row(band.name, "5 sigma, PSF; SRD", measured, SRD[letter])
        built = visit + 1.25 * math.log10(band.n_exposures)
        built -= extinction * (AIRMASS - 1) + 2.5 * math.log10(AIRMASS**0.6)
        row(band.name, "5 sigma, PSF; as built", measured, built)
    for band, depth in real_hsc(arguments.shared / "hsc_pdr3", 5).items():
        wide, _ = measure(band, None, 5)
        needed = round(get_band(band).n_exposures * 10 ** (0.8 * (depth - wide)))
        row(band, f"5 sigma, PSF, {needed} exposures; real UltraDeep", measure(band, None, 5, needed), depth)


if __name__ == "__main__":
    main()
