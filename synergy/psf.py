"""Point spread functions: stamps, their transforms and the model PSF of a scene.

A `PSF` is *effective*: the pixel's response is in it, its sum is one, and its axes are those of the image it
belongs to, so an image value is a sample of the sky convolved with it and no pixel is ever integrated twice.
The stamp is the band-limited function through its samples: `PSF.transfer` is its exact discrete-time Fourier
transform, at any frequency, and zero beyond the stamp's own Nyquist limit. No interpolation happens anywhere;
what a stamp does not resolve is lost (`PSF.undersampling_error`), so stamps of undersampled instruments have
to be given oversampled, or recovered (`synergy.psf_recovery`).

The *model PSF* of a scene is a round Gaussian of FWHM 2 scene pixels (Magain, Courbin & Sohy 1998, ApJ 494,
472).
"""

import bisect
import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Complex, Float, Num

from synergy.errors import InputError
from synergy.windows import fade

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
MODEL_FWHM = 2.0
"""FWHM of the model PSF in scene pixels."""

NEGLIGIBLE = 1e-5
"""Change of a star's image, relative to its peak, that dropping high frequencies may make."""

RINGING = 1e-3
"""Amplitude at its Nyquist limit, relative to its peak, beyond which a stamp counts as undersampled."""

_CHUNK = 1 << 13  # frequencies per block: bounds the memory of the phase matrices


