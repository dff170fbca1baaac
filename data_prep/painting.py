"""Brushes for made-up galaxies: inclined discs, logarithmic spirals, turbulence, knots of star formation.

Each brush paints one ingredient of a galaxy's appearance; `data_prep.demo_scene` and `data_prep.procedural`
mix them, each by its own recipe. A logarithmic spiral keeps a constant angle, the pitch, with circles:
``azimuth = ln(radius) / tan(pitch)``. Turbulence is a Gaussian field with a power-law spectrum; slopes
between 2 and 3 are those of interstellar matter in projection (Elmegreen & Scalo 2004, ARA&A 42, 211).
"""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates

from synergy.templates import calzetti

Map = Float[np.ndarray, "y x"]

Light = dict[str, Map]
"""Name of a population of stars -> its light per pixel; "dusty" is light that comes through dust."""

Kinds = dict[str, tuple[str, float]]
"""Name of a population -> template and E(B-V)."""

REFERENCE = 6200.0
"""Wavelength at rest of amounts of light, Angstrom: the middle of SDSS r."""


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A square grid around the origin.

    Parameters
    ----------
    size
        Pixels on a side.
    step
        Size of a pixel, in the unit of all lengths.
    """

    size: int
    step: float = 1.0

    def coordinates(self) -> tuple[Map, Map]:
        """Return x and y of the pixels' centres."""
        axis = (np.arange(self.size) - (self.size - 1) / 2) * self.step
        x, y = np.meshgrid(axis, axis)
        return x, y


def disc_plane(x: Map, y: Map, position_angle: float, cos_inclination: float) -> tuple[Map, Map]:
    """Return coordinates along the major and the minor axis, within the plane of an inclined disc.

    Parameters
    ----------
    x, y
        Coordinates on the sky.
    position_angle
        Direction of the major axis, radians from x towards y.
    cos_inclination
        Apparent axis ratio of a circle in the plane.
    """
    major = x * np.cos(position_angle) + y * np.sin(position_angle)
    minor = (y * np.cos(position_angle) - x * np.sin(position_angle)) / cos_inclination
    return major, minor


def spiral_phase(radius: Map, azimuth: Map, scale_length: float, pitch: float) -> Map:
    """Return the azimuth that a logarithmic spiral leaves, wound up no further than 0.1 scale lengths.

    Parameters
    ----------
    radius, azimuth
        Polar coordinates in the plane of the disc.
    scale_length
        Radius at which the spiral is at azimuth 0.
    pitch
        Angle between the spiral and circles, radians.
    """
    return azimuth - np.log(np.maximum(radius, 0.1 * scale_length) / scale_length) / np.tan(pitch)


def arms(phase: Map, narrowness: float, number: int = 2) -> Map:
    """Return equal spiral arms, von Mises profiles with maxima of 1 where the phase is 0."""
    return np.exp(narrowness * (np.cos(number * phase) - 1))


def turbulence(rng: np.random.Generator, size: int, slope: float, smoothing: float) -> Map:
    """Draw a periodic field of unit variance with P ~ k^-slope, smoothed by a Gaussian (sigma in pixels)."""
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    amplitude = np.maximum(k, 2 / size) ** (-slope / 2) * np.exp(-2 * (np.pi * k * smoothing) ** 2)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * amplitude, s=(size, size))
    return (field - field.mean()) / field.std()


def stretched(field: Float[np.ndarray, "v u"], u: Map, v: Map) -> Map:
    """Look a periodic field up at its pixel coordinates ``(u, v)``."""
    return map_coordinates(field, [u, v], order=1, mode="grid-wrap")


def clumps(field: Map, strength: float) -> Map:
    """Return log-normal fluctuations around 1, from a field of unit variance."""
    return np.exp(strength * field - strength**2 / 2)


def sersic(radius: Map, half_light: float, index: float) -> Map:
    """Return a Sersic profile, 1 at its half-light radius (b_n of Ciotti & Bertin 1999)."""
    b = 2 * index - 1 / 3 + 4 / (405 * index) + 46 / (25515 * index**2)
    return np.exp(-b * ((radius / half_light) ** (1 / index) - 1))


def knots(
    rng: np.random.Generator, canvas: Canvas, birth: Map, number: int, sigmas: tuple[float, float],
    reach: int | None = None,
) -> Map:  # fmt: skip
    """Scatter star-forming knots: small Gaussians with power-law luminosities where stars are born.

    Parameters
    ----------
    rng
        Random numbers.
    canvas
        Grid of `birth`.
    birth
        Relative probability of a knot in each pixel.
    number
        How many.
    sigmas
        Range of their widths.
    reach
        Pixels from its centre out to which a knot is painted; all when omitted.
    """
    x, y = canvas.coordinates()
    places = rng.choice(birth.size, size=number, p=(birth / birth.sum()).ravel())
    shifts = rng.uniform(-0.5, 0.5, (2, number)) * canvas.step
    luminosities = np.minimum(rng.pareto(1.3, number) + 1, 25)
    widths = rng.uniform(*sigmas, number)
    painted = np.zeros_like(birth)
    for place, dx, dy, luminosity, width in zip(places, *shifts, luminosities, widths, strict=True):
        row, column = divmod(int(place), canvas.size)
        near = np.s_[:, :]
        if reach is not None:
            near = np.s_[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        square = (x[near] - x.flat[place] - dx) ** 2 + (y[near] - y.flat[place] - dy) ** 2
        painted[near] += luminosity / width**2 * np.exp(-square / (2 * width**2))
    return painted


def tidal_tail(rng: np.random.Generator, radius: Map, azimuth: Map, scale_length: float) -> Map:
    """Return the shape of a tail torn out of a disc, with unit sum: a single, open spiral far outside."""
    turned, pitch = azimuth - rng.uniform(0.0, 2.0 * np.pi), float(np.radians(rng.uniform(30.0, 50.0)))
    phase = spiral_phase(radius, turned, scale_length, pitch)
    tail = arms(phase, rng.uniform(6.0, 12.0), 1) * np.exp(-(((radius / scale_length - 2.7) / 1.1) ** 2))
    tail = tail * clumps(turbulence(rng, len(radius), 2.5, 2.0), 0.4)
    return tail / tail.sum()


def veil(light: Light, behind: dict[str, Map | float], hidden: Map, reddening: float) -> Light:
    """Move what lies behind dust to the dusty population, dimmed.

    Parameters
    ----------
    light
        Before.
    behind
        Name of a population -> the part of it that is behind the dust layer.
    hidden
        Part of the light behind the layer that meets dust there.
    reddening
        E(B-V) of the dust.
    """
    dimming = 10 ** (-0.4 * reddening * float(calzetti(np.array([REFERENCE]))[0]))
    lost = {name: light[name] * part * hidden for name, part in behind.items()}
    seen = {name: plane - lost[name] if name in lost else plane for name, plane in light.items()}
    return seen | {"dusty": dimming * sum(lost.values())}
