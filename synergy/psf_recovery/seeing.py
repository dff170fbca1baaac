"""The PSF of a long exposure through the atmosphere: von Karman turbulence, slightly elliptical.

Its transform is ``exp(-D(lambda k) / 2)`` with the structure function of the phase,

    D(r) = c (L0 / r0)^(5/3) [1 - 2^(1/6) / Gamma(5/6) (2 pi r / L0)^(5/6) K_(5/6)(2 pi r / L0)],

which tends to Kolmogorov's ``6.88 (r / r0)^(5/3)``, hence ``exp(-(k / k0)^(5/3))``, for a large outer scale
``L0`` (Tokovinin 2002, PASP 114, 1156). A finite one makes the core narrower and leaves the wings, which fall
as ``r^(-11/3)`` and hold light far beyond a PSF stamp.
"""

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Complex, Float
from scipy.fft import next_fast_len
from scipy.interpolate import CubicSpline
from scipy.special import gamma, kv

from synergy.psf_recovery.optics import ARCSEC

_EPSILON = 1e-4
_LOG_RANGE = (-20.0, 6.0)


@dataclasses.dataclass(frozen=True)
class Seeing:
    """PSFs of the atmosphere through one passband, as a function of a few numbers.

    The parameters (`names`) are the logarithms of the Kolmogorov FWHM over `fwhm` and of the outer scale over
    25 m, and the shear ``(g1, g2)`` of the profile.

    Parameters
    ----------
    fwhm
        Expected seeing in arcsec.
    wavelength
        nm.
    blur
        Expected Gaussian sigma in arcsec of what is neither atmosphere nor pixel: optics, guiding, charge
        diffusion.
    """

    fwhm: float
    wavelength: float
    blur: float = 0.1

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return ("log_fwhm", "log_outer_scale", "g1", "g2")

    @property
    def prior(self) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
        """Mean and standard deviation of each parameter before any stamp is seen."""
        return np.zeros(4), np.array([0.5, 0.7, 0.05, 0.05])

    def starts(self) -> Float[np.ndarray, "start p"]:
        """Return points to begin a fit from: small and large seeing."""
        return np.array([[-0.3, 0.0, 0.0, 0.0], [0.3, 0.0, 0.0, 0.0]])

    def finer(self) -> "Seeing":
        """Return the same: it is exact."""
        return self

    def coarser(self) -> "Seeing":
        """Return the same: it is cheap."""
        return self

    def grid(self, half_width: float) -> tuple[int, float]:
        """Return the (odd) number of samples and their spacing in arcsec of a window that holds `half_width`.

        It is twice as wide, because the far wings fold back into it.
        """
        step = self.fwhm / 10
        size = 2 * math.ceil(2 * half_width / step) + 1
        while next_fast_len(size, real=True) != size:
            size += 2
        return size, step

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
        """
        frequencies = np.fft.fftfreq(size, step)[:, None], np.fft.rfftfreq(size, step)[None, :]
        value = self._transfer(parameters, *frequencies)
        derivatives = np.zeros((4 if jacobian else 0, *value.shape))
        for index in range(len(derivatives)):
            change = _EPSILON * np.eye(4)[index]
            up, down = (self._transfer(parameters + sign * change, *frequencies) for sign in (1, -1))
            derivatives[index] = (up - down) / (2 * _EPSILON)
        return value.astype(complex), derivatives.astype(complex)

    def _transfer(
        self,
        parameters: Float[np.ndarray, " p"],
        along_y: Float[np.ndarray, "ky 1"],
        along_x: Float[np.ndarray, "1 kx"],
    ) -> Float[np.ndarray, "ky kx"]:
        log_fwhm, log_outer, g1, g2 = parameters
        fwhm = self.fwhm * math.exp(np.clip(log_fwhm, -2, 2))
        outer = 25.0 * math.exp(np.clip(log_outer, -4, 6))
        # A profile stretched by a matrix of determinant one has its transform stretched by the transpose.
        norm = math.sqrt(max(1 - g1**2 - g2**2, 0.1))
        x = ((1 + g1) * along_x + g2 * along_y) / norm
        y = (g2 * along_x + (1 - g1) * along_y) / norm
        wavelength = self.wavelength * 1e-9
        fried = 0.976 * wavelength / (fwhm * ARCSEC)
        separation = wavelength / ARCSEC * np.hypot(y, x)
        return np.exp(-0.5 * _structure(separation, fried, outer))


def _structure(
    separation: Float[np.ndarray, "ky kx"], fried: float, outer: float
) -> Float[np.ndarray, "ky kx"]:
    """Return the structure function of the phase in rad^2."""
    scaled = np.clip(2 * math.pi * separation / outer, *np.exp(_LOG_RANGE))
    # With this constant the limit of large outer scales is 6.88 (r / r0)^(5/3).
    constant = 6.8839 * gamma(11 / 6) / gamma(1 / 6) * 2 ** (5 / 3) / (2 * math.pi) ** (5 / 3)
    return constant * (outer / fried) ** (5 / 3) * np.exp(_log_shape()(np.log(scaled)))


@functools.cache
def _log_shape() -> CubicSpline:
    """Return the logarithm of the bracket in the structure function against that of its argument."""
    logs = np.linspace(*_LOG_RANGE, 2000)
    x = np.exp(logs)
    bracket = 1 - 2 ** (1 / 6) / gamma(5 / 6) * x ** (5 / 6) * kv(5 / 6, x)
    # Its leading terms, where the difference loses its digits.
    power = gamma(1 / 6) / gamma(11 / 6) * (x / 2) ** (5 / 3)
    return CubicSpline(logs, np.log(np.where(x < 1e-4, power, bracket)))
