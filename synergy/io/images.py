"""FITS images as plain native arrays with their headers, or a clear complaint.

The one place that opens other people's FITS files: FITS arrays are big-endian and may be integers, scaled,
compressed or cut short; what leaves here is a native float64 (or, for masks, int64) array in memory.
"""

import dataclasses
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from jaxtyping import Bool, Float, Int, Num

from synergy.errors import InputError

NO_INFORMATION = 1e15
"""RMS values from here on mark pixels without information (Euclid MER writes 1e16)."""

Window = tuple[slice, slice]


@contextmanager
def open_fits(path: Path) -> Iterator[fits.HDUList]:
    """Open a FITS file; whatever is wrong with it, also while it is read, becomes an `InputError`."""
    if not path.is_file():
        raise InputError(path, "no such file", "a FITS file", "Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fits.verify.VerifyWarning)  # odd cards are harmless
            warnings.filterwarnings("error", ".*truncated.*", AstropyUserWarning)
            # Opened by hand: astropy leaves the handle of a truncated file open.
            with path.open("rb") as file, fits.open(file) as hdus:
                yield hdus
    except InputError:
        raise
    except (OSError, TypeError, ValueError, AstropyUserWarning) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            path,
            f"a damaged or truncated file ({reason})",
            "a complete FITS file",
            "Copy or download it again.",
        ) from error


@dataclasses.dataclass(frozen=True)
class Plane:
    """Where one two-dimensional array lies.

    Parameters
    ----------
    path
        FITS file.
    hdu
        Number or name of the HDU.
    plane
        Index into a cube ``(plane, y, x)``; None for an image.
    """

    path: Path
    hdu: int | str = 0
    plane: int | None = None

    def __str__(self) -> str:
        plane = "" if self.plane is None else f", plane {self.plane}"
        return f"{self.path}[{self.hdu}{plane}]"

    def header(self) -> tuple[fits.Header, fits.Header, tuple[int, int]]:
        """Return the header of the HDU, that of the primary HDU, and the shape ``(y, x)``.

        Raises
        ------
        InputError
            If the file, HDU or plane is missing, or not an image.
        """
        with open_fits(self.path) as hdus:
            hdu = self._find(hdus)
            return hdu.header.copy(), hdus[0].header.copy(), tuple(hdu.shape[-2:])

    def read(self, window: Window | None = None) -> Num[np.ndarray, "y x"]:
        """Read the plane, or a window ``(rows, columns)`` of it, as a native array.

        Raises
        ------
        InputError
            If the file, HDU or plane is missing, not an image, or damaged.
        """
        rows, columns = window or (slice(None), slice(None))
        with open_fits(self.path) as hdus:
            section = self._find(hdus).section
            data = section[rows, columns] if self.plane is None else section[self.plane, rows, columns]
            return np.array(data, dtype=np.float64 if data.dtype.kind == "f" else np.int64)

    def _find(self, hdus: fits.HDUList) -> fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU:
        names = ", ".join(f"{i} {hdu.name or '(unnamed)'}" for i, hdu in enumerate(hdus))
        try:
            hdu = hdus[self.hdu]
        except (KeyError, IndexError):
            raise InputError(
                self,
                f"no such HDU (there are: {names})",
                f"an image HDU {self.hdu!r}",
                "Name an HDU of the file, or use a file that has it.",
            ) from None
        shape = hdu.shape if hdu.is_image else ()
        if len(shape) not in (2, 3) or 0 in shape:
            raise InputError(
                self, f"no image (shape {shape})", "an image or a cube", f"The HDUs are: {names}."
            )
        if (len(shape) == 3) != (self.plane is not None) or (self.plane or 0) not in range(shape[0]):
            raise InputError(
                self,
                f"an array of shape {shape}",
                "an image (y, x), or a cube (plane, y, x) with the number of a plane",
                "Set 'plane' for cubes, counted from 0, and only for cubes.",
            )
        return hdu


def ivar_from(kind: str, values: Num[np.ndarray, "y x"], source: object) -> Float[np.ndarray, "y x"]:
    """Return the inverse variance from a noise map; pixels without information get zero.

    Parameters
    ----------
    kind
        What the map holds: ``"rms"``, ``"variance"`` or ``"ivar"``.
    values
        The map. No information: not finite, zero or negative, or an RMS of `NO_INFORMATION` or more.
    source
        Where the map comes from, for the complaint.

    Raises
    ------
    InputError
        If no pixel has information.
    """
    limit = {"rms": NO_INFORMATION, "variance": NO_INFORMATION**2, "ivar": np.inf}[kind]
    power = {"rms": -2, "variance": -1, "ivar": 1}[kind]
    good = np.isfinite(values) & (values > 0) & (values < limit)
    if not good.any():
        raise InputError(
            source,
            "no pixel with information (all zero, negative, huge or not finite)",
            f"positive values of {kind}",
            "Check which HDU holds the noise, or use another cutout.",
        )
    return np.where(good, np.where(good, values, 1.0).astype(np.float64) ** power, 0.0)


def bits_set(mask: Int[np.ndarray, "y x"], bits: tuple[int, ...] | None) -> Bool[np.ndarray, "y x"]:
    """Return where any of the bits (from 0) is set, or where the value is not zero if none are named."""
    if bits is None:
        return mask != 0
    return (mask & sum(1 << bit for bit in bits)) != 0
