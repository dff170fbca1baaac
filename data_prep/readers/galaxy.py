"""One galaxy as a simulation delivered it: what every reader returns."""

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True, eq=False)
class Galaxy:
    """Noise-free, PSF-free images of a simulated galaxy on its own grid.

    Parameters
    ----------
    bands
        Names of the bands.
    light
        Surface brightness, linear in flux, ``(band, y, x)``; in nJy per pixel where `absolute`, else only
        relative.
    kpc_per_pixel
        Size of a pixel.
    redshift
        Redshift at which the bands were simulated; NaN where the source does not say.
    id
        Unique name.
    lineage
        Name of the object that this is one snapshot or view of; splits go by lineage.
    absolute
        Whether `light` is calibrated.
    """

    bands: tuple[str, ...]
    light: Float[np.ndarray, "band y x"]
    kpc_per_pixel: float
    redshift: float
    id: str
    lineage: str
    absolute: bool
