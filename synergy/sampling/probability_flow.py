"""The log-density that a denoiser implies, by the probability-flow ODE.

The variance-exploding diffusion has a deterministic twin with the same marginal densities (Song et al. 2021,
arXiv 2011.13456, sec. 4.3; Karras et al. 2022, eq. 1). With ``lambda = ln sigma`` and the denoiser ``D``

    dx / dlambda = x - D(x, sigma),        d log p(x) / dlambda = -tr(1 - dD/dx),

so that carrying a scene up from sigma_min to sigma_max, where its density is known, gives (Song et al., eq.
39)

    log p_min(x) = log p_max(x_max) + int (n - tr dD/dx) dlambda.

``p_min`` is the density of scenes with white noise of sigma_min on them, in normalised units; the density in
nJy per pixel is smaller by ``sum ln(scale * band_scale)`` over the pixels. At sigma_max scenes are taken as
Gaussian, which is exact where the prior is, and the better the further sigma_max exceeds the scenes.

The trace is estimated by ``e . (dD/dx) e`` with random signs e (Hutchinson 1990), the same ones all along a
scene's path (Grathwohl et al. 2019, arXiv 1810.01367), so each probe gives one unbiased estimate of the whole
integral and their scatter its error; or it is summed over all pixels where these are few. Paths are
integrated by the classical Runge-Kutta rule of fourth order.

A learned denoiser's density is a diagnostic of scenes relative to others of the same shape, no more: its
Jacobian was never trained.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.priors.denoiser import Denoiser


@dataclasses.dataclass(frozen=True)
class FlowDensity:
    """Log-densities of scenes.

    Parameters
    ----------
    log_density
        Natural logarithm of the density of each scene in normalised units, at the smallest noise level.
    standard_error
        What the random probes leave uncertain of it; zero where the trace was exact.
    end
        The scenes at the largest noise level; divided by it they look like white noise where all is well.
    """

    log_density: Float[np.ndarray, " draw"]
    standard_error: Float[np.ndarray, " draw"]
    end: Float[np.ndarray, "draw band y x"]


def _slope(
    denoiser: Denoiser, scenes: Float[Array, "draw band y x"], log_sigma: Float[Array, ""], probes: Array
) -> tuple[Float[Array, "draw band y x"], Float[Array, "probe draw"]]:
    """Return the scenes' velocity in ln sigma, and ``e . (1 - dD/dx) e`` of each probe and scene."""
    sigma = jnp.exp(log_sigma)
    denoised, pull = jax.vjp(lambda x: denoiser(x, sigma), scenes)

    def along(probe: Array) -> Array:
        return jnp.sum(probe * (probe - pull(probe)[0]), axis=(1, 2, 3))

    return scenes - denoised, jax.lax.map(along, probes)


@jax.jit
def _step(
    denoiser: Denoiser,
    scenes: Float[Array, "draw band y x"],
    log_sigmas: Float[Array, " 2"],
    probes: Float[Array, "probe draw band y x"],
) -> tuple[Float[Array, "draw band y x"], Float[Array, "probe draw"]]:
    """Take one Runge-Kutta step; return the scenes after it and what it adds to the integral."""
    start, end = log_sigmas
    h = end - start
    middle = start + 0.5 * h
    v1, t1 = _slope(denoiser, scenes, start, probes)
    v2, t2 = _slope(denoiser, scenes + 0.5 * h * v1, middle, probes)
    v3, t3 = _slope(denoiser, scenes + 0.5 * h * v2, middle, probes)
    v4, t4 = _slope(denoiser, scenes + h * v3, end, probes)
    return scenes + h / 6.0 * (v1 + 2.0 * v2 + 2.0 * v3 + v4), h / 6.0 * (t1 + 2.0 * t2 + 2.0 * t3 + t4)


def flow_log_density(
    denoiser: Denoiser,
    scenes: Float[Array, "draw band y x"],
    sigmas: Float[np.ndarray, " level"],
    end: Callable[[Array, Array], Float[Array, " draw"]],
    key: Array | None = None,
    probes: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> FlowDensity:
    """Return the log-density of scenes under a denoiser's prior.

    Parameters
    ----------
    denoiser
        A pytree that is also a function (see `synergy.priors.denoiser`).
    scenes
        Scenes in normalised units, all noise of the smallest level included.
    sigmas
        Ascending noise levels, one step between each two (such as
        ``schedule.grid(steps)[-2::-1]``).
    end
        ``end(scenes, sigma)``, the log-density at the largest noise level: for a trained prior
        ``GaussianDenoiser(prior.covariance).log_density``.
    key
        Random key of the probes; without it the trace is exact, at as many Jacobian products as a scene has
        numbers.
    probes
        Number of random probes, at least 2, so that their scatter tells the error.
    progress
        Called as ``progress(step, steps)`` after every step.

    Raises
    ------
    ValueError
        If the noise levels do not ascend, or there are fewer than two probes.
    """
    if len(sigmas) < 2 or not np.all(np.diff(sigmas) > 0) or sigmas[0] <= 0:
        raise ValueError("the noise levels must be positive and ascend")
    if key is None:
        unit = jnp.eye(scenes[0].size, dtype=scenes.dtype).reshape(-1, 1, *scenes.shape[1:])
        directions = jnp.broadcast_to(unit, (len(unit), *scenes.shape))
    elif probes < 2:
        raise ValueError(f"the error of the trace needs at least two probes, got {probes}")
    else:
        directions = jax.random.rademacher(key, (probes, *scenes.shape), scenes.dtype)
    levels = jnp.log(jnp.asarray(sigmas, scenes.dtype))
    # The sum over many steps and pixels is kept in double precision.
    integral = np.zeros((len(directions), len(scenes)))
    steps = len(sigmas) - 1
    for i in range(steps):
        scenes, added = _step(denoiser, scenes, levels[i : i + 2], directions)
        integral += np.asarray(added, np.float64)
        if progress is not None:
            progress(i + 1, steps)
    known = np.asarray(end(scenes, jnp.asarray(sigmas[-1], scenes.dtype)), np.float64)
    if key is None:
        return FlowDensity(known + integral.sum(axis=0), np.zeros(len(scenes)), np.asarray(scenes))
    error = integral.std(axis=0, ddof=1) / np.sqrt(probes)
    return FlowDensity(known + integral.mean(axis=0), error, np.asarray(scenes))
