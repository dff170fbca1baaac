"""The gradient of scarlet2's likelihood, timed on request: the other side of `likelihood_gradient.py`.

Run by `likelihood_gradient.py --scarlet2-python PYTHON` in an environment that has scarlet2 (0.5.1 when this
was written); it needs nothing of ours. The argument is an npz file with `images` and `ivar` ``(band, y, x)``,
`psfs` ``(band, y, x)`` on the images' pixels, the pixel scales `image_scale` and `scene_scale` in arcsec, and
`scene_size`. Every line on standard input asks for one gradient; the answer is its time in milliseconds. The
first line of output tells the version and how long preparing took.

What is timed is what a fit calls: the jitted gradient of `Observation.log_likelihood` with respect to the
model cube, through the renderer that `Observation.match` chooses for two pixel scales, warm, in float32.
"""

import json
import sys
import time
from importlib.metadata import version

import jax
import numpy as np
import scarlet2
from astropy.wcs import WCS


def tangent(size: int, pixel_scale: float) -> WCS:
    """Return a WCS with a CD matrix, the dress that scarlet2 reads correctly."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [(size + 1) / 2] * 2
    wcs.wcs.cd = np.diag([-pixel_scale, pixel_scale]) / 3600
    wcs.wcs.set()
    return wcs


def main() -> None:
    """Prepare the gradient, then time one call per line of input."""
    data = np.load(sys.argv[1])
    start = time.perf_counter()
    scarlet2.set_validation(False)
    n_bands, size = data["images"].shape[:2]
    channels = [f"band {i}" for i in range(n_bands)]
    scene_size = int(data["scene_size"])
    observation = scarlet2.Observation(
        data["images"],
        data["ivar"],
        psf=data["psfs"],
        wcs=tangent(size, float(data["image_scale"])),
        channels=channels,
    )
    sigma = 2 / np.sqrt(8 * np.log(2))  # FWHM of 2 scene pixels, as ours
    frame = scarlet2.Frame(
        scarlet2.Box((n_bands, scene_size, scene_size)),
        psf=scarlet2.GaussianPSF(sigma),
        wcs=tangent(scene_size, float(data["scene_scale"])),
        channels=channels,
    )
    observation.match(frame)
    gradient = jax.jit(jax.grad(observation.log_likelihood))
    scene = jax.random.normal(jax.random.key(0), (n_bands, scene_size, scene_size))
    for _ in range(2):
        result = jax.block_until_ready(gradient(scene))
    assert result.shape == scene.shape
    assert np.any(np.asarray(result))
    renderer = type(observation.renderer).__name__
    prepared = time.perf_counter() - start
    tell = {"scarlet2": version("scarlet2"), "renderer": renderer, "dtype": str(result.dtype)}
    print(json.dumps({**tell, "prepare_s": round(prepared, 1)}), flush=True)  # noqa: T201
    for _ in sys.stdin:
        start = time.perf_counter()
        jax.block_until_ready(gradient(scene))
        print(1e3 * (time.perf_counter() - start), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
