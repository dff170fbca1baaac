"""The one verb: from observations and a prior to posterior draws of the scene."""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.posterior import Posterior
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.denoiser import DrawingDenoiser
from synergy.priors.diffusion import DiffusionPrior
from synergy.provenance import code
from synergy.response import respond
from synergy.sampling.amplitude import estimate_scale
from synergy.sampling.circulant import CirculantPosterior, circulant_normal
from synergy.sampling.counts import of_reverse, of_sweeps
from synergy.sampling.flux_scale import correct_with_scale
from synergy.sampling.integrators import INTEGRATORS
from synergy.sampling.learned_variance import LearnedVariance
from synergy.sampling.moment_matching import PriorCovariance, TweedieCovariance
from synergy.sampling.reverse import sample
from synergy.sampling.split_gibbs import InnerDraw, Splitting, correct
from synergy.sampling.support import support_map

Progress = Callable[[int, int, str], None]

_LEADING = 2  # modes of the bands that carry the light of a source of common colours
_LAST_SIGMA = 0.2  # last noise level over the error of the best measured mode


@dataclasses.dataclass(frozen=True)
class SamplerSettings:
    """How draws are made.

    Parameters
    ----------
    steps
        Denoiser evaluations per draw.
    covariance
        What is taken to be open about a scene at a noise level: ``"learned"``, of priors that state variances
        (`synergy.sampling.learned_variance`); ``"prior"`` or, slow, ``"tweedie"``, of any
        (`synergy.sampling.moment_matching`). ``"auto"`` is "learned" where the prior states variances and the
        frame holds whole blocks of them, and "prior" where not; the result's `meta` says which.
    hedge
        By how much the stationary covariance of the prior is widened where it hedges against sources that are
        rarer than a variance can say: added to "learned" (0: not at all), or in the place of "prior" (1: as
        it is). What is rare is the light, not its colours: the two leading modes of the bands are widened by
        this factor, the others by its root. More finds more of a faint source, and lets more noise through
        (``tests/benchmarks/faint_sources.py``).
    iterations
        Conjugate-gradient steps per evaluation.
    integrator
        How steps are taken (see `synergy.sampling.integrators`).
    batch
        Draws made side by side.
    attempts
        How often a diverged draw is made again before giving up.
    corrector_sweeps
        Sweeps of `synergy.sampling.split_gibbs` after each draw.
    corrector_steps
        Denoiser evaluations per sweep.
    scale_width
        If positive, sweeps sample the scene's flux scale, too, whose logarithm has this standard deviation
        around the estimate before the data are seen (`synergy.sampling.flux_scale`).
    """

    steps: int = 32
    covariance: str = "auto"
    hedge: float = 100.0
    iterations: int = 8
    integrator: str = "sde_2m"
    batch: int = 8
    attempts: int = 3
    corrector_sweeps: int = 0
    corrector_steps: int = 8
    scale_width: float = 0.0


