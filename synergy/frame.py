"""Frames: which sky each pixel of an image looks at.

A `Frame` is a shape and a celestial WCS. Pixel coordinates are ``(y, x)``, integers are pixel centres and the
first pixel is ``(0, 0)``; the FITS convention (x first, counting from 1) stays inside this file.

Two frames of one sky are tied by an affine map of their pixel coordinates, fitted over the sky that they
share. It is fitted to the full celestial transformation of both (projection, distortion, ICRS or FK5 or
galactic), so what it leaves out is measured, and a map that is off by more than a fiftieth of a pixel is
refused.

References
----------
Calabretta & Greisen 2002, A&A 395, 1077 (celestial WCS); Shupe et al. 2005, ASPC 347, 491 (SIP).
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, NoConvergence
from astropy.wcs.utils import pixel_to_pixel
from jaxtyping import Float

from synergy.errors import InputError
from synergy.wcs import read_wcs

MAX_SIZE = 2048
"""Largest side, in pixels, of a scene frame that `Frame.covering` makes."""

MAX_PIXEL_SCALE = 60.0
"""Arcsec; a coarser WCS is one whose scale is missing (FITS defaults to one degree)."""


@runtime_checkable
class Observed(Protocol):
    """What `Frame.covering` reads of an observation."""

    frame: "Frame"
    psf: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """The pixel grid of an image on the sky.

    Parameters
    ----------
    shape
        Number of pixels ``(ny, nx)``.
    wcs
        Two-dimensional celestial WCS.

    Raises
    ------
    InputError
        If the WCS is not celestial, has no scale or is singular.
    """

    shape: tuple[int, int]
    wcs: WCS

    def __post_init__(self) -> None:
        _check(self.shape, self.wcs, "frame")

    @classmethod
    def from_header(cls, header: fits.Header, shape: tuple[int, int], source: object = "header") -> "Frame":
        """Read the frame of an image from its FITS header.

        Parameters
        ----------
        header
            FITS header with a celestial WCS in any dress: CD; PC and CDELT; CDELT alone; CROTA2; SIP; TPV.
        shape
            Shape ``(ny, nx)`` of the image.
        source
            What to name in errors: a file and its HDU.

        Raises
        ------
        InputError
            If there is no celestial WCS, no scale, a singular one, or CD and PC cards that contradict each
            other.
        """
        wcs = read_wcs(header, source)
        _check(shape, wcs, source)
        return cls((int(shape[0]), int(shape[1])), wcs)

    @classmethod
    def tangent(
        cls, center: SkyCoord, shape: tuple[int, int], pixel_scale: float, rotation: float = 0.0
    ) -> "Frame":
        """Return a frame of square pixels on the tangent plane (TAN, ICRS), east to the left of north.

        Parameters
        ----------
        center
            Sky position of the centre ``((ny - 1) / 2, (nx - 1) / 2)``.
        shape
            Number of pixels ``(ny, nx)``.
        pixel_scale
            Arcsec per pixel.
        rotation
            Position angle of the +y axis in degrees, from north through east.
        """
        sine, cosine = math.sin(math.radians(rotation)), math.cos(math.radians(rotation))
        linear = pixel_scale * np.array([[-cosine, sine], [sine, cosine]])
        return cls(shape, _tangent_wcs(center, np.array([shape[1] + 1, shape[0] + 1]) / 2, linear))

    @classmethod
    def covering(
        cls,
        observations: Sequence[Observed],
        pixel_scale: float = 0.05,
        margin_arcsec: float = 1.0,
        multiple: int = 8,
    ) -> "Frame":
        """Return the frame of a scene that holds all images, aligned with the sharpest one.

        The axes (orientation and parity) are those of the image with the narrowest PSF. Where its pixel scale
        is an integer multiple of `pixel_scale` to 1e-4, the scene's pixels tile the image's pixels exactly.

        Parameters
        ----------
        observations
            Images: objects with a `frame` and a `psf` that has a `fwhm`.
        pixel_scale
            Arcsec per scene pixel.
        margin_arcsec
            Empty rim around the union of the images.
        multiple
            Both sides are multiples of this number of pixels.

        Raises
        ------
        InputError
            If there is no observation, the images lie on different skies or the scene would be absurdly
            large.
        """
        if not observations:
            raise InputError("Frame.covering", "no observation", "at least one", "Pass the images.")
        sharpest = min(observations, key=lambda observation: observation.psf.fwhm).frame
        aligned = sharpest._resampled(pixel_scale)
        corners = np.concatenate([_map(o.frame.corners, o.frame, aligned) for o in observations])
        if not np.all(np.isfinite(corners)):
            raise _different_sky("Frame.covering")
        margin = margin_arcsec / pixel_scale
        low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
        # The slack keeps round-off of the WCS from adding a whole row.
        size = [multiple * math.ceil((extent - 1e-3) / multiple) for extent in high - low]
        if max(size) > MAX_SIZE:
            raise InputError(
                "Frame.covering",
                f"images that span {size[0]} x {size[1]} scene pixels",
                f"at most {MAX_SIZE} on a side",
                "Cut the images out around the object, or choose a larger pixel_scale.",
            )
        # Whole pixels, so that scene pixels keep tiling those of the sharpest image.
        start = np.round((low + high) / 2 - np.array(size) / 2 + 0.5).astype(int)
        wcs = aligned.wcs.deepcopy()
        wcs.wcs.crpix = wcs.wcs.crpix - start[::-1]
        return cls((size[0], size[1]), wcs)

    @property
    def corners(self) -> Float[np.ndarray, "4 2"]:
        """Outer corners of the corner pixels, as pixel coordinates (y, x)."""
        ny, nx = self.shape
        return np.array([(y, x) for y in (-0.5, ny - 0.5) for x in (-0.5, nx - 0.5)])

    @functools.cached_property
    def center(self) -> SkyCoord:
        """Sky position of the centre ``((ny - 1) / 2, (nx - 1) / 2)``."""
        return self.to_sky(np.array([(self.shape[0] - 1) / 2, (self.shape[1] - 1) / 2]))

    @functools.cached_property
    def jacobian(self) -> Float[np.ndarray, "2 2"]:
        """Local derivative of sky offsets (north, east) in arcsec with respect to (y, x) at the centre."""
        middle = np.array([(self.shape[0] - 1) / 2, (self.shape[1] - 1) / 2])
        step = 8.0  # pixels: wide enough for the precision of degrees in float64, odd terms cancel
        offsets = step * np.array([(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)])
        sky = self.to_sky(middle + offsets).transform_to(self.center.skyoffset_frame())
        plane = np.stack([sky.lat.to_value("arcsec"), sky.lon.wrap_at("180d").to_value("arcsec")], axis=-1)
        return np.stack([plane[0] - plane[1], plane[2] - plane[3]], axis=-1) / (2 * step)

    @functools.cached_property
    def pixel_scale(self) -> float:
        """Arcsec per pixel at the centre: the square root of the pixel's area."""
        return float(np.sqrt(abs(np.linalg.det(self.jacobian))))

    def to_sky(self, pixels: Float[np.ndarray, "*n 2"]) -> SkyCoord:
        """Return the sky positions of pixel coordinates (y, x)."""
        return self.wcs.pixel_to_world(pixels[..., 1], pixels[..., 0])

    def positions(self) -> Float[np.ndarray, "y x 2"]:
        """Return the ICRS right ascension and declination, in degrees, of every pixel centre."""
        sky = self.to_sky(np.moveaxis(np.indices(self.shape), 0, -1).astype(np.float64)).icrs
        return np.stack([sky.ra.deg, sky.dec.deg], axis=-1)

    def to_pixels(self, sky: SkyCoord) -> Float[np.ndarray, "*n 2"]:
        """Return the pixel coordinates (y, x) of sky positions."""
        x, y = self.wcs.world_to_pixel(sky)
        return np.stack([y, x], axis=-1)

    def cutout(
        self, center: SkyCoord | None, size_pixels: int | tuple[int, int]
    ) -> tuple["Frame", tuple[slice, slice]]:
        """Return the frame of a cutout and the slices that cut its pixels out.

        Parameters
        ----------
        center
            Sky position of its centre, rounded to the nearest pixel grid; None for the middle.
        size_pixels
            Side, or ``(ny, nx)``.

        Raises
        ------
        InputError
            If the cutout does not lie inside the image.
        """
        size = (size_pixels, size_pixels) if isinstance(size_pixels, int) else size_pixels
        middle = (np.array(self.shape) - 1) / 2 if center is None else self.to_pixels(center)
        start = np.round(middle - (np.array(size) - 1) / 2 - 1e-9)
        stop = start + np.array(size)
        if not np.all(np.isfinite(start)) or np.any(start < 0) or np.any(stop > np.array(self.shape)):
            raise InputError(
                "Frame.cutout",
                f"a cutout of {size[0]} x {size[1]} pixels that reaches beyond the image of {self.shape}",
                "a cutout inside the image",
                "Choose a smaller size or another centre.",
            )
        rows, columns = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return Frame((int(size[0]), int(size[1])), self.wcs[rows, columns]), (rows, columns)

    def affine_to(
        self, other: "Frame", tolerance: float = 0.02
    ) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, " 2"]]:
        """Return the affine map from our pixel coordinates to another frame's: ``q = matrix @ p + offset``.

        Parameters
        ----------
        other
            Frame of the same sky.
        tolerance
            Largest departure from the affine map over the shared sky, in pixels of the finer frame.

        Raises
        ------
        InputError
            If the frames lie on different skies, or no affine map is good to `tolerance`.
        """
        here, there = _shared_points(self, other)
        design = np.column_stack([here - here.mean(axis=0), np.ones(len(here))])
        solution, *_ = np.linalg.lstsq(design, there, rcond=None)
        worst = float(np.max(np.abs(there - design @ solution)))
        matrix = solution[:2].T
        finer = max(1.0, 1.0 / math.sqrt(abs(np.linalg.det(matrix))))
        if worst * finer > tolerance:
            raise InputError(
                "Frame.affine_to",
                f"a map between the images that is off an affine one by {worst * finer:.3g} pixel",
                f"at most {tolerance} pixel",
                "Cut out a smaller part of the sky, or pass `positions` explicitly (Frame.positions).",
            )
        return matrix, solution[2] - matrix @ here.mean(axis=0)

    def header(self) -> fits.Header:
        """Return the celestial FITS header of the frame."""
        return self.wcs.to_header(relax=True)

    def _resampled(self, pixel_scale: float) -> "Frame":
        """Return a frame of our orientation and corner but of another pixel scale; the shape is kept."""
        ratio = self.pixel_scale / pixel_scale
        if abs(ratio / max(round(ratio), 1) - 1) < 1e-4:
            ratio = float(round(ratio))
        linear = self.wcs.pixel_scale_matrix
        gram = linear.T @ linear
        conformal = np.allclose(gram, np.eye(2) * gram.trace() / 2, rtol=0, atol=1e-6 * gram.trace())
        if conformal and self.wcs.wcs.ctype[0].endswith("-TAN") and not self.wcs.has_distortion:
            # In the same projection the map between the two frames is affine, to the last digit.
            crpix = (self.wcs.wcs.crpix - 0.5) * ratio + 0.5
            return Frame(self.shape, _with_linear(self.wcs, crpix, linear / ratio))
        # The nearest similarity to the local map is its polar factor; FITS counts axes the other way round.
        u, _, vt = np.linalg.svd(self.jacobian)
        crpix = np.array(self.shape[::-1]) / 2 * ratio + 0.5
        return Frame(self.shape, _tangent_wcs(self.center, crpix, (u @ vt)[::-1, ::-1] * pixel_scale))


