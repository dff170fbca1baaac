"""Numbers that say what a scene shows at given places, the same for a true scene and for each draw.

Calibration is tested on scalars: the rank of the true value among those of the draws is uniform (Talts et al.
2018, arXiv 1804.06788) if one function takes all scenes to their values. Positions, apertures and weights are
therefore given from outside (a catalogue, the truth, a detection) and never follow the scene; and every
number is finite for every scene, empty and negative ones included. Of each position and band:

- *Flux* in circles, nJy, and the *total flux* of the scene.
- *Colour* of neighbouring bands in a circle: difference of asinh magnitudes (Lupton, Gunn & Szalay 1999,
  AJ 118, 1406) ``-2.5/ln 10 (asinh(f/2b) + ln b)``, ordinary magnitudes for ``f >> b``, linear near zero.
- Moments about the position under a fixed round Gaussian weight w (Kaiser, Squires & Broadhurst 1995,
  ApJ 449, 460), neither centred nor scaled to the source: with ``F = sum w I`` and ``M_ij = sum w I r_i r_j``
  the *offsets* ``sum w I r_i / F`` in arcsec, the size *T* ``(M_xx + M_yy) / F`` in arcsec^2 and the
  ellipticity *e1* ``(M_xx - M_yy) / (M_xx + M_yy)``, *e2* ``2 M_xy / (M_xx + M_yy)``. A denominator D is
  ``sqrt(D^2 + b^2)`` (times the square of the weight's sigma for M), which is D for sources far above b.
  A Gaussian source of covariance C has the moments of ``(C^-1 + 1/sigma^2)^-1``.

Beside them *random functionals*, weights over all bands and pixels that look where nobody thought to look:
white noise smoothed to several scales, its sum of squares one (in nJy; of white noise they have its rms).
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from synergy.metrics.photometry import aperture_weights
from synergy.psf import FWHM_PER_SIGMA

SMOOTHING_SCALES = (0.1, 0.2, 0.4, 0.8)
"""Arcsec, FWHM of the Gaussians that smooth the random functionals."""

_PER_SCALE = 2  # random functionals
_REACH = 5.0  # sigma; the weight is 4e-6 there


@dataclasses.dataclass(frozen=True, eq=False)
class SummaryTable:
    """Named summaries of scenes.

    Parameters
    ----------
    names
        One per summary, such as ``"flux 0.3 lsst.r at 0"``, ``"colour 0.3 lsst.r-lsst.i at 0"``,
        ``"e1 lsst.r at 0"``, ``"total flux lsst.r"`` or ``"random 0.2 1"``.
    values
        Their values, all finite.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "*batch summary"]

    def __getitem__(self, name: str) -> Float[np.ndarray, "*batch"]:
        """Return one summary of each scene."""
        return self.values[..., self.names.index(name)]


def summaries(
    scenes: Float[np.ndarray, "*batch band y x"],
    bands: Sequence[str],
    pixel_scale: float,
    positions: Float[np.ndarray, "position 2"],
    radii: Sequence[float] = (0.3, 0.8),
    weight_fwhm: float = 0.6,
    softening: float | Sequence[float] = 10.0,
    seed: int = 0,
) -> SummaryTable:
    """Summarise a scene, or each of many.

    Parameters
    ----------
    scenes
        One scene, draws of one, or any batch of scenes on one frame, nJy/pixel.
    bands
        Their bands.
    pixel_scale
        Arcsec.
    positions
        Pixel coordinates ``(y, x)`` on the scene; none leaves what needs no position.
    radii
        Of the circles, arcsec.
    weight_fwhm
        FWHM of the weight of the moments, arcsec.
    softening
        Flux b below which colours and moments fade, nJy, of all or of each band; that of an aperture's noise
        keeps what can be measured.
    seed
        Of the random functionals: one seed gives scenes of one shape the same.

    Raises
    ------
    ValueError
        If the scenes are not finite, the bands not theirs, a position lies off the scene, or a length or
        softening is not positive.
    """
    soft = np.asarray(softening, np.float64)
    _check(scenes, bands, positions, soft)
    for name, lengths in (("pixel scale", [pixel_scale]), ("radius", radii), ("weight", [weight_fwhm])):
        if not all(np.isfinite(length) and length > 0 for length in lengths):
            raise ValueError(f"{name} must be positive arcsec, got {lengths}")
    soft = np.broadcast_to(soft, len(bands))
    sigma = weight_fwhm / FWHM_PER_SIGMA
    columns: dict[str, Float[np.ndarray, "*batch"]] = {}
    for index, position in enumerate(positions):
        box, weights = _local_weights(scenes.shape[-2:], position, pixel_scale, radii, sigma)
        sums = np.tensordot(scenes[(..., *box)], weights, axes=((-2, -1), (-2, -1)))
        fluxes, moments = sums[..., : len(radii)], sums[..., len(radii) :]
        magnitudes = -2.5 / np.log(10) * (np.arcsinh(fluxes / (2 * soft[:, None])) + np.log(soft)[:, None])
        shapes = _shapes(moments, soft, sigma)
        for b, band in enumerate(bands):
            columns |= {f"flux {r:g} {band} at {index}": fluxes[..., b, i] for i, r in enumerate(radii)}
            columns |= {f"{name} {band} at {index}": value[..., b] for name, value in shapes.items()}
        for b, pair in enumerate(itertools.pairwise(bands)):
            for i, r in enumerate(radii):
                name = f"colour {r:g} {'-'.join(pair)} at {index}"
                columns[name] = magnitudes[..., b, i] - magnitudes[..., b + 1, i]
    total = np.sum(scenes, axis=(-2, -1), dtype=np.float64)
    columns |= {f"total flux {band}": total[..., b] for b, band in enumerate(bands)}
    columns |= _random_functionals(scenes, pixel_scale, seed)
    return SummaryTable(tuple(columns), np.stack(list(columns.values()), axis=-1))


