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
from synergy.sampling.circulant import conjugate_gradient


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

    def matrix(whitened: Images) -> Images:
        image = forth(likelihood, covariance(back(likelihood, whitened)))
        return jax.tree_util.tree_map(jnp.add, whitened, image)

    return conjugate_gradient(matrix, lambda whitened: whitened, residual, iterations)


def white(likelihood: GaussianLikelihood, key: Array, draws: int) -> Images:
    """Return white noise of unit variance on the pixels of all images, ``(draw, y, x)`` each."""
    return tuple(
        jax.random.normal(jax.random.fold_in(key, i), (draws, *image.shape), image.dtype)
        for i, image in enumerate(likelihood.images)
    )
