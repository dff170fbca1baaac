"""One galaxy as its source delivered it: what every reader returns, and what a listing holds of it."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True, eq=False)
class Galaxy:
    """Images of a galaxy on its own grid, free of noise and PSF where simulated.

    Parameters
    ----------
    bands
        Names of the bands.
    light
        Surface brightness, linear in flux, ``(band, y, x)``; in nJy per pixel where `absolute`, else only
        relative. Nanojanskys are those seen from the distance of `redshift`, in the observer's frame.
    kpc_per_pixel
        Size of a pixel; NaN where the source does not say.
    redshift
        Redshift at which the bands were simulated or observed; NaN where the source does not say.
    id
        Unique name.
    lineage
        Name of the object that this is one snapshot or view of; splits go by lineage.
    absolute
        Whether `light` is calibrated.
    face_on
        Whether the galaxy is seen face-on, so that it may be inclined by squeezing its image.
    """

    bands: tuple[str, ...]
    light: Float[np.ndarray, "band y x"]
    kpc_per_pixel: float
    redshift: float
    id: str
    lineage: str
    absolute: bool
    face_on: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class GalaxyEntry:
    """A galaxy that can be read; small, and it can be sent to other processes.

    Parameters
    ----------
    id, lineage
        As those of the galaxy.
    read
        Function without arguments that reads it.
    """

    id: str
    lineage: str
    read: Callable[[], Galaxy]
