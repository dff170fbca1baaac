"""The best linear estimate: a joint Wiener solution of all images in all bands.

For a zero-mean Gaussian scene, ``x ~ N(0, a S)``, the posterior mean is linear in the data,

    x = a S A^T (N + a A S A^T)^-1 y,

and no linear method does better if S is right. S is stationary: bands are coupled by the second moments of
galaxy colours (spectral templates over redshift and dust, plus a little of each band's own), and the
spatial spectrum is a power law, flattened beyond the size of a galaxy and seen through the model PSF,

    P(f) ~ (f^2 + f_0^2)^(-slope/2) G(f)^2.

The variance factor ``a`` and the slope are those of highest marginal likelihood of the data at hand
(empirical Bayes), so nothing is tuned by hand or on a truth: up to a constant,

    log p(y | a) = -1/2 [ w^T (1 + a K)^-1 w + log det (1 + a K) ],
    w = N^-1/2 y,    K = N^-1/2 A S A^T N^-1/2.

One Lanczos run of K from ``w``, with full orthogonalisation, gives the solution and, by Gauss quadrature, the
quadratic form for *every* ``a``; another from a random vector gives the log-determinant.

References
----------
Wiener 1949; Rybicki & Press 1992, ApJ 398, 169; Golub & Meurant 2010 (Lanczos and quadrature); Ubaru, Chen
& Saad 2017, SIAM J. Matrix Anal. 38, 1075 (stochastic Lanczos quadrature).
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import eigh_tridiagonal, solveh_banded
from scipy.optimize import minimize_scalar

from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood, Images
from synergy.observation import Observation
from synergy.priors.covariance import SpectralCovariance
from synergy.psf import model_psf_transfer
from synergy.templates import template_fluxes

SLOPES = (2.5, 3.0, 3.5)
"""Power-law slopes to choose from."""

CORE = 1.5
"""Arcsec; the power law is flat on larger scales."""

_REDSHIFTS, _REDDENINGS = (0.2, 0.4, 0.6, 0.8, 1.0), (0.0, 0.2, 0.4)
_OWN = 0.02  # relative scatter of each band that no template explains
_TOLERANCE = 1e-3  # relative residual of the linear system
_PRECISE = jax.lax.Precision.HIGHEST  # accelerators round float32 products to 10 bits by default


@dataclasses.dataclass(frozen=True, eq=False)
class WienerSolution:
    """A joint Wiener solution and the prior that it assumed.

    Parameters
    ----------
    scene
        Posterior mean in nJy/pixel, ``(band, y, x)``.
    variance_factor
        The factor ``a`` of the prior covariance.
    slope
        Power-law slope of the prior; None where the covariance was given.
    log_evidence
        Log marginal likelihood, up to a constant of the data.
    residual
        Relative residual of the linear system at the end.
    """

    scene: Float[np.ndarray, "band y x"]
    variance_factor: float
    slope: float | None
    log_evidence: float
    residual: float


def wiener(
    observations: Sequence[Observation],
    frame: Frame,
    bands: Sequence[str],
    covariance: SpectralCovariance | None = None,
    steps: int = 200,
) -> WienerSolution:
    """Solve for the scene jointly from all images.

    Parameters
    ----------
    observations
        Images of one sky.
    frame
        Frame of the scene.
    bands
        Bands of the scene.
    covariance
        Prior covariance in (nJy/pixel)^2 up to a factor; by default `galaxy_covariance` of the most likely
        slope.
    steps
        Lanczos steps to begin with; doubled, at most twice, until the relative residual is below 1e-3. Bright
        scenes in ten bands take 200.
    """
    likelihood = GaussianLikelihood.build(observations, frame, bands)
    if covariance is None:
        choices = {slope: galaxy_covariance(bands, frame.pixel_scale, slope) for slope in SLOPES}
    else:
        choices = {None: covariance}
    fits = {slope: _fit(likelihood, choice, steps) for slope, choice in choices.items()}
    slope = max(fits, key=lambda key: fits[key][2])
    krylov, factor, evidence = fits[slope]
    whitened = jnp.asarray((krylov.coefficients(factor) @ krylov.basis).astype(np.float32))
    scene = factor * np.asarray(_to_scene(likelihood, choices[slope], whitened), np.float64)
    return WienerSolution(scene, factor, slope, evidence, krylov.residual(factor))


def galaxy_covariance(bands: Sequence[str], pixel_scale: float, slope: float = 3.0) -> SpectralCovariance:
    """Return the prior covariance of scenes of galaxies, up to a factor.

    Parameters
    ----------
    bands
        Bands of the scene.
    pixel_scale
        Scene pixel scale in arcsec.
    slope
        Slope of the power spectrum at high frequency.
    """
    rows = np.concatenate([template_fluxes(bands, z, _REDDENINGS) for z in _REDSHIFTS])
    # One weight per template: equal mean square over the bands, each in units of its typical flux.
    typical = np.exp(np.mean(np.log(rows), axis=0))
    rows /= np.sqrt(np.mean((rows / typical) ** 2, axis=1, keepdims=True))
    moments = rows.T @ rows / len(rows)
    values, basis = np.linalg.eigh(moments + _OWN**2 * np.diag(np.diag(moments)))
    frequency = np.geomspace(1e-3, np.sqrt(0.5), 96)  # cycles per pixel
    shape = (frequency**2 + (pixel_scale / CORE) ** 2) ** (-slope / 2)
    shape *= model_psf_transfer(np.stack([frequency, np.zeros_like(frequency)], axis=-1), 1.0) ** 2
    power = values[:, None] * shape / shape[0]
    leaves = (basis, np.log(frequency), np.log(power))
    return SpectralCovariance(*(jnp.asarray(leaf.astype(np.float32)) for leaf in leaves))


def _fit(
    likelihood: GaussianLikelihood, covariance: SpectralCovariance, steps: int, doublings: int = 2
) -> tuple["_Krylov", float, float]:
    """Return K in the data's Krylov space, the most likely variance factor and its log-likelihood."""
    data = _whitened_data(likelihood)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], data.size)
    known = _pack(tuple(noise.known.astype(data.dtype) for noise in likelihood.noises))
    steps = min(steps, int(known.sum()))
    krylov = _lanczos(likelihood, covariance, data, steps)
    nodes, weights = krylov.quadrature()
    probe = known * jnp.asarray(signs.astype(data.dtype))
    probe_nodes, probe_weights = _lanczos(likelihood, covariance, probe, steps).quadrature()

    def loss(log_factor: float) -> float:
        factor = np.exp(log_factor)
        fit = np.sum(weights / (1 + factor * nodes))
        return float(0.5 * (fit + np.sum(probe_weights * np.log1p(factor * probe_nodes))))

    # The moment estimate, <w w> = n + a tr K, lands within a few decades.
    count = probe_weights.sum()
    middle = np.log(max(weights.sum() - count, np.sqrt(2 * count)) / np.sum(probe_weights * probe_nodes))
    best = minimize_scalar(loss, bounds=(middle - 8, middle + 8), method="bounded", options={"xatol": 1e-3})
    factor = float(np.exp(best.x))
    if krylov.residual(factor) > _TOLERANCE and len(krylov.basis) == steps and doublings > 0:
        return _fit(likelihood, covariance, 2 * steps, doublings - 1)
    return krylov, factor, -float(best.fun)


