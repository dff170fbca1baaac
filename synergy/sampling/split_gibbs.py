"""Split Gibbs sampling with deflated noise: sweeps that leave the posterior as it is.

Plain split Gibbs (Vono et al. 2019; Coeurdoux et al. 2024; Xu & Chi 2024) puts a noisy copy ``z`` between
scene and data, draws the two in turns, and so samples ``p(x) N(y; A x, N + rho^2 A A^T)``: too wide, unless
rho vanishes. Let instead, with ``M = A^T N^-1 A``,

    z | x, y ~ N(x + rho^2 A^T N^-1 (y - A x), rho^2 (1 - rho^2 M)),

a covariance if ``rho^2 lambda_max(M) <= 1``. The joint density ``p(x | y) p(z | x, y)`` has the posterior as
its marginal by construction. As a function of x, with ``C = 1 - rho^2 M`` and ``b = A^T N^-1 y``,

    ln p(z | x, y) = -1/(2 rho^2) (z - rho^2 b - C x)^T C^-1 (z - rho^2 b - C x)
                   = -1/(2 rho^2) x^T C x + x^T (z/rho^2 - b) + const.,
    ln p(x | y)    = ln p(x) - 1/2 x^T M x + x^T b + const.;

the data cancel in the sum, and what is left is

    ln p(x | z, y) = ln p(x) - |x - z|^2 / (2 rho^2) + const.:

the scene behind a noisy one, which the reverse diffusion of the *prior* draws, from sigma = rho. A sweep
needs no linear solve: one product with ``M`` for the mean and eight for the noise,
``(1 - rho^2 M)^1/2`` as a Chebyshev polynomial.

A sweep forgets a direction of prior width s that the data leave open only in some ``(s/rho)^2`` sweeps: it
corrects the draws of a good sampler, and is not one from scratch. The inner draw has to be accurate, because
its errors add up over sweeps.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.sparse.linalg import LinearOperator, eigsh

from synergy.errors import InputError
from synergy.likelihood import GaussianLikelihood
from synergy.priors.denoiser import Denoiser
from synergy.sampling.integrators import Step, sde_2m
from synergy.sampling.reverse import integrate

DEFLATION = 0.9
"""``rho^2 lambda_max``: at 1 the noise of the best measured mode would vanish, and with it the
polynomial's accuracy."""

DEGREE = 8
"""Degree of the polynomial: 3e-4 of the largest value, relative."""

LAST = 0.05
"""Last noise level of an inner draw, in units of rho."""

_TOLERANCE = 1e-3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Splitting:
    """How scene and noisy copy are split.

    Parameters
    ----------
    likelihood
        Likelihood in the prior's units.
    rho
        Noise level of the copy.
    coefficients
        Chebyshev coefficients of ``sqrt(1 - rho^2 t)`` on ``0 <= t <= DEFLATION / rho^2``.
    sigma_min
        Smallest noise level that the prior knows.
    """

    likelihood: GaussianLikelihood
    rho: Float[Array, ""]
    coefficients: Float[Array, " degree"]
    sigma_min: Float[Array, ""]

    @classmethod
    def build(cls, likelihood: GaussianLikelihood, sigma_min: float = 0.0) -> "Splitting":
        """Choose the largest noise level that the data allow.

        Parameters
        ----------
        likelihood
            Likelihood in the prior's units.
        sigma_min
            Smallest noise level that the prior knows.

        Raises
        ------
        InputError
            If the data determine some mode of the scene so well that only smaller noise levels would do.
        """
        rho = np.sqrt(DEFLATION / largest_eigenvalue(likelihood))
        if rho < 2.0 * sigma_min:
            raise InputError(
                "corrector_sweeps",
                f"data that leave no noise above {rho:.2g} open in their best measured mode",
                f"at least twice the prior's smallest noise level, {sigma_min:g}",
                "Reconstruct without the corrector, or with a prior trained to smaller noise.",
            )
        polynomial = np.polynomial.chebyshev.chebinterpolate(
            lambda s: np.sqrt(1.0 - 0.5 * DEFLATION * (s + 1.0)), DEGREE
        )
        return cls(
            likelihood, jnp.float32(rho), jnp.asarray(polynomial.astype(np.float32)), jnp.float32(sigma_min)
        )


