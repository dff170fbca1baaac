"""Predict a band of real and simulated galaxies from their other bands, and print how well.

Run as ``python tests/benchmarks/held_out_bands.py [--data DIR] [--out FIGURE]``.

*TNG*: eight galaxies in SDSS g, r, i, z. The files do not hold zero points, so the offset of each band from r
is fitted, one number for all galaxies: it makes templates explain all bands of annuli of the galaxies, with
a pull of 0.1 mag towards counts of photons through the filter curves. The mean error of a held-out band is
therefore no test and is taken off; its scatter is.

*HST*: stamps in F606W, F814W and F125W with known zero points, but without redshifts: the most probable one
for the magnitudes in the other two bands is taken. Mean errors are printed as they are.

Apertures are squares of half the half-light radius on a side, within 2.5 half-light radii, brighter than a
hundredth of the mean within; each counts by its pixels. Pixels count by their light in the held-out band.
`constant` is the scatter that a constant colour beside the neighbouring band would give: what templates have
to beat.
"""

import argparse
import dataclasses
import itertools
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.optimize import minimize

from data_prep.framing import framed
from data_prep.mixtures import PULL, fit_mixtures, split_light, typical_mixtures
from data_prep.photometric_redshifts import likely_redshift
from data_prep.planes import half_light_radius
from data_prep.readers.hst import BANDS as HST_BANDS
from data_prep.readers.hst import PIVOTS, read_colours
from data_prep.readers.tng import read_tng
from data_prep.stellar_populations import POPULATIONS, population_fluxes
from synergy.filters import filter_curve

TNG_BANDS = ("sdss.g", "sdss.r", "sdss.i", "sdss.z")


@dataclasses.dataclass(frozen=True)
class Sample:
    """Images of some galaxies in the same bands, in AB fluxes up to one factor per galaxy."""

    name: str
    bands: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    redshifts: tuple[float, ...] | None
    calibrated: bool


