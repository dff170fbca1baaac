"""From files to one observation: the steps every format shares.

A format (Euclid MER, manifest) only says *where things are*: an `ImageSpec`. This module reads them,
converts to nJy, turns every mark for "no information" into one mask, measures how correlated the noise is
(`synergy.io.correlated`), cuts out the requested sky, and writes down in ``meta["notes"]`` whatever it did
that a user must know.
"""

import dataclasses
import math
from typing import Literal

import numpy as np
from astropy.coordinates import SkyCoord
from jaxtyping import Bool, Float

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.io.images import Plane, Window, bits_set, ivar_from
from synergy.io.noise import (
    CalibratedNoise,
    allow_for_correlation,
    given,
    independent,
    measured,
    noise_from_sky,
)
from synergy.io.resampled import interpolation_variance
from synergy.io.stamps import OFF_CENTRE, centred, centroid, low_passed
from synergy.observation import Observation
from synergy.psf import PSF
from synergy.psf_recovery import SIGNIFICANCE, recover
from synergy.psf_recovery.telescopes import telescope
from synergy.stationary import check_correlation
from synergy.units import nanojanskys_per_unit

NOISE_WINDOW = 512
"""Side in pixels of the part of a wide image on which its noise is measured."""

UNDERSAMPLED = 0.01
"""Stamps whose undersampling may cost more than this share of the peak are mentioned (FWHM < 2.25 pixels)."""


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """Where the parts of one observation lie.

    Parameters
    ----------
    name, band
        Name of the observation and of its band.
    image, psf
        The image and its effective PSF.
    noise, noise_kind
        Noise map and what it holds; None and ``"estimate"`` to measure uniform noise on the image.
    zeropoint
        AB magnitude of one unit, or the header keyword that holds it.
    mask, mask_bits
        Mask and the bits of it that mean bad (None: any value but zero).
    psf_pixel_scale
        Pixel scale of the PSF stamp in arcsec; that of the image when None.
    psf_center
        Where the point source sits in the stamp, (y, x) to half a pixel; its geometric centre when None.
    gain
        Electrons per image unit; adds the sources' Poisson noise to an estimated noise.
    correlated
        Whether the noise of neighbouring pixels may be correlated, which is measured on blank sky; with
        ``"inflate"`` the variance is raised for it, but the noise stays diagonal. Or where its
        autocorrelation lies.
    independent
        Beside an autocorrelation: the variance that is independent between pixels all the same.
    calibration_error
        Relative error of the flux scale or of the PSF, added to the noise as that share of the image.
    response
        Scene band -> weight, for an image that sees several bands of the scene.
    distorted
        Use the WCS pixel by pixel rather than its affine part.
    recentre_psf
        Move the stamp's centroid to its centre (for formats whose stamps are known to be off).
    recover
        Band whose telescope and pixel made the stamp: the oversampled PSF behind it is recovered
        (`synergy.psf_recovery`) and its stated error added to the noise. None to take the stamp as it is.
    psf_limit
        Cycles per arcsec beyond which the stamp of a resampled image holds nothing real, and is low-passed.
    psf_reach
        Arcsec from the centre of the stamp within which its pixels are used for that.
    native_scale, exposures
        For an image interpolated from native pixels onto its grid: their size in arcsec and the number of
        exposures averaged (`synergy.io.resampled`). None for an image on its own pixels.
    notes
        What a user must know about images of this kind.
    """

    name: str
    band: str
    image: Plane
    psf: Plane
    noise: Plane | None
    noise_kind: Literal["rms", "variance", "ivar", "estimate"]
    zeropoint: float | str
    mask: Plane | None = None
    mask_bits: tuple[int, ...] | None = None
    psf_pixel_scale: float | None = None
    psf_center: tuple[float, float] | None = None
    gain: float | None = None
    correlated: Literal[True, False, "inflate"] | Plane = True
    independent: Plane | None = None
    calibration_error: float = 0.0
    response: dict[str, float] | None = None
    distorted: bool = False
    recentre_psf: bool = False
    recover: str | None = None
    psf_limit: float = math.inf
    psf_reach: float = math.inf
    native_scale: float | None = None
    exposures: int = 4
    notes: tuple[str, ...] = ()


def frame_of(spec: ImageSpec) -> Frame:
    """Return the frame of the whole image."""
    header, primary, shape = spec.image.header()
    header = header if "CTYPE1" in header else primary
    return Frame.from_header(header, shape, source=str(spec.image))


