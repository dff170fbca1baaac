"""Settings of a set of mocks, as YAML keys of the same names; unknown keys are errors."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from data_prep.splits import SPLITS
from synergy.survey import SCENE_BANDS

Split = Literal["train", "validation", "test"]
Share = Annotated[float, Field(ge=0, le=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def __hash__(self) -> int:
        """Return a hash, also of settings that hold mappings."""
        return hash(self.model_dump_json())


class SceneSettings(_Settings):
    """The truth's grid and bands."""

    bands: tuple[str, ...] = SCENE_BANDS
    side: int = Field(128, ge=16, description="pixels")
    pixel_scale: float = Field(0.05, gt=0, description="arcsec")


class SourceSettings(_Settings):
    """Where galaxies come from; several sources are mixed by weight."""

    kind: Literal["procedural", "eagle", "tng", "skirt", "hst"]
    folder: str | None = Field(None, description="folder within --data; none for procedural galaxies")
    weight: float = Field(1.0, gt=0)
    simulation: str | None = Field(None, description="name of the simulation, where files do not say it")
    zeropoints: dict[str, float] | None = Field(
        None, description="band -> AB magnitude of 1 count/s, for images in counts"
    )
    redshift: float | None = Field(
        None, gt=0, description="of calibrated images; their own, or the likeliest, when omitted"
    )
    number: int = Field(300, ge=1, description="procedural galaxies to choose from")


class PlacementSettings(_Settings):
    """What is put where. Magnitudes are F814W AB."""

    bright: float = Field(19.0, description="brightest main galaxy")
    faint: float = Field(25.0, description="faintest main galaxy")
    faintest: float = Field(27.0, description="faintest neighbour")
    offset: float = Field(
        0.05, ge=-0.5, description="how far beyond the scene a main galaxy may lie, sides; -0.5 centres it"
    )
    central: Share = Field(
        0.0, description="probability that a main galaxy is taken from the scene's middle half instead"
    )
    neighbours: float | None = Field(None, ge=0, description="mean number; from galaxy counts when omitted")
    companion: Share = Field(0.3, description="probability of a close companion")
    empty: Share = Field(0.08, description="probability that there is no main galaxy")
    star: Share = Field(0.1, description="probability of a star, on the scene or around it")
    star_bright: float = Field(18.0, description="brightest star")
    star_faint: float = Field(25.0, description="faintest star")
    sizes: Literal["catalogue", "physical"] = Field(
        "catalogue", description="half-light radii by magnitude, or the simulation's at the drawn redshift"
    )


class StampSettings(_Settings):
    """A measured PSF."""

    file: str = Field(description="FITS stamp within --data")
    pixel_scale: float | None = Field(None, gt=0, description="arcsec per pixel; the camera's when omitted")
    center: tuple[float, float] | None = Field(
        None, description="where the star sits, (y, x) from 0; the stamp's middle when omitted"
    )


class SurveySettings(_Settings):
    """One camera's images of each scene."""

    bands: tuple[str, ...]
    exposures: PositiveInt | dict[str, PositiveInt] | None = Field(
        None, description="combined exposures, of all bands or by band; the survey's when omitted"
    )
    rotation: float | Literal["random"] = Field(0.0, description="degrees, or random for each pair")
    flipped: bool = Field(False, description="whether the image has the other parity")
    dithered: bool = Field(True, description="whether the pixel grid has a random sub-pixel offset")
    seeing_scatter: float = Field(0.0, ge=0, description="scatter of ln(seeing) between pairs")
    layout: Literal["native", "mer"] = Field("native", description="own pixels, or Euclid's 0.1 arcsec grid")
    psf_radius: float = Field(3.0, gt=0, description="arcsec at which PSF wings end")
    psf: dict[str, StampSettings] = Field({}, description="measured PSFs by band, in place of models")

    def exposures_of(self, band: str) -> int | None:
        """Return the number of exposures combined in a band; None for all that the survey takes."""
        return self.exposures.get(band) if isinstance(self.exposures, dict) else self.exposures


class MockSettings(_Settings):
    """A whole data set of pairs."""

    name: str
    seed: int = Field(0, ge=0)
    pairs: dict[Split, int] = Field(description="pairs of each split")
    shard: int = Field(100, ge=1, description="pairs per shard")
    catalogue: str | None = Field(None, description="catalogue within --data; our own table when omitted")
    colours: str | None = Field(
        None, description="HST stamps within --data: colours for galaxies that lost theirs (EAGLE)"
    )
    half: Literal["first", "second"] | None = Field(
        None, description="train on galaxies of this half only; all when omitted"
    )
    scene: SceneSettings = SceneSettings()
    sources: tuple[SourceSettings, ...] = Field(min_length=1)
    placement: PlacementSettings = PlacementSettings()
    surveys: tuple[SurveySettings, ...] = Field((), description="none for truths alone, to train on")

    @model_validator(mode="after")
    def _check(self) -> "MockSettings":
        seen = [band for survey in self.surveys for band in survey.bands]
        if len(set(seen)) < len(seen):
            raise ValueError("each band may be observed by one survey entry only")
        if missing := sorted(set(seen) - set(self.scene.bands)):
            raise ValueError(f"surveys observe bands that the scene has not: {', '.join(missing)}")
        if not set(self.pairs) <= set(SPLITS) or any(n < 0 for n in self.pairs.values()):
            raise ValueError("pairs must be counts of train, validation and test")
        return self
