"""The optical PSF of a telescope: pupil, aberrations and passband, without aliasing.

The field in the focal plane is the Fourier transform of the pupil,
``E(a) = int P(u) exp(2 pi i (W(u) + u . a) / lambda) du``, its squared modulus the PSF, whose transform (the
autocorrelation of the pupil) ends at ``D / lambda``: 7.8 cycles per arcsec for 1.2 m at 750 nm. The field is
computed for exactly the angles that are asked for, as a product of two matrices on either side of the pupil
(Soummer et al. 2007, Opt. Express 15, 15935): no period of a fast transform folds the wings back. The angles
are spaced finer than ``lambda / 2 D`` at the shortest wavelength, so that the intensity is sampled at its
Nyquist rate. Open fractions of pupil pixels are box averages of the true pupil; their transform is divided
out.

A passband is a few wavelengths at the nodes of a Gauss-Legendre rule, of equal photon number per nm unless
the spectrum is sloped. The wavefront error ``W`` is a sum of Zernike polynomials over the unobscured pupil in
Noll's order and normalisation (Noll 1976, JOSA 66, 207), in nm rms, fixed to the image's axes; the pupil
itself may be rotated against them, since a mosaic rarely keeps the telescope's roll.
"""

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Complex, Float
from scipy.fft import next_fast_len

ARCSEC = math.pi / 180 / 3600
ZERNIKES = tuple(range(4, 16))
"""Noll indices of the aberrations: defocus to the second astigmatism of fourth order."""


