"""Scenes drawn from a prior alone, and their FITS file.

HDUs: PRIMARY (provenance; ``KIND = 'drawn scenes'``) · SCENES (draw, band, y, x), float32 nJy per pixel ·
BANDS (table: name, zeropoint, band_scale) · DRAWS (table: the flux scale of each scene). They lie nowhere on
the sky: instead of a WCS, ``PIXSCALE`` says how large their pixels are.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from jaxtyping import Float

from synergy.errors import InputError
from synergy.io.atomic import replacing
from synergy.io.images import open_fits
from synergy.units import NJY_ZEROPOINT

KIND = "drawn scenes"


@dataclasses.dataclass(frozen=True, eq=False)
class DrawnScenes:
    """Scenes that a prior holds for likely.

    Parameters
    ----------
    scenes
        The scenes in nJy/pixel, ``(draw, band, y, x)``.
    scale
        The flux scale each was multiplied by, nJy/pixel, ``(draw,)``.
    bands
        Names of the bands.
    band_scale
        The prior's factor per band: ``scenes / (scale * band_scale)`` is what the prior knows.
    pixel_scale
        Arcsec.
    meta
        Provenance, anything JSON can hold.
    """

    scenes: Float[np.ndarray, "draw band y x"]
    scale: Float[np.ndarray, " draw"]
    bands: tuple[str, ...]
    band_scale: Float[np.ndarray, " band"]
    pixel_scale: float
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def normalised(self) -> Float[np.ndarray, "draw band y x"]:
        """The scenes in the prior's units."""
        unit = self.scale[:, None] * self.band_scale
        return self.scenes / unit.astype(np.float32)[:, :, None, None]

    def write(self, path: Path | str) -> None:
        """Write a FITS file, whole or not at all."""
        primary = fits.PrimaryHDU()
        primary.header["KIND"] = KIND
        for key in ("version", "commit", "seed", "prior"):
            if self.meta.get(key) is not None:
                primary.header[key.upper()] = self.meta[key]
        primary.header["META"] = json.dumps(self.meta)
        cube = fits.ImageHDU(np.asarray(self.scenes, np.float32), name="SCENES")
        cube.header["BUNIT"] = "nJy"
        cube.header["PIXSCALE"] = (self.pixel_scale, "arcsec")
        bands = [
            fits.Column("name", "32A", array=np.array(self.bands)),
            fits.Column("zeropoint", "D", unit="mag", array=np.full(len(self.bands), NJY_ZEROPOINT)),
            fits.Column("band_scale", "D", array=self.band_scale),
        ]
        draws = [fits.Column("scale", "D", unit="nJy", array=self.scale)]
        tables = [
            fits.BinTableHDU.from_columns(columns, name=name)
            for name, columns in (("BANDS", bands), ("DRAWS", draws))
        ]
        with replacing(Path(path)) as temporary:
            fits.HDUList([primary, cube, *tables]).writeto(temporary, overwrite=True, checksum=True)

    @classmethod
    def read(cls, path: Path | str) -> "DrawnScenes":
        """Read a file that `write` wrote.

        Raises
        ------
        InputError
            If it is missing, damaged or something else.
        """
        try:
            with open_fits(Path(path)) as hdus:
                if hdus[0].header.get("KIND") != KIND:
                    raise KeyError(f"KIND is not '{KIND}'")
                cube, bands = hdus["SCENES"], hdus["BANDS"].data
                return cls(
                    scenes=np.ascontiguousarray(cube.data, np.float32),
                    scale=np.asarray(hdus["DRAWS"].data["scale"], np.float64),
                    bands=tuple(str(name) for name in bands["name"]),
                    band_scale=np.asarray(bands["band_scale"], np.float64),
                    pixel_scale=float(cube.header["PIXSCALE"]),
                    meta=json.loads(hdus[0].header["META"]),
                )
        except KeyError as error:
            raise InputError(
                path,
                f"{type(error).__name__}: {error}",
                "scenes written by 'synergy sample'",
                "Check the path, or draw them again.",
            ) from error
