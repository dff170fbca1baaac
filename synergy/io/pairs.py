"""Pairs of a truth and its observations.

(The shards' layout is documented where it is written.)
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from synergy.frame import Frame
from synergy.observation import Observation


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """A true scene and the images of it.

    Parameters
    ----------
    id
        Name of the pair: that of its galaxy and of the view of it, unique within a data set.
    seed
        Of the configuration.
    split
        ``"train"``, ``"validation"`` or ``"test"``.
    bands
        Bands of the truth.
    truth
        The scene in nJy/pixel, seen through the model PSF.
    frame
        Frame of the truth.
    observations
        Its images.
    sources
        One row per source on the sky: name, redshift, position, fluxes.
    """

    id: str
    seed: int
    split: str
    bands: tuple[str, ...]
    truth: Float[np.ndarray, "band y x"]
    frame: Frame
    observations: tuple[Observation, ...]
    sources: tuple[dict[str, Any], ...]
