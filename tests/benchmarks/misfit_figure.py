"""Draw what whitened residuals show when the data are not as they are said to be.

``python tests/benchmarks/misfit_figure.py --out misfit.png``. A galaxy seen by VIS and by LSST in r is
explained with a PSF that is 3 % too wide, with an image displaced by 0.1 of its pixels, and with a dead
column that is masked or not. Each mistake is made in both images. Residuals are in sigma: of the true scene
(what the mistake does) and of the best scene under a Gaussian prior (what is left of it once the scene has
adapted). The first row has no mistake and should be noise.
"""

import argparse
import dataclasses
from collections.abc import Callable

import galsim
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from matplotlib import pyplot as plt

from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.psf import PSF

CENTER = SkyCoord(150.0 * units.deg, 2.0 * units.deg)
BANDS = ("euclid.vis", "lsst.r")
LABELS = ("VIS", "LSST r")
SIZE, H = 128, 0.05  # scene pixels, arcsec
CAMERAS = {"euclid.vis": (64, 0.1), "lsst.r": (32, 0.2)}
PEAK_SNR = 150.0  # of the brightest pixel
DEAD = {"euclid.vis": 28, "lsst.r": 14}  # column, beside the galaxy's core
LIMIT = 6.0  # sigma, of the colour scale


def optics(band: str, broader: float = 1.0) -> galsim.GSObject:
    """Return the effective PSF, whose width is multiplied by `broader`."""
    optical = galsim.Airy(lam=750.0, diam=1.2, obscuration=0.3)
    seeing = galsim.Kolmogorov(fwhm=0.8)
    profile = optical if band == "euclid.vis" else seeing
    return galsim.Convolve(profile, galsim.Pixel(CAMERAS[band][1])).dilate(broader)


def stamp(band: str, broader: float = 1.0) -> PSF:
    """Return it as an oversampled stamp."""
    scale, width = (0.025, 241) if band == "euclid.vis" else (0.05, 161)
    image = optics(band, broader).drawImage(nx=width, ny=width, scale=scale, method="no_pixel", dtype=float)
    return PSF.from_stamp(image.array, scale)


def truth() -> np.ndarray:
    """Return the true scene: a disc with a bulge and a companion, redder in r than in VIS."""
    disc = galsim.Exponential(half_light_radius=0.5).shear(g1=0.3, g2=0.2)
    bulge = galsim.Sersic(2.5, half_light_radius=0.15)
    companion = galsim.Exponential(half_light_radius=0.15).shift(1.2, -0.9)
    planes = []
    for weights in ((0.6, 0.3, 0.1), (0.5, 0.45, 0.05)):
        galaxy = galsim.Add([p * w for p, w in zip((disc, bulge, companion), weights, strict=True)])
        seen = galsim.Convolve(galaxy, galsim.Gaussian(fwhm=2 * H))
        planes.append(seen.drawImage(nx=SIZE, ny=SIZE, scale=H, method="no_pixel", dtype=float).array)
    return np.stack(planes)[:, ::-1].astype(np.float32)


def observe(band: str, image: np.ndarray, ivar: np.ndarray) -> Observation:
    """Return an image that is as it is said to be."""
    n, scale = CAMERAS[band]
    frame = Frame.tangent(CENTER, (n, n), scale)
    return Observation(band, band, image, ivar, np.zeros((n, n), bool), stamp(band), frame)


def wider(observation: Observation) -> Observation:
    """Claim a PSF that is 3 % wider than the true one."""
    return dataclasses.replace(observation, psf=stamp(observation.band, 1.03))


def displaced(observation: Observation) -> Observation:
    """Claim a position that is wrong by 0.1 pixel along x."""
    wcs = observation.frame.wcs.deepcopy()
    wcs.wcs.crpix = wcs.wcs.crpix + np.array([0.1, 0.0])
    return dataclasses.replace(observation, frame=Frame(observation.frame.shape, wcs))


def dead(observation: Observation, *, masked: bool) -> Observation:
    """Lose a column, and say so or not."""
    image, mask = observation.image.copy(), observation.mask.copy()
    image[:, DEAD[observation.band]] = 0.0
    mask[:, DEAD[observation.band]] = masked
    return dataclasses.replace(observation, image=image, mask=mask)


MISTAKES: dict[str, Callable[[Observation], Observation]] = {
    "no mistake": lambda observation: observation,
    "PSF 3 % too wide": wider,
    "shifted by 0.1 pixel": displaced,
    "dead column, unmasked": lambda observation: dead(observation, masked=False),
    "dead column, masked": lambda observation: dead(observation, masked=True),
}


