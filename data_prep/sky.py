"""The sky that a mock is drawn from: galaxies' light maps with their spectra, placed by affine maps.

`LightMaps` is a galaxy as a source of light on its own grid, split into populations of one spectrum each;
`SkySource` puts it somewhere with some flux per band; `Sky` is a list of them. Readers and the procedural
galaxies make light maps, `data_prep.placement` makes skies, `data_prep.rendering` draws them. Positions on
the sky are arcsec along +y and +x of the scene's pixel axes, from the scene's centre.
"""

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True, eq=False)
class LightMaps:
    """A galaxy's light, shared out among populations; compared by identity, so that renderers can cache.

    Parameters
    ----------
    id
        Unique name.
    lineage
        Name of the object that this is one snapshot or view of.
    maps
        Light of each population per source pixel, each of unit sum, non-negative, dark at the edges; the
        galaxy's centre is the centre of the array, ``(n - 1) / 2``.
    shares
        Share of each population in the galaxy's light in the reference band; adds up to 1.
    populations
        Template and E(B-V) of each map, such as ``("Sbc", 0.25)`` (see `synergy.templates`).
    own_colours
        Whether shares and populations are those of this galaxy, fitted to calibrated images; else maps only
        order its light from red to blue, and integrated colours have to be drawn.
    radius
        Half-light radius in source pixels.
    kpc_per_pixel
        Size of a source pixel; NaN where the source does not say.
    face_on
        Whether the galaxy is seen face-on, so that it may be inclined by squeezing its image.
    """

    id: str
    lineage: str
    maps: Float[np.ndarray, "map y x"]
    shares: Float[np.ndarray, " map"]
    populations: tuple[tuple[str, float], ...]
    own_colours: bool
    radius: float
    kpc_per_pixel: float = np.nan
    face_on: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class SkySource:
    """One source on the sky.

    Parameters
    ----------
    light
        Its light maps; None for a point source.
    fluxes
        Flux of each map in each band, nJy; one row for a point source.
    centre
        Position ``(y, x)``, arcsec.
    matrix
        Linear map of source pixels ``(y, x)`` to arcsec ``(y, x)``; the identity for a point source.
    redshift
        Redshift; 0 for a star.
    radius
        Half-light radius in a round aperture, arcsec; 0 for a star.
    """

    light: LightMaps | None
    fluxes: Float[np.ndarray, "map band"]
    centre: tuple[float, float]
    matrix: Float[np.ndarray, "2 2"]
    redshift: float
    radius: float = 0.0

    @property
    def name(self) -> str:
        """Name of the galaxy, or ``"star"``."""
        return "star" if self.light is None else self.light.id


@dataclasses.dataclass(frozen=True, eq=False)
class Sky:
    """All sources around one scene.

    Parameters
    ----------
    bands
        Bands of the sources' fluxes.
    sources
        The sources; the first one is the galaxy that the mock is about, unless the sky is empty.
    """

    bands: tuple[str, ...]
    sources: tuple[SkySource, ...]
