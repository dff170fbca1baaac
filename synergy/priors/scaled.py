"""A prior of scenes whose flux scale differs from draw to draw.

If the prior knows scenes ``u`` and a scene is ``x = a u``, then ``x + sigma * noise = a (u + sigma/a *
noise)``, so that the denoiser of x given a is ``a D(x_t / a, sigma / a)``: nothing but a change of units.
"""

import dataclasses

import jax
from jaxtyping import Array, Float

from synergy.priors.denoiser import Denoiser


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ScaledDenoiser:
    """Denoiser of scaled scenes.

    Parameters
    ----------
    denoiser
        Denoiser of the prior.
    scale
        Flux scale of each draw, positive.
    """

    denoiser: Denoiser
    scale: Float[Array, " draw"]

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return the mean of the clean scenes."""

        def one(scene: Array, scale: Array) -> Array:
            return scale * self.denoiser(scene[None] / scale, sigma / scale)[0]

        return jax.vmap(one)(noisy, self.scale)

    def draw(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""], key: Array
    ) -> Float[Array, "draw band y x"]:
        """Draw clean scenes, where the prior's denoiser does (`synergy.priors.denoiser.DrawingDenoiser`)."""

        def one(scene: Array, scale: Array, key: Array) -> Array:
            return scale * self.denoiser.draw(scene[None] / scale, sigma / scale, key)[0]

        return jax.vmap(one)(noisy, self.scale, jax.random.split(key, len(noisy)))
