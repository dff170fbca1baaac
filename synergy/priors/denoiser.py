"""What a sampler asks of a prior.

A denoiser is the posterior mean of a clean scene under white Gaussian noise, ``D(x_t, sigma) = E[x | x_t]``
with ``x_t = x + sigma * noise``. By Tweedie's formula the score of the noisy density is ``(D(x_t, sigma) -
x_t)/sigma^2`` and the posterior covariance is ``sigma^2`` times the Jacobian of ``D`` (Efron 2011), so a
denoiser is all that a diffusion sampler needs to know of a prior, and conditioning on data means wrapping
one denoiser into another.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float


@runtime_checkable
class Denoiser(Protocol):
    """A function from noisy scenes and one noise level to the mean of the clean scenes."""

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return ``E[x | x + sigma * noise = noisy]`` for each draw."""
        ...


@runtime_checkable
class VarianceDenoiser(Denoiser, Protocol):
    """A denoiser that also states the variance of its error, in the basis of `synergy.priors.basis`."""

    def with_variance(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> tuple[Float[Array, "draw band y x"], Float[Array, "draw mode y x"]]:
        """Return the mean of the clean scenes, and the variances of its error's coefficients."""
        ...


@runtime_checkable
class DrawingDenoiser(Denoiser, Protocol):
    """A denoiser that also draws from the Gaussian that it takes clean scenes to follow."""

    def draw(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""], key: Array
    ) -> Float[Array, "draw band y x"]:
        """Return one clean scene for each noisy one."""
        ...
