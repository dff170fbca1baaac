"""Where images end without an edge: windows that fall as a cosine."""

import numpy as np
from jaxtyping import Float


def fade(radius: Float[np.ndarray, "*n"], start: float, end: float) -> Float[np.ndarray, "*n"]:
    """Return a window that is 1 up to one radius and falls as a cosine to 0 at another.

    Parameters
    ----------
    radius
        Radius of each point.
    start, end
        Where it begins to fall, and where it is 0, which may be nearer; in the unit of the radius.
    """
    return 0.5 * (1.0 + np.cos(np.pi * np.clip((radius - start) / (end - start), 0.0, 1.0)))


def hann(height: int, width: int) -> Float[np.ndarray, "y x"]:
    """Return Hann's window of an image, of unit mean square: it keeps the power of what is everywhere.

    Parameters
    ----------
    height, width
        Pixels. The window is zero just beyond them.
    """
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    return window / np.sqrt(np.mean(window**2))
