"""PSF stamps as files hold them: not normalised, not quite centred, sometimes too large to be true.

A stamp off its centre shifts everything that is deconvolved with it. Where a format's stamps are *known* to
be off by accident (the image agrees with other images once the stamp is centred), its reader asks to centre
them; elsewhere the offset is only noted, since it may belong to the image.
"""

import numpy as np
from jaxtyping import Float

from synergy.windows import fade

OFF_CENTRE = 0.02
"""Centroids off by more than this many stamp pixels are mentioned."""


def centroid(stamp: Float[np.ndarray, "y x"], sigma: float = 2.0) -> Float[np.ndarray, " 2"]:
    """Return the centroid of a stamp, (y, x) from its centre in pixels.

    The centroid is weighted with a Gaussian that follows it, so that noise far out does not count. Where it
    settles, the weighted profile is balanced about the weight's own centre.

    Parameters
    ----------
    stamp
        PSF stamp.
    sigma
        Standard deviation of the weight in pixels.
    """
    y, x = (np.arange(n) - (n - 1) / 2 for n in stamp.shape)
    peak = np.unravel_index(np.argmax(stamp), stamp.shape)
    offset = np.array([y[peak[0]], x[peak[1]]])
    for _ in range(200):
        weighted = stamp * np.exp(-np.add.outer((y - offset[0]) ** 2, (x - offset[1]) ** 2) / (2 * sigma**2))
        new = np.array([weighted.sum(axis=1) @ y, weighted.sum(axis=0) @ x]) / weighted.sum()
        settled = np.abs(new - offset).max() < 1e-6
        offset = new
        if settled:
            break
    return offset


def shifted(stamp: Float[np.ndarray, "y x"], shift: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "y x"]:
    """Shift a well-sampled stamp by a fraction of a pixel (Fourier phase, zero-padded).

    Parameters
    ----------
    stamp
        PSF stamp.
    shift
        Shift (y, x) in pixels.
    """
    pad = 4
    padded = np.pad(stamp, pad)
    phase = [np.exp(-2j * np.pi * np.fft.fftfreq(n) * s) for n, s in zip(padded.shape, shift, strict=True)]
    moved = np.fft.ifft2(np.fft.fft2(padded) * np.multiply.outer(*phase)).real
    return moved[pad:-pad, pad:-pad]


def centred(stamp: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """Shift a well-sampled stamp until its centroid lies at its centre."""
    for _ in range(3):  # the edge of a truncated stamp leaves a little each time
        stamp = shifted(stamp, -centroid(stamp))
    return stamp


def low_passed(stamp: Float[np.ndarray, "y x"], limit: float) -> Float[np.ndarray, "y x"]:
    """Remove the frequencies of a stamp above a limit, by a round raised cosine from 0.9 to 1.1 of it.

    Parameters
    ----------
    stamp
        PSF stamp.
    limit
        Cycles per stamp pixel.
    """
    pad = max(stamp.shape)
    padded = np.pad(stamp, pad)
    gain = fade(np.hypot.outer(*(np.fft.fftfreq(n) for n in padded.shape)), 0.9 * limit, 1.1 * limit)
    smooth = np.fft.ifft2(np.fft.fft2(padded) * gain).real
    return smooth[pad:-pad, pad:-pad]
