"""Time the gradient of the joint likelihood beside the bare FFTs of the same sizes, and beside scarlet2.

Run as a script; every case prints one line of JSON:

    python tests/benchmarks/likelihood_gradient.py [--cases six ten rotated growth] [--repeat N]
        [--scarlet2-python /path/to/env/bin/python]

- ``six``: a scene of six bands, 128 x 128 at 0.1 arcsec, seen by six images of 64 x 64 at 0.2 arcsec; beside
  scarlet2 where `--scarlet2-python` names an interpreter that has it;
- ``ten``: the default problem, a scene of ten bands, 128 x 128 at 0.05 arcsec, seen by VIS (64 x 64 at 0.1
  arcsec), NISP Y, J, H (22 x 22 at 0.3 arcsec) and LSST ugrizy (32 x 32 at 0.2 arcsec), for 1 and 16 draws;
- ``rotated``: both with all images turned by 20 degrees, beside the aligned ones;
- ``growth``: one band of VIS for scenes of 64 to 512 pixels; the fitted exponent of the time against n log n,
  with n the number of scene pixels (1 is n log n).

The floors are the FFTs of a method that convolves by FFT: per image a real transform there and back for the
prediction, and another pair for the adjoint, all images of one size in one batch. ``fft_bare`` transforms
planes of the scene's own size, ``fft_padded`` planes of the size to which the operator pads them so that
nothing wraps around. Nothing else (transfer, sampling, noise) is in the floors.

The machine may be shared: the contestants of a case take turns, call by call, and a ratio is the median over
the turns of the ratio within a turn.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

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
SIX_BANDS = ("lsst.u", "lsst.g", "lsst.r", "lsst.i", "lsst.z", "lsst.y")
SIX_STAMP = 31  # pixels of 0.2 arcsec
GROWTH = (64, 96, 128, 192, 256, 384, 512)

Contestants = dict[str, Callable[[], float]]


def camera(band: str) -> tuple[int, float, float]:
    """Return the size, the pixel scale and the PSF's FWHM of a band."""
    survey, name = band.split(".")
    return CAMERAS["lsst" if survey == "lsst" else "vis" if name == "vis" else "nisp"]


def observe(band: str, size: int, pixel_scale: float, psf: PSF, rotation: float) -> Observation:
    """Return an image of noise: its values do not matter to the time."""
    return Observation(
        name=band,
        band=band,
        image=np.random.default_rng(0).normal(size=(size, size)),
        ivar=np.ones((size, size)),
        mask=np.zeros((size, size), bool),
        psf=psf,
        frame=Frame.tangent(CENTER, (size, size), pixel_scale, rotation),
    )


def oversampled(fwhm: float) -> PSF:
    """Return a PSF as our own mocks have it: 10 FWHM wide at 0.05 arcsec."""
    return PSF.gaussian(fwhm, 0.05, 2 * round(5 * max(fwhm, 0.3) / 0.05 / 2) + 1)


def ten(rotation: float = 0.0) -> GaussianLikelihood:
    """Return the default problem."""
    observations = []
    for band in SCENE_BANDS:
        size, pixel_scale, fwhm = camera(band)
        observations.append(observe(band, size, pixel_scale, oversampled(fwhm), rotation))
    return GaussianLikelihood.build(observations, Frame.tangent(CENTER, (128, 128), 0.05), SCENE_BANDS)


def six(rotation: float = 0.0) -> GaussianLikelihood:
    """Return six LSST bands at half the pixels of the scene."""
    psf = PSF.gaussian(0.8, 0.2, SIX_STAMP)
    observations = [observe(band, 64, 0.2, psf, rotation) for band in SIX_BANDS]
    return GaussianLikelihood.build(observations, Frame.tangent(CENTER, (128, 128), 0.1), SIX_BANDS)


