"""The brightest source of a scene, cut out of its neighbours.

Sources are found in the mean of the bands by SExtractor's method (Bertin & Arnouts 1996) as the library `sep`
has it: connected pixels above an isophote, split where they hold several peaks. Scenes are free of noise, so
the isophote is given and not measured: a fraction of the scene's brightest smoothed pixel (its flux scale,
`synergy.priors.scale`), which is independent of units. The brightest source is that of most flux within it.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from synergy.errors import InputError
from synergy.priors.scale import scene_scale

ISOPHOTE = 0.02
"""Surface brightness down to which a source is followed, in units of the scene's flux scale."""

_SMALLEST = 12  # pixels
_SMOOTHING = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16.0


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One source of a scene.

    Parameters
    ----------
    scene
        The scene, zero where other sources are, ``(band, y, x)``.
    image
        The mean of its bands.
    region
        The source's pixels down to the isophote.
    centre
        Its brightest smoothed pixel, ``(y, x)``.
    whole
        False where the region touches the edge of the scene.
    """

    scene: Float[np.ndarray, "band y x"]
    image: Float[np.ndarray, "y x"]
    region: Bool[np.ndarray, "y x"]
    centre: tuple[int, int]
    whole: bool


def brightest_source(scene: Float[np.ndarray, "band y x"], pixel_scale: float) -> Source | None:
    """Return the brightest source, or None for a scene without any.

    Parameters
    ----------
    scene
        Scene in units in which the bands are of like brightness (such as a prior's).
    pixel_scale
        Arcsec.

    Raises
    ------
    InputError
        If the library that finds sources is not installed.
    """
    try:
        import sep
    except ImportError as error:
        raise InputError(
            "metrics", "no library 'sep'", "the tools to judge scenes", "pip install 'synergy[judge]'"
        ) from error
    scale = float(scene_scale(jnp.asarray(scene), jnp.ones(len(scene), jnp.float32), pixel_scale))
    if not scale > 0:
        return None
    image = np.ascontiguousarray(scene.mean(axis=0), np.float64)
    found, labels = sep.extract(
        image, ISOPHOTE * scale, minarea=_SMALLEST, filter_kernel=_SMOOTHING, segmentation_map=True
    )
    if not len(found):
        return None
    best = int(np.argmax(found["flux"])) + 1
    region = labels == best
    alone = np.where((labels == 0) | region, scene, 0.0)
    edge = region[0].any() or region[-1].any() or region[:, 0].any() or region[:, -1].any()
    centre = (int(found["ycpeak"][best - 1]), int(found["xcpeak"][best - 1]))
    return Source(alone, alone.mean(axis=0), region, centre, not edge)
