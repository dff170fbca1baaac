r"""A sparse approximate inverse root of a noise covariance, and the polynomials that make it exact.

The covariance of ``n = s g + d`` over the good pixels is dense, and its condition number is that of the power
spectrum of `g` (10^3 for resampled images). Its inverse root is nearly sparse: the error of predicting a
pixel from the good pixels before it in raster order hardly improves beyond a few pixels' distance. With `b_i`
the weights of the best prediction from neighbours within a small radius, and `c_i` its variance,

.. math:: (G r)_i = c_i^{-1/2} \Big(r_i - \sum_k b_{ik} r_{i+k}\Big)

is the factorised sparse approximate inverse (Kolotilina & Yeremin 1993), in statistics Vecchia's (1988)
approximation: ``G N G^T`` has a unit diagonal and a condition number below ten. Masks, image edges, uneven
noise and independent noise all enter the weights exactly, so they cost nothing later.

What is left, ``B = G N G^T``, is dealt with by polynomials whose degree is chosen for a tolerance:

.. math:: N^{-1} = G^T B^{-1} G \approx G^T p(B) G, \qquad W = q(B) G, \quad q(B) \approx B^{-1/2}.

Both are *linear* maps, fixed once: an outer conjugate-gradient solver may use them, and JAX can transpose
them, which a few inner conjugate-gradient steps would not allow. `p` is the residual polynomial of the
Chebyshev iteration, `q` the Chebyshev interpolant.

Measured on 100 x 100 pixels of NISP-like noise with masks (power from 0.01 to 20 times the mean): conjugate
gradients on `N`, preconditioned by an FFT, need 40 steps for a relative error of 1e-3, and more than 160
where the independent noise of a bright galaxy is added; ``p(B)`` needs 10 in both cases.

The log-determinant is ``log |N| = -2 sum log G_ii + tr log B``, exact by a Cholesky factor for small images.
For large ones, since ``tr(B - 1) = 0`` exactly, only the trace of ``log B - (B - 1)`` must be estimated, by
Hutchinson's (1989) method on fixed probes.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.polynomial import chebyshev
from scipy import sparse
from scipy.fft import irfft2, rfft2
from scipy.sparse.linalg import LinearOperator, eigsh

RADIUS = 5
"""Reach of the prediction in pixels."""

_CHUNK = 2048  # pixels whose small systems are solved at once
_DENSE = 1200  # up to so many pixels, eigenvalues and determinant are exact
_PROBES = 16
_HIGHEST_DEGREE = 400


@dataclasses.dataclass(frozen=True, eq=False)
class SparseRoot:
    """``G``, and the polynomials that complete it.

    Parameters
    ----------
    known
        Which pixels are good.
    offsets
        ``(y, x)`` of the neighbours, the pixel itself first.
    weights
        ``G``: weight of each neighbour for each pixel, in units of one over the noise.
    interval
        Bounds of the eigenvalues of ``B``.
    inverse, inverse_root
        Chebyshev coefficients of `p` and `q` on that interval.
    matrix
        ``G`` over the good pixels, as a sparse matrix.
    product
        ``B`` times a vector over the good pixels.
    dense
        The covariance of the good pixels, where they are few.
    """

    known: Bool[np.ndarray, "y x"]
    offsets: Int[np.ndarray, "offset 2"]
    weights: Float[np.ndarray, "offset y x"]
    interval: tuple[float, float]
    inverse: Float[np.ndarray, " p"]
    inverse_root: Float[np.ndarray, " q"]
    matrix: sparse.csr_matrix
    product: Callable[[np.ndarray], np.ndarray]
    dense: Float[np.ndarray, "n n"] | None

    @classmethod
    def build(
        cls,
        power: Float[np.ndarray, "ky kx"],
        period: tuple[int, int],
        correlated: Float[np.ndarray, "y x"],
        independent: Float[np.ndarray, "y x"],
        known: Bool[np.ndarray, "y x"],
        tolerance: float,
        radius: int = RADIUS,
    ) -> "SparseRoot":
        """Work out ``G`` and the polynomials.

        Parameters
        ----------
        power
            Power spectrum of `g` (unit variance) at the frequencies of ``rfft2`` on the padded torus.
        period
            Shape of that torus.
        correlated
            Standard deviation `s` of the correlated part.
        independent
            Variance of the independent part.
        known
            Which pixels are good.
        tolerance
            Largest relative error of ``N^-1`` and of ``W``, in the norm of ``N^-1``.
        radius
            Reach of the prediction in pixels.
        """
        offsets = stencil(radius)
        covariance = irfft2(power, period)
        weights = _predict(covariance, correlated, independent, known, offsets)
        matrix = _as_matrix(weights, offsets, known)
        transpose = matrix.T.tocsr()

        def apply(vector: np.ndarray) -> np.ndarray:
            plane = np.zeros(known.shape)
            plane[known] = transpose @ np.ravel(vector)
            ny, nx = known.shape
            smooth = irfft2(rfft2(correlated * plane, period) * power, period)[:ny, :nx]
            return matrix @ (correlated * smooth + independent * plane)[known]

        count = int(known.sum())
        dense = _dense(covariance, correlated, independent, known) if count <= _DENSE else None
        interval = _bounds(apply, count) if dense is None else _exact_bounds(matrix @ dense @ transpose)
        return cls(
            known,
            offsets,
            weights,
            interval,
            _inverse_series(interval, tolerance),
            _root_series(interval, tolerance),
            matrix,
            apply,
            dense,
        )

    def whiten(self, image: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
        """Return ``W`` times an image; zero where there is no information."""
        centre, half = (self.interval[1] + self.interval[0]) / 2, (self.interval[1] - self.interval[0]) / 2
        before, now = np.zeros(self.matrix.shape[0]), self.matrix @ image[self.known]
        total = self.inverse_root[0] * now
        for degree, coefficient in enumerate(self.inverse_root[1:]):
            following = (self.product(now) - centre * now) / half
            before, now = now, following if degree == 0 else 2 * following - before
            total += coefficient * now
        result = np.zeros(self.known.shape)
        result[self.known] = total
        return result

    def log_det(self) -> tuple[float, float]:
        """Return ``log |N|`` over the good pixels, and its standard error: zero where it is exact."""
        if self.dense is not None:
            return 2 * float(np.sum(np.log(np.diag(np.linalg.cholesky(self.dense))))), 0.0
        trace, error = _trace_of_log(self.product, self.matrix.shape[0], self.interval)
        return trace - 2 * float(np.sum(np.log(self.weights[0][self.known]))), error

    def transposed_weights(self) -> Float[np.ndarray, "offset y x"]:
        """Return ``G^T`` as weights of the opposite offsets."""
        ny, nx = self.known.shape
        result = np.zeros_like(self.weights)
        for into, weight, (dy, dx) in zip(result, self.weights, self.offsets, strict=True):
            y, x = slice(max(-dy, 0), ny + min(-dy, 0)), slice(max(-dx, 0), nx + min(-dx, 0))
            into[max(dy, 0) : ny + min(dy, 0), max(dx, 0) : nx + min(dx, 0)] = weight[y, x]
        return result


def stencil(radius: int) -> Int[np.ndarray, "offset 2"]:
    """Return the pixel itself and those before it in raster order within a radius."""
    lags = [
        (-dy, dx)
        for dy in range(radius + 1)
        for dx in range(-radius, radius + 1)
        if (dy > 0 or dx < 0) and dy**2 + dx**2 <= radius**2 + 1
    ]
    return np.array([(0, 0), *lags])


def one_step_prediction(
    covariance: Float[np.ndarray, "py px"], offsets: Int[np.ndarray, "offset 2"]
) -> Float[np.ndarray, " offset"]:
    """Return the weights of ``G`` for a pixel of stationary noise with good neighbours only.

    Parameters
    ----------
    covariance
        Covariance on a torus, zero separation first.
    offsets
        From `stencil`.
    """
    lags = (offsets[:, None] - offsets[None]) % np.array(covariance.shape)
    matrix = covariance[lags[..., 0], lags[..., 1]]
    weights = np.linalg.solve(matrix[1:, 1:], matrix[1:, 0])
    return np.array([1.0, *-weights]) / np.sqrt(matrix[0, 0] - weights @ matrix[0, 1:])


def _predict(
    covariance: Float[np.ndarray, "py px"],
    correlated: Float[np.ndarray, "y x"],
    independent: Float[np.ndarray, "y x"],
    known: Bool[np.ndarray, "y x"],
    offsets: Int[np.ndarray, "offset 2"],
) -> Float[np.ndarray, "offset y x"]:
    """Return the weights of ``G``."""
    total = np.where(known, np.sqrt(correlated**2 + independent), 1.0)
    share = np.where(
        known, correlated / total, 0.0
    )  # correlation with a neighbour: share * share * covariance
    radius = int(np.abs(offsets).max())
    padded = [np.pad(array, radius) for array in (known, share)]
    pixels = np.argwhere(known)
    place = pixels[:, None, :] + offsets[None] + radius
    good, shares = (array[place[..., 0], place[..., 1]] for array in padded)
    # Pixels with like surroundings have like weights: solve for each kind once.
    key = (shares + good) @ np.random.default_rng(0).uniform(1, 2, len(offsets))
    _, first, kind = np.unique(np.round(key, 10), return_index=True, return_inverse=True)
    lags = offsets[:, None] - offsets[None]
    between = covariance[lags[..., 0] % covariance.shape[0], lags[..., 1] % covariance.shape[1]]
    solved = np.zeros((len(first), len(offsets)))
    for start in range(0, len(first), _CHUNK):
        rows = first[start : start + _CHUNK]
        matrix = between * shares[rows][:, :, None] * shares[rows][:, None, :]
        index = np.arange(len(offsets))
        matrix[:, index, index] = 1.0  # in units of the total noise; bad neighbours are decoupled
        weights = np.linalg.solve(matrix[:, 1:, 1:], matrix[:, 1:, :1])[..., 0]
        left = 1.0 - np.sum(weights * matrix[:, 0, 1:], axis=1)
        solved[start : start + _CHUNK] = np.concatenate(
            [np.ones_like(left)[:, None], -weights], axis=1
        ) / np.sqrt(np.maximum(left, 1e-12)[:, None])
    result = np.zeros((len(offsets), *known.shape))
    scale = np.pad(total, radius, constant_values=1.0)[place[..., 0], place[..., 1]]
    result[:, known] = (np.where(good, solved[kind], 0.0) / scale).T
    return result


def _as_matrix(
    weights: Float[np.ndarray, "offset y x"],
    offsets: Int[np.ndarray, "offset 2"],
    known: Bool[np.ndarray, "y x"],
) -> sparse.csr_matrix:
    """Return ``G`` over the good pixels."""
    number = np.full(known.shape, -1)
    number[known] = np.arange(known.sum())
    rows, columns, values = [], [], []
    for weight, offset in zip(weights, offsets, strict=True):
        pixels = np.argwhere(weight != 0)
        rows.append(number[tuple(pixels.T)])
        columns.append(number[tuple((pixels + offset).T)])
        values.append(weight[weight != 0])
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(entries, shape=(int(known.sum()),) * 2)


def _dense(
    covariance: Float[np.ndarray, "py px"],
    correlated: Float[np.ndarray, "y x"],
    independent: Float[np.ndarray, "y x"],
    known: Bool[np.ndarray, "y x"],
) -> Float[np.ndarray, "n n"]:
    """Return the covariance matrix of the good pixels."""
    pixels, rms = np.argwhere(known), correlated[known]
    lags = (pixels[:, None] - pixels[None]) % np.array(covariance.shape)
    return np.outer(rms, rms) * covariance[lags[..., 0], lags[..., 1]] + np.diag(independent[known])


def _exact_bounds(matrix: Float[np.ndarray, "n n"]) -> tuple[float, float]:
    values = np.linalg.eigvalsh(matrix)
    return _widened(float(values[0]), float(values[-1]), 1e-6)


def _bounds(apply: Callable, count: int) -> tuple[float, float]:
    """Bound the eigenvalues by Lanczos steps."""
    operator = LinearOperator((count, count), matvec=apply, dtype=float)
    start = np.random.default_rng(0).normal(size=count)
    low, high = (
        float(eigsh(operator, 1, which=end, v0=start, tol=0.02, return_eigenvectors=False)[0])
        for end in ("SA", "LA")
    )
    return _widened(low, high, 0.03)


def _widened(low: float, high: float, margin: float) -> tuple[float, float]:
    """Return an interval that holds both and is never empty."""
    return low * (1 - margin) - 1e-9, high * (1 + margin) + 1e-9


def _inverse_series(interval: tuple[float, float], tolerance: float) -> Float[np.ndarray, " p"]:
    """Return the Chebyshev series of ``(1 - T_n(x) / T_n(x_0)) / lambda``, of degree ``n - 1``."""
    low, high = interval
    centre, half = (high + low) / 2, (high - low) / 2
    # |T_n(x_0)| = cosh(n arccosh(centre / half)) is one over the error.
    n = max(1, math.ceil(math.acosh(1 / tolerance) / math.acosh(centre / half)))
    n = _rounded(min(n, _HIGHEST_DEGREE) - 1) + 1
    nodes = chebyshev.chebpts1(n)
    at_zero = (-1) ** n * math.cosh(n * math.acosh(centre / half))
    residual = np.cos(n * np.arccos(nodes)) / at_zero
    return chebyshev.chebfit(nodes, (1 - residual) / (centre + half * nodes), n - 1)


def _root_series(interval: tuple[float, float], tolerance: float) -> Float[np.ndarray, " q"]:
    """Return the Chebyshev interpolant of ``lambda^(-1/2)``."""
    low, high = interval
    centre, half = (high + low) / 2, (high - low) / 2
    grid = np.cos(np.linspace(0, np.pi, 2001))
    degree = 0
    while True:
        series = chebyshev.chebinterpolate(lambda x: (centre + half * x) ** -0.5, degree)
        error = np.max(np.abs(1 - chebyshev.chebval(grid, series) * np.sqrt(centre + half * grid)))
        if error <= tolerance or degree >= _HIGHEST_DEGREE:
            return series
        degree = _rounded(degree + 1)


def _rounded(degree: int) -> int:
    """Return the next multiple of four, so that images of one shape share one compilation."""
    return -(-degree // 4) * 4


def _trace_of_log(apply: Callable, count: int, interval: tuple[float, float]) -> tuple[float, float]:
    """Estimate ``tr log B``, and its standard error, knowing that ``tr B`` is the number of pixels."""
    low, high = interval
    centre, half = (high + low) / 2, (high - low) / 2
    degree = 2 + len(_root_series(interval, 1e-4))
    series = chebyshev.chebinterpolate(lambda x: np.log(centre + half * x) - (centre + half * x - 1), degree)
    rng, values = np.random.default_rng(1), []
    for _ in range(_PROBES):
        probe = rng.choice([-1.0, 1.0], count)
        before, now = probe, (apply(probe) - centre * probe) / half
        value = series[0] * count + series[1] * (probe @ now)
        for coefficient in series[2:]:
            before, now = now, 2 * (apply(now) - centre * now) / half - before
            value += coefficient * (probe @ now)
        values.append(value)
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(_PROBES))
