"""Conjugate gradients in (whitened) data space.

Posterior denoisers need ``w = (1 + W A V A^T W^T)^-1 W (y - A D)`` for some covariance ``V`` of the scene,
with ``W^T W = N^-1``; then ``V A^T W^T w`` is the correction of the denoised scene. The matrix is at least
one in every direction, whatever the noise.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from synergy.likelihood import GaussianLikelihood, Images


def back(likelihood: GaussianLikelihood, whitened: Images) -> Float[Array, "draw band y x"]:
    """Return ``A^T W^T w`` of batches of whitened images."""
    coloured = tuple(n.whiten_transpose(w) for n, w in zip(likelihood.noises, whitened, strict=True))
    return jax.vmap(likelihood.adjoint)(coloured)


def forth(likelihood: GaussianLikelihood, scenes: Float[Array, "draw band y x"]) -> Images:
    """Return ``W A x`` of a batch of scenes."""
    images = jax.vmap(likelihood.forward)(scenes)
    return tuple(n.whiten(image) for n, image in zip(likelihood.noises, images, strict=True))


def solve(
    likelihood: GaussianLikelihood,
    covariance: Callable[[Array], Array],
    residual: Images,
    iterations: int,
) -> Images:
    """Solve ``(1 + W A V A^T W^T) w = residual`` for each draw.

    Parameters
    ----------
    likelihood
        The likelihood.
    covariance
        ``V``: symmetric, positive semi-definite, of batches of scenes.
    residual
        Whitened residuals ``(draw, y, x)``, one array per image.
    iterations
        Number of steps, fixed.
    """

    def dot(a: Images, b: Images) -> Array:
        return sum((jnp.sum(p * q, axis=(1, 2)) for p, q in zip(a, b, strict=True)), start=jnp.float32(0.0))

    def add(a: Images, scale: Array, b: Images) -> Images:
        return tuple(p + scale[:, None, None] * q for p, q in zip(a, b, strict=True))

    solution = tuple(jnp.zeros_like(r) for r in residual)
    direction, rho = residual, dot(residual, residual)
    for _ in range(iterations):
        image = add(direction, jnp.ones_like(rho), forth(likelihood, covariance(back(likelihood, direction))))
        curvature = dot(direction, image)
        # Non-positive curvature comes from the asymmetry of a learned Jacobian: go no further there.
        alpha = jnp.where(curvature > 0, rho / jnp.where(curvature > 0, curvature, 1.0), 0.0)
        solution, residual = add(solution, alpha, direction), add(residual, -alpha, image)
        rho_next = dot(residual, residual)
        direction = add(residual, rho_next / jnp.maximum(rho, 1e-30), direction)
        rho = rho_next
    return solution
