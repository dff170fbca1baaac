"""Depth of the mocks' images beside what the surveys publish.

Run as ``python tests/benchmarks/depths.py [--shared DIR]``.

*Measured*: images of blank sky and of one star are made like those of any pair. In blank ones, the scatter of
fluxes, weighted by the PSF (matched, as in PSF photometry) or summed over a round aperture, is the noise; on
the star, the same measurement must give its flux, or the aperture's share of it. The depth is the AB
magnitude of so many times the noise. Apertures are not corrected for light outside.

*Published*, or measured on real images in the same way:

- VIS: 25.6 at 10 sigma in 1.3" apertures (McCracken et al. 2025, arXiv:2503.15303; four nominal and two
  short exposures).
- NISP: "about 24.5" at 5 sigma for point sources in three exposures (Jahnke et al. 2024, arXiv:2405.13493),
  for no band or aperture in particular: that for PSF photometry, the deepest possible, and that in apertures
  of 2" should enclose it.
- *Q1*: real images of three fields. Their RMS maps state the noise that independent pixels would need
  (`synergy.io.euclid`): the median over the blank sky or, for VIS, the tenth percentile, for its maps have
  steps where only three exposures overlap. Beside them, the scatter of single pixels on blank sky, on the
  0.1" grid to which the mocks are resampled too; the median of the fields.
- LSST, *simulated*: ten-year point sources, median over the wide survey as simulated, with measured read
  noise (PSTN-054, last table), but older throughputs than ours. *SMTN-002*: single visits at zenith under a
  dark sky, carried to our airmass, sky, seeing and number of visits by that note's formula; its read noise is
  the requirement, 9 electrons, which matters in u. *DP1*: mean depth of real visits of the field ECDFS
  (dp1.lsst.io), scaled by our seeing over theirs and by the number of visits; their sky is not stated.
  *SRD*: the requirement (Ivezic et al. 2019, ApJ 873, 111, table 1), from single visits at zenith under a
  dark sky in a seeing of 0.7", which are "not to be interpreted as typical" (PSTN-054).
- HSC: the noise of real images of the UltraDeep field COSMOS in averages over the size of the PSF on their
  blank sky (`synergy.io.correlated`), and the number of exposures that reaches it: g, r, i of PDR3 (tract
  9813); z, y of an earlier scene (scarlet's), too small for that, from its variance plane, which omits
  correlations. Published for PDR2's UltraDeep COSMOS is "i about 28" (Aihara et al. 2019, arXiv:1905.12221).
"""

import argparse
import math
import os
from pathlib import Path
from typing import Literal

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
from synergy.units import magnitude_from_flux, nanojanskys_per_unit

SCENE = Frame.tangent(SkyCoord(150.1 * u.deg, 2.2 * u.deg), (640, 640), 0.05)
STAR = 3e4

# band -> Cm, dCm (infinity), extinction per airmass, dark sky (SMTN-002)
SMTN_002 = {
    "u": (22.97, 0.54, 0.47, 23.05),
    "g": (24.58, 0.09, 0.21, 22.25),
    "r": (24.60, 0.04, 0.13, 21.20),
    "i": (24.54, 0.03, 0.10, 20.46),
    "z": (24.37, 0.02, 0.07, 19.61),
    "y": (23.84, 0.02, 0.17, 18.60),
}
AIRMASS = {"u": 1.16, "g": 1.18, "r": 1.18, "i": 1.18, "z": 1.19, "y": 1.20}
SIMULATED = {"u": 25.6, "g": 26.9, "r": 26.9, "i": 26.4, "z": 25.6, "y": 24.8}
DP1 = {  # depth, seeing
    "u": (23.50, 1.43),
    "g": (24.49, 1.17),
    "r": (24.15, 1.09),
    "i": (23.90, 1.01),
    "z": (23.14, 1.00),
    "y": (21.94, 1.07),
}
SRD = {"u": 26.1, "g": 27.4, "r": 27.5, "i": 26.8, "z": 26.1, "y": 24.9}
Q1 = {"euclid.vis": "VIS", "euclid.Y": "NIR_Y", "euclid.J": "NIR_J", "euclid.H": "NIR_H"}
HSC_UNIT = nanojanskys_per_unit(27.0)
MER_SCALE = 0.1


def disc(diameter: float, pixel_scale: float) -> np.ndarray:
    """Return how much of each pixel lies within a round aperture centred on a pixel."""
    fine, half = 11, math.ceil(diameter / 2 / pixel_scale) + 1
    axis = (np.arange((2 * half + 1) * fine) - ((2 * half + 1) * fine - 1) / 2) / fine * pixel_scale
    inside = np.hypot.outer(axis, axis) < diameter / 2
    return inside.reshape(2 * half + 1, fine, 2 * half + 1, fine).mean(axis=(1, 3))


def images(
    band: str, flux: float, exposures: int | None, seed: int, layout: Literal["native", "mer"] = "native"
) -> Observation:
    """Return an image with a star in the middle of a pixel."""
    scale = get_band(band).pixel_scale
    even = 1 - round(SCENE.shape[0] * SCENE.pixel_scale / scale + 0.2) % 2
    star = SkySource(None, np.array([[flux]]), (even * scale / 2, even * scale / 2), np.eye(2), 0.0)
    settings = SurveySettings(bands=(band,), dithered=False, exposures=exposures, layout=layout)
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
        image = fits.getdata(path, 1).astype(float) * HSC_UNIT
        weights = matched_weights(images(band, 0.0, None, 0))
        sky = measure_blank_sky(image, ~np.isfinite(image), 4)
        noise = math.sqrt(sky.block_variance * np.sum(weights**2))
        depths.setdefault(band, []).append(float(magnitude_from_flux(nsigma * noise)))
    with np.load(folder.parent / "scarlet_scenes" / "hsc_cosmos_35.npz", allow_pickle=False) as scene:
        variances = dict(zip(scene["filters"], np.median(scene["variance"], axis=(1, 2)), strict=True))
    for letter in "zy":
        weights = matched_weights(images(f"hsc.{letter}", 0.0, None, 0))
        noise = HSC_UNIT * math.sqrt(variances[letter] * np.sum(weights**2))
        depths[f"hsc.{letter}"] = [float(magnitude_from_flux(nsigma * noise))]
    return {band: float(np.median(each)) for band, each in depths.items()}


