"""What is measured on the training scenes before the first step: the units and the covariance of a prior."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from synergy.errors import InputError
from synergy.io.shards import SceneShards
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.objective import Amplitudes, normalise
from synergy.priors.scale import scene_scale

_SCALES, _LEVELS = 256, 33


@dataclasses.dataclass(frozen=True)
class SceneStatistics:
    """What is measured on the training scenes before the first step.

    Parameters
    ----------
    band_scale
        Flux of each band relative to a scene's scale.
    data_std
        Standard deviation of the normalised scenes' pixels.
    covariance
        Covariance of the normalised scenes.
    scale_quantiles
        Quantiles of the scenes' flux scales, nJy/pixel (see `scale_quantiles`).
    """

    band_scale: Float[np.ndarray, " band"]
    data_std: float
    covariance: SpectralCovariance
    scale_quantiles: tuple[float, ...]

    def to_lists(self) -> dict[str, Any]:
        """Return plain numbers; float32 survives the round trip through JSON exactly."""
        covariance = {
            f.name: getattr(self.covariance, f.name).tolist() for f in dataclasses.fields(self.covariance)
        }
        return {
            "band_scale": self.band_scale.tolist(),
            "data_std": self.data_std,
            "covariance": covariance,
            "scale_quantiles": list(self.scale_quantiles),
        }

    @classmethod
    def from_lists(cls, lists: dict[str, Any]) -> "SceneStatistics":
        """Undo `to_lists`."""
        covariance = {k: jnp.asarray(v, jnp.float32) for k, v in lists["covariance"].items()}
        return cls(
            np.asarray(lists["band_scale"], np.float32),
            lists["data_std"],
            SpectralCovariance(**covariance),
            tuple(lists["scale_quantiles"]),
        )


def measure_scenes(
    shards: SceneShards, crop: int, amplitudes: Amplitudes, seed: int, count: int = 512
) -> SceneStatistics:
    """Measure the bands' relative brightness, the normalised scenes' standard deviation and their covariance.

    Parameters
    ----------
    shards
        Training scenes.
    crop
        Side of the crops, pixels.
    amplitudes
        How scenes are scaled before they are shown to the network.
    seed
        Random seed.
    count
        Number of crops used.

    Raises
    ------
    InputError
        If no scene has flux in every band.
    """
    crops = shards.crops(np.random.default_rng([seed, 1]), count, crop)
    flux = np.maximum(crops.sum(axis=(2, 3)), 0.0)
    relative = flux / np.maximum(flux.mean(axis=1, keepdims=True), 1e-12)
    bright = (flux.mean(axis=1) >= np.median(flux.mean(axis=1))) & np.all(flux > 0, axis=1)
    if not bright.any():
        raise InputError(
            Path(shards.files[0].file.filename).parent,
            "no training scene with flux in every band",
            "scenes of galaxies",
            "Look at the configuration they were made with.",
        )
    band_scale = np.median(relative[bright], axis=0)
    band_scale = (band_scale / band_scale.mean()).astype(np.float32)
    u = normalise(
        jax.random.key(seed),
        jnp.asarray(crops),
        jnp.asarray(band_scale),
        shards.pixel_scale,
        amplitudes,
    )
    u = np.asarray(u)
    scales = scale_quantiles(shards, crop, band_scale, amplitudes.floor, seed)
    return SceneStatistics(band_scale, float(np.sqrt(np.mean(u**2))), SpectralCovariance.fit(u), scales)


def scale_quantiles(
    shards: SceneShards, crop: int, band_scale: Float[np.ndarray, " band"], floor: float, seed: int
) -> tuple[float, ...]:
    """Return quantiles of the training scenes' flux scales, nJy/pixel, at equal steps of probability.

    A prior's card keeps them as ``scale_quantiles``, so that scenes drawn from it can be as bright as its
    training scenes (`synergy.generation`).

    Parameters
    ----------
    shards
        Training scenes.
    crop
        Side of the crops, pixels.
    band_scale
        The prior's factor per band.
    floor
        Smallest scale, nJy/pixel.
    seed
        Random seed.
    """
    crops = shards.crops(np.random.default_rng([seed, 2]), _SCALES, crop)
    scales = np.asarray(scene_scale(jnp.asarray(crops), jnp.asarray(band_scale), shards.pixel_scale))
    levels = np.linspace(0.0, 1.0, _LEVELS)
    return tuple(float(q) for q in np.quantile(np.maximum(scales, floor), levels))
