r"""How correlated the noise of an image is, measured on its blank sky.

An image that was resampled onto finer pixels (NISP and ground images on Euclid's 0.1 arcsec grid, drizzled
HST images) has correlated noise: averages over blocks of pixels scatter more than independent pixels of the
same variance would. Where there is enough blank sky its autocorrelation is measured
(`synergy.noise_spectrum`), for a stationary noise model. Elsewhere the likelihood is diagonal, and must not
use the variance of single pixels, but the variance that is right for *averages over the size of the
PSF*, the scale at which such an image carries information:

.. math:: v(k) = k^2 \operatorname{Var}(\text{block mean}) = \sum_{|d_x|,|d_y|<k}
          \left(1-\frac{|d_x|}{k}\right)\left(1-\frac{|d_y|}{k}\right) \xi(d),

with the autocovariance :math:`\xi(d)` of the blank pixels and blocks of `k` by `k` pixels. For independent
noise :math:`v(k) = \xi(0)`; the ratio :math:`v(k)/\xi(0)` is the *correlation factor*. Taking pairs of pixels
rather than whole blocks uses all of a patchy blank sky. The mean covariance at separations of two to three
blocks is subtracted from :math:`\xi`, which removes faint extended light and background errors (the same as
comparing blocks some distance apart). The noise of finer structure than the PSF is overestimated by this,
which is safe: chi2 per pixel of such an image is then *expected* to be below one (`BlankSky.pixel_variance`
over the variance used).

Noise maps differ in what they state. Some pipelines give the variance of single pixels, others (Euclid MER:
measured, see `synergy.io.euclid`) the variance that independent pixels would need. Measuring on the
whitened image covers both: the variance is inflated by :math:`\max(1, v(k))` of ``image / rms``, and never
deflated.

References: Casertano et al. 2000, AJ 120, 2747, appendix A (drizzled HST images); Labbe et al. 2003, AJ
125, 1107 (empty apertures).
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation, gaussian_filter

from synergy.noise_spectrum import pair_sums

CLIP = 4.0
SOURCE_THRESHOLD = 4.0
ROUNDS = 10
FEWEST_BLOCKS = 16
"""Blank sky of fewer blocks than this cannot tell the correlation factor to better than about a third."""


@dataclasses.dataclass(frozen=True, eq=False)
class BlankSky:
    """What the blank sky of an image says about its noise.

    Parameters
    ----------
    level
        Median of the blank sky.
    pixel_variance
        Variance of single pixels.
    block_variance
        Variance `v(k)` that independent pixels would need for the same scatter of block averages.
    block
        Block side in pixels.
    blocks
        Area of the blank sky in blocks.
    neighbour
        Correlation of adjacent pixels.
    kept
        The blank pixels.
    """

    level: float
    pixel_variance: float
    block_variance: float
    block: int
    blocks: float
    neighbour: float
    kept: Bool[np.ndarray, "y x"]

    @property
    def factor(self) -> float:
        """Correlation factor ``block_variance / pixel_variance``."""
        return self.block_variance / self.pixel_variance

    @property
    def enough(self) -> bool:
        """Whether there is enough blank sky to trust the block variance."""
        return self.blocks >= FEWEST_BLOCKS


def robust_std(values: Float[np.ndarray, "..."]) -> float:
    """Return the standard deviation of a normal distribution with the same median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def blank_sky(
    image: Float[np.ndarray, "y x"], bad: Bool[np.ndarray, "y x"], scale: float
) -> Bool[np.ndarray, "y x"]:
    """Return where an image shows neither sources nor bad pixels.

    Sources are what stands out by `SOURCE_THRESHOLD` robust standard deviations after smoothing, found
    repeatedly until the sky no longer changes, and grown by two smoothing lengths.

    Parameters
    ----------
    image
        Image with roughly uniform noise (for example divided by its RMS).
    bad
        True = not to be used.
    scale
        Standard deviation of the smoothing Gaussian in pixels.
    """
    weight = gaussian_filter((~bad).astype(float), scale, mode="constant")
    smooth = gaussian_filter(np.where(bad, 0.0, image), scale, mode="constant") / np.maximum(weight, 1e-3)
    blank = ~bad
    for _ in range(ROUNDS):
        sky = smooth[blank]
        if sky.size < 2:
            break
        found = np.abs(smooth - np.median(sky)) > SOURCE_THRESHOLD * robust_std(sky)
        new = ~bad & ~found
        if (new == blank).all():
            break
        blank = new
    return ~bad & ~binary_dilation(~blank & ~bad, iterations=max(1, round(2 * scale)))


def measure_blank_sky(
    image: Float[np.ndarray, "y x"], bad: Bool[np.ndarray, "y x"], block: int
) -> BlankSky | None:
    """Measure the noise of an image on its blank sky.

    Parameters
    ----------
    image
        Image with roughly uniform noise: whitened by its RMS map, or as it is when there is none.
    bad
        True = not to be used.
    block
        Side in pixels of the blocks over which noise is averaged; about the FWHM of the PSF.

    Returns
    -------
    BlankSky | None
        None when there are fewer than two blank pixels or they have no spread.
    """
    blank = blank_sky(image, bad, max(1.0, block / 2.355))
    sky = image[blank]
    if sky.size < 2 or robust_std(sky) == 0.0:
        return None
    level, std = float(np.median(sky)), robust_std(sky)
    kept = blank & (np.abs(image - level) < CLIP * std)
    values = np.where(kept, image - image[kept].mean(), 0.0)
    reach = 3 * block
    covariance, pairs = pair_sums(values, kept, reach)
    lag = np.abs(np.arange(-reach, reach + 1))
    distance = np.maximum.outer(lag, lag)
    far = distance >= 2 * block
    background = covariance[far].sum() / max(pairs[far].sum(), 1.0)
    xi = covariance / np.maximum(pairs, 1.0) - background
    triangle = np.clip(1.0 - lag / block, 0.0, None)
    block_variance = float(triangle @ xi @ triangle)
    pixel_variance = float(xi[reach, reach])
    neighbour = float(xi[reach, reach + 1] + xi[reach + 1, reach]) / (2 * pixel_variance)
    area = float(kept.sum()) / block**2
    return BlankSky(level, pixel_variance, max(block_variance, 0.0), block, area, neighbour, kept)