@dataclasses.dataclass(frozen=True, eq=False)
class _Krylov:
    """K in the Krylov space of a vector: orthonormal basis, tridiagonal matrix, norm of the vector."""

    basis: Float[np.ndarray, "m n"]
    diagonal: Float[np.ndarray, " m"]
    beside: Float[np.ndarray, " m"]
    norm: float

    def quadrature(self) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Return nodes and weights of ``start^T f(K) start`` (Golub & Welsch)."""
        nodes, vectors = eigh_tridiagonal(self.diagonal, self.beside[:-1])
        return np.maximum(nodes, 0), self.norm**2 * vectors[0] ** 2

    def coefficients(self, factor: float) -> Float[np.ndarray, " m"]:
        """Return the solution of ``(1 + a K) v = start`` in the basis."""
        banded = np.stack([np.append(0, factor * self.beside[:-1]), 1 + factor * self.diagonal])
        return solveh_banded(banded, self.norm * np.eye(len(self.basis))[0])

    def residual(self, factor: float) -> float:
        """Return the relative residual of that solution."""
        return float(factor * self.beside[-1] * abs(self.coefficients(factor)[-1]) / self.norm)


def _lanczos(
    likelihood: GaussianLikelihood, covariance: SpectralCovariance, start: Float[Array, " n"], steps: int
) -> _Krylov:
    leaves = _lanczos_leaves(likelihood, covariance, start, steps)
    basis, diagonal, beside, norm = (np.asarray(leaf, np.float64) for leaf in leaves)
    # A space that is exhausted early continues with round-off: cut it there.
    floor = 1e-6 * np.max(diagonal)
    size = int(np.argmax(beside < floor)) + 1 if np.any(beside < floor) else len(beside)
    return _Krylov(basis[:size], diagonal[:size], beside[:size], float(norm))


@functools.partial(jax.jit, static_argnames="steps")
def _lanczos_leaves(
    likelihood: GaussianLikelihood, covariance: SpectralCovariance, start: Float[Array, " n"], steps: int
) -> tuple[Float[Array, "m n"], Float[Array, " m"], Float[Array, " m"], Float[Array, ""]]:
    def step(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        basis, diagonal, beside, vector = carry
        basis = basis.at[i].set(vector)
        image = _to_data(likelihood, covariance, vector)
        diagonal = diagonal.at[i].set(jnp.dot(image, vector, precision=_PRECISE))
        for _ in range(2):  # twice is enough (Kahan & Parlett); rows still to come are zero
            overlap = jnp.matmul(basis, image, precision=_PRECISE)
            image = image - jnp.matmul(overlap, basis, precision=_PRECISE)
        norm = jnp.linalg.norm(image)  # noqa: TID251 (a sum)
        return basis, diagonal, beside.at[i].set(norm), image / jnp.maximum(norm, 1e-30)

    norm = jnp.linalg.norm(start)  # noqa: TID251 (a sum)
    empty = jnp.zeros(steps, start.dtype)
    carry = (jnp.zeros((steps, start.size), start.dtype), empty, empty, start / norm)
    basis, diagonal, beside, _ = jax.lax.fori_loop(0, steps, step, carry)
    return basis, diagonal, beside, norm


@jax.jit
def _to_scene(
    likelihood: GaussianLikelihood, covariance: SpectralCovariance, whitened: Float[Array, " n"]
) -> Float[Array, "band y x"]:
    """Return ``S A^T W^T v``, with ``W^T W = N^-1``."""
    ends = np.cumsum([image.size for image in likelihood.images])[:-1]
    parts = zip(jnp.split(whitened, ends), likelihood.images, likelihood.noises, strict=True)
    weighted = tuple(noise.whiten_transpose(part.reshape(image.shape)) for part, image, noise in parts)
    return covariance.apply(likelihood.adjoint(weighted))


def _to_data(
    likelihood: GaussianLikelihood, covariance: SpectralCovariance, whitened: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Return ``K v``."""
    predicted = likelihood.forward(_to_scene(likelihood, covariance, whitened))
    return _pack(tuple(n.whiten(p) for n, p in zip(likelihood.noises, predicted, strict=True)))


def _whitened_data(likelihood: GaussianLikelihood) -> Float[Array, " n"]:
    return _pack(tuple(n.whiten(i) for n, i in zip(likelihood.noises, likelihood.images, strict=True)))


def _pack(images: Images) -> Float[Array, " n"]:
    return jnp.concatenate([image.ravel() for image in images])
