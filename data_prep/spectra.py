r"""Fourier transforms of light maps at any frequencies: GalSim's interpolated image, for all maps at once.

A light map stands for the surface brightness :math:`\sum_p m_p\, q(u - p)`, its pixels interpolated by
GalSim's quintic kernel `q`: what ``galsim.InterpolatedImage`` draws. Its transform is

.. math:: M(\kappa) = \hat q(\kappa_y)\, \hat q(\kappa_x) \sum_p m_p\, e^{-2\pi i\, \kappa\cdot p}.

An image that is turned, sheared and shrunk asks for the sum at frequencies that are no grid in the map's
axes. GalSim interpolates a fourfold padded transform with 36 neighbours, one map at a time. Here it is a
non-uniform Fourier transform (Dutt & Rokhlin 1993; kernel of Barnett, Magland & af Klinteberg 2019): the map
is divided by the transform of the short kernel that will interpolate its twofold padded transform, which
leaves an error of 3e-5 of the flux with 25 neighbours. The weights are worked out once per frequency for all
maps of a galaxy. That takes a tenth of GalSim's time, most of which goes into the padded transforms; tests
compare with GalSim.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import galsim
import numpy as np
import scipy.fft
import scipy.sparse
from jaxtyping import Bool, Complex64, Float, Float32

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
# As they are multiplied: each row of neighbours with all columns.
_ROW_WEIGHTS, _COLUMN_WEIGHTS = np.repeat(_WEIGHTS, TAPS, axis=1), np.tile(_WEIGHTS, TAPS)


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
        weights = _ROW_WEIGHTS[of_row] * _COLUMN_WEIGHTS[of_column]
        row, column = firsts.astype(np.int32)
        neighbours = np.add.outer(width * np.arange(TAPS), np.arange(TAPS)).ravel().astype(np.int32)
        places = (width * (row + height // 2) + column + TAPS)[:, None] + neighbours
        starts = np.arange(0, TAPS**2 * number + 1, TAPS**2, dtype=np.int32)
        interpolation = scipy.sparse.csr_array(
            (weights.ravel(), places.ravel(), starts), shape=(number, height * width)
        )
        parts = (interpolation @ self.padded.reshape(height * width, -1).view(np.float32)).view(np.complex64)
        parts.imag[mirrored] *= -1
        entries = np.minimum(_FINE * np.abs(frequencies) + 0.5, len(_QUINTIC) - 1).astype(np.int32)
        parts *= _QUINTIC[entries].prod(axis=0)[:, None]
        return parts


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
    lit = light.maps.any(axis=0)
    middle = [n // 2 for n in lit.shape]
    origin = [m - (n - 1) / 2 for m, n in zip(middle, lit.shape, strict=True)]
    rows, columns = (np.flatnonzero(lit.any(axis=1 - axis)) - m for axis, m in enumerate(middle))
    reach = int(max(np.abs(rows).max(), np.abs(columns).max())) + 1
    y, x = (np.arange(-min(reach, m), min(reach, n - m)) for m, n in zip(middle, lit.shape, strict=True))
    window = (slice(p[0] + m, p[-1] + m + 1) for p, m in zip((y, x), middle, strict=True))
    period = scipy.fft.next_fast_len(3 * reach)
    correction = _correction(period)
    last = math.ceil(limit * period) + TAPS
    kept_y, kept_x = np.arange(-last, last + 1), np.arange(-TAPS, last)
    phases = np.exp(-2j * np.pi / period * np.arange(period)).astype(np.complex64)
    # Along x by a matrix product: a fast transform of real numbers would be followed by much copying.
    along_x = correction[x][:, None] * phases[np.multiply.outer(x, kept_x) % period]
    padded = np.empty((len(kept_y), len(kept_x), len(light.maps)), np.complex64)
    # One by one: what is at hand stays in the processor's cache.
    for number, plane in enumerate(light.maps[:, *window]):
        half = (plane.astype(np.float32) @ along_x.view(np.float32)).view(np.complex64)
        half *= correction[y][:, None]
        along_y = np.zeros((period, len(kept_x)), np.complex64)
        along_y[: y[-1] + 1], along_y[period + y[0] :] = half[-y[0] :], half[: -y[0]]
        padded[:, :, number] = scipy.fft.fft(along_y, axis=0, overwrite_x=True)[kept_y % period]
    return MapSpectra(
        padded,
        period,
        (origin[0], origin[1]),
        (float(np.abs(rows + origin[0]).max()), float(np.abs(columns + origin[1]).max())),
        _radius(lit, origin),
    )


def _radius(lit: Bool[np.ndarray, "y x"], origin: Sequence[float]) -> float:
    """Return the largest distance of light from the centre, which lies at an end of some row's light."""
    rows = np.flatnonzero(lit.any(axis=1))
    ends = np.stack([lit[rows].argmax(axis=1), lit.shape[1] - 1 - lit[rows, ::-1].argmax(axis=1)])
    y, x = (p - n // 2 + o for p, n, o in zip((rows, ends), lit.shape, origin, strict=True))
    return float(np.hypot(y, x).max())


@functools.lru_cache(maxsize=64)
def _correction(period: int) -> Float32[np.ndarray, " n"]:
    """Return what the interpolation divides by, at pixels from zero on; the last ones lie before it."""
    positions = np.fft.fftfreq(period)
    nodes = TAPS / 2 * _NODES
    transform = np.cos(2 * np.pi * np.outer(positions, nodes)) @ (TAPS / 2 * _NODE_WEIGHTS * _kernel(nodes))
    return (1 / transform).astype(np.float32)
