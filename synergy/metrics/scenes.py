"""Numbers that describe whole sets of scenes, for judging those that a prior draws.

Of each scene: its flux scale, its number of lit pixels, the power of a blue and a red band in rings of
frequency, and the morphology of its brightest source (`synergy.metrics.morphology`) where this lies wholly
inside. Scenes are divided by their flux scale first, so all but the scale itself is independent of units.
Where a scene is empty, or a number cannot be measured, it is NaN.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from synergy.metrics.morphology import NAMES, describe_source
from synergy.metrics.power_spectrum import radial_power
from synergy.metrics.sources import ISOPHOTE, brightest_source
from synergy.priors.scale import scene_scale

EMPTY = 0.1
"""Flux scale in a prior's units below which a scene counts as empty; training scenes lie at 0.5 to 2."""

_RINGS = (0.03, 0.06, 0.12, 0.25, 0.5)  # cycles per pixel
_FLOOR = 1e-6  # power, in units of the squared scale: a thousandth of it, white


def scene_statistics(
    normalised: Float[np.ndarray, "draw band y x"],
    bands: Sequence[str],
    pixel_scale: float,
    colour: tuple[str, str],
) -> dict[str, Float[np.ndarray, " draw"]]:
    """Return each statistic of each scene.

    Parameters
    ----------
    normalised
        Scenes in a prior's units.
    bands
        Their bands.
    pixel_scale
        Arcsec.
    colour
        A blue and a red band.
    """
    unit = jnp.ones(len(bands), jnp.float32)
    scale = np.asarray(scene_scale(jnp.asarray(normalised), unit, pixel_scale), np.float64)
    lit = scale >= EMPTY
    own = normalised / np.where(lit, scale, 1.0).astype(np.float32)[:, None, None, None]
    chosen = [bands.index(name) for name in colour]
    power = np.log10(radial_power(own[:, chosen], np.array(_RINGS)) + _FLOOR)
    table = {"scale": np.log10(np.maximum(scale, 1e-6))}
    area = np.mean(own.mean(axis=1) > ISOPHOTE, axis=(1, 2))
    table["lit area"] = np.where(lit & (area > 0), np.log10(np.maximum(area, 1e-9)), np.nan)
    for index, name in enumerate(colour):
        for ring in range(len(_RINGS) - 1):
            values = np.where(lit, power[:, index, ring], np.nan)
            table[f"power {name} {_RINGS[ring]:g}-{_RINGS[ring + 1]:g}"] = values
    rows = []
    for scene, shown in zip(own, lit, strict=True):
        source = brightest_source(scene, pixel_scale) if shown else None
        whole = source is not None and source.whole
        rows.append(
            describe_source(source, tuple(bands), pixel_scale, colour)
            if whole
            else dict.fromkeys(NAMES, np.nan)
        )
    return table | {name: np.array([row[name] for row in rows], np.float64) for name in NAMES}
