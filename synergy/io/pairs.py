"""Pairs of a truth and its observations, and the HDF5 shards that hold them.

A shard ``pairs-<split>-<number>.h5`` has one row per pair::

    (attributes)         kind = "pairs", split, bands (JSON) and pixel_scale (arcsec) of the truth, and
                         what its maker says: config, config_hash, version, ...
    object_id            (row)                  Pair.id
    seed                 (row)
    ra, dec              (row)                  ICRS degrees of the truth's centre
    sources              (row)                  JSON: Pair.sources
    truth/               the scene: flux (row, band, y, x), crpix, crval, cd
    images/<camera>/     images of one shape, such as "lsst.u+g+r+i+z+y"; `place`: their numbers in the pair
        name, band       (image)
        flux, ivar, mask (row, image, y, x)     nJy/pixel, nJy^-2, True = bad
        crpix, crval     (row, image, 2)        WCS: FITS keywords, gnomonic (RA---TAN, DEC--TAN), ICRS
        cd               (row, image, 2, 2)
        scale, psf_fwhm  (row, image)           arcsec
        psf              (row, image)           such as "61x61/3": psf/61x61/stamp[3]
        response         (row, image)           JSON: Observation.response, null for the image's own band
        response_error   (row, image)
        meta             (row, image)           JSON: Observation.meta
        correlation      (row, image, dy, dx)   where the noise is correlated
        independent      (row, image, y, x)     nJy^2, where part of such noise is independent
    psf/<ny>x<nx>/       stamp (n, y, x), pixel_scale (n): every different PSF once

Pixels are float32; WCS keywords, scales and correlations float64. Names are those of the Multimodal Universe
where it has one: object_id, ra, dec and, of an image, band, flux, ivar, mask, psf_fwhm, scale. (Its files say
``image_band``, ``image_array``, ... and stack all bands; here the images of each shape have a group.)

Pixels are written row by row, a chunk per row, so that making a shard takes the memory of one pair; chunks
are shuffled and deflated at level 1. What is read of a row does not depend on the other rows of its shard,
and the same pairs and attributes give the same bytes. All pairs of a shard have the same images.

References
----------
The Multimodal Universe Collaboration 2024, arXiv:2412.02527.
"""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.io.tangent import TangentKeywords
from synergy.observation import Observation
from synergy.psf import PSF

KIND = "pairs"
"""Attribute ``kind`` of shards of pairs."""

