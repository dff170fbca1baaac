"""Pairs as FITS files that other tools read, with the manifest by which ``synergy reconstruct`` reads them.

`write_observations` writes, for each image ``NAME``, HDUs ``NAME`` (nJy/pixel, with its WCS), ``NAME_IVAR``
(nJy^-2), ``NAME_MASK`` (1 = bad), ``NAME_PSF`` and, where noise is correlated, ``NAME_CORR`` and maybe
``NAME_INDEP`` (nJy^2); and beside the file a manifest (`synergy.io.manifest`) of the same name ending in
``.yaml``, by which the images are read with the same noise, PSF and response. `export_fits` adds ``TRUTH``, a
cube with its ``BANDS``, and a table of ``SOURCES``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits
from astropy.table import Table
from jaxtyping import Float

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.io.atomic import replacing, write_bytes
from synergy.io.pairs import Pair
from synergy.observation import Observation
from synergy.psf import PSF
from synergy.units import NJY_ZEROPOINT


def write_truth(truth: Float[np.ndarray, "band y x"], frame: Frame, bands: Sequence[str], path: Path) -> None:
    """Write a true scene as a FITS cube with its bands.

    Parameters
    ----------
    truth
        The scene in nJy/pixel.
    frame
        Its frame.
    bands
        Its bands.
    path
        File to write, or to replace.
    """
    _write([fits.PrimaryHDU(), *_truth_hdus(truth, frame, bands)], path)


def write_observations(observations: Sequence[Observation], path: Path) -> None:
    """Write images and all that belongs to them to one FITS file, and its manifest beside it.

    Parameters
    ----------
    observations
        Images with one PSF each.
    path
        File to write, or to replace; the manifest has its name, but for ``.yaml``.

    Raises
    ------
    InputError
        If a PSF varies.
    """
    _write([fits.PrimaryHDU(), *_image_hdus(observations)], path)
    _write_manifest(observations, path)


def export_fits(pair: Pair, path: Path) -> None:
    """Write a pair to one FITS file: truth, images and sources; and a manifest of the images beside it.

    Parameters
    ----------
    pair
        The pair.
    path
        File to write, or to replace; the manifest, if there are images, has its name, but for ``.yaml``.
    """
    primary = fits.PrimaryHDU()
    primary.header["OBJECT"] = pair.id
    primary.header["SEED"], primary.header["SPLIT"] = pair.seed, pair.split
    hdus = [primary, *_truth_hdus(pair.truth, pair.frame, pair.bands)]
    if pair.sources:
        table = Table(rows=[_flat(source) for source in pair.sources])
        hdus.append(fits.BinTableHDU(table, name="SOURCES"))
    _write([*hdus, *_image_hdus(pair.observations)], path)
    if pair.observations:
        _write_manifest(pair.observations, path)


def _write(hdus: list[Any], path: Path) -> None:
    with replacing(path) as temporary:
        fits.HDUList(hdus).writeto(temporary, overwrite=True)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without mappings: their values become columns ``name_key``."""
    flat = {}
    for name, value in row.items():
        flat |= {f"{name}_{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _image(array: np.ndarray, name: str, frame: Frame | None = None, unit: str | None = None) -> Any:
    data = array.astype(np.uint8 if array.dtype == bool else np.float32)
    hdu = fits.ImageHDU(data, header=None if frame is None else frame.header(), name=name)
    if unit is not None:
        hdu.header["BUNIT"] = unit
    return hdu


def _truth_hdus(truth: Float[np.ndarray, "band y x"], frame: Frame, bands: Sequence[str]) -> list[Any]:
    names = fits.Column("name", "32A", array=np.array(bands))
    return [
        _image(truth, "TRUTH", frame, "nJy"),
        fits.BinTableHDU.from_columns([names], name="BANDS"),
    ]


def _image_hdus(observations: Sequence[Observation]) -> list[Any]:
    hdus = []
    for o in observations:
        if not isinstance(o.psf, PSF):
            raise InputError(o.name, "a PSF that varies", "one stamp", "Leave this image out.")
        name = o.name.upper()
        hdus += [
            _image(o.image, name, o.frame, "nJy"),
            _image(o.ivar, f"{name}_IVAR", o.frame, "nJy-2"),
            _image(o.mask, f"{name}_MASK", o.frame),
            _image(o.psf.image, f"{name}_PSF"),
        ]
        if o.correlation is not None:
            hdus.append(_image(o.correlation, f"{name}_CORR"))
        if o.independent is not None:
            hdus.append(_image(o.independent, f"{name}_INDEP", o.frame, "nJy2"))
    return hdus


def _write_manifest(observations: Sequence[Observation], path: Path) -> None:
    def entry(o: Observation) -> dict[str, Any]:
        def plane(suffix: str) -> dict[str, Any]:
            return {"file": path.name, "hdu": f"{o.name.upper()}{suffix}"}

        correlated: bool | dict[str, Any] = False
        if o.correlation is not None:
            correlated = {"correlation": plane("_CORR")}
            correlated |= {} if o.independent is None else {"independent": plane("_INDEP")}
        return {
            "band": o.band,
            "name": o.name,
            "image": plane(""),
            "noise": {"ivar": plane("_IVAR")},
            "correlated": correlated,
            "mask": plane("_MASK"),
            "psf": plane("_PSF") | {"pixel_scale": o.psf.pixel_scale},
            "zeropoint": NJY_ZEROPOINT,
            "calibration_error": o.response_error,
            "response": o.response,
        }

    text = yaml.safe_dump({"images": [entry(o) for o in observations]}, sort_keys=False)
    write_bytes(path.with_suffix(".yaml"), text.encode())
