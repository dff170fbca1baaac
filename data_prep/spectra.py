r"""Fourier transforms of light maps at any frequencies: GalSim's interpolated image, for all maps at once.

A light map stands for the surface brightness :math:`\sum_p m_p\, q(u - p)`, its pixels interpolated by
GalSim's quintic kernel `q`: what ``galsim.InterpolatedImage`` draws. Its transform is

.. math:: M(\kappa) = \hat q(\kappa_y)\, \hat q(\kappa_x) \sum_p m_p\, e^{-2\pi i\, \kappa\cdot p}.

An image that is turned, sheared and shrunk asks for the sum at frequencies that are no grid in the map's
axes. GalSim interpolates a fourfold padded transform with 36 neighbours, one map at a time. Here it is a
non-uniform Fourier transform (Dutt & Rokhlin 1993; kernel of Barnett, Magland & af Klinteberg 2019): the map
is divided by the transform of the short kernel that will interpolate its twofold padded transform, which
leaves an error of 3e-5 of the flux with 25 neighbours. The weights are worked out once per frequency for all
maps of a galaxy. That costs a fifth of GalSim's time, nearly all of which went into the padded transforms;
tests compare with GalSim.
"""

import dataclasses
import functools

import galsim
import numpy as np
import scipy.fft
import scipy.sparse
from jaxtyping import Complex64, Float, Float32, Int

from data_prep.sky import LightMaps

TAPS = 5
"""Neighbours along an axis."""

_KERNEL_REACH = 2.0  # source pixels around light that the quintic kernel makes bright
_STEEPNESS = 2.3 * TAPS
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(32)
_FINE = 30_000  # entries of the table of q's transform per cycle
_QUINTIC = galsim.Quintic().kval(2 * np.pi / _FINE * np.arange(3 * _FINE)).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class MapSpectra:
    """Transforms of the maps of one galaxy.

    Parameters
    ----------
    padded
        Transform of the corrected maps at multiples of ``1 / len(padded)``.
    origin
        Position (y, x), from the centre of the map, of the pixel that it is taken about: 0 or half a pixel.
    half_sides
        Largest distance (y, x) from the centre in pixels at which there is light.
    radius
        The same along any direction.
    """

    padded: Complex64[np.ndarray, "k k map"]
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
            Cycles per source pixel along (y, x).
        """
        period, number = len(self.padded), frequencies.shape[1]
        (rows, of_rows), (columns, of_columns) = (_neighbours(f, period) for f in frequencies)
        places = (period * rows[:, :, None] + columns[:, None, :]).ravel()
        weights = (of_rows[:, :, None] * of_columns[:, None, :]).ravel()
        starts = np.arange(0, TAPS**2 * number + 1, TAPS**2, dtype=np.int32)
        interpolation = scipy.sparse.csr_array((weights, places, starts), shape=(number, period**2))
        parts = interpolation @ self.padded.reshape(period**2, -1).view(np.float32)
        entries = np.minimum(_FINE * np.abs(frequencies) + 0.5, len(_QUINTIC) - 1).astype(np.int32)
        return parts.view(np.complex64) * _QUINTIC[entries].prod(axis=0)[:, None]


@functools.lru_cache(maxsize=16)
def map_spectra(light: LightMaps) -> MapSpectra:
    """Transform the maps of a galaxy; the last few galaxies are remembered.

    Parameters
    ----------
    light
        The galaxy.
    """
    shape = np.array(light.maps.shape[1:])
    middle = shape // 2
    lit = np.argwhere(light.maps.any(axis=0)) - middle
    reach = int(np.abs(lit).max()) + 1
    period = scipy.fft.next_fast_len(4 * reach)
    padded = np.zeros((period, period, len(light.maps)), np.float32)
    y, x = (np.arange(max(-reach, -m), min(reach, n - m)) for m, n in zip(middle, shape, strict=True))
    block = light.maps[:, y[0] + middle[0] : y[-1] + middle[0] + 1, x[0] + middle[1] : x[-1] + middle[1] + 1]
    corrected = block / np.outer(_kernel_transform(y / period), _kernel_transform(x / period))
    padded[np.ix_(y % period, x % period)] = np.moveaxis(corrected, 0, -1)
    origin = middle - (shape - 1) / 2
    from_centre = np.abs(lit + origin)
    half_sides = from_centre.max(axis=0)
    return MapSpectra(
        scipy.fft.fft2(padded, axes=(0, 1), overwrite_x=True),
        (float(origin[0]), float(origin[1])),
        (float(half_sides[0]), float(half_sides[1])),
        float(np.hypot(*from_centre.T).max()),
    )


def _kernel(distance: Float[np.ndarray, "*n"] | Float32[np.ndarray, "*n"]) -> np.ndarray:
    """Return the weight of a neighbour at a distance in steps of the padded transform."""
    inside = np.maximum(1 - np.square(2 / TAPS * distance), 0)
    return np.exp(_STEEPNESS * (np.sqrt(inside) - 1))


def _kernel_transform(positions: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the transform of the kernel; positions in periods."""
    nodes = TAPS / 2 * _NODES
    return np.cos(2 * np.pi * np.outer(positions, nodes)) @ (TAPS / 2 * _NODE_WEIGHTS * _kernel(nodes))


def _neighbours(
    frequency: Float[np.ndarray, " n"], period: int
) -> tuple[Int[np.ndarray, "n tap"], Float32[np.ndarray, "n tap"]]:
    position = frequency * period
    first = np.ceil(position - TAPS / 2)
    distance = (first - position).astype(np.float32)[:, None] + np.arange(TAPS, dtype=np.float32)
    places = first.astype(np.int32)[:, None] + np.arange(TAPS, dtype=np.int32)
    return places % period, _kernel(distance)