@dataclasses.dataclass(frozen=True, eq=False)
class PSF:
    """An effective PSF on a regular grid.

    Parameters
    ----------
    image
        Stamp ``(ny, nx)`` of unit sum, centred at ``((ny - 1) / 2, (nx - 1) / 2)``, in the axes of the
        image's pixels.
    pixel_scale
        Arcsec per pixel of the stamp; it may be finer than the image's.

    Raises
    ------
    InputError
        If a value is not finite.
    """

    image: Float[np.ndarray, "y x"]
    pixel_scale: float

    def __post_init__(self) -> None:
        if not np.all(np.isfinite(self.image)):
            raise _not_finite("PSF")

    @classmethod
    def from_stamp(
        cls,
        stamp: Num[np.ndarray, "..."],
        pixel_scale: float,
        source: object = "PSF",
        image_shape: tuple[int, int] | None = None,
        center: tuple[float, float] | None = None,
    ) -> "PSF":
        """Check a stamp and normalise it to unit sum.

        Dividing by the sum puts light that a clipped stamp has lost back into the stamp.

        Parameters
        ----------
        stamp
            Values in any unit.
        pixel_scale
            Arcsec per pixel.
        source
            What to name in errors.
        image_shape
            Shape of the image that the PSF belongs to, where stamp and image share one pixel scale: a stamp
            that is larger is refused.
        center
            Where the point source sits in the stamp, (y, x) to half a pixel; None for the geometric centre.
            The stamp is padded with zeros until its geometric centre lies there.

        Raises
        ------
        InputError
            If the stamp is not two-dimensional, not finite, has no positive sum, is larger than the image, is
            evenly sized and centred on pixel ``n / 2`` without `center` saying so, or the pixel scale is not
            positive.
        """
        stamp = np.asarray(stamp, dtype=np.float64)
        if not (math.isfinite(pixel_scale) and pixel_scale > 0):
            raise InputError(
                source, f"a PSF pixel scale of {pixel_scale}", "a positive number", "Give arcsec per pixel."
            )
        if stamp.ndim != 2 or stamp.size == 0:
            raise InputError(
                source, f"a PSF of shape {stamp.shape}", "a two-dimensional stamp", "Pick one plane."
            )
        if not np.all(np.isfinite(stamp)):
            raise _not_finite(source)
        total = stamp.sum()
        if total <= 0:
            raise InputError(
                source, f"a PSF whose sum is {total:.3g}", "a positive sum", "Use another stamp."
            )
        if image_shape is not None and any(a > b for a, b in zip(stamp.shape, image_shape, strict=True)):
            raise InputError(
                source,
                f"a PSF of {stamp.shape} for an image of {image_shape}",
                "a stamp no larger than the image",
                "Check that the two are not swapped, or cut the stamp.",
            )
        stamp = stamp / total
        if center is None:
            _check_even_centre(stamp, source)
        else:
            stamp = _centred(stamp, center, source)
        return cls(np.ascontiguousarray(stamp), float(pixel_scale))

    @classmethod
    def gaussian(cls, fwhm: float, pixel_scale: float, size: int) -> "PSF":
        """Return a sampled round Gaussian of unit sum.

        Parameters
        ----------
        fwhm
            Full width at half maximum in arcsec.
        pixel_scale
            Arcsec per pixel.
        size
            Side of the stamp in pixels.
        """
        axis = (np.arange(size) - (size - 1) / 2) * pixel_scale * FWHM_PER_SIGMA / fwhm
        profile = np.exp(-0.5 * axis**2)
        profile /= profile.sum()
        return cls(np.outer(profile, profile), pixel_scale)

    @functools.cached_property
    def fwhm(self) -> float:
        """FWHM in arcsec of a circle as large as where the band-limited stamp exceeds half its maximum."""
        fine = 16
        peak = np.unravel_index(np.argmax(self.image), self.image.shape)
        reach = 0.5 * math.sqrt(np.count_nonzero(self.image > 0.2 * self.image.max())) + 2
        axis = np.arange(-math.ceil(2 * reach) * fine, math.ceil(2 * reach) * fine + 1) / fine
        rows, columns = (
            _sinc_matrix(axis + position, size) for position, size in zip(peak, self.image.shape, strict=True)
        )
        values = rows @ self.image @ columns.T
        area = np.count_nonzero(values > 0.5 * values.max()) / fine**2
        return 2 * math.sqrt(area / math.pi) * self.pixel_scale

    @functools.cached_property
    def undersampling_error(self) -> float:
        """Worst error, relative to the peak, of taking the stamp for a band-limited function.

        That of a round Gaussian of the stamp's FWHM: the share of its transform beyond the Nyquist limit,
        once because it is missing and once because it is folded back. It was measured to be 4 to 8 % for VIS
        (9 % here) and 5 to 11 % for NISP (12 % here) at the detectors' own sampling.
        """
        sigma = self.fwhm / self.pixel_scale / FWHM_PER_SIGMA
        return 2 * (1 - math.erf(math.pi * sigma / math.sqrt(2)) ** 2)

    def band_limit(self, nyquist: float) -> float:
        """Return the frequency, cycles per arcsec, beyond which nothing of the PSF is worth keeping.

        Dropping all higher ones (up to `nyquist`) changes the stamp by no more than 1e-5 of its peak
        anywhere. The stamp is tapered for this: the jump at its border, where wings are clipped, is not real.

        Parameters
        ----------
        nyquist
            Frequency in cycles per arcsec beyond which the scene has nothing to offer: the largest result.
        """
        tapered = self.image * np.outer(*(_taper(size) for size in self.image.shape))
        size = max(self.image.shape)
        along_y, along_x = np.fft.fftfreq(tapered.shape[0]), np.fft.rfftfreq(tapered.shape[1])
        radius = np.hypot.outer(along_y, along_x) / self.pixel_scale
        spectrum = np.where(radius <= nyquist, np.fft.rfft2(tapered), 0)

        def negligible(cut: float) -> bool:
            dropped = np.fft.irfft2(np.where(radius > cut, spectrum, 0), tapered.shape)
            return bool(np.abs(dropped).max() <= NEGLIGIBLE * tapered.max())

        cuts = np.arange(1, size + 1) / (size * self.pixel_scale)
        cut = cuts[bisect.bisect_left(cuts, True, hi=size - 1, key=negligible)]
        return float(min(cut, nyquist))

    @functools.cached_property
    def rings(self) -> bool:
        """Whether the stamp has power at its Nyquist limit, so that its sinc interpolation rings.

        The alternating sum along an axis is the amplitude of the ringing: it falls as the inverse distance.
        """
        signs = [(-1.0) ** np.arange(size) for size in self.image.shape]
        amplitudes = np.concatenate([signs[0] @ self.image, self.image @ signs[1]])
        return bool(np.abs(amplitudes).max() > RINGING * self.image.max())

    def transfer(
        self, frequencies: Float[np.ndarray, "*n 2"], cell: tuple[float, float] = (0.0, 0.0)
    ) -> Complex[np.ndarray, "*n"]:
        """Return the Fourier transform at any frequencies.

        Parameters
        ----------
        frequencies
            Cycles per arcsec along (y, x), the image's own axes.
        cell
            Spacing of the frequencies along (y, x) in a sum over them: each stands for a cell of this width,
            and counts by the part of its cell that lies within the stamp's Nyquist limit.

        Returns
        -------
        Transform of the stamp about its centre, zero beyond the stamp's Nyquist limit on either axis.
        """
        flat = np.asarray(frequencies, np.float64).reshape(-1, 2) * self.pixel_scale
        weights = np.prod(
            [_coverage(f, width * self.pixel_scale) for f, width in zip(flat.T, cell, strict=True)], axis=0
        )
        result = np.zeros(len(flat), np.complex128)
        for begin in range(0, len(flat), _CHUNK):
            block = flat[begin : begin + _CHUNK]
            known = np.flatnonzero(weights[begin : begin + _CHUNK])
            rows, columns = (_phases(block[known, axis], size) for axis, size in enumerate(self.image.shape))
            half = (columns.real @ self.image.T) + 1j * (columns.imag @ self.image.T)
            result[begin + known] = np.einsum("ny,ny->n", half, rows)
        return (result * weights).reshape(frequencies.shape[:-1])

    def transfer_grid(
        self,
        along_y: Float[np.ndarray, " ky"],
        along_x: Float[np.ndarray, " kx"],
        cell: tuple[float, float] = (0.0, 0.0),
    ) -> Complex[np.ndarray, "ky kx"]:
        """Return the Fourier transform on a rectangular grid of frequencies, as `transfer` but much faster.

        Parameters
        ----------
        along_y, along_x
            Cycles per arcsec along the image's own axes.
        cell
            As in `transfer`.
        """
        axes = [np.asarray(f, np.float64) * self.pixel_scale for f in (along_y, along_x)]
        weights = [_coverage(f, width * self.pixel_scale) for f, width in zip(axes, cell, strict=True)]
        rows, columns = (_phases(f, size) for f, size in zip(axes, self.image.shape, strict=True))
        return np.outer(*weights) * (rows @ self.image @ columns.T)


