"""Draws of what a denoiser leaves open, in Tweedie's Gaussian approximation.

For an exact denoiser the covariance of the clean scene given a noisy one is ``V[x | x_t] = sigma^2 dD/dx_t``
(Efron 2011; Rozet et al. 2024). A draw of that covariance is ``sigma J^1/2 xi`` with white ``xi``: a few
Lanczos steps with vector-Jacobian products find the best approximation in their Krylov space, ``|xi| Q
T^1/2 e_1`` (Hochbruck & Lubich 1997). A learned Jacobian is not quite symmetric and may have negative
eigenvalues: those of ``T`` count as zero.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from synergy.priors.denoiser import Denoiser

STEPS = 6
"""Lanczos steps, each one vector-Jacobian product."""


def conditional_draw(
    denoiser: Denoiser,
    noisy: Float[Array, "draw band y x"],
    sigma: Float[Array, ""],
    key: Array,
    steps: int = STEPS,
) -> tuple[Float[Array, "draw band y x"], Float[Array, "draw band y x"]]:
    """Return denoised scenes, and a draw of their errors.

    Parameters
    ----------
    denoiser
        Prior or posterior denoiser.
    noisy
        Noisy scenes.
    sigma
        Their noise level.
    key
        Random key.
    steps
        Lanczos steps.
    """
    denoised, pullback = jax.vjp(lambda x: denoiser(x, sigma), noisy)
    white = jax.random.normal(key, noisy.shape, noisy.dtype)

    def dot(a: Array, b: Array) -> Array:
        return jnp.sum(a * b, axis=(1, 2, 3))

    def scale(factor: Array, vector: Array) -> Array:
        return factor[:, None, None, None] * vector

    def inverse(value: Array) -> Array:
        return jnp.where(value > 0, 1.0 / jnp.where(value > 0, value, 1.0), 0.0)

    length = jnp.sqrt(dot(white, white))
    basis, diagonal, beside = [scale(inverse(length), white)], [], []
    for step in range(steps):
        image = pullback(basis[-1])[0]
        diagonal.append(dot(basis[-1], image))
        for vector in basis:  # orthogonal to all before, which float32 would lose
            image = image - scale(dot(vector, image), vector)
        norm = jnp.sqrt(dot(image, image))
        if step < steps - 1:
            beside.append(norm)
            basis.append(scale(inverse(norm), image))
    tridiagonal = jax.vmap(jnp.diag)(jnp.stack(diagonal, axis=1))
    if beside:
        off = jnp.stack(beside, axis=1)
        tridiagonal = tridiagonal + jax.vmap(lambda b: jnp.diag(b, 1) + jnp.diag(b, -1))(off)
    values, vectors = jnp.linalg.eigh(tridiagonal)  # noqa: TID251 (one small matrix per draw)
    weights = jnp.einsum("nij,nj,nj->ni", vectors, jnp.sqrt(jnp.maximum(values, 0.0)), vectors[:, 0])
    root = sum((scale(length * weights[:, i], basis[i]) for i in range(steps)), start=jnp.zeros_like(noisy))
    return denoised, sigma * root