@dataclasses.dataclass(frozen=True)
class InnerDraw:
    """How the scene behind a noisy copy is drawn.

    Parameters
    ----------
    steps
        Denoiser evaluations.
    step
        How to step (see `synergy.sampling.integrators`).
    """

    steps: int = 8
    step: Step = sde_2m

    def __call__(
        self, denoiser: Denoiser, splitting: Splitting, rho: float, copies: Array, key: Array
    ) -> Float[Array, "draw band y x"]:
        """Draw the scenes behind copies with noise of level rho."""
        last = max(LAST * rho, float(splitting.sigma_min))
        levels = np.append(np.geomspace(rho, last, self.steps), 0.0)
        return integrate(denoiser, key, copies, levels, step=self.step)


def correct(
    denoiser: Denoiser,
    splitting: Splitting,
    key: Array,
    scenes: Float[Array, "draw band y x"],
    sweeps: int = 1,
    inner: InnerDraw | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Array, "draw band y x"]:
    """Take scenes through sweeps that leave the posterior invariant.

    Parameters
    ----------
    denoiser
        Denoiser of the prior.
    splitting
        From `Splitting.build`.
    key
        Random key.
    scenes
        Draws to correct, each a chain of its own.
    sweeps
        Number of sweeps.
    inner
        How the scene behind a copy is drawn.
    progress
        Called as ``progress(step, steps)`` after every sweep, counting denoiser evaluations.
    """
    inner = inner or InnerDraw()
    for sweep in range(sweeps):
        key_copy, key_scene = jax.random.split(jax.random.fold_in(key, sweep))
        copies = _noisy_copies(splitting, key_copy, scenes)
        scenes = inner(denoiser, splitting, float(splitting.rho), copies, key_scene)
        if progress is not None:
            jax.block_until_ready(scenes)
            progress((sweep + 1) * inner.steps, sweeps * inner.steps)
    return scenes


def largest_eigenvalue(likelihood: GaussianLikelihood, seed: int = 0) -> float:
    """Return the largest eigenvalue of ``A^T N^-1 A``, or up to 0.2 % more.

    Parameters
    ----------
    likelihood
        The likelihood.
    seed
        Seed of the start of the iteration.
    """
    shape = likelihood.scene_shape
    size = math.prod(shape)

    def normal(vector: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        scene = jnp.asarray(vector.reshape(shape), jnp.float32)
        return np.asarray(_normal(likelihood, scene), np.float64).ravel()

    operator = LinearOperator((size, size), matvec=normal, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(size)
    found = eigsh(operator, k=1, which="LA", v0=start, tol=_TOLERANCE, return_eigenvectors=False)
    # ARPACK's values lie below, by no more than their residual.
    return float(found[0]) * (1.0 + 2.0 * _TOLERANCE)


@jax.jit
def _normal(likelihood: GaussianLikelihood, scene: Array) -> Array:
    return likelihood.normal(scene)


@jax.jit
def _noisy_copies(splitting: Splitting, key: Array, scenes: Array) -> Array:
    """Draw ``z | x, y``."""
    rho, likelihood = splitting.rho, splitting.likelihood
    white = jax.random.normal(key, scenes.shape, scenes.dtype)

    def interval(v: Array) -> Array:
        """Multiply by the normal operator, its spectrum mapped to -1 ... 1."""
        return (2.0 / DEFLATION) * rho**2 * jax.vmap(likelihood.normal)(v) - v

    # Clenshaw's recurrence.
    latest, later = splitting.coefficients[-1] * white, jnp.zeros_like(white)
    for coefficient in splitting.coefficients[-2:0:-1]:
        latest, later = coefficient * white + 2.0 * interval(latest) - later, latest
    noise = splitting.coefficients[0] * white + interval(latest) - later
    return scenes + rho**2 * jax.vmap(likelihood.score)(scenes) + rho * noise
