"""Settings of a calibration campaign; unknown keys are errors."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from synergy.reconstruct import SamplerSettings


class SamplerChoice(BaseModel):
    """Settings of the sampler (see `synergy.SamplerSettings`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(SamplerSettings.steps, ge=1)
    covariance: Literal["auto", "learned", "prior", "tweedie"] = "auto"
    hedge: float = Field(SamplerSettings.hedge, ge=0)
    iterations: int = Field(SamplerSettings.iterations, ge=1)
    integrator: str = SamplerSettings.integrator
    corrector_sweeps: int = Field(0, ge=0)
    corrector_steps: int = Field(SamplerSettings.corrector_steps, ge=1)
    scale_width: float = Field(0.0, ge=0)

    @property
    def settings(self) -> SamplerSettings:
        """The settings themselves."""
        return SamplerSettings(**self.model_dump())


class CalibrationSettings(BaseModel):
    """Settings of a campaign; YAML keys of the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    prior: str = Field("default", description="name of a shipped prior, or a directory")
    split: Literal["train", "validation", "test"] = "test"
    pairs: int = Field(ge=1, description="number of pairs, from the first")
    draws: int = Field(15, ge=4, description="posterior draws per pair; draws + 1 = 16 ranks")
    truths: Literal["mocks", "prior"] = Field(
        "mocks",
        description="true scenes of the mocks, or draws of the prior seen by the same instruments, which "
        "leave nothing but the sampler to be wrong",
    )
    sampler: SamplerChoice = SamplerChoice()
    margin: int = Field(
        16, ge=0, description="scene pixels around the truth, from where light reaches images"
    )
    radii: tuple[float, ...] = Field((0.3, 0.8), description="apertures, arcsec")
    softening: float = Field(10.0, gt=0, description="flux below which colours and shapes fade, nJy")
    snr_edges: tuple[float, ...] = Field(
        (0.0, 30.0, 150.0, 1e6), description="edges of the S/N bins, of the brightest smoothed peak"
    )
    levels: tuple[float, ...] = (0.5, 0.68, 0.95)
    seed: int = 0