def report(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


def photon_zeropoints() -> np.ndarray:
    """Return zero points of photon counts through each filter, relative to r."""
    rates = []
    for band in TNG_BANDS:
        wavelength, transmission = filter_curve(band)
        rates.append(np.trapezoid(transmission / wavelength, wavelength))
    return 2.5 * np.log10(np.array(rates) / rates[1])


def annuli(image: np.ndarray) -> np.ndarray:
    """Return the light of five annuli of an image, in each band."""
    y, x = np.indices(image.shape[1:]) - (image.shape[1] - 1) / 2
    radius = np.hypot(y, x) / half_light_radius(image.mean(axis=0))
    edges = (0.0, 0.5, 0.8, 1.2, 1.8, 2.5)
    rings = [(radius >= a) & (radius < b) for a, b in itertools.pairwise(edges)]
    return np.array([image[:, ring].sum(axis=1) for ring in rings])


def fit_zeropoints(images: list[np.ndarray], redshift: float) -> np.ndarray:
    """Fit the zero points of the TNG files relative to r."""
    light = np.concatenate([annuli(image) for image in images])
    start = photon_zeropoints()
    templates = population_fluxes(POPULATIONS, TNG_BANDS, redshift)

    def complete(offsets: np.ndarray) -> np.ndarray:
        return np.array([offsets[0], 0.0, *offsets[1:]])

    def cost(offsets: np.ndarray) -> float:
        fluxes = light * 10 ** (-0.4 * complete(offsets))
        fluxes = fluxes / fluxes.mean(axis=1, keepdims=True)
        mixtures = fit_mixtures(templates, fluxes, typical_mixtures(templates, fluxes), PULL)
        misfit = -2.5 * np.log10(mixtures @ templates / fluxes)
        pull = (complete(offsets) - start) / 0.1
        return float(np.sum((misfit / 0.02) ** 2) + np.sum(pull**2))

    found = minimize(
        cost, np.delete(start, 1) - 0.15, method="Nelder-Mead", options={"maxiter": 80, "xatol": 3e-3}
    )
    return complete(found.x)


def tng_sample(data: Path) -> Sample:
    """Read the TNG galaxies and fit their zero points."""
    unit = dict.fromkeys(TNG_BANDS, 0.0)
    galaxies = [read_tng(p, "TNG50-1", unit) for p in sorted((data / "tng50_skirt_sdss").glob("*.fits"))]
    images = [framed(galaxy.light) for galaxy in galaxies]
    zeropoints = fit_zeropoints(images, galaxies[0].redshift)
    report(f"TNG zero points of {', '.join(TNG_BANDS)} relative to r")
    for how, numbers in (("fitted", zeropoints), ("of photons through the filters", photon_zeropoints())):
        report(f"    {how}: {', '.join(f'{number:.3f}' for number in numbers)}")
    scale = 10 ** (-0.4 * zeropoints)[:, None, None]
    redshifts = tuple(galaxy.redshift for galaxy in galaxies)
    return Sample("TNG", TNG_BANDS, tuple(image * scale for image in images), redshifts, False)


def hst_sample(data: Path) -> Sample:
    """Read the HST stamps whose bands lie on top of each other."""
    folder = data / "hst_f606w_f814w_f125w"
    images = []
    for colours in read_colours(folder, largest_shift=2.0):
        planes = []
        for band in HST_BANDS:
            with fits.open(folder / f"{band.split('.')[1].lower()}_{colours.name}.fits.gz") as file:
                zeropoint = file[0].header["MAG0"] - 5.0 * np.log10(PIVOTS[band]) + 18.692
                planes.append(np.asarray(file[0].data, np.float64) * 10 ** (-0.4 * (zeropoint - 31.4)))
        images.append(framed(np.maximum(np.array(planes), 0.0)))
    return Sample("HST", HST_BANDS, tuple(images), None, True)


def apertures(planes: np.ndarray) -> np.ndarray:
    """Return the magnitudes of each aperture in each plane; the first plane says where the galaxy is."""
    radius = half_light_radius(planes[0])
    side = max(2, round(0.5 * radius))
    number = planes.shape[1] // side
    start = (planes.shape[1] - number * side) // 2
    cut = slice(start, start + number * side)
    sums = planes[:, cut, cut].reshape(len(planes), number, side, number, side).sum(axis=(2, 4))
    y, x = (np.indices((number, number)) - (number - 1) / 2) * side
    inside = np.hypot(y, x) < 2.5 * radius
    inside &= sums[0] > 0.01 * sums[0][inside].mean()
    inside &= np.all(sums > 0, axis=0)
    return -2.5 * np.log10(sums[:, inside])


def judge(sample: Sample) -> dict[str, np.ndarray]:
    """Predict each band from the others, print the errors; return true and predicted colours of apertures."""
    report(f"\n{sample.name}: {len(sample.images)} galaxies; mean error and scatter of errors in mag")
    columns = ("held out", "mean", "apertures", "robust", "galaxies", "pixels", "constant", "number")
    report(" ".join(f"{column:>10}" for column in columns))
    out = {}
    for held, band in enumerate(sample.bands):
        others = [i for i in range(len(sample.bands)) if i != held]
        measured, totals, pixels, weights = [], [], [], []
        for number, image in enumerate(sample.images):
            seen, light = tuple(sample.bands[i] for i in others), image[others]
            if sample.redshifts is None:
                redshift = likely_redshift(seen, light.sum(axis=(1, 2)))
            else:
                redshift = sample.redshifts[number]
            names, maps = split_light(light, seen, redshift)
            predicted = np.tensordot(population_fluxes(names, (band,), redshift)[:, 0], maps, axes=1)
            neighbour = image[held - 1 if held else 1]
            measured.append(apertures(np.stack([image[held], predicted, neighbour])))
            totals.append(-2.5 * np.log10(predicted.sum() / image[held].sum()))
            good = (image[held] > 0.01 * image[held].max()) & (predicted > 0)
            pixels.append(-2.5 * np.log10(predicted[good] / image[held][good]))
            weights.append(image[held][good] / image[held][good].sum())
        true, guess, beside = np.concatenate(measured, axis=1)
        error, pixel, weight = guess - true, np.concatenate(pixels), np.concatenate(weights)
        offset = error.mean()
        robust = 1.4826 * np.median(np.abs(error - np.median(error)))
        rms = np.sqrt(np.average((pixel - np.average(pixel, weights=weight)) ** 2, weights=weight))
        mean = f"{offset:.3f}" if sample.calibrated else "fitted"
        numbers = (
            f"{number:.3f}" for number in (error.std(), robust, np.std(totals), rms, np.std(true - beside))
        )
        report(" ".join(f"{entry:>10}" for entry in (band, mean, *numbers, len(error))))
        shift = 0.0 if sample.calibrated else offset
        out[band] = np.stack([true - beside, guess - shift - beside])
    return out


def draw(results: list[tuple[Sample, dict[str, np.ndarray]]], path: Path) -> None:
    """Draw predicted against true colours of the apertures."""
    from matplotlib.figure import Figure

    columns = max(len(sample.bands) for sample, _ in results)
    figure = Figure(figsize=(3.2 * columns, 3.3 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), columns, squeeze=False)
    for row, (sample, colours) in zip(axes, results, strict=True):
        for axis in row[len(sample.bands) :]:
            axis.remove()
        for i, (axis, band) in enumerate(zip(row, sample.bands, strict=False)):
            true, guess = colours[band]
            beside = sample.bands[i - 1 if i else 1]
            low, high = np.quantile(np.concatenate([true, guess]), [0.002, 0.998])
            axis.plot([low, high], [low, high], color="0.6", lw=1)
            axis.scatter(true, guess, s=4, alpha=0.4, lw=0, rasterized=True)
            axis.set(xlim=(low, high), ylim=(low, high), aspect="equal", xlabel=f"{band} - {beside}, true")
            axis.set_title(f"{sample.name}: {band} held out", fontsize=9)
        row[0].set_ylabel("predicted")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Read the command line, print the tables and draw the figure."""
    parser = argparse.ArgumentParser(description="Predict held-out bands and print how well.")
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder of the real data")
    parser.add_argument("--out", type=Path, help="file of a figure")
    arguments = parser.parse_args()
    samples = [tng_sample(arguments.data), hst_sample(arguments.data)]
    results = [(sample, judge(sample)) for sample in samples]
    if arguments.out:
        draw(results, arguments.out)


if __name__ == "__main__":
    main()