def reconstruct(
    observations: Sequence[Observation],
    prior: DiffusionPrior,
    key: int | Array = 0,
    draws: int = 16,
    settings: SamplerSettings | None = None,
    frame: Frame | None = None,
    progress: Progress | None = None,
) -> Posterior:
    """Draw scenes that explain all observations at once.

    Parameters
    ----------
    observations
        Images of one patch of sky (see `synergy.read_observations`).
    prior
        A diffusion prior (see `synergy.load_prior`).
    key
        Seed or JAX key; the same key gives the same draws.
    draws
        Number of posterior draws.
    settings
        Sampler settings.
    frame
        Scene frame; by default the smallest that covers all images with a margin, aligned with the sharpest.
    progress
        Called as ``progress(done, total, label)``.

    Returns
    -------
    Posterior
        Draws, their summaries, and how well they fit each image.

    Raises
    ------
    InputError
        If the observations do not fit together or name bands that the prior has not, or settings do not fit.
    FloatingPointError
        If draws keep diverging.
    """
    settings = settings or SamplerSettings()
    observations = respond(observations, prior.bands)
    started = time.perf_counter()
    seed = key if isinstance(key, int) else None
    key = jax.random.key(key) if isinstance(key, int) else key
    if frame is None:
        frame = Frame.covering(observations, prior.pixel_scale, multiple=prior.network.multiple)
    if settings.covariance == "auto":
        settings = dataclasses.replace(settings, covariance=_covariance(prior, frame))
    likelihood = GaussianLikelihood.build(observations, frame, prior.bands)
    in_band_scales = likelihood.rescaled(prior.band_scale)
    normal = circulant_normal(in_band_scales)
    scale = estimate_scale(observations, in_band_scales, normal, prior)
    unit = jnp.float32(scale) * prior.band_scale
    scaled = likelihood.rescaled(unit)
    shape = (len(prior.bands), *frame.shape)
    denoiser = _posterior_denoiser(prior, scaled, scale**2 * normal, settings)
    if settings.integrator not in INTEGRATORS:
        raise InputError(
            "settings.integrator",
            repr(settings.integrator),
            f"one of {', '.join(INTEGRATORS)}",
            "Choose one.",
        )
    if settings.integrator == "ancestral_drawn" and not isinstance(denoiser, DrawingDenoiser):
        raise InputError(
            "settings.integrator",
            f"'ancestral_drawn' with covariance {settings.covariance!r}",
            "covariance 'prior' or 'learned', of which draws can be made",
            "Choose another integrator or covariance.",
        )
    if settings.scale_width > 0 and settings.corrector_sweeps == 0:
        raise InputError(
            "settings.scale_width",
            f"{settings.scale_width} without sweeps",
            "corrector_sweeps, which sample the flux scale",
            "Ask for some tens of sweeps.",
        )
    key_draws, key_support = jax.random.split(key)
    splitting = None
    if settings.corrector_sweeps > 0:
        splitting = Splitting.build(scaled, prior.schedule.sigma_min)
    sigmas = _noise_levels(prior, scale**2 * normal, settings.steps)
    normalised, scales, redone = _draw(
        denoiser, splitting, sigmas, key_draws, (draws, *shape), settings, progress
    )
    counts = of_reverse(denoiser, settings.integrator, settings.steps)
    counts += of_sweeps(settings.corrector_sweeps, settings.corrector_steps)
    scenes = normalised * np.asarray(unit)[None, :, None, None]
    circulant = CirculantPosterior.diagonalise(scale**2 * normal, prior.covariance, frame.shape)
    support = support_map(scaled, prior.covariance, circulant, key_support, shape)
    mean = jnp.asarray(scenes.mean(axis=0))
    observed = np.zeros(len(prior.bands), bool)
    for operator in likelihood.operators:
        observed |= np.any(np.asarray(operator.response) > 0, axis=0)
    good = [int(noise.n_pixels) for noise in likelihood.noises]
    return Posterior(
        draws=scenes,
        frame=frame,
        bands=prior.bands,
        chi2=np.asarray(jax.lax.map(jax.jit(likelihood.chi2), jnp.asarray(scenes))),
        images=tuple(o.name for o in observations),
        n_pixels=np.asarray(good),
        residuals={
            o.name: np.where(np.asarray(noise.known), np.asarray(residual), np.nan)
            for o, noise, residual in zip(
                observations, likelihood.noises, likelihood.whitened(mean), strict=True
            )
        },
        residual_frames={o.name: o.frame for o in observations},
        support=support,
        observed=observed,
        band_scale=np.asarray(prior.band_scale, np.float64),
        meta={
            **code(),
            "seed": seed,
            "prior": prior.id,
            "precision": prior.network.precision,
            "scale": float(scale),
            "scales": [float(scale * a) for a in scales],
            "settings": dataclasses.asdict(settings),
            "redone": redone,
            "counts": dataclasses.asdict(counts),
            "seconds": round(time.perf_counter() - started, 2),
            "config_hash": hashlib.sha256(repr(settings).encode()).hexdigest()[:12],
            "inputs": [str(o.meta.get("file", o.name)) for o in observations],
            "notes": {o.name: o.meta.get("notes", []) for o in observations},
        },
    )


def _covariance(prior: DiffusionPrior, frame: Frame) -> str:
    """Return which covariance ``"auto"`` stands for."""
    whole = not any(side % prior.network.patch for side in frame.shape)
    return "learned" if prior.correction is not None and whole else "prior"


def _posterior_denoiser(
    prior: DiffusionPrior,
    likelihood: GaussianLikelihood,
    normal: Float[np.ndarray, "ky kx band band"],
    settings: SamplerSettings,
) -> PriorCovariance | TweedieCovariance | LearnedVariance:
    """Return the denoiser that the settings name, for a likelihood and its normal operator in prior units."""
    if settings.covariance == "tweedie":
        return TweedieCovariance(prior, likelihood, settings.iterations)
    if settings.hedge < 0 or (settings.covariance == "prior" and settings.hedge == 0):
        raise InputError("settings.hedge", str(settings.hedge), "a positive number", "Leave it out, say.")
    hedge = _hedge(prior.covariance, settings.hedge) if settings.hedge > 0 else None
    if settings.covariance == "prior":
        circulant = CirculantPosterior.diagonalise(normal, hedge, likelihood.scene_shape[1:])
        return PriorCovariance(prior, likelihood, hedge, circulant, settings.iterations)
    if settings.covariance == "learned":
        basis, patch = prior.covariance.basis, prior.network.patch
        return LearnedVariance(prior, likelihood, basis, patch, settings.iterations, hedge)
    raise InputError(
        "settings.covariance",
        repr(settings.covariance),
        "'auto', 'prior', 'learned' or 'tweedie'",
        "Choose one.",
    )


