"""The least one can do: each band's own image, interpolated onto the scene's pixels.

Image pixels are samples of a smooth surface brightness (times the pixel area), so the image is interpolated
by a cubic spline at the scene's pixel centres and multiplied by the ratio of the pixel areas. Total flux is
conserved as far as the image is well sampled. Nothing is deconvolved and no other band is used.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.observation import Observation


def upsample(
    observations: Sequence[Observation], frame: Frame, bands: Sequence[str]
) -> Float[np.ndarray, "band y x"]:
    """Interpolate each band's own image onto the scene.

    Several images of one band are averaged, weighted by their median depth. Masked pixels take the value of
    the nearest good one, as does the scene beyond an image's edge.

    Parameters
    ----------
    observations
        Images; those with a mixed response are left out.
    frame
        Frame of the scene.
    bands
        Bands of the scene.

    Returns
    -------
    Fluxes in nJy/pixel.

    Raises
    ------
    InputError
        If a band has no image of its own.
    """
    return np.stack([_band(observations, frame, band) for band in bands])


def _band(observations: Sequence[Observation], frame: Frame, band: str) -> Float[np.ndarray, "y x"]:
    own = [o for o in observations if o.band == band and o.response is None]
    if not own:
        raise InputError("upsample", f"no image of {band}", "one image of each band", "Leave the band out.")
    depths = [o.depth for o in own]
    planes = [_interpolate(o, frame) for o in own]
    return np.average(planes, axis=0, weights=depths)


def _interpolate(observation: Observation, frame: Frame) -> Float[np.ndarray, "y x"]:
    matrix, offset = frame.affine_to(observation.frame)
    nearest = ndimage.distance_transform_edt(observation.mask, return_distances=False, return_indices=True)
    positions = np.tensordot(matrix, np.indices(frame.shape), axes=1) + offset[:, None, None]
    filled = observation.image[tuple(nearest)]
    return ndimage.map_coordinates(filled, positions, order=3, mode="nearest") * abs(np.linalg.det(matrix))