def _check(scenes: np.ndarray, bands: Sequence[str], positions: np.ndarray, soft: np.ndarray) -> None:
    if not np.isfinite(scenes).all():
        raise ValueError("scenes hold values that are not finite")
    if len(bands) != scenes.shape[-3] or len(set(bands)) != len(bands):
        raise ValueError(f"scenes of {scenes.shape[-3]} bands need as many names, each once, got {bands}")
    # Pixel centres are whole numbers: the scene reaches half a pixel beyond.
    off = ~np.all((positions >= -0.5) & (positions <= np.array(scenes.shape[-2:]) - 0.5), axis=-1)
    if off.any():
        raise ValueError(f"positions {positions[off].tolist()} lie off a scene of {scenes.shape[-2:]} pixels")
    if soft.shape not in ((), (len(bands),)) or not (np.isfinite(soft) & (soft > 0)).all():
        raise ValueError(f"softening must be positive nJy, one or one per band, got {soft.tolist()}")


def _local_weights(
    shape: tuple[int, ...],
    position: Float[np.ndarray, " 2"],
    pixel_scale: float,
    radii: Sequence[float],
    sigma: float,
) -> tuple[tuple[slice, slice], Float[np.ndarray, "weight y x"]]:
    """Return the box around a position that matters, and on it the circles' and the moments' weights."""
    reach = int(np.ceil(max([*radii, _REACH * sigma]) / pixel_scale)) + 1
    first = [max(round(p) - reach, 0) for p in position.tolist()]
    last = [min(round(p) + reach + 1, size) for p, size in zip(position.tolist(), shape, strict=True)]
    inside = (last[0] - first[0], last[1] - first[1])
    centre = (float(position[0] - first[0]), float(position[1] - first[1]))
    circles = [aperture_weights(inside, centre, r / pixel_scale) for r in radii]
    y, x = (np.indices(inside) - np.array(centre)[:, None, None]) * pixel_scale
    gaussian = np.exp(-(y**2 + x**2) / (2 * sigma**2))
    moments = [gaussian * power for power in (np.ones(inside), y, x, y * y, x * x, x * y)]
    return (slice(first[0], last[0]), slice(first[1], last[1])), np.stack(circles + moments)


def _shapes(
    moments: Float[np.ndarray, "*batch band 6"], soft: Float[np.ndarray, " band"], sigma: float
) -> dict[str, Float[np.ndarray, "*batch band"]]:
    light, y, x, yy, xx, xy = np.moveaxis(moments, -1, 0)
    flux, trace = np.hypot(light, soft), np.hypot(xx + yy, soft * sigma**2)
    return {
        "offset y": y / flux,
        "offset x": x / flux,
        "T": (xx + yy) / flux,
        "e1": (xx - yy) / trace,
        "e2": 2 * xy / trace,
    }


def _random_functionals(
    scenes: Float[np.ndarray, "*batch band y x"], pixel_scale: float, seed: int
) -> dict[str, Float[np.ndarray, "*batch"]]:
    rng = np.random.default_rng(seed)
    found = {}
    for fwhm in SMOOTHING_SCALES:
        width = fwhm / FWHM_PER_SIGMA / pixel_scale
        for number in range(_PER_SCALE):
            weights = gaussian_filter(rng.standard_normal(scenes.shape[-3:]), (0.0, width, width))
            weights /= np.linalg.norm(weights)
            found[f"random {fwhm:g} {number}"] = np.tensordot(scenes, weights, axes=3)
    return found