def model_psf_transfer(frequencies: Float[np.ndarray, "*n 2"], pixel_scale: float) -> Float[np.ndarray, "*n"]:
    """Return the transform of the model PSF: a round Gaussian of FWHM 2 scene pixels.

    Parameters
    ----------
    frequencies
        Cycles per arcsec.
    pixel_scale
        Scene pixel scale in arcsec.
    """
    sigma = MODEL_FWHM * pixel_scale / FWHM_PER_SIGMA
    return np.exp(-2 * (np.pi * sigma) ** 2 * np.sum(np.asarray(frequencies) ** 2, axis=-1))


def _not_finite(source: object) -> InputError:
    return InputError(source, "a PSF with values that are not finite", "finite values", "Use another stamp.")


def _phases(frequency: Float[np.ndarray, " n"], size: int) -> Complex[np.ndarray, "n size"]:
    """Return exp(-2 pi i f p) for pixels p about the stamp's centre; f in cycles per stamp pixel."""
    return np.exp(-2j * np.pi * np.outer(frequency, np.arange(size) - (size - 1) / 2))


def _coverage(frequency: Float[np.ndarray, " n"], width: float) -> Float[np.ndarray, " n"]:
    """Return the part of a cell about each frequency that lies within half a cycle per stamp pixel."""
    if width == 0:
        return (np.abs(frequency) <= 0.5 + 1e-12).astype(np.float64)
    return np.clip((0.5 - np.abs(frequency)) / width + 0.5, 0, 1)


def _taper(size: int) -> Float[np.ndarray, " size"]:
    """Return a window that falls smoothly to zero over the outer quarter of a stamp, at either end."""
    edge = (np.arange(size) + 0.5) / size
    return fade(np.minimum(edge, 1 - edge), 0.25, 0.0)


def _sinc_matrix(positions: Float[np.ndarray, " n"], size: int) -> Float[np.ndarray, "n size"]:
    return np.sinc(positions[:, None] - np.arange(size))


def _check_even_centre(stamp: Float[np.ndarray, "y x"], source: object) -> None:
    """Refuse an evenly sized stamp that is centred on a pixel: half a pixel of offset is 15 % of the peak."""
    core = np.where(stamp > 0.2 * stamp.max(), stamp, 0)
    core /= core.sum()
    for axis, size in enumerate(stamp.shape):
        centroid = np.sum(core.sum(axis=1 - axis) * np.arange(size))
        if size % 2 == 0 and min(abs(centroid - size / 2), abs(centroid - size / 2 + 1)) < 0.15:
            raise InputError(
                source,
                f"an evenly sized PSF ({size} pixels) centred at {centroid:.2f} on axis {axis}",
                f"a centre at {(size - 1) / 2}",
                "Pass center=(y, x) if the point source sits on a pixel.",
            )


def _centred(
    stamp: Float[np.ndarray, "y x"], center: tuple[float, float], source: object
) -> Float[np.ndarray, "padded_y padded_x"]:
    """Pad a stamp with zeros until its geometric centre lies at `center`."""
    padding = []
    for position, size in zip(center, stamp.shape, strict=True):
        excess = 2 * position - (size - 1)
        if abs(excess - round(excess)) > 1e-6 or not 0 <= position <= size - 1:
            raise InputError(
                source,
                f"a PSF centre of {center}",
                "a multiple of half a pixel inside the stamp",
                "Round it.",
            )
        padding.append((max(-round(excess), 0), max(round(excess), 0)))
    return np.pad(stamp, padding)