def _hedge(covariance: SpectralCovariance, factor: float) -> SpectralCovariance:
    """Widen a covariance by the factor in its leading modes, and by the factor's root in the others."""
    mode = np.arange(covariance.basis.shape[1])
    return covariance.widened(np.where(mode < _LEADING, factor, np.sqrt(factor)))


def _noise_levels(
    prior: DiffusionPrior, normal: Float[np.ndarray, "ky kx band band"], steps: int
) -> Float[np.ndarray, " level"]:
    """Return the sampler's noise levels, ending where noise is small beside what the data leave open.

    The best measured mode of the scene is known to ``lambda_max(A^T N^-1 A)^(-1/2)``; steps far below a
    fraction of it would change nothing, and the last step returns the denoised mean.
    """
    sharpest = float(np.linalg.eigvalsh(normal)[..., -1].max()) ** -0.5
    low = float(np.clip(_LAST_SIGMA * sharpest, prior.schedule.sigma_min, 0.1))
    return prior.schedule.grid(steps, sigma_min=low)


def _draw(
    denoiser: PriorCovariance | TweedieCovariance | LearnedVariance,
    splitting: Splitting | None,
    sigmas: Float[np.ndarray, " level"],
    key: Array,
    shape: tuple[int, int, int, int],
    settings: SamplerSettings,
    progress: Progress | None,
) -> tuple[Float[np.ndarray, "draw band y x"], Float[np.ndarray, " draw"], int]:
    """Make all draws in batches of one shape; make diverged ones again.

    Returns
    -------
    scenes
        Draws in the prior's units, times their scales.
    scales
        Their flux scales in units of the estimate; 1 where they are not sampled.
    redone
        How many had diverged.
    """
    likelihood = denoiser.likelihood
    draws, batch = shape[0], min(settings.batch, shape[0])
    sweeps = settings.corrector_sweeps * settings.corrector_steps
    fit = jax.jit(lambda scenes: jnp.sum(jax.lax.map(likelihood.chi2, scenes), axis=1))
    data = sum(float(noise.n_pixels) for noise in likelihood.noises)
    kept: list[np.ndarray] = []
    scales: list[np.ndarray] = []
    redone, rounds = 0, 0
    limit = settings.attempts + -(-draws // batch)
    while sum(map(len, kept)) < draws:
        if rounds == limit:
            raise FloatingPointError(
                f"{redone} draws diverged in {rounds} batches of {batch}; the data contradict "
                "the noise model or each other (zero points, PSFs, masks), or need more `iterations`"
            )
        have = sum(map(len, kept))

        def report(step: int, _: int, have: int = have) -> None:
            if progress is not None:
                part = min(batch, draws - have) * step / (len(sigmas) - 1 + sweeps)
                progress(
                    int(1000 * (have + part)), 1000 * draws, f"draws {have + 1} to {min(have + batch, draws)}"
                )

        key_round = jax.random.fold_in(key, rounds)
        made = sample(
            denoiser, key_round, (batch, *shape[1:]), sigmas, report, INTEGRATORS[settings.integrator]
        )
        scale = jnp.ones(batch)
        if splitting is not None:
            key_sweeps = jax.random.split(key_round, 3)[2]  # `sample` splits it in two
            inner = InnerDraw(settings.corrector_steps)
            chains = denoiser.denoiser, splitting, key_sweeps, made, settings.corrector_sweeps, inner

            def sweeping(step: int, steps: int, report: Callable[[int, int], None] = report) -> None:
                report(len(sigmas) - 1 + step, steps)

            if settings.scale_width > 0:
                made, scale = correct_with_scale(*chains, settings.scale_width, sweeping)
            else:
                made = correct(*chains, sweeping)
        chi2 = np.asarray(fit(made))
        zero = float(fit(jnp.zeros_like(made[:1]))[0])
        # A draw that explains the data worse than empty sky has left the posterior.
        good = np.isfinite(chi2) & (chi2 < max(zero, 2.0 * data))
        redone += int(np.sum(~good))
        kept.append(np.asarray(made)[good])
        scales.append(np.asarray(scale)[good])
        rounds += 1
    return np.concatenate(kept)[:draws], np.concatenate(scales)[:draws], redone