_WCS = ("crpix", "crval", "cd")


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """A true scene and the images of it.

    Parameters
    ----------
    id
        Name of the pair: that of its galaxy and of the view of it, unique within a data set.
    seed
        Of the configuration.
    split
        ``"train"``, ``"validation"`` or ``"test"``.
    bands
        Bands of the truth.
    truth
        The scene in nJy/pixel, seen through the model PSF.
    frame
        Frame of the truth.
    observations
        Its images.
    sources
        One row per source on the sky, the main galaxy first: ``name``, ``redshift``, ``y`` and ``x`` (scene
        pixels), ``radius`` (half-light, arcsec) and ``fluxes``, band -> nJy.
    """

    id: str
    seed: int
    split: str
    bands: tuple[str, ...]
    truth: Float[np.ndarray, "band y x"]
    frame: Frame
    observations: tuple[Observation, ...]
    sources: tuple[dict[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class PairShards:
    """The pairs of one split; files are opened to read and closed again.

    Parameters
    ----------
    paths
        Shards.
    starts
        Index of each shard's first pair, and the total, ``(shard + 1,)``.
    """

    paths: tuple[Path, ...]
    starts: tuple[int, ...]

    @classmethod
    def open(cls, folder: Path, split: str) -> "PairShards":
        """Find the shards of a split.

        Parameters
        ----------
        folder
            Directory of shards.
        split
            ``"train"``, ``"validation"`` or ``"test"``.

        Raises
        ------
        InputError
            If there are none, or one is damaged.
        """
        paths = sorted(folder.glob(f"pairs-{split}-*.h5"))
        if not paths:
            raise InputError(
                folder,
                f"no files pairs-{split}-*.h5",
                "one or more",
                "Make pairs first: synergy mock --help.",
            )
        lengths = []
        for path in paths:
            with reading(path) as file:
                lengths.append(len(file["object_id"]))
        return cls(tuple(paths), tuple(itertools.accumulate(lengths, initial=0)))

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> Pair:
        if not -len(self) <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        index %= len(self)
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        with reading(self.paths[shard]) as file:
            return _read(file, index - self.starts[shard])

    def __iter__(self) -> Iterator[Pair]:
        for path in self.paths:
            with reading(path) as file:
                for row in range(len(file["object_id"])):
                    yield _read(file, row)


def read_pair(path: Path, row: int) -> Pair:
    """Read one row of a shard.

    Parameters
    ----------
    path
        Shard.
    row
        Number of the row, from 0.

    Raises
    ------
    InputError
        If the shard is missing or damaged, or has no such row.
    """
    with reading(path) as file:
        count = len(file["object_id"])
        if not 0 <= row < count:
            raise InputError(path, f"no row {row}", f"0 to {count - 1}", "Choose one of its rows.")
        return _read(file, row)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Open a shard of pairs to read.

    Raises
    ------
    InputError
        If it is missing, damaged or something else; also where that shows only once the block reads it.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "a shard of pairs", "Check the path.")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["kind"] != KIND:
                raise KeyError(f"kind {file.attrs['kind']!r}")
            yield file
    except (OSError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise InputError(
            path,
            f"a damaged or foreign file ({' '.join(str(error).split())})",
            "a complete shard of pairs",
            "Delete it and make it again: synergy mock --resume.",
        ) from error


def _read(file: h5py.File, row: int) -> Pair:
    observations: dict[int, Observation] = {}
    for images in file["images"].values():
        observations |= zip(map(int, images.attrs["place"]), _read_images(file, images, row), strict=True)
    truth = file["truth/flux"][row]
    return Pair(
        id=file["object_id"].asstr()[row],
        seed=int(file["seed"][row]),
        split=file.attrs["split"],
        bands=tuple(json.loads(file.attrs["bands"])),
        truth=truth,
        frame=_keywords({key: file[f"truth/{key}"][row] for key in _WCS}).frame(truth.shape[1:]),
        observations=tuple(observations[place] for place in sorted(observations)),
        sources=tuple(json.loads(file["sources"].asstr()[row])),
    )


def _read_images(file: h5py.File, images: h5py.Group, row: int) -> list[Observation]:
    names, bands = (images[key].asstr()[:] for key in ("name", "band"))
    texts = {key: images[key].asstr()[row] for key in ("psf", "response", "meta")}
    optional = [key for key in ("correlation", "independent") if key in images]
    arrays = {key: images[key][row] for key in ("flux", "ivar", "mask", "response_error", *_WCS, *optional)}
    found = []
    for i, (name, band) in enumerate(zip(names, bands, strict=True)):
        table, _, number = texts["psf"][i].partition("/")
        stamps = file[f"psf/{table}"]
        flux, ivar = (arrays[key][i].astype(np.float64) for key in ("flux", "ivar"))
        found.append(
            Observation(
                name=name,
                band=band,
                image=flux,
                ivar=ivar,
                mask=arrays["mask"][i],
                psf=PSF(
                    stamps["stamp"][int(number)].astype(np.float64), float(stamps["pixel_scale"][int(number)])
                ),
                frame=_keywords({key: arrays[key][i] for key in _WCS}).frame(flux.shape),
                response=json.loads(texts["response"][i]),
                response_error=float(arrays["response_error"][i]),
                meta=json.loads(texts["meta"][i]),
                **{key: arrays[key][i].astype(np.float64) for key in optional},
            )
        )
    return found


def _keywords(arrays: dict[str, np.ndarray]) -> TangentKeywords:
    return TangentKeywords(arrays["crpix"], arrays["crval"], arrays["cd"])
