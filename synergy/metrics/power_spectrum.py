"""Power spectra of scenes: how much structure at which scale, band by band.

Scenes are apodised by a Hann window, so that light cut by the edge does not leak into high frequencies, and
the power ``|FFT|^2`` (unitary) is averaged over rings of frequency. The spectrum is that of the whole scene.
"""

import numpy as np
from jaxtyping import Float

from synergy.windows import hann


def radial_power(
    scenes: Float[np.ndarray, "draw band y x"], edges: Float[np.ndarray, " edge"]
) -> Float[np.ndarray, "draw band bin"]:
    """Return the mean power in rings of frequency.

    Parameters
    ----------
    scenes
        Scenes of one shape.
    edges
        Ascending edges of the rings in cycles per pixel.

    Raises
    ------
    ValueError
        If a ring holds no mode of such scenes.
    """
    height, width = scenes.shape[-2:]
    window = hann(height, width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    ring = np.digitize(radius.ravel(), edges) - 1
    count = np.array([np.sum(ring == i) for i in range(len(edges) - 1)])
    if not count.all():
        raise ValueError(f"a ring of {edges} cycles per pixel holds no mode of {height} x {width} pixels")
    out = np.empty((*scenes.shape[:2], len(count)))
    for index, scene in enumerate(scenes):
        power = np.abs(np.fft.fft2(scene * window, norm="ortho")) ** 2
        for band, plane in enumerate(power.reshape(len(scene), -1)):
            sums = [plane[ring == i].sum() for i in range(len(count))]
            out[index, band] = sums / count
    return out
