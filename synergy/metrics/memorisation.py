"""Whether a prior draws its training galaxies over again.

Scenes are random arrangements of galaxies, so it is galaxies that could be remembered. Each scene's brightest
one is cut out, centred on its peak, binned, companded and made a vector of unit length; the distance of two
is ``sqrt(2 (1 - cosine))``, the smallest over the eight orientations of the square, which are those that
training shows. Drawn galaxies that lie closer to the training galaxies than held-out ones do were copied.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from synergy.metrics.sources import brightest_source

_BIN, _BINS = 3, 21
_SIDE = _BIN * _BINS  # pixels; odd, so that turns keep the central pixel
_GROUPS = 3
_KNEE = 0.05


def galaxy_vector(
    scene: Float[np.ndarray, "band y x"], pixel_scale: float
) -> Float[np.ndarray, "group v u"] | None:
    """Return the brightest galaxy of a scene as an image of unit length, or None where there is none.

    Parameters
    ----------
    scene
        Scene in units in which the bands are of like brightness (such as a prior's).
    pixel_scale
        Arcsec.
    """
    source = brightest_source(scene, pixel_scale)
    if source is None:
        return None
    half = _SIDE // 2
    padded = np.pad(source.scene, ((0, 0), (half, half), (half, half)))
    y, x = source.centre
    stamp = padded[:, y : y + _SIDE, x : x + _SIDE]
    binned = stamp.reshape(len(stamp), _BINS, _BIN, _BINS, _BIN).mean(axis=(2, 4))
    groups = np.stack([part.mean(axis=0) for part in np.array_split(binned, min(_GROUPS, len(binned)))])
    companded = np.arcsinh(groups / (_KNEE * groups.max()))
    return (companded / np.linalg.norm(companded)).astype(np.float32)


def nearest(
    galaxies: Float[np.ndarray, "n group y x"], references: Iterable[Float[np.ndarray, "_ group y x"]]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Return the distance of each galaxy to the nearest reference, and that one's number.

    Parameters
    ----------
    galaxies
        Vectors of `galaxy_vector`.
    references
        Batches of such vectors; one batch at a time is held.
    """
    turned = np.stack([t.reshape(len(galaxies), -1) for t in _orientations(galaxies)])
    best, index, start = np.full(len(galaxies), -np.inf), np.full(len(galaxies), -1), 0
    for batch in references:
        cosine = np.max(turned @ batch.reshape(len(batch), -1).T, axis=0)
        closest = np.argmax(cosine, axis=1)
        value = cosine[np.arange(len(galaxies)), closest]
        index = np.where(value > best, start + closest, index)
        best = np.maximum(best, value)
        start += len(batch)
    return np.sqrt(2.0 * np.maximum(1.0 - best, 0.0)), index


def _orientations(images: Float[np.ndarray, "n group y x"]) -> list[Float[np.ndarray, "n group y x"]]:
    turns = [np.rot90(images, k, axes=(2, 3)) for k in range(4)]
    return turns + [t[..., ::-1] for t in turns]
