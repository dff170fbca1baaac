"""How well noise models describe correlated noise, simulated and real: chi2 per pixel, whitened spectrum.

Run as ``python tests/benchmarks/correlated_noise.py [--shared DIR] [--out DIR]``. DIR of the real data is
found like the tests find it; without it, only simulations are judged.

*Simulated*: noise resampled as in Euclid MER mosaics (`data_prep.resampled_noise`). The correlation is
measured on realisations, or on the blank sky of images with galaxies; other images of noise are judged.
*Real*: the blank sky of Euclid Q1 cutouts, over the RMS map. Each half of an image is judged by the noise
measured on the other half.

Columns: ``pixels`` judged; chi2 per pixel for the RMS map as it is (real data; it states what independent
pixels would need), for a diagonal model with the measured variance of single pixels, and for the
stationary model, with the sampling error sqrt(2 / pixels) of white noise, for judged and measured pixels
together; the least and the largest power of the residuals in rings of spatial frequency, of which one is
what it should be, for the diagonal and for the stationary model, with the rms deviation of the latter's
rings in units of their sampling errors; and the stationary model's chi2 with the power floor used by
default, beside the chi2 that it expects then.
"""

import argparse
import dataclasses
import os
from pathlib import Path

import numpy as np

from data_prep.resampled_noise import resampled_noise
from synergy.io.correlated import measure_blank_sky
from synergy.io.read import read_observations
from synergy.noise_spectrum import NoiseCorrelation, correlation_of_realisations, correlation_of_sky
from synergy.sparse_root import SparseRoot
from synergy.stationary import FLOOR, torus_power

RINGS = 10
LOW_FLOOR = 1e-4
"""Power floor that is below the power of every real image, so that chi2 per pixel is to be one."""

_last: dict = {}


