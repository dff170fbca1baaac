r"""Sources on regular pixels, seen through a compact kernel: a small product in Fourier space for each one.

For one source at `c`, whose maps :math:`m` with transforms :math:`M_m` (`data_prep.spectra`) are placed by
the matrix `A` and have the fluxes :math:`f_{mb}` in band `b`, a pixel of size `s` at `x` holds

.. math:: S_b(x) = s^2 \sum_k \Delta k^2\, e^{2\pi i\, k\cdot(x - c)}\, G(k) \sum_m f_{mb} M_m(A^T k),

with `G` the transform of the kernel. What it costs is set by the source: the frequencies end where `G` ends,
and their spacing is one over the smallest period that holds the pixels that the source can reach through the
kernel. The maps are interpolated once for all bands; the sum is two products with matrices of phases, which
puts pixels anywhere.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Complex64, Complex128, Float, Float32

from data_prep.sky import Sky
from data_prep.spectra import map_spectra


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A round kernel of unit sum that is small beyond a radius and beyond a frequency.

    Parameters
    ----------
    radius
        Arcsec.
    limit
        Cycles per arcsec.
    transform
        Its transform as a function of cycles per arcsec, up to the limit.
    """

    radius: float
    limit: float
    transform: Callable[[Float[np.ndarray, "*k"]], Float[np.ndarray, "*k"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Square pixels, and how the axes of the sky lie in theirs.

    Parameters
    ----------
    shape
        Number of pixels (y, x).
    scale
        Arcsec per pixel.
    turn
        Map of arcsec (y, x) on the sky to arcsec (y, x) along the pixels.
    offset
        Arcsec (y, x) of the sky's origin from the centre of the pixels.
    """

    shape: tuple[int, int]
    scale: float
    turn: Float[np.ndarray, "2 2"]
    offset: Float[np.ndarray, " 2"]


def draw_sources(
    sky: Sky, bands: Sequence[str], pixels: Pixels, kernel: Kernel, finest: float
) -> Float32[np.ndarray, "band y x"]:
    """Draw a sky.

    Parameters
    ----------
    sky
        The sky.
    bands
        Bands to draw.
    pixels
        Pixels to draw.
    kernel
        What the sky is seen through.
    finest
        Largest limit, in cycles per arcsec, of any kernel through which the sky will be drawn: the maps are
        transformed for all of them.

    Returns
    -------
    Fluxes in nJy/pixel.
    """
    columns = [sky.bands.index(band) for band in bands]
    drawn = np.zeros((len(bands), *pixels.shape), np.float32)
    for source in sky.sources:
        matrix, extent = pixels.turn @ source.matrix, np.zeros(2)
        if source.light is not None:
            spectra = map_spectra(source.light, finest * float(np.linalg.norm(matrix, 2)))
            extent = spectra.extent(matrix)
        place = (pixels.turn @ np.array(source.centre) + pixels.offset) / pixels.scale
        place += (np.array(pixels.shape) - 1) / 2
        ends = extent + kernel.radius
        first = np.maximum(np.ceil(place - ends / pixels.scale), 0).astype(int)
        last = np.minimum(np.floor(place + ends / pixels.scale), np.array(pixels.shape) - 1).astype(int)
        if np.any(last < first):
            continue
        period = np.maximum(np.abs(first - place), np.abs(last - place)) * pixels.scale + ends
        lattice = _Lattice.within(kernel.limit, period)
        weights = kernel.transform(np.hypot(*lattice.frequencies)).astype(np.float32)[:, None]
        if source.light is None:
            values = weights.astype(np.complex64)
        else:
            values = spectra.at(matrix.T @ lattice.frequencies)
            values *= weights
            place += matrix @ np.array(spectra.origin) / pixels.scale
        y, x = ((np.arange(a, b + 1) - p) * pixels.scale for a, b, p in zip(first, last, place, strict=True))
        window = (slice(None), slice(first[0], last[0] + 1), slice(first[1], last[1] + 1))
        fluxes = np.float32(pixels.scale**2) * source.fluxes[:, columns].astype(np.float32)
        if len(columns) < len(fluxes):  # what there are fewer of, bands or maps, is put on pixels
            drawn[window] += lattice.sampled((values @ fluxes).T, y, x)
        else:
            drawn[window] += np.tensordot(fluxes.T, lattice.sampled(values.T, y, x), 1)
    return drawn


@dataclasses.dataclass(frozen=True, eq=False)
class _Lattice:
    """Half a plane of frequencies (y, x), spaced by one over a period, within a circle."""

    period: Float[np.ndarray, " 2"]
    steps: tuple[int, int]
    inside: np.ndarray
    frequencies: Float[np.ndarray, "2 k"]

    @classmethod
    def within(cls, limit: float, period: Float[np.ndarray, " 2"]) -> "_Lattice":
        steps = int(limit * period[0]), int(limit * period[1])
        along_y, along_x = np.arange(-steps[0], steps[0] + 1) / period[0], np.arange(steps[1] + 1) / period[1]
        inside = np.add.outer(along_y**2, along_x**2) <= limit**2
        rows, columns = np.nonzero(inside)
        return cls(period, steps, inside, np.stack([along_y[rows], along_x[columns]]))

    def sampled(
        self,
        values: Complex64[np.ndarray, "n k"],
        y: Float[np.ndarray, " y"],
        x: Float[np.ndarray, " x"],
    ) -> Float32[np.ndarray, "n y x"]:
        """Return real functions at positions in arcsec, from their transforms."""
        plane = np.zeros((len(values), *self.inside.shape), np.complex64)
        plane[:, self.inside] = values
        return inverse_transform(plane, y / self.period[0], x / self.period[1]) / np.float32(
            self.period.prod()
        )


def inverse_transform(
    half: Complex64[np.ndarray, "n ky kx"], y: Float[np.ndarray, " y"], x: Float[np.ndarray, " x"]
) -> Float32[np.ndarray, "n y x"]:
    """Return real functions at any places from half a plane of their Fourier coefficients.

    Parameters
    ----------
    half
        Coefficients: along y those on both sides of zero, which lies in the middle; along x those from zero
        on.
    y, x
        Places in periods.
    """
    steps_y, steps_x = half.shape[1] // 2, half.shape[2] - 1
    positive = _powers(y, steps_y).T
    along_y = np.concatenate([positive[:, :0:-1].conj(), positive], axis=1).astype(np.complex64)
    along_x = _powers(x, steps_x)
    along_x[1:] *= 2  # for the other half of the plane
    # Real parts only: columns of (real, imaginary) pairs.
    pairs = np.stack([along_x.real, -along_x.imag], axis=1).reshape(-1, len(x)).astype(np.float32)
    return (along_y @ half).view(np.float32) @ pairs


def _powers(turns: Float[np.ndarray, " n"], steps: int) -> Complex128[np.ndarray, "k n"]:
    """Return exp(2 pi i k turns) for k up to `steps`, by multiplication."""
    factors = np.tile(np.exp(2j * np.pi * turns), (steps + 1, 1))
    factors[0] = 1
    return np.multiply.accumulate(factors)
