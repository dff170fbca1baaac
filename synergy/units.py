"""AB magnitudes, nanojanskys and counts: the only place that knows a zero point.

An AB magnitude is ``m = -2.5 log10(f / nJy) + 31.4`` (Oke & Gunn 1983, with the 3631 Jy zero point rounded as
every survey does: ``2.5 log10(3631e9) = 31.400``). A `zeropoint` is the AB magnitude of one unit of an image,
so that a value of ``c`` units is ``c * 10**(0.4 (31.4 - zeropoint))`` nJy.
"""

import numpy as np
from jaxtyping import Float

NJY_ZEROPOINT = 31.4
"""AB magnitude of 1 nJy."""

Values = Float[np.ndarray, "..."] | float


def nanojanskys_per_unit(zeropoint: float) -> float:
    """Return the flux in nJy of one unit of an image.

    Parameters
    ----------
    zeropoint
        AB magnitude of one unit.
    """
    return float(10.0 ** (0.4 * (NJY_ZEROPOINT - zeropoint)))


def flux_from_counts(counts: Values, zeropoint: float) -> Values:
    """Convert image units to nJy.

    Parameters
    ----------
    counts
        Values in image units, any shape.
    zeropoint
        AB magnitude of one unit.
    """
    return counts * nanojanskys_per_unit(zeropoint)


def counts_from_flux(flux: Values, zeropoint: float) -> Values:
    """Convert nJy to image units; the inverse of `flux_from_counts`.

    Parameters
    ----------
    flux
        Values in nJy, any shape.
    zeropoint
        AB magnitude of one unit.
    """
    return flux / nanojanskys_per_unit(zeropoint)


def flux_from_magnitude(magnitude: Values) -> Values:
    """Convert AB magnitudes to nJy.

    Parameters
    ----------
    magnitude
        AB magnitudes, any shape.
    """
    return 10.0 ** (0.4 * (NJY_ZEROPOINT - magnitude))


def magnitude_from_flux(flux: Values) -> Values:
    """Convert nJy to AB magnitudes.

    Parameters
    ----------
    flux
        Fluxes in nJy, any shape. A flux that is not positive has no magnitude and gives nan.
    """
    flux = np.asarray(flux, dtype=np.float64)
    positive = flux > 0
    magnitude = NJY_ZEROPOINT - 2.5 * np.log10(np.where(positive, flux, 1.0))
    result = np.where(positive, magnitude, np.nan)
    return float(result) if result.ndim == 0 else result
