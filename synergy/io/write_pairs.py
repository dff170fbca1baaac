"""Writing shards of pairs; their layout is that of `synergy.io.pairs`."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from synergy.errors import InputError
from synergy.io.hdf5 import creating
from synergy.io.pairs import KIND, Pair
from synergy.io.tangent import TangentKeywords
from synergy.observation import Observation
from synergy.psf import PSF

_DEFLATED = {"shuffle": True, "compression": 1}


def write_pairs(path: Path, pairs: Iterable[Pair], attributes: Mapping[str, str]) -> None:
    """Write a shard, one pair after the other.

    Parameters
    ----------
    path
        File to write, whole or not at all.
    pairs
        Its rows, of one split and with the same images each.
    attributes
        What to store beside them.

    Raises
    ------
    InputError
        If there is no pair, pairs differ in what must be the same, one holds what shards do not (see
        `TangentKeywords`; a varying PSF; positions; a truth that is not finite), or the disk is full.
    """
    with creating(path) as (file, check):
        writer = None
        for pair in pairs:
            writer = _Writer(file, pair) if writer is None else writer
            writer.add(pair)
            check()
        if writer is None:
            raise InputError(path, "no pair", "at least one", "Ask for a positive number of pairs.")
        writer.close()
        for key, value in sorted(attributes.items()):
            file.attrs[key] = value


class _Writer:
    """Rows on their way to a shard: pixels go to the file at once, everything small when it is closed.

    Parameters
    ----------
    file
        The shard.
    first
        The pair that decides what all rows hold.
    """

    def __init__(self, file: h5py.File, first: Pair) -> None:
        self._file = file
        self._contents = _contents(first)
        self._cameras = _cameras(first.observations)
        self._large: dict[str, h5py.Dataset] = {}
        self._small: dict[str, list[Any]] = {}
        self._psfs: dict[bytes, str] = {}
        scale = TangentKeywords.of(first.frame, first.id).pixel_scale
        file.attrs["kind"], file.attrs["split"] = KIND, first.split
        file.attrs["bands"], file.attrs["pixel_scale"] = json.dumps(first.bands), round(scale, 9)
        images = file.create_group("images")
        for camera, members in self._cameras.items():
            group = images.create_group(camera)
            for key in ("name", "band"):
                group[key] = _fixed([getattr(first.observations[i], key) for i in members])
            group.attrs["place"] = members

    def add(self, pair: Pair) -> None:
        if _contents(pair) != self._contents:
            raise InputError(
                pair.id,
                _contents(pair),
                self._contents,
                "Put pairs that differ in this into different shards.",
            )
        if not np.all(np.isfinite(pair.truth)):
            raise InputError(pair.id, "a truth that is not finite", "finite nJy/pixel", "Correct its maker.")
        keywords = TangentKeywords.of(pair.frame, pair.id)
        ra, dec = keywords.position((np.array(pair.frame.shape) - 1) / 2)
        row = {"object_id": pair.id, "seed": pair.seed, "ra": ra, "dec": dec, "sources": _json(pair.sources)}
        row |= {f"truth/{key}": value for key, value in keywords.arrays().items()}
        for key, value in row.items():
            self._small.setdefault(key, []).append(value)
        self._pixels("truth/flux", pair.truth)
        for camera, members in self._cameras.items():
            self._images(f"images/{camera}", [pair.observations[i] for i in members])

    def close(self) -> None:
        for key, values in self._small.items():
            data = _fixed(values) if np.asarray(values[0]).dtype.kind == "U" else np.array(values)
            self._file.create_dataset(key, data=data, chunks=True, **_DEFLATED)

    def _images(self, group: str, observations: list[Observation]) -> None:
        rows = [self._describe(observation) for observation in observations]
        for key in rows[0]:
            self._small.setdefault(f"{group}/{key}", []).append(np.array([row[key] for row in rows]))
        for key in ("image", "ivar", "mask", "independent"):
            planes = [getattr(observation, key) for observation in observations]
            if planes[0] is not None:
                self._pixels(f"{group}/{'flux' if key == 'image' else key}", np.stack(planes))

    def _describe(self, observation: Observation) -> dict[str, Any]:
        keywords = TangentKeywords.of(observation.frame, observation.name)
        row = keywords.arrays() | {
            "scale": keywords.pixel_scale,
            "psf_fwhm": observation.psf.fwhm,
            "psf": self._psf(observation),
            "response": _json(observation.response),
            "response_error": observation.response_error,
            "meta": _json(observation.meta),
        }
        return row if observation.correlation is None else row | {"correlation": observation.correlation}

    def _psf(self, observation: Observation) -> str:
        """Return where the PSF is, having put it there if it is new."""
        stamp, scale = observation.psf.image.astype(np.float32), observation.psf.pixel_scale
        digest = hashlib.sha256(f"{stamp.shape} {scale!r}".encode() + stamp.tobytes()).digest()
        if digest not in self._psfs:
            table = "x".join(map(str, stamp.shape))
            scales = self._small.setdefault(f"psf/{table}/pixel_scale", [])
            self._psfs[digest] = f"{table}/{len(scales)}"
            scales.append(scale)
            self._pixels(f"psf/{table}/stamp", stamp)
        return self._psfs[digest]

    def _pixels(self, name: str, array: np.ndarray) -> None:
        """Append a row to a dataset."""
        dtype = bool if array.dtype == bool else np.float32
        if name not in self._large:
            limit, chunk = (None, *array.shape), (1, *array.shape)
            self._large[name] = self._file.create_dataset(
                name, (0, *array.shape), dtype, maxshape=limit, chunks=chunk, **_DEFLATED
            )
        data = self._large[name]
        data.resize(len(data) + 1, axis=0)
        data[-1] = array.astype(dtype)


def _contents(pair: Pair) -> str:
    """Say what all pairs of a shard have to agree on, and refuse what shards do not hold."""
    images = []
    for o in pair.observations:
        if not isinstance(o.psf, PSF) or o.positions is not None:
            raise InputError(
                f"{pair.id}, {o.name}",
                "a PSF that varies, or positions",
                "one PSF and a WCS",
                "Leave it out.",
            )
        noise = "" if o.correlation is None else f" correlated {o.correlation.shape}"
        images.append(f"{o.name} ({o.band}) {o.frame.shape}{noise}{'' if o.independent is None else '+'}")
    scale = TangentKeywords.of(pair.frame, pair.id).pixel_scale
    truth = f"{pair.truth.shape} at {scale:.9f} arcsec of {', '.join(pair.bands)}"
    return f"{pair.split}; truth {truth}; images {', '.join(images)}"


def _cameras(observations: Sequence[Observation]) -> dict[str, list[int]]:
    """Return the numbers of the observations that share a group, by its name: camera and bands."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for i, o in enumerate(observations):
        extra = (None if o.correlation is None else o.correlation.shape, o.independent is None)
        alike.setdefault((o.band.partition(".")[0], o.frame.shape, *extra), []).append(i)
    named: dict[str, list[int]] = {}
    for (camera, *_), members in alike.items():
        bands = dict.fromkeys(observations[i].band.partition(".")[2] for i in members)
        name = f"{camera}.{'+'.join(bands)}".rstrip(".")
        named[name if name not in named else f"{name}-{len(named)}"] = members
    return named


def _json(value: Any) -> str:
    """Return JSON of plain values and NumPy's."""
    return json.dumps(value, default=lambda array: array.tolist())


def _fixed(values: Any) -> np.ndarray:
    """Return texts as UTF-8 of fixed length: HDF5 scatters others over its file."""
    encoded = np.char.encode(np.array(values), "utf-8")
    return encoded.astype(h5py.string_dtype("utf-8", encoded.dtype.itemsize))