def alone(size: int) -> GaussianLikelihood:
    """Return one band of VIS over a scene of any size."""
    observation = observe("euclid.vis", size // 2, 0.1, oversampled(0.17), 0.0)
    frame = Frame.tangent(CENTER, (size, size), 0.05)
    return GaussianLikelihood.build([observation], frame, ("euclid.vis",))


def timed(function: Callable, argument: jax.Array) -> Callable[[], float]:
    """Compile a function and return a stopwatch for one call, in milliseconds."""
    jax.block_until_ready(function(argument))

    def call() -> float:
        start = time.perf_counter()
        jax.block_until_ready(function(argument))
        return 1e3 * (time.perf_counter() - start)

    return call


def gradient(likelihood: GaussianLikelihood, draws: int = 1) -> Callable[[], float]:
    """Return a stopwatch for the gradient of a batch of scenes."""
    scene = jax.random.normal(jax.random.key(0), (draws, *likelihood.scene_shape), jnp.float32)
    if draws == 1:
        return timed(jax.jit(likelihood.score), scene[0])
    return timed(jax.jit(jax.vmap(likelihood.score)), scene)


def floor(likelihood: GaussianLikelihood, draws: int, *, padded: bool) -> Callable[[], float]:
    """Return a stopwatch for the FFTs alone: two pairs per image, images of one size in one batch."""
    counts: dict[tuple[int, int], int] = {}
    for operator in likelihood.operators:
        shape = operator.period if padded else operator.scene_shape
        counts[shape] = counts.get(shape, 0) + 1
    planes = [
        jax.random.normal(jax.random.key(i), (draws * count, *shape), jnp.float32)
        for i, (shape, count) in enumerate(counts.items())
    ]

    def pairs(planes: list[jax.Array]) -> list[jax.Array]:
        for _ in range(2):
            planes = [jnp.fft.irfft2(jnp.fft.rfft2(plane), s=plane.shape[-2:]) for plane in planes]
        return planes

    return timed(jax.jit(pairs), planes)


def race(contestants: Contestants, repeat: int) -> tuple[dict[str, float], dict[str, float]]:
    """Let contestants take turns; return their median times, and median ratios of the first to the others."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeat):
        for name, call in contestants.items():
            times[name].append(call())
    medians = {f"{name}_ms": round(statistics.median(values), 3) for name, values in times.items()}
    first, *others = times
    ratios = {
        f"{first}/{name}": round(
            statistics.median(a / b for a, b in zip(times[first], times[name], strict=True)), 4
        )
        for name in others
    }
    return medians, ratios


def beside_floors(likelihood: GaussianLikelihood, draws: int = 1) -> Contestants:
    """Return the gradient and both floors."""
    return {
        "gradient": gradient(likelihood, draws),
        "fft_padded": floor(likelihood, draws, padded=True),
        "fft_bare": floor(likelihood, draws, padded=False),
    }


def scarlet2_process(python: str, folder: Path) -> subprocess.Popen[str]:
    """Start scarlet2 on the problem of `six`: same images, PSFs, frames and model PSF."""
    psf = PSF.gaussian(0.8, 0.2, SIX_STAMP)
    images = np.stack([np.random.default_rng(0).normal(size=(64, 64))] * 6)
    path = folder / "problem.npz"
    np.savez(
        path,
        images=images,
        ivar=np.ones_like(images),
        psfs=np.stack([psf.image] * 6),
        image_scale=0.2,
        scene_scale=0.1,
        scene_size=128,
    )
    script = Path(__file__).with_name("scarlet2_gradient.py")
    return subprocess.Popen(
        [python, "-W", "ignore", str(script), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )


def against_scarlet2(python: str, repeat: int) -> dict:
    """Let our gradient and that of scarlet2 take turns."""
    with tempfile.TemporaryDirectory() as folder, scarlet2_process(python, Path(folder)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        about = json.loads(process.stdout.readline())

        def call() -> float:
            process.stdin.write("\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        medians, ratios = race({"scarlet2": call, "gradient": gradient(six())}, repeat)
        process.stdin.close()
    return {"case": "six against scarlet2", **about, **medians, **ratios}


def growth(repeat: int) -> dict:
    """Fit the power of n log n by which the time of a gradient grows with the number of scene pixels n."""
    medians, _ = race({str(size): gradient(alone(size)) for size in GROWTH}, repeat)
    n = np.array(GROWTH, float) ** 2
    exponent = np.polyfit(np.log(n * np.log(n)), np.log(list(medians.values())), 1)[0]
    return {"case": "growth", **medians, "exponent_of_n_log_n": round(float(exponent), 3)}


def report(case: str, contestants: Contestants, repeat: int) -> None:
    """Race and print."""
    medians, ratios = race(contestants, repeat)
    show({"case": case, **medians, **ratios})


def show(line: dict) -> None:
    """Print one line of JSON."""
    print(json.dumps(line), flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line of JSON per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    choices = ("six", "ten", "rotated", "growth")
    parser.add_argument("--cases", nargs="*", default=choices, choices=choices)
    parser.add_argument("--repeat", type=int, default=30, help="turns per case")
    parser.add_argument("--scarlet2-python", help="interpreter of an environment with scarlet2")
    options = parser.parse_args(arguments)
    if "six" in options.cases:
        likelihood = six()
        show({"periods of six": [operator.period for operator in likelihood.operators]})
        report("six", beside_floors(likelihood), options.repeat)
        if options.scarlet2_python:
            show(against_scarlet2(options.scarlet2_python, options.repeat))
    if "ten" in options.cases:
        likelihood = ten()
        show({"periods of ten": [operator.period for operator in likelihood.operators]})
        for draws in (1, 16):
            report(f"ten, {draws} draws", beside_floors(likelihood, draws), options.repeat)
    if "rotated" in options.cases:
        for name, make in (("six", six), ("ten", ten)):
            both = {"rotated": gradient(make(20.0)), "aligned": gradient(make())}
            report(f"{name}, rotated", both, options.repeat)
    if "growth" in options.cases:
        show(growth(options.repeat))


if __name__ == "__main__":
    main()
