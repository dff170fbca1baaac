"""Put galaxies on the sky: size, brightness, orientation, position and neighbours.

A galaxy's light maps are stretched, sheared (inclination), turned, flipped and shifted by one affine map onto
the scene grid, and convolved with the model PSF on the way: the source grid is smoothed with the elliptical
Gaussian that the affine map turns into the round model PSF, then interpolated. Smoothing comes first, so that
shrinking does not alias, and it wipes out steps of 8-bit images and the photon speckle of radiative transfer
at the finest pixels.

Sizes, magnitudes and redshifts are drawn together from the COSMOS catalogue's rows (Mandelbaum et al. 2014),
carried to other magnitudes along ``size ~ flux^0.25`` (its slope within the catalogue's errors).
"""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import map_coordinates

from synergy.errors import InputError
from synergy.io.images import open_fits

MODEL_SIGMA = 2.0 / np.sqrt(8.0 * np.log(2.0))  # scene pixels: a FWHM of two
BRIGHT, FAINT, NEAR = (
    20.5,
    23.0,
    0.75,
)  # magnitudes between which the catalogue is dense, and how close is near


@dataclasses.dataclass(frozen=True)
class Pose:
    """How a galaxy lies on the scene grid.

    Parameters
    ----------
    centre
        Its centre, scene pixels ``(y, x)``.
    zoom
        Scene pixels per source pixel along the major axis.
    axis_ratio
        Shortening of the minor axis by inclination.
    position_angle
        Direction of the major axis, radians from x towards y.
    spin
        Rotation within the galaxy's own plane before it is inclined, radians.
    mirrored
        Whether it is seen from behind.
    """

    centre: tuple[float, float]
    zoom: float
    axis_ratio: float
    position_angle: float
    spin: float
    mirrored: bool

    @property
    def matrix(self) -> Float[np.ndarray, "2 2"]:
        """The linear map from source pixels to scene pixels, ``(y, x)``."""

        def turn(angle: float) -> Float[np.ndarray, "2 2"]:
            return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

        flip = np.diag([-1.0 if self.mirrored else 1.0, 1.0])
        return (
            turn(self.position_angle) @ np.diag([self.axis_ratio, 1.0]) @ turn(self.spin) @ flip * self.zoom
        )


def place(
    maps: Float[np.ndarray, "map y x"], pose: Pose, shape: tuple[int, int]
) -> Float[np.ndarray, "map v u"]:
    """Put light maps onto the scene grid, seen through the model PSF.

    Parameters
    ----------
    maps
        Light per source pixel; the edges must be dark.
    pose
        Where and how.
    shape
        Shape of the scene.

    Returns
    -------
    array
        Light per scene pixel. The total is kept, but for what falls off the scene.
    """
    inverse = np.linalg.inv(pose.matrix)
    covariance = MODEL_SIGMA**2 * inverse @ inverse.T
    reach = int(np.ceil(4.0 * np.sqrt(np.linalg.eigvalsh(covariance)[-1])))  # room for the PSF's wings
    height, width = (next_fast_len(n + 2 * reach, real=True) for n in maps.shape[-2:])
    # The centre must stay between the same pixels, so what is added is even.
    height, width = (p + (p - n) % 2 for n, p in zip(maps.shape[-2:], (height, width), strict=True))
    margins = [((p - n) // 2,) * 2 for n, p in zip(maps.shape[-2:], (height, width), strict=True)]
    maps = np.pad(maps, [(0, 0), *margins])
    ky, kx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    quadratic = covariance[0, 0] * ky**2 + 2.0 * covariance[0, 1] * ky * kx + covariance[1, 1] * kx**2
    gain = np.exp(-2.0 * np.pi**2 * quadratic)
    smooth = irfft2(rfft2(maps) * gain, s=(height, width))

    corners = (
        np.array([[y, x] for y in (-height / 2, height / 2) for x in (-width / 2, width / 2)]) @ pose.matrix.T
    )
    low = np.maximum(np.floor(corners.min(axis=0) + pose.centre).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0) + pose.centre).astype(int) + 1, shape)
    out = np.zeros((len(maps), *shape))
    if np.any(high <= low):
        return out
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]]
    offset = np.stack([y - pose.centre[0], x - pose.centre[1]])
    source = (
        np.tensordot(inverse, offset, axes=1) + np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    )
    window = (slice(low[0], high[0]), slice(low[1], high[1]))
    for plane, target in zip(smooth, out, strict=True):
        target[window] = map_coordinates(plane, source, order=3, mode="constant") * abs(
            np.linalg.det(inverse)
        )
    return np.maximum(out, 0.0)


def half_light_radius(light: Float[np.ndarray, "y x"]) -> float:
    """Return the radius in pixels, about the image's centre, that holds half of the light."""
    y, x = np.indices(light.shape)
    radius = np.hypot(y - (light.shape[0] - 1) / 2, x - (light.shape[1] - 1) / 2).ravel()
    order = np.argsort(radius)
    growth = np.cumsum(light.ravel()[order])
    return float(radius[order][np.searchsorted(growth, 0.5 * growth[-1])])


@dataclasses.dataclass(frozen=True, eq=False)
class Population:
    """Rows of the catalogue: F814W magnitude, half-light radius (arcsec) and redshift."""

    magnitude: Float[np.ndarray, " n"]
    radius: Float[np.ndarray, " n"]
    redshift: Float[np.ndarray, " n"]

    @classmethod
    def read(cls, path: Path) -> "Population":
        """Read ``cosmos_23.5_500_sersic_fits.fits`` of the GalSim COSMOS sample.

        Raises
        ------
        InputError
            If the file cannot be read as such, or has no galaxies near some magnitude.
        """
        names = ("mag_auto", "flux_radius", "zphot")
        with open_fits(path) as file:
            try:
                table = file[1].data
                columns = [np.asarray(table[name], np.float64) for name in names]
            except (KeyError, IndexError, TypeError) as error:
                raise InputError(
                    path,
                    " ".join(str(error).split()),
                    f"a table with {', '.join(names)} in the first extension",
                    "Point to the COSMOS catalogue.",
                ) from error
        good = np.all(np.isfinite(columns), axis=0) & (columns[1] > 0) & (columns[2] > 0)
        magnitude, radius, redshift = (c[good] for c in columns)
        for wanted in np.linspace(BRIGHT, FAINT, 251):
            if not np.any(np.abs(magnitude - wanted) < NEAR):
                raise InputError(
                    path,
                    f"no usable galaxy within {NEAR} mag of {wanted:.2f}",
                    f"galaxies of all magnitudes from {BRIGHT} to {FAINT}",
                    "Use the whole catalogue.",
                )
        return cls(magnitude, 0.03 * radius, redshift)

    def draw(self, magnitude: float, rng: np.random.Generator) -> tuple[float, float]:
        """Draw half-light radius (arcsec) and redshift of a galaxy of given magnitude."""
        near = np.abs(self.magnitude - np.clip(magnitude, BRIGHT, FAINT)) < NEAR
        row = int(rng.choice(np.flatnonzero(near)))
        radius = self.radius[row] * 10 ** (-0.1 * (magnitude - self.magnitude[row]))
        return float(radius), float(np.clip(self.redshift[row], 0.02, 2.0))


def draw_magnitude(bright: float, faint: float, slope: float, rng: np.random.Generator) -> float:
    """Draw a magnitude from counts ``10^(slope m)`` between two limits."""
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    return float(np.log10(low + rng.random() * (high - low)) / slope)
