"""Between a scene and the data: what is near the one and explains the other.

Put white noise of level rho between a scene x and the scene z that the data show, ``z ~ N(x, rho^2)`` and
``y ~ N(A z, N)``. Then

    z | x, y ~ N(x + u, H^-1),    H = A^T N^-1 A + rho^-2,    u = H^-1 A^T N^-1 (y - A x),
    y | x    ~ N(A x, N + rho^2 A A^T).

The mean is the proximal map of the misfit, the step of half-quadratic splitting; the draw is that of plain
split Gibbs sampling. The misfit of the second line is also the smallest value of a sum of squares,

    r^T (N + rho^2 A A^T)^-1 r = min_u |W (r - A u)|^2 + |u|^2 / rho^2,    r = y - A x,    W^T W = N^-1,

attained at the u above: it needs no solve in data space, loses no digits where r is large, and an error of u
enters it squared.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from synergy.likelihood import GaussianLikelihood
from synergy.sampling.circulant import CirculantPosterior, conjugate_gradient
from synergy.sampling.data_space import back, white


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Proximal:
    """Solves for scenes between scenes and data.

    Parameters
    ----------
    likelihood
        Likelihood in the prior's units.
    circulant
        Circulant part of its normal operator, without a prior.
    iterations
        Conjugate-gradient steps.
    """

    likelihood: GaussianLikelihood
    circulant: CirculantPosterior
    iterations: int = dataclasses.field(default=12, metadata={"static": True})

    def mean(
        self, scenes: Float[Array, "draw band y x"], rho: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return the mean of ``z | x, y``."""
        return scenes + self._solve(jax.vmap(self.likelihood.score)(scenes), rho)

    def draw(
        self, scenes: Float[Array, "draw band y x"], rho: Float[Array, ""], key: Array
    ) -> Float[Array, "draw band y x"]:
        """Draw ``z | x, y``: a right-hand side with noise of covariance H gives a solution with ``H^-1``."""
        key_scene, key_data = jax.random.split(key)
        of_scene = jax.random.normal(key_scene, scenes.shape, scenes.dtype) / rho
        of_data = back(self.likelihood, white(self.likelihood, key_data, len(scenes)))
        right = jax.vmap(self.likelihood.score)(scenes) + of_scene + of_data
        return scenes + self._solve(right, rho)

    def misfit(self, scenes: Float[Array, "draw band y x"], rho: Float[Array, ""]) -> Float[Array, " draw"]:
        """Return ``(y - A x)^T (N + rho^2 A A^T)^-1 (y - A x)``."""
        nearer = self.mean(scenes, rho)
        moved = jnp.sum((nearer - scenes) ** 2, axis=(1, 2, 3)) / rho**2
        return jnp.sum(jax.vmap(self.likelihood.chi2)(nearer), axis=1) + moved

    def _solve(self, right: Array, rho: Array) -> Array:
        precision = 1.0 / rho**2

        def matrix(x: Array) -> Array:
            return jax.vmap(self.likelihood.normal)(x) + precision * x

        return conjugate_gradient(
            matrix, lambda x: self.circulant.solve(x, precision), right, self.iterations
        )
