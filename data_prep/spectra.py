r"""Fourier transforms of light maps at any frequencies: GalSim's interpolated image, for all maps at once.

A light map stands for the surface brightness :math:`\sum_p m_p\, q(u - p)`, its pixels interpolated by
GalSim's quintic kernel `q`: what ``galsim.InterpolatedImage`` draws. Its transform is

.. math:: M(\kappa) = \hat q(\kappa_y)\, \hat q(\kappa_x) \sum_p m_p\, e^{-2\pi i\, \kappa\cdot p}.

An image that is turned, sheared and shrunk asks for the sum at frequencies that are no grid in the map's
axes. GalSim interpolates a fourfold padded transform with 36 neighbours, one map at a time. Here it is a
non-uniform Fourier transform (Dutt & Rokhlin 1993; kernel of Barnett, Magland & af Klinteberg 2019): the map
is divided by the transform of the short kernel that will interpolate its transform, padded by half its size,
which leaves an error of 3e-5 of the flux with 25 neighbours. The weights are worked out once per frequency
for all maps of a galaxy, and only the frequencies that will be asked for are transformed; tests compare with
GalSim.
"""

import dataclasses
import functools
import math

import galsim
import numpy as np
import scipy.fft
import scipy.sparse
from jaxtyping import Complex64, Float, Float32

from data_prep.sky import LightMaps

TAPS = 5
"""Neighbours along an axis."""

_KERNEL_REACH = 2.0  # source pixels around light that the quintic kernel makes bright
_STEEPNESS = 2.3 * TAPS
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(32)
_LIMIT_STEP = 1 / 32
_FINE = 1 << 15  # entries of the table of the quintic kernel's transform, per cycle
_QUINTIC = galsim.Quintic().kval(2 * np.pi / _FINE * np.arange(3 * _FINE)).astype(np.float32)