def real_euclid(folder: Path, band: str, aperture: float, nsigma: float) -> tuple[float, float]:
    """Return the depth of real Q1 images in an aperture, from their RMS maps, and that of single pixels."""
    stated, seen = [], []
    for path in sorted(folder.glob("*.fits")):
        with fits.open(path) as hdus:
            (image,) = (hdu for hdu in hdus if hdu.name in (f"{Q1[band]}_FLUX", f"{Q1[band]}_BGSUB"))
            unit = nanojanskys_per_unit(image.header["MAGZERO"])
            flux, rms = (unit * plane.data.astype(float) for plane in (image, hdus[f"{Q1[band]}_RMS"]))
        bad = rms > unit * 1e10
        sky = measure_blank_sky(np.where(bad, 0.0, flux / rms), bad, 4)
        noise = np.percentile(rms[sky.kept], 10 if band == "euclid.vis" else 50)
        stated.append(noise * math.sqrt(np.pi * (aperture / 2) ** 2 / MER_SCALE**2))
        seen.append(np.median(rms[sky.kept]) * math.sqrt(sky.pixel_variance))
    of_aperture, of_pixels = (float(magnitude_from_flux(nsigma * np.median(x))) for x in (stated, seen))
    return of_aperture, of_pixels


def row(band: str, what: str, measured: tuple[float, float], published: float, source: str) -> None:
    """Print one line."""
    depth, recovered = measured
    line = f"{band:11} {what:30} {recovered:5.3f}  {depth:6.2f}  {published:6.2f}  {depth - published:+6.2f}"
    print(f"{line}   {source}")  # noqa: T201


def euclid(folder: Path) -> None:
    """Print the rows of Euclid."""
    row("euclid.vis", '10 sigma, aperture of 1.3"', measure("euclid.vis", 1.3, 10), 25.6, "McCracken et al.")
    for band in Q1:
        in_aperture = measure(band, 2.0, 5)
        if band != "euclid.vis":
            row(band, "5 sigma, PSF, 3 exposures", measure(band, None, 5, 3), 24.5, "Jahnke et al.")
            row(band, '5 sigma, aperture of 2"', in_aperture, 24.5, "Jahnke et al.")
        depth, pixel = real_euclid(folder, band, 2.0, 5)
        row(band, '5 sigma, aperture of 2"', in_aperture, depth, "Q1, RMS maps")
        mock = np.mean([np.std(images(band, 0.0, None, seed, "mer").image) for seed in range(4)])
        row(
            band,
            '5 sigma, mosaic pixel of 0.1"',
            (float(magnitude_from_flux(5 * mock)), 1.0),
            pixel,
            "Q1, sky",
        )


def lsst() -> None:
    """Print the rows of LSST."""
    for letter, (constant, lost, extinction, dark) in SMTN_002.items():
        band = get_band(f"lsst.{letter}")
        measured = measure(band.name, None, 5)
        visits = 1.25 * math.log10(band.n_exposures)
        sky = band.sky_brightness + extinction * AIRMASS[letter]
        scale = 10 ** (-0.4 * (sky - dark))
        visit = constant + lost - 1.25 * math.log10(1 + (10 ** (0.8 * lost) - 1) / scale)
        visit += 0.5 * (sky - 21) - extinction * (AIRMASS[letter] - 1)
        visit += 2.5 * math.log10(0.7 / ((band.psf_fwhm - 0.052) / 0.822))
        row(band.name, "5 sigma, PSF", measured, SIMULATED[letter], "simulated, PSTN-054")
        row(band.name, "5 sigma, PSF", measured, visit + visits, "SMTN-002")
        real, seeing = DP1[letter]
        real += 2.5 * math.log10(seeing / band.psf_fwhm) + visits
        row(band.name, "5 sigma, PSF", measured, real, "DP1, scaled")
        row(band.name, "5 sigma, PSF", measured, SRD[letter], "SRD")


def hsc(folder: Path) -> None:
    """Print the rows of HSC's UltraDeep layer."""
    for band, depth in real_hsc(folder, 5).items():
        wide, _ = measure(band, None, 5)
        needed = round(get_band(band).n_exposures * 10 ** (0.8 * (depth - wide)))
        ultradeep = measure(band, None, 5, needed)
        row(band, f"5 sigma, PSF, {needed} exposures", ultradeep, depth, "real UltraDeep")
        if band == "hsc.i":
            row(band, f"5 sigma, PSF, {needed} exposures", ultradeep, 28.0, "Aihara et al.")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("SYNERGY_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--shared", type=Path, default=Path(default))
    shared = parser.parse_args().shared
    print(f"{'band':11} {'definition':30} {'star':5}  {'mocks':>6}  {'publ.':>6}  {'diff.':>6}   source")  # noqa: T201
    euclid(shared / "euclid_q1")
    lsst()
    hsc(shared / "hsc_pdr3")


if __name__ == "__main__":
    main()