def _tangent_wcs(center: SkyCoord, crpix: Float[np.ndarray, " 2"], linear: Float[np.ndarray, "2 2"]) -> WCS:
    """Return a TAN, ICRS coordinate system; `linear` in arcsec (east, north) per FITS pixel (x, y)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [center.icrs.ra.deg, center.icrs.dec.deg]
    return _with_linear(wcs, crpix, linear / 3600)


def _with_linear(wcs: WCS, crpix: Float[np.ndarray, " 2"], linear: Float[np.ndarray, "2 2"]) -> WCS:
    """Return a copy with another reference pixel and linear part (degrees), whatever dress it had."""
    new = wcs.deepcopy()
    if new.wcs.has_cd():
        del new.wcs.cd
    if new.wcs.has_crota():
        del new.wcs.crota
    new.wcs.pc, new.wcs.cdelt, new.wcs.crpix = linear, [1.0, 1.0], crpix
    new.wcs.set()
    return new


def _check(shape: tuple[int, int], wcs: WCS, source: object) -> None:
    def refuse(found: str, expected: str) -> InputError:
        return InputError(source, found, expected, "Give the image a complete celestial WCS.")

    if min(shape) < 1:
        raise InputError(source, f"the shape {shape}", "two positive numbers", "Pass an image.")
    if not wcs.has_celestial or wcs.naxis != 2:
        raise refuse("no celestial WCS", "CTYPE cards of two sky coordinates")
    linear = wcs.pixel_scale_matrix * 3600
    if not all(np.all(np.isfinite(values)) for values in (linear, wcs.wcs.crval, wcs.wcs.crpix)):
        raise refuse("a WCS with values that are not finite", "finite CRVAL, CRPIX and CD or CDELT cards")
    area = abs(np.linalg.det(linear))
    if area <= 1e-12 * np.sum(linear**2):
        raise refuse("a singular WCS (no area per pixel)", "a linear transformation of full rank")
    scale = math.sqrt(area)
    if scale > MAX_PIXEL_SCALE:
        raise refuse(f"pixels of {scale:.4g} arcsec, the mark of a missing scale", "CD or CDELT cards")


def _different_sky(source: str) -> InputError:
    remedy = "Check their WCS and your file list."
    return InputError(source, "images of different parts of the sky", "images that overlap", remedy)


def _map(pixels: Float[np.ndarray, "n 2"], start: Frame, end: Frame) -> Float[np.ndarray, "n 2"]:
    """Map pixel coordinates (y, x) to another frame through the sky; nan where there is no answer."""
    try:
        x, y = pixel_to_pixel(start.wcs, end.wcs, pixels[:, 1], pixels[:, 0])
    except NoConvergence:
        return np.full_like(pixels, np.nan)
    return np.stack([y, x], axis=-1)


def _shared_points(first: Frame, second: Frame) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """Return pairs of pixel coordinates: a grid over the smaller frame, cut to the larger one."""
    area = [frame.pixel_scale**2 * frame.shape[0] * frame.shape[1] for frame in (first, second)]
    small, large = (first, second) if area[0] <= area[1] else (second, first)
    axes = [np.linspace(-0.5, size - 0.5, 17) for size in small.shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    mapped = _map(grid, small, large)
    shape = np.array(large.shape)
    beyond = np.maximum(-0.5 - mapped, mapped - (shape - 0.5)).max(axis=-1)  # pixels outside the edge
    if not np.all(np.isfinite(mapped)) or beyond.min() > np.hypot(*shape):
        raise _different_sky("Frame.affine_to")
    shared = (beyond <= 0).reshape(17, 17)
    if min(shared.any(axis=0).sum(), shared.any(axis=1).sum()) >= 3:
        grid, mapped = grid[shared.ravel()], mapped[shared.ravel()]
    return (grid, mapped) if small is first else (mapped, grid)