def _kernel(distance: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Return the weight of a neighbour at a distance in steps of the padded transform."""
    return np.exp(_STEEPNESS * (np.sqrt(np.maximum(1 - np.square(2 / TAPS * distance), 0)) - 1))


_PLACES = 1 << 13  # between two steps of the padded transform, at which weights are tabulated
_WEIGHTS = _kernel(np.arange(_PLACES + 1)[:, None] / _PLACES + np.arange(TAPS) - TAPS / 2).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class MapSpectra:
    """Transforms of the maps of one galaxy.

    Parameters
    ----------
    padded
        Transform of the corrected maps at multiples of ``1 / period``: rows on both sides of zero, which lies
        in the middle, and columns from ``-TAPS`` on, up to a limit.
    period
        Size of the padded maps in pixels.
    origin
        Position (y, x), from the centre of the map, of the pixel that it is taken about: 0 or half a pixel.
    half_sides
        Largest distance (y, x) from the centre in pixels at which there is light.
    radius
        The same along any direction.
    """

    padded: Complex64[np.ndarray, "ky kx map"]
    period: int
    origin: tuple[float, float]
    half_sides: tuple[float, float]
    radius: float

    def extent(self, matrix: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, " 2"]:
        """Return how far (y, x) light reaches from the centre, once source pixels are mapped by `matrix`."""
        box = np.abs(matrix) @ (np.array(self.half_sides) + _KERNEL_REACH)
        return np.minimum(box, np.hypot(*matrix.T) * (self.radius + _KERNEL_REACH))

    def at(self, frequencies: Float[np.ndarray, "2 n"]) -> Complex64[np.ndarray, "n map"]:
        """Return the transforms about `origin`.

        Parameters
        ----------
        frequencies
            Cycles per source pixel along (y, x), up to the limit of `map_spectra`.
        """
        height, width, _ = self.padded.shape
        number = frequencies.shape[1]
        # The maps are real: the transform at -k is the conjugate of that at k.
        mirrored = frequencies[1] < 0
        positions = np.where(mirrored, -self.period, self.period) * frequencies
        firsts = np.ceil(positions - TAPS / 2)
        of_row, of_column = (_PLACES * (firsts - positions + TAPS / 2) + 0.5).astype(np.int32)
        in_y, in_x = np.minimum(_FINE * np.abs(frequencies) + 0.5, len(_QUINTIC) - 1).astype(np.int32)
        rows = _WEIGHTS[of_row] * (_QUINTIC[in_y] * _QUINTIC[in_x])[:, None]
        weights = np.einsum("ni,nj->nij", rows, _WEIGHTS[of_column])
        row, column = firsts.astype(np.int32)
        neighbours = np.add.outer(width * np.arange(TAPS), np.arange(TAPS)).ravel().astype(np.int32)
        places = (width * (row + height // 2) + column + TAPS)[:, None] + neighbours
        starts = np.arange(0, TAPS**2 * number + 1, TAPS**2, dtype=np.int32)
        interpolation = scipy.sparse.csr_array(
            (weights.ravel(), places.ravel(), starts), shape=(number, height * width)
        )
        parts = (interpolation @ self.padded.reshape(height * width, -1).view(np.float32)).view(np.complex64)
        return np.conjugate(parts, out=parts, where=mirrored[:, None])


def map_spectra(light: LightMaps, limit: float) -> MapSpectra:
    """Transform the maps of a galaxy; those of the last few galaxies are remembered.

    Parameters
    ----------
    light
        The galaxy.
    limit
        Largest frequency that will be asked for, cycles per source pixel.
    """
    return _map_spectra(light, math.ceil(limit / _LIMIT_STEP + 1e-6) * _LIMIT_STEP)


@functools.lru_cache(maxsize=32)
def _map_spectra(light: LightMaps, limit: float) -> MapSpectra:
    maps = light.maps.astype(np.float32)
    lit = maps.any(axis=0)
    middle = [n // 2 for n in lit.shape]
    origin = [m - (n - 1) / 2 for m, n in zip(middle, lit.shape, strict=True)]
    rows, columns = (np.flatnonzero(lit.any(axis=1 - axis)) - m for axis, m in enumerate(middle))
    reach = int(max(np.abs(rows).max(), np.abs(columns).max())) + 1
    period = scipy.fft.next_fast_len(3 * reach)
    (up, left), (down, right) = (
        [min(reach, n) for n in side] for side in (middle, np.subtract(lit.shape, middle).tolist())
    )
    last = math.ceil(limit * period) + TAPS
    kept = np.arange(-last, last + 1) % period
    # Along x by a matrix product: a fast transform of real numbers would be followed by much copying.
    along_x = _along_x(period, left, right, last).view(np.float32)
    correction = _correction(period)
    above, below = correction[period - up :, None], correction[:down, None]
    padded = np.empty((len(kept), last + TAPS, len(maps)), np.complex64)
    block = maps[:, middle[0] - up : middle[0] + down, middle[1] - left : middle[1] + right]
    # One by one: what is at hand stays in the processor's cache.
    for number, plane in enumerate(block):
        half = (plane @ along_x).view(np.complex64)
        along_y = np.zeros((period, last + TAPS), np.complex64)
        np.multiply(half[up:], below, out=along_y[:down])
        np.multiply(half[:up], above, out=along_y[period - up :])
        padded[:, :, number] = scipy.fft.fft(along_y, axis=0, overwrite_x=True)[kept]
    return MapSpectra(
        padded,
        period,
        (origin[0], origin[1]),
        (float(np.abs(rows + origin[0]).max()), float(np.abs(columns + origin[1]).max())),
        float((_distances(lit.shape) * lit).max()),
    )


@functools.lru_cache(maxsize=16)
def _distances(shape: tuple[int, int]) -> Float[np.ndarray, "y x"]:
    return np.hypot.outer(*(np.arange(n) - (n - 1) / 2 for n in shape))


@functools.lru_cache(maxsize=16)
def _along_x(period: int, left: int, right: int, last: int) -> Complex64[np.ndarray, "x kx"]:
    """Return the matrix of the corrected transform of pixels to the columns of `MapSpectra.padded`."""
    x, kx = np.arange(-left, right), np.arange(-TAPS, last)
    phases = np.exp(-2j * np.pi / period * np.arange(period)).astype(np.complex64)
    return _correction(period)[x][:, None] * phases[np.multiply.outer(x, kx) % period]


@functools.lru_cache(maxsize=64)
def _correction(period: int) -> Float32[np.ndarray, " n"]:
    """Return what the interpolation multiplies by, at pixels from zero on; the last ones lie before it."""
    positions, nodes = np.fft.fftfreq(period), TAPS / 2 * _NODES
    transform = np.cos(2 * np.pi * np.outer(positions, nodes)) @ (TAPS / 2 * _NODE_WEIGHTS * _kernel(nodes))
    return (1 / transform).astype(np.float32)