@dataclasses.dataclass(frozen=True)
class Pupil:
    """A round aperture with a central obscuration and struts.

    Parameters
    ----------
    diameter
        Metres.
    obscuration
        Radius of the central obscuration over that of the aperture.
    offset
        Centre of the obscuration, (y, x) in radii of the aperture.
    struts
        Straight bars (y, x, degrees from the x axis towards y, length, width): centre, length and width in
        radii.
    """

    diameter: float
    obscuration: float
    offset: tuple[float, float] = (0.0, 0.0)
    struts: tuple[tuple[float, float, float, float, float], ...] = ()

    def amplitude(self, size: int, rotation: float = 0.0) -> Float[np.ndarray, "size size"]:
        """Return the open fraction of each pupil pixel.

        Parameters
        ----------
        size
            Pixels across the diameter.
        rotation
            Degrees by which the pupil is turned from the x axis towards y.
        """
        fine = 3  # on top of soft edges
        v, u = np.meshgrid(*[_pupil_axis(size * fine)] * 2, indexing="ij")
        c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
        x, y = u * c + v * s, v * c - u * s
        pitch = 2 / (size * fine)

        def inside(distance: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
            return np.clip(0.5 - distance / pitch, 0, 1)

        is_open = inside(np.hypot(x, y) - 1)
        is_open *= 1 - inside(np.hypot(y - self.offset[0], x - self.offset[1]) - self.obscuration)
        for y0, x0, degrees, length, width in self.struts:
            c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            along, across = (x - x0) * c + (y - y0) * s, (y - y0) * c - (x - x0) * s
            is_open *= 1 - inside(np.abs(along) - length / 2) * inside(np.abs(across) - width / 2)
        return is_open.reshape(size, fine, size, fine).mean(axis=(1, 3))


@dataclasses.dataclass(frozen=True)
class Optics:
    """PSFs of one telescope through one passband, as a function of a few numbers.

    The parameters (`names`) are the pupil's rotation in units of 30 degrees, the slope of the spectrum
    (relative change of the photon number per nm from the band's middle to its end), and the aberrations in
    nm.

    Parameters
    ----------
    pupil
        The aperture.
    passband
        Shortest and longest wavelength in nm.
    blur
        Expected Gaussian sigma in arcsec of what is neither optics nor pixel: jitter, charge diffusion.
    aberration
        Expected rms in nm of each aberration.
    wavelengths
        How many stand for the passband.
    pupil_size
        Pixels across the pupil. Light further than ``lambda / D`` times half of it from the centre is not
        described.
    """

    pupil: Pupil
    passband: tuple[float, float]
    blur: float
    aberration: float = 15.0
    wavelengths: int = 5
    pupil_size: int = 48

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return ("rotation", "slope", *(f"z{j}" for j in ZERNIKES))

    @property
    def prior(self) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
        """Mean and standard deviation of each parameter before any stamp is seen."""
        sigma = np.array([2.0, 0.4] + [self.aberration] * len(ZERNIKES))
        return np.zeros(len(sigma)), sigma

    def starts(self) -> Float[np.ndarray, "start p"]:
        """Return points to begin a fit from: without aberrations its gradient vanishes, so none is there."""
        rng, number = np.random.default_rng(4), 6
        draws = 0.4 * rng.normal(size=(number, len(self.names))) * self.prior[1]
        draws[:, 0] = 0.67 * (np.arange(number) % 3 - 1)  # three struts: 60 degrees come near to every roll
        draws[:, 1] = 0.0
        draws[:, 2] = np.where(np.arange(number) % 2, 1, -1) * 0.7 * self.aberration
        return draws

    def finer(self) -> "Optics":
        """Return the same with more wavelengths and pupil pixels, for wings far out."""
        return dataclasses.replace(self, wavelengths=self.wavelengths + 4, pupil_size=128)

    def coarser(self) -> "Optics":
        """Return the same with fewer wavelengths and pupil pixels, to screen starting points."""
        return dataclasses.replace(self, wavelengths=3, pupil_size=32)

    def grid(self, half_width: float) -> tuple[int, float]:
        """Return the odd number of samples and their spacing (arcsec) of a window that holds `half_width`."""
        step = 0.9 * self.passband[0] * 1e-9 / (2 * self.pupil.diameter) / ARCSEC
        return _odd_fast_len(2 * math.ceil(half_width / step) + 1), step

    def transfer(
        self, parameters: Float[np.ndarray, " p"], size: int, step: float, jacobian: bool = True
    ) -> tuple[Complex[np.ndarray, "ky kx"], Complex[np.ndarray, "q ky kx"]]:
        """Return the transform of the PSF and its derivatives, at the frequencies of ``rfft2``.

        Parameters
        ----------
        parameters
            Values of `names`.
        size, step
            Window as `grid` gives it: its centre is the PSF's.
        jacobian
            Whether to compute the derivatives; none are returned (``q`` = 0) otherwise.

        Returns
        -------
        The transform (1 at frequency 0, less the light outside the window), and its derivatives.
        """
        intensity, derivatives = self._intensity(parameters, size, step, jacobian)
        stack = np.fft.ifftshift(np.concatenate([intensity[None], derivatives]), axes=(1, 2))
        spectra = np.fft.rfft2(stack) * step**2
        return spectra[0], spectra[1:]

    def _intensity(
        self, parameters: Float[np.ndarray, " p"], size: int, step: float, jacobian: bool
    ) -> tuple[Float[np.ndarray, "y x"], Float[np.ndarray, "q y x"]]:
        """Return the PSF per square arcsec of unit flux over all angles, and its derivatives."""
        rotation, slope, nm = parameters[0], parameters[1], parameters[2:]
        amplitude = _amplitude(self.pupil, self.pupil_size, round(30 * rotation, 9))
        fields = amplitude[None]
        if jacobian:
            turned = _amplitude(self.pupil, self.pupil_size, round(30 * rotation + 0.25, 9))
            fields = np.concatenate(
                [fields, 120 * (turned - amplitude)[None], amplitude * _modes(self.pupil_size)]
            )
        wavefront = np.tensordot(nm, _modes(self.pupil_size), 1)
        result, derivatives = (
            np.zeros((size, size)),
            np.zeros((len(self.names) if jacobian else 0, size, size)),
        )
        pitch = self.pupil.diameter / self.pupil_size
        axis = (np.arange(self.pupil_size) - (self.pupil_size - 1) / 2) * pitch
        angle = (np.arange(size) - (size - 1) / 2) * step * ARCSEC
        area = np.sum(amplitude) * pitch**2  # a grey pixel is partly open, not dimmed
        for node, weight in zip(*np.polynomial.legendre.leggauss(self.wavelengths), strict=True):
            wavelength = 1e-9 * (np.mean(self.passband) + 0.5 * node * np.diff(self.passband)[0])
            kernel = np.exp(2j * np.pi / wavelength * np.outer(angle, axis)) * pitch
            kernel /= np.sinc(pitch * angle / wavelength)[:, None]
            phased = fields * np.exp(2j * np.pi / wavelength * 1e-9 * wavefront)
            focal = kernel @ phased @ kernel.T
            share = 0.5 * weight * ARCSEC**2 / (wavelength**2 * area)
            conjugate, power = focal[0].conj() * share, np.abs(focal[0]) ** 2 * share
            result += (1 + slope * node) * power
            if jacobian:
                derivatives[0] += (1 + slope * node) * 2 * (conjugate * focal[1]).real
                derivatives[1] += node * power
                chromatic = (1 + slope * node) * 2 * (2 * np.pi / wavelength * 1e-9)
                derivatives[2:] -= chromatic * (conjugate * focal[2:]).imag
        return result, derivatives


def zernike(noll: int, y: Float[np.ndarray, "*n"], x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Return a Zernike polynomial of unit rms over the unit disc.

    Parameters
    ----------
    noll
        Noll's index, from 1.
    y, x
        Position in radii.
    """
    n = int((math.sqrt(8 * noll - 7) - 1) / 2)
    rank = noll - n * (n + 1) // 2 - 1
    m = (n % 2) + 2 * ((rank + (n + 1) % 2) // 2)
    radius, azimuth = np.hypot(y, x), np.arctan2(y, x)
    radial = np.zeros_like(radius)
    for k in range((n - m) // 2 + 1):
        denominator = math.factorial(k) * math.factorial((n + m) // 2 - k) * math.factorial((n - m) // 2 - k)
        radial += (-1) ** k * math.factorial(n - k) / denominator * radius ** (n - 2 * k)
    if m == 0:
        return math.sqrt(n + 1) * radial
    return math.sqrt(2 * (n + 1)) * radial * (np.cos(m * azimuth) if noll % 2 == 0 else np.sin(m * azimuth))


def _pupil_axis(size: int) -> Float[np.ndarray, " size"]:
    return (np.arange(size) - (size - 1) / 2) * 2 / size


@functools.lru_cache(maxsize=8)
def _modes(size: int) -> Float[np.ndarray, "mode size size"]:
    y, x = np.meshgrid(*[_pupil_axis(size)] * 2, indexing="ij")
    return np.stack([zernike(j, y, x) for j in ZERNIKES])


@functools.lru_cache(maxsize=64)
def _amplitude(pupil: Pupil, size: int, degrees: float) -> Float[np.ndarray, "size size"]:
    return pupil.amplitude(size, degrees)


def _odd_fast_len(minimum: int) -> int:
    """Return an odd length, no shorter than `minimum`, that a fast transform likes."""
    size = minimum | 1
    while next_fast_len(size, real=True) != size:
        size += 2
    return size
