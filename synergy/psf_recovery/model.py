"""Effective PSFs as a function of a few numbers: a telescope, a Gaussian blur, a shift and the pixel.

A *telescope* (`Telescope`: `optics.Optics` in space, `seeing.Seeing` on the ground) gives the
transform of its PSF on the frequencies of a small window. Here it is multiplied with the transforms of an
elliptical Gaussian (jitter, charge diffusion, guiding) and of the square pixel, and evaluated at any
positions, with exact derivatives. The numbers are those of the telescope and the three of the Cholesky factor
of the Gaussian's covariance (arcsec; it stays positive whatever they are).
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Complex, Float

N_BLUR = 3


@runtime_checkable
class Telescope(Protocol):
    """What makes a PSF before blur and pixel; see `optics.Optics` for the meaning of each part."""

    blur: float

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""

    @property
    def prior(self) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
        """Mean and standard deviation of each parameter before any stamp is seen."""

    def starts(self) -> Float[np.ndarray, "start p"]:
        """Return points to begin a fit from."""

    def finer(self) -> "Telescope":
        """Return a more exact version, for wings far out."""

    def coarser(self) -> "Telescope":
        """Return a cheaper version, to screen starting points."""

    def grid(self, half_width: float) -> tuple[int, float]:
        """Return the odd number of samples and their spacing (arcsec) of a window that holds `half_width`."""

    def transfer(
        self, parameters: Float[np.ndarray, " p"], size: int, step: float, jacobian: bool = True
    ) -> tuple[Complex[np.ndarray, "ky kx"], Complex[np.ndarray, "q ky kx"]]:
        """Return the transform at the frequencies of ``rfft2`` and its derivatives."""


class Grid(NamedTuple):
    """Pixel centres in arcsec along each axis, relative to the source."""

    y: Float[np.ndarray, " y"]
    x: Float[np.ndarray, " x"]

    @classmethod
    def of_stamp(cls, shape: tuple[int, int], step: float, source: Float[np.ndarray, " 2"]) -> "Grid":
        """Return the pixels of a stamp whose source sits at `source` (y, x) arcsec from its centre."""
        y, x = ((np.arange(n) - (n - 1) / 2) * step - o for n, o in zip(shape, source, strict=True))
        return cls(y, x)

    def positions(self) -> Float[np.ndarray, "n 2"]:
        """Return (y, x) of every pixel, row after row."""
        return np.stack(np.meshgrid(self.y, self.x, indexing="ij"), axis=-1).reshape(-1, 2)


def prior_of(telescope: Telescope) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, " q"]]:
    """Return mean and standard deviation of all parameters before any stamp is seen."""
    mean, sigma = telescope.prior
    blur = telescope.blur
    return np.r_[mean, blur, 0.0, blur], np.r_[sigma, 0.5 * blur, 0.25 * blur, 0.5 * blur]


def evaluate(
    telescope: Telescope,
    parameters: Float[np.ndarray, " q"],
    pixel_scale: float,
    grids: list[Grid],
    jacobian: bool = True,
) -> tuple[list[Float[np.ndarray, "_y _x"]], list[Float[np.ndarray, "_q _y _x"]]]:
    """Return effective PSFs per square arcsec, of unit flux over all angles, on several grids.

    Parameters
    ----------
    telescope
        What makes the PSF.
    parameters
        The telescope's and the blur's.
    pixel_scale
        Side in arcsec of the detector's pixel, which is part of the PSF; 0 for none.
    grids
        Where.
    jacobian
        Whether to compute derivatives (none otherwise).

    Returns
    -------
    Values, and their derivatives with respect to `parameters` and to the source's position (y, x), on each
    grid.
    """
    n = len(telescope.names)
    a, b, c = parameters[n:]
    # What the blur and the pixel bring in from beyond the grid.
    reach = 5 * max(abs(a), abs(b), abs(c)) + 2 * pixel_scale
    extent = max(float(np.abs(axis).max()) for grid in grids for axis in grid) + reach
    size, step = telescope.grid(extent)
    spectrum, derivatives = telescope.transfer(parameters[:n], size, step, jacobian)
    along_y, along_x = np.fft.fftfreq(size, step)[:, None], np.fft.rfftfreq(size, step)[None, :]
    variance = (a * along_y + b * along_x) ** 2 + (c * along_x) ** 2
    envelope = np.exp(-2 * np.pi**2 * variance)
    envelope *= np.sinc(pixel_scale * along_y) * np.sinc(pixel_scale * along_x)
    stack = (spectrum * envelope)[None]
    if jacobian:
        mixed = -4 * np.pi**2 * (a * along_y + b * along_x)
        blurs = [mixed * along_y, mixed * along_x, -4 * np.pi**2 * c * along_x**2 + 0 * along_y]
        shifts = [-2j * np.pi * (f + 0 * envelope) for f in (along_y, along_x)]
        stack = np.concatenate([stack, derivatives * envelope, np.stack([*blurs, *shifts]) * stack])
    values, slopes = [], []
    twice = np.where(np.arange(along_x.size) == 0, 1.0, 2.0)  # the other half of the spectrum
    for grid in grids:
        rows = np.exp(2j * np.pi * np.outer(grid.y, along_y[:, 0])) / (size * step) ** 2
        columns = np.exp(2j * np.pi * np.outer(grid.x, along_x[0])) * twice
        result = ((rows @ stack) @ columns.T).real
        values.append(result[0])
        slopes.append(result[1:])
    return values, slopes
