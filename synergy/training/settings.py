"""Settings of a training run."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from jaxtyping import Array
from pydantic import BaseModel, ConfigDict, Field

from synergy.priors.convolution import Precision, precision_here
from synergy.priors.network import UNetConfig
from synergy.priors.objective import Amplitudes
from synergy.priors.schedule import NoiseSchedule

CHANGEABLE = (
    "steps",
    "train_shards",
    "memory_gb",
    "checkpoint_every",
    "validate_every",
    "limits",
    "precision",
)
"""Settings that a run may be resumed with other values of: they change no step but by rounding."""


class TrainConfig(BaseModel):
    """Settings of a training run; YAML keys of the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    bands: tuple[str, ...] | None = Field(
        None, description="bands that the scenes must have, in this order; whichever they have when omitted"
    )
    widths: tuple[int, ...] = (64, 96, 128)
    blocks: int = Field(2, ge=1)
    patch: int = Field(2, ge=1)
    embedding: int = Field(64, ge=8)
    block: Literal["dense", "separable"] = "dense"
    companded: bool = True
    attention: bool = False
    rank: int = Field(0, ge=0, description="spectral components of the heads; 0 for maps of each band")
    unit_weights: bool = False
    precision: Precision | Literal["auto"] = Field(
        "float32", description="numbers that convolutions multiply; bfloat16 where that is fast if auto"
    )
    variance: bool = Field(True, description="whether to learn the variance of the mean's error, too")
    crop: int = Field(96, ge=8, description="side of the training crops, pixels")
    batch: int = Field(8, ge=1, description="crops per step, over all devices")
    steps: int = Field(ge=1)
    optimiser: Literal["adam", "muon"] = Field("adam", description="how gradients become steps")
    learning_rate: float = Field(5e-4, gt=0)
    warmup: int = Field(300, ge=1)
    decay_from: int = Field(
        2000, ge=1, description="step after which the learning rate falls as 1/sqrt(step)"
    )
    average_exponents: tuple[float, ...] = Field(
        (16.97, 6.94),
        min_length=1,
        description="gammas of the power-law weight averages; these have relative widths of 0.05 and 0.10",
    )
    train_shards: int | None = Field(None, ge=1, description="how many train shards to use; default all")
    memory_gb: float = Field(4.0, ge=0, description="room for scenes that are kept decoded")
    validate_every: int = Field(500, ge=1)
    checkpoint_every: int = Field(250, ge=1)
    validation_scenes: int = Field(48, ge=1, description="held-out crops, rounded up to whole batches")
    limits: tuple[str, ...] = Field((), description="what the prior is not good for, for its card")
    seed: int = 0
    damping: float = Field(0.25, ge=0, description="how much less bright pixels weigh that are in doubt")
    schedule: NoiseSchedule = NoiseSchedule()
    amplitudes: Amplitudes = Amplitudes()

    def network(self, bands: int, data_std: float) -> UNetConfig:
        """Return the network's settings for scenes of `bands` bands and standard deviation `data_std`."""
        shared = {f.name for f in dataclasses.fields(UNetConfig)} & set(type(self).model_fields) - {"bands"}
        settings = {name: getattr(self, name) for name in shared}
        if self.precision == "auto":
            settings["precision"] = precision_here("bfloat16")
        return UNetConfig(bands=bands, data_std=data_std, **settings)

    def make_optimiser(self) -> optax.GradientTransformation:
        """Return the optimiser, with a clipped gradient, warm-up and inverse-square-root decay.

        Muon (Jordan et al. 2024) turns the momentum of each convolution's weights, taken as a matrix, into
        its nearest orthogonal one, so that all directions are learned at the same rate; its steps are as
        large as Adam's (rms of 0.2 times the rate; Liu et al. 2025). The first and last layers, offsets and
        the layers of the noise level are Adam's.
        """

        def rate(step: Array) -> Array:
            t = step.astype(jnp.float32) + 1.0
            return (
                self.learning_rate
                * jnp.minimum(1.0, t / self.warmup)
                / jnp.sqrt(jnp.maximum(1.0, t / self.decay_from))
            )

        clip = optax.clip_by_global_norm(1.0)
        if self.optimiser == "adam":
            return optax.chain(clip, optax.adam(rate, b1=0.9, b2=0.99))
        muon = optax.contrib.muon(
            rate,
            adam_b1=0.9,
            adam_b2=0.99,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=_matrices,
        )
        return optax.chain(clip, muon)


def _matrices(params: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Say which weights, masked by optax or not, are matrices of inputs and outputs inside the network."""
    ends = ("stem", "heads", "variance")
    kernel = optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
    return {
        module: {
            name: kernel if np.ndim(value) == 4 and not module.startswith(ends) else None
            for name, value in group.items()
        }
        for module, group in params.items()
    }
