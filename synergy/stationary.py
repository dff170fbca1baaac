r"""Stationary correlated noise, on an image with masks and uneven noise.

.. math:: n = s \, g + d,

with `g` stationary, of unit variance and known autocorrelation; `s` the rms map that modulates it; and `d`
independent between pixels with variance map `v` (errors of the model that scale with the image, say). The
noise of resampled images is like this: NISP and ground images on Euclid's 0.1 arcsec grid, drizzled images.

*Masks* are exact. Of the covariance `N` of a whole image only the block of the good pixels counts, and its
inverse ``N_gg^-1`` is taken: bad pixels are marginalised, which is not the same as zeroing rows of
``N^-1``. *Edges* neither: `g` lives on a torus larger than the image by the reach of the autocorrelation, so
that opposite edges know nothing of each other, and the padding is like bad pixels.

*Power spectrum*. Positive, and never below a `floor` times its mean. Resampling makes modes with next to no
noise (white noise through a bilinear kernel: half the modes are below 0.3 % of the mean); their weight would
be all but infinite, and no PSF or sky is known that well. The spectra of Euclid's NISP images level off at
0.012 of their mean, hence the default below that. A floor that is too high shows: chi2 per pixel falls below
one.

The inner solve ``N_gg^-1 v`` and the whitening are a sparse approximate root, completed by polynomials to a
stated tolerance: see `synergy.sparse_root`. `synergy.periodic` has closed forms for noise without masks,
maps or edges.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int
from scipy.fft import irfft2, next_fast_len, rfft2

from synergy.errors import InputError
from synergy.periodic import Periodic, filtered
from synergy.sparse_root import SparseRoot

FLOOR = 0.005
"""Least power over the mean power."""

TOLERANCE = 1e-3
"""Relative error of the inverse and of the whitening."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Stationary:
    """Correlated noise, modulated by an rms map, plus independent noise, with masked pixels.

    Parameters
    ----------
    known
        Which pixels carry information.
    correlated
        Standard deviation `s` of the correlated part, nJy.
    independent
        Variance `v` of the independent part, nJy^2.
    power
        Power spectrum of `g` on the padded torus, at the frequencies of ``rfft2``; its mean is one.
    root, root_transpose
        The sparse root ``G`` and its transpose, as weights of the neighbours at `offsets` and at their
        opposites.
    offsets
        ``(y, x)`` of the neighbours.
    inverse, inverse_root
        Chebyshev coefficients of the polynomials of ``B = G N G^T``.
    middle, half_width
        Middle and half the width of the interval of those polynomials.
    log_det
        Logarithm of the determinant of N over the pixels that carry information.
    period
        Shape of the torus.
    radius
        Reach of the sparse root.
    """

    known: Bool[Array, "y x"]
    correlated: Float[Array, "y x"]
    independent: Float[Array, "y x"]
    power: Float[Array, "ky kx"]
    root: Float[Array, "offset y x"]
    root_transpose: Float[Array, "offset y x"]
    offsets: Int[Array, "offset 2"]
    inverse: Float[Array, " p"]
    inverse_root: Float[Array, " q"]
    middle: Float[Array, ""]
    half_width: Float[Array, ""]
    log_det: Float[Array, ""]
    period: tuple[int, int] = dataclasses.field(metadata={"static": True})
    radius: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def build(
        cls,
        ivar: Float[np.ndarray, "y x"],
        correlation: Float[np.ndarray, "dy dx"],
        independent: Float[np.ndarray, "y x"] | None = None,
        dtype: DTypeLike = jnp.float32,
        floor: float = FLOOR,
        tolerance: float = TOLERANCE,
    ) -> "Stationary":
        """Work out the inner solve; in float64, outside JAX.

        Parameters
        ----------
        ivar
            Inverse of the total variance of each pixel, nJy^-2; zero where there is no information.
        correlation
            Autocorrelation of the correlated part at integer separations, zero in the middle of an array of
            odd sides; beyond, it is zero.
        independent
            Variance of the independent part of the total, nJy^2; none when omitted.
        dtype
            float32, or float64 where `jax_enable_x64` is on.
        floor
            Least power over the mean power.
        tolerance
            Largest relative error of the inverse and of the whitening.

        Raises
        ------
        InputError
            If a variance is negative or not finite, no pixel carries information, the independent part
            exceeds the total, or the correlation is not an autocorrelation.
        """
        ivar = np.asarray(ivar, np.float64)
        independent = np.zeros_like(ivar) if independent is None else np.asarray(independent, np.float64)
        _check_maps(ivar, independent)
        known = ivar > 0
        independent = np.where(known, independent, 0.0)
        total = 1 / np.where(known, ivar, 1.0)
        correlated = np.where(known, np.sqrt(np.maximum(total - independent, 0.0)), 0.0)
        power, period = torus_power(np.asarray(correlation, np.float64), ivar.shape, floor)
        # Units of the noise itself: nJy may be of any size, and squares of float32 overflow.
        scale = float(np.sqrt(np.median(total[known])))
        sparse = SparseRoot.build(power, period, correlated / scale, independent / scale**2, known, tolerance)

        def leaf(array: np.ndarray | float) -> Array:
            return jnp.asarray(np.asarray(array).astype(dtype))

        low, high = sparse.interval
        return cls(
            known=jnp.asarray(known),
            correlated=leaf(correlated),
            independent=leaf(independent),
            power=leaf(power),
            root=leaf(sparse.weights / scale),
            root_transpose=leaf(sparse.transposed_weights() / scale),
            offsets=jnp.asarray(sparse.offsets.astype(np.int32)),
            inverse=leaf(sparse.inverse),
            inverse_root=leaf(sparse.inverse_root),
            middle=leaf((high + low) / 2),
            half_width=leaf((high - low) / 2),
            log_det=leaf(sparse.log_det()[0] + 2 * np.log(scale) * known.sum()),
            period=period,
            radius=int(np.abs(sparse.offsets).max()),
        )

    def apply(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``N v`` over the pixels that carry information; zero elsewhere."""
        ny, nx = self.known.shape
        smooth = filtered(self.correlated * v, self.power, self.period)
        return self.correlated * smooth[..., :ny, :nx] + self.independent * v

    def apply_inverse(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``N^-1 v``; zero where there is no information."""
        return self._transpose(self._series(self.inverse, self._forward(v)))

    def whiten(self, residual: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``W r`` with ``W^T W = N^-1``; zero where there is no information.

        The whitened value of a pixel is what the pixels before it did not foretell, in units of its scatter.
        """
        return self._series(self.inverse_root, self._forward(residual))

    def whiten_transpose(self, v: Float[Array, "*batch y x"]) -> Float[Array, "*batch y x"]:
        """Return ``W^T v``."""
        return self._transpose(self._series(self.inverse_root, jnp.where(self.known, v, 0)))

    @property
    def n_pixels(self) -> Int[Array, ""]:
        """Number of pixels that carry information."""
        return jnp.sum(self.known)

    def draw(self, key: Array) -> Float[Array, "y x"]:
        """Draw noise in nJy/pixel; zero where a pixel carries no information.

        Parameters
        ----------
        key
            JAX random key.
        """
        key_correlated, key_independent = jax.random.split(key)
        ny, nx = self.known.shape
        white = jax.random.normal(key_correlated, self.period, self.power.dtype)
        field = filtered(white, jnp.sqrt(self.power), self.period)[:ny, :nx]
        alone = jax.random.normal(key_independent, self.known.shape, self.power.dtype)
        return self.correlated * field + jnp.sqrt(self.independent) * alone

    def even(self) -> "Periodic":
        """Return noise like this one's, without masks, maps or edges."""
        known = self.known
        count = jnp.sum(known).astype(self.power.dtype)
        square = jnp.where(known, self.correlated**2, 1)
        mean_total = count / jnp.sum(jnp.where(known, 1 / (square + self.independent), 0))
        # Pixels without a correlated part are no guide to its size.
        share = known & (self.correlated > 0)
        ratio = jnp.sum(jnp.where(share, square / (square + self.independent), 0)) / count
        lags = [
            np.fft.fftfreq(n, 1 / n).round().astype(int) % p
            for n, p in zip(known.shape, self.period, strict=True)
        ]
        covariance = jnp.fft.irfft2(self.power, self.period)[lags[0]][:, lags[1]]
        power = jnp.maximum(jnp.fft.rfft2(covariance).real, jnp.min(self.power))
        return Periodic(mean_total * (ratio * power + (1 - ratio)), known.shape)

    def _forward(self, v: Array) -> Array:
        return _weighted_neighbours(self.root, self.offsets, self.radius, v)

    def _transpose(self, v: Array) -> Array:
        return _weighted_neighbours(self.root_transpose, -self.offsets, self.radius, v)

    def _series(self, coefficients: Array, v: Array) -> Array:
        """Return a Chebyshev series of ``B`` times `v`."""

        def matrix(u: Array) -> Array:
            return (self._forward(self.apply(self._transpose(u))) - self.middle * u) / self.half_width

        def step(carry: tuple[Array, ...], coefficient: Array) -> tuple[tuple[Array, ...], None]:
            before, now, total = carry
            return (now, 2 * matrix(now) - before, total + coefficient * now), None

        # T_1 = (T_0 T_1 + T_1 T_0) / 2: the recurrence starts from T_-1 = T_1, so no case is special.
        first = matrix(v) if coefficients.shape[0] > 1 else jnp.zeros_like(v)
        (_, _, total), _ = jax.lax.scan(step, (first, v, jnp.zeros_like(v)), coefficients)
        return total


def torus_power(
    correlation: Float[np.ndarray, "dy dx"], shape: tuple[int, int], floor: float = FLOOR
) -> tuple[Float[np.ndarray, "ky kx"], tuple[int, int]]:
    """Return the floored power spectrum of unit variance on a torus, and the torus's shape.

    Parameters
    ----------
    correlation
        Autocorrelation, zero separation in the middle of an array of odd sides.
    shape
        Shape of the image; the torus is larger by the reach of the correlation.
    floor
        Least power over the mean power.

    Raises
    ------
    InputError
        If the correlation is not finite, not symmetric or not one in the middle, or the floor not positive.
    """
    check_correlation(correlation)
    if not 0 < floor <= 1:
        raise InputError("noise", f"a power floor of {floor}", "a number in (0, 1]", "Choose the floor.")
    reach = [n // 2 for n in correlation.shape]
    period = tuple(next_fast_len(n + r, real=True) for n, r in zip(shape, reach, strict=True))
    torus = np.zeros(period)
    # Separations that a small torus cannot hold add up, as the covariance of a periodic field does.
    lags = [np.arange(-r, r + 1) % p for r, p in zip(reach, period, strict=True)]
    np.add.at(torus, np.ix_(*lags), correlation)
    power = np.maximum(rfft2(torus).real, floor)
    return power / irfft2(power, period)[0, 0], (period[0], period[1])


def check_correlation(correlation: Float[np.ndarray, "dy dx"], source: object = "noise") -> None:
    """Complain unless an array can be an autocorrelation.

    Raises
    ------
    InputError
        If it is not finite, of even sides, not symmetric, or not one in the middle and at most one elsewhere.
    """
    expected = "an autocorrelation: odd sides, 1 in the middle, symmetric under inversion"
    if not np.all(np.isfinite(correlation)):
        found = f"{np.count_nonzero(~np.isfinite(correlation))} correlations that are not finite"
    elif any(n % 2 == 0 for n in correlation.shape):
        found = f"a correlation of shape {correlation.shape}"
    elif abs(correlation[correlation.shape[0] // 2, correlation.shape[1] // 2] - 1) > 1e-6:
        found = "a correlation that is not 1 at zero separation"
    elif np.max(np.abs(correlation)) > 1 + 1e-6:
        found = f"a correlation of {np.max(np.abs(correlation)):.3g}"
    elif np.max(np.abs(correlation - correlation[::-1, ::-1])) > 1e-6:
        found = "a correlation that differs between opposite separations"
    else:
        return
    raise InputError(source, found, expected, "Measure it with synergy.noise_spectrum.")


def _check_maps(ivar: Float[np.ndarray, "y x"], independent: Float[np.ndarray, "y x"]) -> None:
    bad = ~(np.isfinite(ivar) & (ivar >= 0))
    if np.any(bad):
        found, remedy = (
            f"{np.count_nonzero(bad)} inverse variances that are negative or not finite",
            "Mask them.",
        )
    elif not np.any(ivar > 0):
        found, remedy = "no pixel that carries information", "Check the mask, or drop the image."
    elif not np.all(np.isfinite(independent) & (independent >= 0)):
        found, remedy = "independent variances that are negative or not finite", "Correct them."
    elif np.any(independent * ivar > 1 + 1e-6):
        found, remedy = (
            "independent variances above the total",
            "Let ivar be the inverse of the total variance.",
        )
    else:
        return
    raise InputError("noise", found, "variances of zero or more, in total more than zero", remedy)


def _weighted_neighbours(
    weights: Float[Array, "offset y x"],
    offsets: Int[Array, "offset 2"],
    radius: int,
    v: Float[Array, "*batch y x"],
) -> Float[Array, "*batch y x"]:
    """Return the weighted sum of each pixel's neighbours at the offsets."""
    around = [(0, 0)] * (v.ndim - 2) + [(radius, radius)] * 2
    padded = jnp.pad(v, around)
    origin = [jnp.zeros((), offsets.dtype)] * (v.ndim - 2)

    def add(total: Array, entry: tuple[Array, Array]) -> tuple[Array, None]:
        weight, offset = entry
        start = [*origin, offset[0] + radius, offset[1] + radius]
        return total + weight * jax.lax.dynamic_slice(padded, start, v.shape), None

    return jax.lax.scan(add, jnp.zeros_like(v), (weights, offsets))[0]
