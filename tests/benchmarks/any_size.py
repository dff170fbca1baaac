"""Whether the size of a scene matters: one galaxy reconstructed in scenes of several sizes.

Run as ``python tests/benchmarks/any_size.py [--prior P] [--draws N] [--sizes S ...]``. A galaxy with knots is
observed once, in all ten bands at survey depth; of these images the middle is cut out to the size of each
scene. Compared with the first size it prints, over the middle 3.2 arcsec,

- the rms of the difference of the posterior means in units of what the draws leave uncertain of it (1 is
  chance) and its 99.9 % quantile over pixels and bands (chance: 3.3), for single pixels and for squares of
  4 x 4 and 16 x 16 pixels, whose errors are nearly as independent of each other, and
- the largest difference in units of the posterior's standard deviation.

Variances of a few draws are noisy, so they are averaged over both reconstructions and the neighbouring
squares.
"""

import argparse
import dataclasses

import astropy.units as u
import galsim
import numpy as np
from astropy.coordinates import SkyCoord
from scipy.ndimage import uniform_filter

from data_prep.demo_scene import spectrum
from data_prep.exposures import observe
from data_prep.psfs import effective_psf
from data_prep.render import Source, image_frame, render_image
from synergy import SamplerSettings, load_prior, reconstruct
from synergy.frame import Frame
from synergy.observation import Observation
from synergy.survey import SCENE_BANDS, get_band

PIXEL_SCALE, MIDDLE = 0.05, 64


def report(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


def galaxy(seed: int) -> list[Source]:
    """Return a bulge, an inclined disc and knots of star formation at one redshift."""
    bulge = galsim.Sersic(3, half_light_radius=0.15, trunc=1.2).shear(q=0.8, beta=30 * galsim.degrees)
    disc = galsim.Exponential(half_light_radius=0.45).shear(q=0.6, beta=30 * galsim.degrees)
    knots = galsim.RandomKnots(24, half_light_radius=0.5, rng=galsim.BaseDeviate(seed + 1))
    knots = galsim.Convolve(knots.shear(q=0.6, beta=30 * galsim.degrees), galsim.Gaussian(sigma=0.04))
    parts = ((bulge, "E", 22.5), (disc, "Sbc", 21.6), (knots, "Im", 23.2))
    return [Source(profile, spectrum(kind, 0.4, magnitude)) for profile, kind, magnitude in parts]


def images(sources: list[Source], frame: Frame, seed: int) -> list[Observation]:
    """Observe the sources in all bands over the whole frame."""
    rng = np.random.default_rng(seed)
    out = []
    for band in SCENE_BANDS:
        scale, psf = get_band(band).pixel_scale, effective_psf(band)
        side = round(frame.shape[0] * frame.pixel_scale / scale)
        grid = image_frame(frame, (side, side), scale)
        out.append(observe(render_image(sources, frame, grid, psf), grid, psf, rng))
    return out


def cut(observation: Observation, arcsec: float) -> Observation:
    """Cut the middle out of an image."""
    frame, (rows, columns) = observation.frame.cutout(None, round(arcsec / observation.frame.pixel_scale))
    parts = {name: getattr(observation, name)[rows, columns] for name in ("image", "ivar", "mask")}
    return dataclasses.replace(observation, frame=frame, **parts)


def squares(scenes: np.ndarray, side: int) -> np.ndarray:
    """Sum squares of pixels of the middle of scenes."""
    start = (scenes.shape[-1] - MIDDLE) // 2
    middle = scenes[..., start : start + MIDDLE, start : start + MIDDLE].astype(np.float64)
    number = MIDDLE // side
    return middle.reshape(*middle.shape[:-2], number, side, number, side).sum(axis=(-3, -1))


def compare(draws: np.ndarray, reference: np.ndarray, side: int) -> tuple[float, float, float]:
    """Return the rms and the 99.9 % quantile of the difference in its error, and the largest in std."""
    a, b = squares(draws, side), squares(reference, side)
    variance = 0.5 * (a.var(axis=0, ddof=1) + b.var(axis=0, ddof=1))
    variance = uniform_filter(variance, (0, 3, 3), mode="nearest")
    difference = a.mean(axis=0) - b.mean(axis=0)
    z = difference / np.sqrt(variance * (1 / len(a) + 1 / len(b)))
    largest = np.max(np.abs(difference) / np.sqrt(variance))
    return float(np.sqrt(np.mean(z**2))), float(np.percentile(np.abs(z), 99.9)), float(largest)


def main() -> None:
    """Reconstruct and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="default")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 96, 200, 256])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    prior, largest = load_prior(arguments.prior), max(arguments.sizes)
    frame = Frame.tangent(SkyCoord(269.73 * u.deg, 66.02 * u.deg), (largest, largest), PIXEL_SCALE)
    observed = images(galaxy(arguments.seed), frame, arguments.seed)
    settings = SamplerSettings(steps=arguments.steps, batch=min(4, arguments.draws))
    reference = None
    report("size    scale   chi2/pixel   square: rms, 99.9 %, largest/std")
    for number, size in enumerate(arguments.sizes):
        inside, _ = frame.cutout(None, size)
        cutouts = [cut(o, size * PIXEL_SCALE) for o in observed]
        seed = 1000 * arguments.seed + number
        posterior = reconstruct(cutouts, prior, seed, arguments.draws, settings, inside)
        chi2 = posterior.chi2.sum() / posterior.n_pixels.sum() / arguments.draws
        line = f"{size:4}  {posterior.meta['scale']:7.4f}   {chi2:10.3f}"
        if reference is None:
            reference = posterior.draws
            report(f"{line}   the reference")
            continue
        found = {side: compare(posterior.draws, reference, side) for side in (1, 4, 16)}
        numbers = ";  ".join(f"{s}: {a:.2f} {b:.2f} {c:.2f}" for s, (a, b, c) in found.items())
        report(f"{line}   {numbers}")


if __name__ == "__main__":
    main()
