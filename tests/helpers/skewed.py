"""A prior of heavy, uneven tails, and its posterior by the No-U-Turn sampler.

Each pixel has an asymmetric Laplace distribution, ``p(x) ~ exp(-x/fall)`` above zero and ``exp(x/rise)``
below: skewed, sparse, and far from any mixture of few Gaussians. Under white noise each side is a truncated
Gaussian, so the denoiser is known in closed form. The posterior is not, but its density is, and it has one
mode: NUTS (Hoffman & Gelman 2014; blackjax) draws from it without any denoiser, an independent judge.
"""

import dataclasses
import functools

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.diagnostics import effective_sample_size, potential_scale_reduction
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Float
from oracles import BANDS, dense, observe

from synergy.likelihood import GaussianLikelihood
from synergy.priors.covariance import SpectralCovariance
from synergy.sampling.circulant import CirculantPosterior, circulant_normal

FALL, RISE, SIDE = 4.0, 0.5, 8
CHAINS, WARMUP, KEPT = 4, 500, 2000


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SkewedDenoiser:
    """Exact denoiser of independent asymmetric Laplace pixels.

    Parameters
    ----------
    fall, rise
        Lengths of the tails above and below zero.
    """

    fall: Float[Array, ""]
    rise: Float[Array, ""]

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Return the mean of the clean scenes."""
        above, log_above = self._side(noisy, sigma, self.fall)
        below, log_below = self._side(-noisy, sigma, self.rise)
        share = jax.nn.sigmoid(log_above - log_below)
        return share * above - (1.0 - share) * below

    @staticmethod
    def _side(noisy: Array, sigma: Array, length: Array) -> tuple[Array, Array]:
        """Return mean and ln mass of the Gaussian above zero that the tail leaves."""
        z = noisy / sigma - sigma / length
        log_mass = log_ndtr(z)
        hazard = jnp.exp(-0.5 * z**2 - 0.5 * np.log(2.0 * np.pi).astype(np.float32) - log_mass)
        return sigma * (z + hazard), 0.5 * (sigma / length) ** 2 - noisy / length + log_mass


@dataclasses.dataclass(frozen=True)
class Skewed:
    """The problem, as samplers need it."""

    denoiser: SkewedDenoiser
    likelihood: GaussianLikelihood
    covariance: SpectralCovariance
    circulant: CirculantPosterior

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a scene."""
        return self.likelihood.scene_shape

    @classmethod
    def pose(cls) -> "Skewed":
        """Draw a scene from the prior and observe it."""
        scenes = draw_prior(0, 512)
        likelihood = observe(jnp.asarray(scenes[0], jnp.float32))
        covariance = SpectralCovariance.fit(scenes, bins=8)
        return cls(
            SkewedDenoiser(jnp.float32(FALL), jnp.float32(RISE)),
            likelihood,
            covariance,
            CirculantPosterior.diagonalise(circulant_normal(likelihood), covariance, (SIDE, SIDE)),
        )

    @functools.cached_property
    def nuts(self) -> np.ndarray:
        """Draws of NUTS ``(chain, draw, pixel)``, after chains that agree (R-hat)."""
        matrix, variance, data = dense(self.likelihood)
        root = 1.0 / np.sqrt(variance)
        white, target = (jnp.asarray(a, jnp.float32) for a in (matrix * root[:, None], data * root))

        def log_density(scene: Array) -> Array:
            tails = jnp.where(scene > 0, scene / FALL, -scene / RISE)
            return -jnp.sum(tails) - 0.5 * jnp.sum((white @ scene - target) ** 2)

        def chain(key: Array) -> Array:
            key_start, key_warm, key_run = jax.random.split(key, 3)
            start = jax.random.normal(key_start, (matrix.shape[1],))
            warmup = blackjax.window_adaptation(blackjax.nuts, log_density)
            (state, tuned), _ = warmup.run(key_warm, start, num_steps=WARMUP)
            step = blackjax.nuts(log_density, **tuned).step

            def go_on(state, key):
                state, _ = step(key, state)
                return state, state.position

            return jax.lax.scan(go_on, state, jax.random.split(key_run, KEPT))[1]

        with jax.numpy_dtype_promotion("standard"):
            draws = np.asarray(jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(5), CHAINS)))
        if np.max(potential_scale_reduction(draws)) > 1.02 or np.min(effective_sample_size(draws)) < 500:
            raise AssertionError("the chains of NUTS do not agree")
        return draws


def draw_prior(seed: int, count: int) -> np.ndarray:
    """Return exact draws of the prior ``(draw, band, y, x)``."""
    rng = np.random.default_rng(seed)
    shape = (count, len(BANDS), SIDE, SIDE)
    above = rng.random(shape) < FALL / (FALL + RISE)
    return np.where(above, rng.exponential(FALL, shape), -rng.exponential(RISE, shape))


def judge(problem: Skewed, draws: np.ndarray) -> dict[str, float]:
    """Compare draws with those of NUTS.

    Returns
    -------
    dict
        ``mean``: chi-squared of the draws' mean, in standard deviations of what exact draws have, those of
        NUTS being finitely many, too.
        ``variance``: ratio of the variances along the posterior's axes, mean over the axes. These are axes of
        NUTS' own draws, which by itself is worth some per cent.
        ``below``, ``above``: share of pixels outside NUTS' central intervals of 90 %, exactly .05 each.
    """
    exact = problem.nuts.reshape(-1, problem.nuts.shape[-1])
    flat = np.asarray(draws, np.float64).reshape(len(draws), -1)
    root = np.linalg.cholesky(np.cov(exact.T))
    axes = np.linalg.solve(root, (flat - exact.mean(axis=0)).T).T
    independent = float(np.median(effective_sample_size(problem.nuts)))
    chi2 = np.sum(axes.mean(axis=0) ** 2) / (1.0 / len(axes) + 1.0 / independent)
    low, high = np.quantile(exact, [0.05, 0.95], axis=0)
    return {
        "mean": float((chi2 - flat.shape[1]) / np.sqrt(2.0 * flat.shape[1])),
        "variance": float(np.mean(axes.var(axis=0, ddof=1))),
        "below": float(np.mean(flat < low)),
        "above": float(np.mean(flat > high)),
    }
