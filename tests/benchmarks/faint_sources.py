"""Are sources found that the data show? Fluxes and errors by S/N, with and without the hedge.

Run as ``python tests/benchmarks/faint_sources.py SCENES [SETTING ...] [--galaxies 3] [--draws 4]``, with the
folder of ``synergy mock configs/mock/scenes.yaml`` and settings ``covariance:hedge`` such as ``learned:100``
(see `synergy.SamplerSettings`). Crops of the test split around galaxies of three ranges of S/N in VIS are
seen in ten bands at survey depth, with the operators of the likelihood itself: what fails is sampler or
prior, not the forward model. Printed are the geometric mean over galaxies and bands of the posterior mean's
NMSE; the median share of the truth that the mean holds (its projection onto the truth) in r, VIS and H;
chi-squared per pixel of the mean in VIS; the share of the middle's pixels within the 68 % interval; and the
scale over the true one.
"""

import argparse
from pathlib import Path

import astropy.units as u
import jax.numpy as jnp
import numpy as np
from astropy.coordinates import SkyCoord

from data_prep.exposures import observe
from data_prep.psfs import effective_psf
from data_prep.render import image_frame
from synergy import Frame, SamplerSettings, load_prior, reconstruct
from synergy.io.shards import SceneShards
from synergy.likelihood import GaussianLikelihood
from synergy.metrics.calibration import coverage
from synergy.metrics.image import nmse
from synergy.priors.scale import scene_scale
from synergy.survey import SCENE_BANDS, get_band

SIDE, MARGIN, PIXEL_SCALE = 96, 16, 0.05
RANGES = ((8, 20), (20, 60), (60, 300))
VIS = SCENE_BANDS.index("euclid.vis")


def empty_sky(rng: np.random.Generator) -> tuple[Frame, list]:
    """Return a frame and observations of nothing."""
    frame = Frame.tangent(SkyCoord(269.73 * u.deg, 66.02 * u.deg), (SIDE, SIDE), PIXEL_SCALE)
    observations = []
    for band in SCENE_BANDS:
        scale = get_band(band).pixel_scale
        side = round(SIDE * PIXEL_SCALE / scale)
        dither = rng.uniform(-0.5, 0.5, 2)
        grid = image_frame(frame, (side, side), scale, (float(dither[0]), float(dither[1])))
        observations.append(observe(np.zeros((side, side)), grid, effective_psf(band), rng))
    return frame, observations


def galaxies(shards: SceneShards, likelihood: GaussianLikelihood, each: int) -> list[list[np.ndarray]]:
    """Return crops with a galaxy in the middle, as many of each range of S/N."""
    rng, found = np.random.default_rng(7), [[] for _ in RANGES]
    middle = np.zeros((SIDE, SIDE), np.float32)
    middle[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = 1.0
    while min(map(len, found)) < each:
        scene = shards.crops(rng, 1, SIDE)[0]
        if (scene[VIS] * middle).sum() <= 0.6 * scene[VIS].sum():
            continue
        image = likelihood.operators[VIS](jnp.asarray(scene * middle))
        snr = float(jnp.linalg.norm(likelihood.noises[VIS].whiten(image)))  # noqa: TID251 (a sum)
        for (low, high), kept in zip(RANGES, found, strict=True):
            if low <= snr < high and len(kept) < each:
                kept.append(scene)
    return found


def main() -> None:
    """Measure and print a row for each setting and range."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenes", type=Path)
    parser.add_argument("settings", nargs="*", default=["learned:0", "learned:100", "prior:1", "prior:100"])
    parser.add_argument("--galaxies", type=int, default=3)
    parser.add_argument("--draws", type=int, default=4)
    arguments = parser.parse_args()
    prior = load_prior()
    frame, empty = empty_sky(np.random.default_rng(0))
    likelihood = GaussianLikelihood.build(empty, frame, SCENE_BANDS)
    sets = galaxies(SceneShards.open(arguments.scenes, "test"), likelihood, arguments.galaxies)
    print("setting       S/N in VIS  NMSE    share r VIS H   chi2   in 68 %  scale")  # noqa: T201
    inner = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    for text in arguments.settings:
        covariance, hedge = text.split(":")
        for (low, high), scenes in zip(RANGES, sets, strict=True):
            rows = []
            for number, truth in enumerate(scenes):
                rng = np.random.default_rng(100 * low + number)
                images = likelihood.forward(jnp.asarray(truth))
                observations = [
                    observe(np.asarray(image, np.float64), o.frame, effective_psf(o.band), rng)
                    for o, image in zip(empty, images, strict=True)
                ]
                settings = SamplerSettings(covariance=covariance, hedge=float(hedge), batch=arguments.draws)
                posterior = reconstruct(observations, prior, number, arguments.draws, settings, frame)
                mean = posterior.mean
                share = np.sum(mean * truth, axis=(1, 2)) / np.sum(truth**2, axis=(1, 2))
                true_scale = float(scene_scale(jnp.asarray(truth), prior.band_scale, PIXEL_SCALE))
                rows.append([
                    np.mean(np.log(nmse(mean, truth))), *share[[2, VIS, 9]],
                    np.mean(posterior.residuals["euclid.vis"] ** 2),
                    np.mean(coverage(posterior.draws[inner], truth[inner])[0]),
                    posterior.meta["scale"] / true_scale,
                ])  # fmt: skip
            error, chi2, inside = np.mean(np.array(rows)[:, [0, 4, 5]], axis=0)
            r, vis, h, scale = np.median(np.array(rows)[:, [1, 2, 3, 6]], axis=0)
            print(  # noqa: T201
                f"{text:12}  {low:3d} to {high:3d}  {np.exp(error):.4f}  {r:.2f} {vis:.2f} {h:.2f}"
                f"  {chi2:.3f}  {inside:.2f}     {scale:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
