"""Time the gradient of the joint likelihood, and compare it with the bare FFTs of the same sizes.

Run as a script: ``python tests/benchmarks/likelihood_gradient.py [--rotation DEG] [--draws N] [--repeat N]``.
The problem is the default one: a scene of ten bands, 128 x 128 at 0.05 arcsec, seen by VIS (64 x 64 at 0.1
arcsec), NISP Y, J, H (22 x 22 at 0.3 arcsec) and LSST ugrizy (32 x 32 at 0.2 arcsec).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord

from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.psf import PSF
from synergy.survey import SCENE_BANDS

CENTER = SkyCoord(150.0 * units.deg, 2.0 * units.deg)
CAMERAS = {"lsst": (32, 0.2, 0.8), "vis": (64, 0.1, 0.17), "nisp": (22, 0.3, 0.48)}


def camera(band: str) -> tuple[int, float, float]:
    """Return the size, the pixel scale and the PSF's FWHM of a band."""
    survey, name = band.split(".")
    return CAMERAS["lsst" if survey == "lsst" else "vis" if name == "vis" else "nisp"]


def observe(band: str, rotation: float) -> Observation:
    """Return an image of noise: its values do not matter to the time."""
    size, pixel_scale, fwhm = camera(band)
    stamp = 2 * round(5 * max(fwhm, 0.3) / 0.05 / 2) + 1
    return Observation(
        name=band,
        band=band,
        image=np.random.default_rng(0).normal(size=(size, size)),
        ivar=np.ones((size, size)),
        mask=np.zeros((size, size), bool),
        psf=PSF.gaussian(fwhm, 0.05, stamp),
        frame=Frame.tangent(CENTER, (size, size), pixel_scale, rotation),
    )


def median_ms(function: Callable, argument: jax.Array, repeat: int) -> float:
    """Return the median time of a jitted call in milliseconds."""
    jax.block_until_ready(function(argument))
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        jax.block_until_ready(function(argument))
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def measure(rotation: float, draws: int, repeat: int) -> dict[str, float]:
    """Time the gradient and the FFTs that no method working on the padded scene can avoid."""
    frame = Frame.tangent(CENTER, (128, 128), 0.05)
    likelihood = GaussianLikelihood.build(
        [observe(band, rotation) for band in SCENE_BANDS], frame, SCENE_BANDS
    )
    periods = [operator.period for operator in likelihood.operators]
    shape = (draws, len(SCENE_BANDS), 128, 128)
    scene = jax.random.normal(jax.random.key(0), shape, jnp.float32)

    def bare(scene: jax.Array) -> list[jax.Array]:
        """Transform every band of the padded scene and back, twice: once forward, once for the adjoint."""
        planes = [
            jnp.fft.irfft2(jnp.fft.rfft2(scene[:, i], s=period), s=period)[..., :128, :128]
            for i, period in enumerate(periods)
        ]
        return [
            jnp.fft.irfft2(jnp.fft.rfft2(plane, s=period), s=period)
            for plane, period in zip(planes, periods, strict=True)
        ]

    gradient = median_ms(jax.jit(jax.vmap(likelihood.score)), scene, repeat)
    ffts = median_ms(jax.jit(bare), scene, repeat)
    return {
        "rotation_deg": rotation,
        "draws": draws,
        "gradient_ms": round(gradient, 3),
        "bare_fft_ms": round(ffts, 3),
        "ratio": round(gradient / ffts, 3),
    }


def main() -> None:
    """Print one line of JSON per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rotation", type=float, nargs="*", default=[0.0, 20.0], help="degrees")
    parser.add_argument("--draws", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--repeat", type=int, default=20)
    arguments = parser.parse_args()
    for rotation in arguments.rotation:
        for draws in arguments.draws:
            print(json.dumps(measure(rotation, draws, arguments.repeat)))  # noqa: T201


if __name__ == "__main__":
    main()