def best(likelihood: GaussianLikelihood, scene: jax.Array) -> jax.Array:
    """Return the scene of highest posterior under a stationary Gaussian prior with a galaxy's power law.

    With the scene written as a filter on white noise, ``x = F z``, it solves ``(1 + F A^T N^-1 A F) z = F A^T
    N^-1 y``, by conjugate gradients.
    """
    k = jnp.hypot(jnp.fft.fftfreq(SIZE)[:, None], jnp.fft.rfftfreq(SIZE)[None])
    amplitude = jnp.sqrt(jnp.mean(jnp.abs(jnp.fft.rfft2(scene, norm="ortho")) ** 2, axis=0).max())
    profile = amplitude / (1 + (k / 0.02) ** 2) ** 0.75

    def color(z: jax.Array) -> jax.Array:
        return jnp.fft.irfft2(profile * jnp.fft.rfft2(z), s=(SIZE, SIZE))

    def matrix(z: jax.Array) -> jax.Array:
        return z + color(likelihood.normal(color(z)))

    right = color(likelihood.data_adjoint())
    z, _ = jax.jit(lambda b: jax.scipy.sparse.linalg.cg(matrix, b, maxiter=300, tol=1e-6))(right)
    return color(z)


def residuals() -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Return (whitened residual, where it counts) by mistake: of the true scene, then of the best one."""
    scene = jnp.asarray(truth())
    frame = Frame.tangent(CENTER, (SIZE, SIZE), H)
    blank = [
        observe(band, np.zeros((CAMERAS[band][0],) * 2), np.ones((CAMERAS[band][0],) * 2)) for band in BANDS
    ]
    clean = GaussianLikelihood.build(blank, frame, BANDS).forward(scene)
    rng = np.random.default_rng(0)
    observations = []
    for band, image in zip(BANDS, clean, strict=True):
        sigma = float(image.max()) / PEAK_SNR
        noisy = np.asarray(image, np.float64) + sigma * rng.normal(size=image.shape)
        observations.append(observe(band, noisy, np.full(image.shape, sigma**-2)))
    result = {}
    for name, spoil in MISTAKES.items():
        likelihood = GaussianLikelihood.build([spoil(o) for o in observations], frame, BANDS)
        panels = [*likelihood.whitened(scene), *likelihood.whitened(best(likelihood, scene))]
        known = [np.asarray(noise.ivar > 0) for noise in likelihood.noises] * 2
        result[name] = [(np.asarray(panel), where) for panel, where in zip(panels, known, strict=True)]
    return result


def draw(rows: dict[str, list[tuple[np.ndarray, np.ndarray]]], path: str) -> None:
    """Write the figure."""
    order = (0, 2, 1, 3)  # true and best scene side by side, for VIS and then for LSST
    titles = [f"{label}\n{scene} scene" for label in LABELS for scene in ("true", "best-fit")]
    figure, axes = plt.subplots(len(rows), 4, figsize=(9.6, 11.2), layout="constrained")
    colors = mpl.colormaps["RdBu_r"].with_extremes(bad="0.6")
    for line, (name, panels) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name.replace(", ", ",\n"))
        for axis, index in zip(line, order, strict=True):
            values, known = panels[index]
            shown = axis.imshow(
                np.where(known, values, np.nan),
                vmin=-LIMIT,
                vmax=LIMIT,
                cmap=colors,
                origin="lower",
                interpolation="nearest",
            )
            axis.set(xticks=[], yticks=[])
            chi2 = np.mean(values[known] ** 2)
            axis.set_xlabel(rf"$\chi^2/N = {chi2:.2f}$, worst {np.abs(values).max():.0f}$\sigma$", fontsize=9)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    bar = figure.colorbar(shown, ax=axes, shrink=0.5, extend="both")
    bar.set_label(r"(data $-$ prediction) / noise  [$\sigma$];  grey: masked")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Draw the figure and print the chi-squared of each panel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True, help="PNG or PDF")
    arguments = parser.parse_args()
    mpl.use("agg")
    rows = residuals()
    draw(rows, arguments.out)
    for name, panels in rows.items():
        true_vis, true_lsst, best_vis, best_lsst = (np.mean(v[known] ** 2) for v, known in panels)
        print(  # noqa: T201
            f"{name:22} chi2/N  VIS true {true_vis:8.2f} best {best_vis:8.2f}"
            f"   LSST r true {true_lsst:8.2f} best {best_lsst:8.2f}"
        )


if __name__ == "__main__":
    main()