def assemble(spec: ImageSpec, center: SkyCoord | None = None, size: float | None = None) -> Observation:
    """Read one observation.

    Parameters
    ----------
    spec
        Where its parts lie.
    center, size
        Sky position and side in arcsec of the cutout; the whole image when `size` is None.

    Raises
    ------
    InputError
        If any part is missing, damaged or unusable, or `center` is not on the image.
    """
    whole = frame_of(spec)
    notes = list(spec.notes)
    psf, psf_error = _read_psf(spec, whole, notes)
    unit = nanojanskys_per_unit(_zeropoint(spec))
    frame, window = _window(whole, center, size, spec.image)
    outer, inner = _surroundings(window, whole.shape)
    image = spec.image.read(outer).astype(np.float64) * unit
    bad = ~np.isfinite(image) | _read_mask(spec, outer, image.shape)
    _require_data(bad, spec, "in the image")
    image = np.where(bad, 0.0, image)
    noise = _read_noise(spec, image, bad, outer, max(2, round(psf.fwhm / whole.pixel_scale)))
    bad |= noise.ivar == 0
    _require_data(bad[inner], spec, "in the image" if size is None else "in the cutout")
    ivar, apart = noise.ivar, None
    if spec.independent is not None:
        apart = _same_grid(spec.independent, spec).read(outer)[inner] * unit**2
    if spec.native_scale is not None:
        native = spec.native_scale / whole.pixel_scale
        added = interpolation_variance(image, bad, native, spec.exposures)
        ivar = np.where(bad, 0.0, 1.0 / (1.0 / np.where(bad, 1.0, ivar) + added))
        apart = None if noise.correlation is None else added[inner]
    meta = {
        "file": str(spec.image),
        "zeropoint": _zeropoint(spec),
        **noise.record,
        "notes": notes + noise.notes,
    }
    return Observation(
        name=spec.name,
        band=spec.band,
        image=image[inner],
        ivar=ivar[inner],
        mask=bad[inner],
        psf=psf,
        frame=frame,
        response=spec.response,
        response_error=math.hypot(spec.calibration_error, psf_error),
        positions=frame.positions() if spec.distorted else None,
        correlation=noise.correlation,
        independent=apart,
        meta=meta,
    )


def _require_data(bad: Bool[np.ndarray, "y x"], spec: ImageSpec, where: str) -> None:
    if bad.all():
        raise InputError(
            spec.image,
            f"no usable pixel {where} (all NaN, masked or without a noise value)",
            "an image with data",
            "Use another cutout, or leave this image out.",
        )


def _window(
    frame: Frame, center: SkyCoord | None, size: float | None, source: object
) -> tuple[Frame, Window]:
    """Return the frame and the slices of the cutout."""
    if size is None:
        return frame, (slice(0, frame.shape[0]), slice(0, frame.shape[1]))
    try:
        return frame.cutout(center, max(1, round(size / frame.pixel_scale)))
    except InputError as error:
        raise InputError(source, error.found, error.expected, error.remedy) from None


def _surroundings(inner: Window, shape: tuple[int, int]) -> tuple[Window, Window]:
    """Return a window of `NOISE_WINDOW` pixels or more around the cutout, and the cutout's place in it."""
    outer, place = [], []
    for part, length in zip(inner, shape, strict=True):
        grow = max(0, NOISE_WINDOW - (part.stop - part.start) + 1) // 2
        start, stop = max(0, part.start - grow), min(length, part.stop + grow)
        outer.append(slice(start, stop))
        place.append(slice(part.start - start, part.stop - start))
    return (outer[0], outer[1]), (place[0], place[1])


def _zeropoint(spec: ImageSpec) -> float:
    if not isinstance(spec.zeropoint, str):
        return float(spec.zeropoint)
    header, primary, _ = spec.image.header()
    value = header.get(spec.zeropoint, primary.get(spec.zeropoint))
    if not isinstance(value, int | float) or isinstance(value, bool) or not np.isfinite(value):
        raise InputError(
            f"{spec.image}, keyword {spec.zeropoint}",
            "nothing" if value is None else repr(value),
            "the zero point: the AB magnitude of one image unit",
            "Add the keyword to the header, or give the number in a manifest.",
        )
    return float(value)