@dataclasses.dataclass
class Judged:
    """Sums over the pixels judged."""

    name: str
    pixels: int = 0
    measured: int = 0
    stated: float = 0.0
    diagonal: float = 0.0
    stationary: float = 0.0
    floored: float = 0.0
    expected: float = 0.0
    power: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((2, RINGS + 1)))
    modes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(RINGS + 1))

    def add(
        self, image: np.ndarray, known: np.ndarray, noises: list[NoiseCorrelation], measured: int
    ) -> None:
        """Judge an image by noise models with the low and with the default floor."""
        low, default = noises
        image, count = np.where(known, image - image[known].mean(), 0.0), int(known.sum())
        white = whiten(image, known, low, LOW_FLOOR)
        alone = image / np.sqrt(low.variance)
        self.pixels, self.measured = self.pixels + count, self.measured + measured
        self.stated += np.sum(image**2)
        self.diagonal += np.sum(alone**2)
        self.stationary += np.sum(white**2)
        # Where the default floor changes nothing, neither does it here.
        floored = white if default.chi2 > 0.999 else whiten(image, known, default, FLOOR)
        self.floored += np.sum(floored**2)
        self.expected += default.chi2 * count
        frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in image.shape), indexing="ij"))
        ring = np.minimum((2 * RINGS * frequency).astype(int), RINGS).ravel()
        modes = np.bincount(ring, minlength=RINGS + 1) * count / image.size
        for row, field in zip(self.power, (alone, white), strict=True):
            power = np.abs(np.fft.fft2(field)) ** 2 / image.size
            row += np.bincount(ring, power.ravel(), minlength=RINGS + 1)
        self.modes += modes

    def rings(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the power in rings, diagonal and stationary, and its sampling error."""
        return self.power / self.modes, np.sqrt(2 / self.modes) * self._both()

    def _both(self) -> float:
        """Return by how much the error grows because the noise was measured on pixels, too."""
        return np.sqrt(1 + self.pixels / self.measured)

    def row(self) -> str:
        """Return one line of the table."""
        (diagonal, stationary), error = self.rings()
        n, pull = self.pixels, np.sqrt(np.mean(((stationary - 1) / error) ** 2))
        return (
            f"{self.name:34} {n:7d}  {self.stated / n:7.3f}  {self.diagonal / n:8.3f}  "
            f"{self.stationary / n:7.4f} +- {np.sqrt(2 / n) * self._both():.4f}  "
            f"{diagonal.min():7.4f} {diagonal.max():6.2f}  {stationary.min():6.3f} {stationary.max():6.3f} "
            f"({pull:.1f})  {self.floored / n:6.3f} ({self.expected / n:.3f})"
        )


def whiten(image: np.ndarray, known: np.ndarray, noise: NoiseCorrelation, floor: float) -> np.ndarray:
    """Whiten an image of noise of uniform rms."""
    return root_of(noise, known, floor).whiten(image)


def root_of(noise: NoiseCorrelation, known: np.ndarray, floor: float) -> SparseRoot:
    """Return the inverse root; the last one again for noise and pixels like the last."""
    key = (id(noise), known.tobytes(), floor)
    if _last.get("key") != key:
        _last.update(key=key, noise=noise, root=_build(noise, known, floor))
    return _last["root"]


def _build(noise: NoiseCorrelation, known: np.ndarray, floor: float) -> SparseRoot:
    power, period = torus_power(noise.correlation, known.shape, floor)
    rms, none = np.full(known.shape, np.sqrt(noise.variance)), np.zeros(known.shape)
    return SparseRoot.build(power, period, rms, none, known, 1e-3)


def with_galaxies(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """Add a galaxy per 1000 pixels."""
    image, (y, x) = noise.copy(), np.indices(noise.shape)
    for _ in range(noise.size // 1000):
        distance = np.hypot(y - rng.uniform(0, y.max()), x - rng.uniform(0, x.max()))
        image += rng.uniform(8, 60) * np.exp(-distance / rng.uniform(1, 3))
    return image


def simulated(kernel: str, native: float, side: int = 200, images: int = 6) -> list[Judged]:
    """Judge simulated noise."""
    rng = np.random.default_rng(1)
    reach = 9 if kernel == "bilinear" else 14
    makes = [resampled_noise((side, side), native, rng, kernel) for _ in range(2 * images)]
    judged = []
    stack = np.stack(makes[:images])
    label = f"simulated {kernel} x{native:g}"
    noises = [correlation_of_realisations(stack, reach=2 * reach, floor=f) for f in (LOW_FLOOR, FLOOR)]
    entry = Judged(f"{label}, realisations")
    for image in makes[images:]:
        entry.add(image, np.ones(image.shape, bool), noises, stack.size // images)
    judged.append(entry)
    entry = Judged(f"{label}, blank sky")
    for made, image in zip(makes[:images], makes[images:], strict=True):
        crowded = with_galaxies(rng, made)
        sky = measure_blank_sky(crowded, np.zeros(made.shape, bool), reach // 2)
        noises = [correlation_of_sky(crowded, sky.kept, reach, f) for f in (LOW_FLOOR, FLOOR)]
        holes = rng.permutation(sky.kept.ravel()).reshape(made.shape) | (rng.uniform(size=made.shape) < 0.5)
        entry.add(image, holes, noises, int(sky.kept.sum()))
    judged.append(entry)
    return judged


def real(path: Path) -> list[Judged]:
    """Judge the blank sky of a Euclid cutout, half by half."""
    judged = []
    for observation in read_observations(path):
        scaled = observation.image * np.sqrt(observation.ivar * observation.meta["variance_inflation"])
        block = max(2, round(observation.psf.fwhm / observation.frame.pixel_scale))
        sky = measure_blank_sky(scaled, observation.mask, block)
        reach = int(np.clip(2 * block, 4, 14))
        middle = scaled.shape[1] // 2
        halves = [slice(0, middle), slice(middle, None)]
        entry = Judged(f"{path.stem[:20]} {observation.name}")
        for here, there in (halves, halves[::-1]):
            blank = sky.kept[:, here]
            noises = [correlation_of_sky(scaled[:, here], blank, reach, f) for f in (LOW_FLOOR, FLOOR)]
            entry.add(scaled[:, there], sky.kept[:, there], noises, int(blank.sum()))
        judged.append(entry)
    return judged


def draw(judged: list[Judged], path: Path) -> None:
    """Draw the power of whitened residuals in rings."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 4
    figure = Figure(figsize=(3.1 * columns, 2.5 * -(-len(judged) // columns)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(-(-len(judged) // columns), columns, sharex=True, sharey=True, squeeze=False)
    frequency = (np.arange(RINGS + 1) + 0.5) / (2 * RINGS)
    for axis, entry in zip(axes.ravel(), judged, strict=False):
        (diagonal, stationary), error = entry.rings()
        axis.axhline(1, color="0.7", lw=1)
        axis.plot(frequency, diagonal, "o-", color="C1", ms=3, label="diagonal")
        axis.errorbar(frequency, stationary, error, fmt="s-", color="C0", ms=3, label="stationary")
        axis.set_yscale("log")
        axis.set_ylim(1e-4, 50)
        axis.set_title(entry.name, fontsize=8)
    for axis in axes.ravel()[len(judged) :]:
        axis.set_axis_off()
    axes[0, 0].legend(fontsize=8)
    figure.supxlabel("spatial frequency (cycles per pixel; the last ring: the corners)")
    figure.supylabel("power of whitened residuals")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("SYNERGY_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--out", type=Path, default=None, help="folder for correlated_noise.png")
    arguments = parser.parse_args()
    print(  # noqa: T201
        f"{'':34}  pixels  RMS map  diagonal  stationary           "
        "rings: diagonal  stationary (pull)    default floor (expected)"
    )
    judged = []
    for job in (("bilinear", 3.0), ("lanczos3", 2.63)):
        for entry in simulated(*job):
            judged.append(entry)
            print(entry.row(), flush=True)  # noqa: T201
    for path in sorted((arguments.shared / "euclid_q1").glob("*.fits")):
        for entry in real(path):
            judged.append(entry)
            print(entry.row(), flush=True)  # noqa: T201
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        draw(judged, arguments.out / "correlated_noise.png")


if __name__ == "__main__":
    main()
