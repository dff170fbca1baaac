"""Gaussian posteriors under a stationary prior: circulant preconditioner and conjugate gradients.

With a prior covariance ``Sigma`` that is diagonal in Fourier space but for the bands, and the likelihood's
normal operator ``M = A^T N^-1 A``, every linear solve of this package has the matrix

    H(sigma) = Sigma^-1 + sigma^-2 + M.

``M`` is not circulant: images have edges, pixels, masks and uneven noise. But its circulant part, one real
symmetric band-by-band matrix per spatial frequency, is an excellent preconditioner, as in T. Chan (1988).
We read it off by applying ``M``, with each image's noise made even, to point sources near the centre of the
scene. One eigendecomposition of ``Sigma^-1 + M`` per frequency then inverts ``H`` for *every* sigma.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.likelihood import GaussianLikelihood
from synergy.priors.covariance import SpectralCovariance

_PROBES = 6  # one period of 0.3 arcsec pixels on the default scene grid


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CirculantPosterior:
    """Circulant part of ``Sigma^-1 + A^T N^-1 A``, diagonalised.

    Parameters
    ----------
    vectors
        Orthonormal eigenvectors at each frequency of ``rfft2``, ``(ky, kx, band, mode)``.
    values
        Eigenvalues, ``(ky, kx, mode)``.
    """

    vectors: Float[Array, "ky kx band mode"]
    values: Float[Array, "ky kx mode"]

    @classmethod
    def diagonalise(
        cls,
        normal: Float[np.ndarray, "ky kx band band"],
        covariance: SpectralCovariance | None,
        shape: tuple[int, int],
    ) -> "CirculantPosterior":
        """Add the prior's precision to a circulant normal operator and diagonalise the sum.

        Parameters
        ----------
        normal
            From `circulant_normal`, in the covariance's units.
        covariance
            Prior covariance; None for a flat prior.
        shape
            ``(y, x)`` of the scene.
        """
        if covariance is None:
            values, vectors = np.linalg.eigh(normal)
            return cls(jnp.asarray(vectors, jnp.float32), jnp.asarray(np.maximum(values, 0.0), jnp.float32))
        basis = np.asarray(covariance.basis, np.float64)
        precision = 1.0 / np.asarray(covariance.spectra(*shape), np.float64)
        prior = np.einsum("bm,myx,cm->yxbc", basis, precision, basis, optimize=True)
        values, vectors = np.linalg.eigh(normal + prior)
        return cls(jnp.asarray(vectors, jnp.float32), jnp.asarray(np.maximum(values, 1e-12), jnp.float32))

    def solve(
        self, scene: Float[Array, "*draw band y x"], inverse_variance: Float[Array, ""]
    ) -> Float[Array, "*draw band y x"]:
        """Return ``(C + inverse_variance)^-1 scene`` with ``C`` the circulant matrix."""
        gain = 1.0 / (jnp.moveaxis(self.values, -1, 0) + inverse_variance)

        def filtered(part: Array) -> Array:
            modes = gain * jnp.einsum("yxbm,...byx->...myx", self.vectors, part)
            return jnp.einsum("yxbm,...myx->...byx", self.vectors, modes)

        spectrum = jnp.fft.rfft2(scene)
        spectrum = jax.lax.complex(filtered(spectrum.real), filtered(spectrum.imag))
        return jnp.fft.irfft2(spectrum, s=scene.shape[-2:]).astype(scene.dtype)


def circulant_normal(likelihood: GaussianLikelihood) -> Float[np.ndarray, "ky kx band band"]:
    """Measure the circulant part of a likelihood's normal operator.

    Parameters
    ----------
    likelihood
        Likelihood of the scene. Scaling its scene by a factor scales the result by the factor's square.

    Returns
    -------
    array
        Real symmetric, positive semi-definite band-by-band matrix at each frequency of ``rfft2``.
    """
    bands, height, width = likelihood.scene_shape
    even = dataclasses.replace(likelihood, noises=tuple(noise.even() for noise in likelihood.noises))
    matrix = np.zeros((height, width // 2 + 1, bands, bands))
    for probe in range(_PROBES):
        y, x = (n // 2 + probe - _PROBES // 2 for n in (height, width))
        points = np.zeros((bands, bands, height, width), np.float32)
        points[np.arange(bands), np.arange(bands), y, x] = 1.0
        responses = np.asarray(_normal_of_batch(even, jnp.asarray(points)), np.float64)
        spectra = np.fft.rfft2(np.roll(responses, (-y, -x), axis=(2, 3))).real
        matrix += np.transpose(spectra, (2, 3, 1, 0)) / _PROBES
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.swapaxes(-1, -2)))
    return (vectors * np.maximum(values, 0.0)[..., None, :]) @ vectors.swapaxes(-1, -2)


@jax.jit
def _normal_of_batch(likelihood: GaussianLikelihood, scenes: Array) -> Array:
    return jax.vmap(likelihood.normal)(scenes)


def conjugate_gradient(
    matrix: Callable[[Any], Any],
    preconditioner: Callable[[Any], Any],
    right: Any,
    iterations: int,
) -> Any:
    """Solve ``matrix x = right`` for each draw by a fixed number of preconditioned conjugate-gradient steps.

    Parameters
    ----------
    matrix, preconditioner
        Symmetric positive definite linear maps. Where a matrix turns out not to be (a learned Jacobian), a
        draw goes no further than that.
    right
        Right-hand sides: an array, or a pytree of arrays, whose first axis counts draws.
    iterations
        Number of steps; fixed, so that nothing waits on a norm and each draw is independent of its
        neighbours.

    Derivatives are those of the exact solution: differentiating the steps would divide by residuals that
    have converged to nothing.
    """

    def dot(a: Any, b: Any) -> Array:
        parts = jax.tree_util.tree_map(lambda p, q: jnp.sum((p * q).reshape(len(p), -1), axis=1), a, b)
        return functools.reduce(jnp.add, jax.tree_util.tree_leaves(parts))

    def add(a: Any, factor: Array, b: Any) -> Any:
        return jax.tree_util.tree_map(lambda p, q: p + factor.reshape(-1, *[1] * (p.ndim - 1)) * q, a, b)

    def divide(a: Array, b: Array) -> Array:
        return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)

    def body(_: int | Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        solution, residual, direction, rho = carry
        image = matrix(direction)
        alpha = divide(rho, dot(direction, image))
        solution, residual = add(solution, alpha, direction), add(residual, -alpha, image)
        smoothed = preconditioner(residual)
        rho_next = dot(residual, smoothed)
        return solution, residual, add(smoothed, divide(rho_next, rho), direction), rho_next

    def solve(_: Callable[[Any], Any], right: Any) -> Any:
        smoothed = preconditioner(right)
        zero = jax.tree_util.tree_map(jnp.zeros_like, right)
        return jax.lax.fori_loop(0, iterations, body, (zero, right, smoothed, dot(right, smoothed)))[0]

    return jax.lax.custom_linear_solve(matrix, right, solve, symmetric=True)


@functools.partial(jax.jit, static_argnames="iterations")
def wiener_mean(
    likelihood: GaussianLikelihood,
    covariance: SpectralCovariance,
    circulant: CirculantPosterior,
    images: tuple[Float[Array, "..."], ...],
    iterations: int = 20,
) -> Float[Array, "draw band y x"]:
    """Return the posterior mean of a zero-mean Gaussian prior for a batch of data sets.

    Parameters
    ----------
    likelihood
        Likelihood in the covariance's units; its own images are not used.
    covariance, circulant
        Prior covariance and the circulant posterior fitted to both.
    images
        Data: one array ``(draw, y, x)`` per image.
    iterations
        Conjugate-gradient steps.
    """
    weighted = tuple(
        noise.apply_inverse(image) for noise, image in zip(likelihood.noises, images, strict=True)
    )
    right = jax.vmap(likelihood.adjoint)(weighted)
    zero = jnp.zeros((), right.dtype)

    def matrix(x: Array) -> Array:
        return covariance.apply(x, lambda p: 1.0 / p) + jax.vmap(likelihood.normal)(x)

    return conjugate_gradient(matrix, lambda x: circulant.solve(x, zero), right, iterations)