def _read_psf(spec: ImageSpec, whole: Frame, notes: list[str]) -> tuple[PSF, float]:
    """Read the PSF and its relative error, check that it suits the image, and note what was done to it."""
    stamp = spec.psf.read().astype(np.float64)
    scale = spec.psf_pixel_scale or whole.pixel_scale
    extent, room = np.array(stamp.shape) * scale, np.array(whole.shape) * whole.pixel_scale
    if (extent > room * (1 + 1e-6)).any():
        raise InputError(
            spec.psf,
            f"a PSF of {extent[1]:.2f} x {extent[0]:.2f} arcsec",
            f"one no larger than the image ({room[1]:.2f} x {room[0]:.2f} arcsec)",
            "Check the HDU, the plane and psf.pixel_scale.",
        )
    if spec.recover is not None:
        return _recovered_psf(spec, stamp, scale, notes)
    psf = PSF.from_stamp(stamp, scale, source=spec.psf, center=spec.psf_center)
    total = float(np.sum(stamp))
    if abs(total - 1.0) > 1e-3:
        notes.append(f"PSF stamp sums to {total:.4f} (clipped wings); normalised to 1")
    if psf.undersampling_error > UNDERSAMPLED:
        notes.append(
            f"PSF stamp is undersampled (FWHM of {psf.fwhm / scale:.2f} of its pixels) and taken as it is: "
            f"wrong by up to {psf.undersampling_error:.0%} of the peak of a star, which is not in the noise; "
            "recover it or give an oversampled one"
        )
    offset = centroid(psf.image)
    if np.hypot(*offset) > OFF_CENTRE:
        text = f"PSF stamp is off-centre by (y, x) = ({offset[0]:+.3f}, {offset[1]:+.3f}) of its pixels"
        notes.append(text + ("; moved to the centre" if spec.recentre_psf else "; left there"))
        if spec.recentre_psf:
            psf = PSF.from_stamp(centred(psf.image), scale, source=spec.psf)
    if spec.psf_limit < 0.5 / scale:
        psf = PSF.from_stamp(low_passed(psf.image, spec.psf_limit * scale), scale, source=spec.psf)
        notes.append(f"PSF stamp low-passed at the native Nyquist limit of {spec.psf_limit:g} cycles/arcsec")
    return psf, 0.0


def _recovered_psf(
    spec: ImageSpec, stamp: Float[np.ndarray, "y x"], scale: float, notes: list[str]
) -> tuple[PSF, float]:
    """Return the PSF behind an undersampled or clipped stamp, and the standard deviation of its peak."""
    center = "source" if spec.recentre_psf else "stamp" if spec.psf_center is None else spec.psf_center
    model = telescope(spec.recover)
    found = recover(stamp, scale, model, center=center, reach=spec.psf_reach, source=spec.psf)
    error = found.error / SIGNIFICANCE
    (dy, dx), *_ = found.center
    moved = "moved to the centre" if spec.recentre_psf else "left there"
    notes.append(
        f"PSF recovered from its stamp with the model of {spec.recover}: within {found.error:.1%} of the "
        f"peak ({SIGNIFICANCE:g} sigma), {error:.1%} of the image added to the noise. The model left "
        f"{found.largest_residual:.1%} of the peak unexplained; {1 - found.inside:.1%} of the light lies "
        f"beyond the stamp. Source at (y, x) = ({dy:+.3f}, {dx:+.3f}) pixels from its centre, {moved}"
    )
    return found.psf, error


def _read_mask(spec: ImageSpec, window: Window, shape: tuple[int, ...]) -> Bool[np.ndarray, "y x"]:
    if spec.mask is None:
        return np.zeros(shape, bool)
    return bits_set(_same_grid(spec.mask, spec).read(window).astype(np.int64), spec.mask_bits)


def _read_noise(
    spec: ImageSpec, image: Float[np.ndarray, "y x"], bad: Bool[np.ndarray, "y x"], window: Window, block: int
) -> CalibratedNoise:
    """Return the inverse variance in nJy^-2 from the noise map, or from the image where that is asked."""
    unit = nanojanskys_per_unit(_zeropoint(spec))
    if spec.noise is not None:
        ivar = ivar_from(spec.noise_kind, _same_grid(spec.noise, spec).read(window), spec.noise) / unit**2
        if not spec.correlated:
            return independent(ivar)
        if isinstance(spec.correlated, Plane):
            correlation = spec.correlated.read().astype(np.float64)
            check_correlation(correlation, spec.correlated)
            return given(ivar, correlation)
        find = allow_for_correlation if spec.correlated == "inflate" else measured
        return find(image, bad, ivar, block)
    gain = None if spec.gain is None else spec.gain / unit
    return noise_from_sky(image, bad, block, gain, spec.image, spec.correlated is True)


def _same_grid(plane: Plane, spec: ImageSpec) -> Plane:
    """Complain unless a map has the shape of its image."""
    found, expected = plane.header()[2], spec.image.header()[2]
    if found != expected:
        raise InputError(
            plane,
            f"shape {found}",
            f"{expected}, the shape of {spec.image}",
            "Use the map that belongs to this image.",
        )
    return plane
