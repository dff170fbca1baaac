"""How well a network denoises scenes it was not trained on, against what a linear denoiser could do.

At each noise level the mean squared error is given in units of sigma squared (1 = no noise removed), and
as a ratio to the error of the best linear denoiser of a Gaussian field with the spectra and colours of the
same scenes (`SpectralCovariance.denoising_error`): what knowing second moments alone would achieve. Scenes,
noise and noise levels are the same at every call.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from synergy.io.shards import SceneShards
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.network import Params
from synergy.priors.objective import denoising_error, normalise
from synergy.priors.statistics import SceneStatistics
from synergy.priors.variance import VarianceCorrection
from synergy.training.settings import TrainConfig
from synergy.training.step import Devices

SIGMAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclasses.dataclass(frozen=True)
class Level:
    """The error at one noise level.

    Parameters
    ----------
    sigma
        Noise level, in units of the normalised scene.
    error
        Mean squared error over sigma squared.
    ratio
        The error over that of the best linear denoiser.
    surprise
        Mean ratio of squared errors to the variances that the network states, on one half of the scenes, once
        they are corrected by the other half; NaN if it states none.
    """

    sigma: float
    error: float
    ratio: float
    surprise: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Curve:
    """What a validation finds.

    Parameters
    ----------
    levels
        Errors, by noise level.
    correction
        What makes the stated variances right on average; None if the network states none.
    """

    levels: tuple[Level, ...]
    correction: VarianceCorrection | None = None


def mean_ratio(curve: Curve) -> float:
    """Return the geometric mean of the ratios: one number to compare curves by."""
    return float(np.exp(np.mean(np.log([level.ratio for level in curve.levels]))))


def best_curve(curves: Sequence[Curve]) -> int:
    """Return the index of the curve with the smallest `mean_ratio`."""
    return int(np.argmin([mean_ratio(curve) for curve in curves]))


def make_validation(
    config: TrainConfig, statistics: SceneStatistics, shards: SceneShards, devices: Devices
) -> Callable[[Params], Curve]:
    """Return a function from weights to their curve on fixed crops of `shards`."""
    network = config.network(len(statistics.band_scale), statistics.data_std)
    count = -(-config.validation_scenes // config.batch)
    crops = shards.crops(np.random.default_rng([config.seed, 2]), count * config.batch, config.crop)
    still = dataclasses.replace(config.amplitudes, jitter=1.0, faint_fraction=0.0)
    key = jax.random.key(config.seed)
    clean = normalise(key, jnp.asarray(crops), jnp.asarray(statistics.band_scale), shards.pixel_scale, still)
    covariance = SpectralCovariance.fit(np.asarray(clean))
    batches = [jax.device_put(batch, devices.split) for batch in jnp.split(clean, count)]
    optima = [covariance.denoising_error(config.crop, config.crop, sigma) for sigma in SIGMAS]
    modes = statistics.covariance.basis
    error_of = jax.jit(functools.partial(denoising_error, network=network, modes=modes))

    def validate(params: Params) -> Curve:
        levels, corrections = [], []
        for sigma, optimum in zip(SIGMAS, optima, strict=True):
            found = [
                error_of(params, jax.random.fold_in(key, i), batch, jnp.float32(sigma))
                for i, batch in enumerate(batches)
            ]
            error, surprise = float(np.mean([float(error) for error, _ in found])), float("nan")
            if network.variance:
                ratios = np.asarray([ratio for _, ratio in found], np.float64)
                corrections.append(ratios.mean(axis=0))
                if count > 1:
                    surprise = float(np.mean(ratios[1::2].mean(axis=0) / ratios[::2].mean(axis=0)))
            levels.append(Level(sigma, error, error / optimum, surprise))
        correction = (
            VarianceCorrection.measured(np.asarray(SIGMAS), np.stack(corrections)) if corrections else None
        )
        return Curve(tuple(levels), correction)

    return validate
