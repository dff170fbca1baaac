"""Training scenes on disk: truths of pairs (`synergy.io.pairs`), with images or without, drawn as crops.

Shards are deflated, a chunk per scene, so that a crop costs the decoding of its scene (some milliseconds).
Decoded scenes are kept in memory while there is room, and crops may be drawn by several threads at once.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float

from synergy.errors import InputError

_MAKER = ("name", "config", "config_hash", "version")


@dataclasses.dataclass(frozen=True)
class SceneShards:
    """The scenes of one split.

    Parameters
    ----------
    files
        Open shards.
    starts
        Index of each shard's first scene, and the total, ``(shard + 1,)``.
    bands, pixel_scale
        What every shard agrees on.
    made_by
        What the shards say of how they were made: ``name``, ``config`` (JSON), ``config_hash`` and
        ``version`` of the program, as far as they say it.
    room
        How many decoded scenes to keep in memory.
    kept
        Those that are kept, by index.
    """

    files: tuple[h5py.Dataset, ...]
    starts: tuple[int, ...]
    bands: tuple[str, ...]
    pixel_scale: float
    made_by: Mapping[str, str] = dataclasses.field(default_factory=dict)
    room: int = 0
    kept: dict[int, Float[np.ndarray, "band y x"]] = dataclasses.field(default_factory=dict)

    @classmethod
    def open(
        cls, folder: Path, split: str, limit: int | None = None, memory_gb: float = 0.0
    ) -> "SceneShards":
        """Open all shards of a split.

        Parameters
        ----------
        folder
            Directory of shards ``pairs-<split>-<number>.h5``.
        split
            ``"train"``, ``"validation"`` or ``"test"``.
        limit
            Use the first `limit` shards only, so that shards still being made do not change a run.
        memory_gb
            Room for decoded scenes, 1e9 bytes.

        Raises
        ------
        InputError
            If there are none, one cannot be read, or they disagree in bands, shape, pixel scale or the
            configuration they were made with.
        """
        paths = sorted(folder.glob(f"pairs-{split}-*.h5"))[:limit]
        if not paths or (limit is not None and len(paths) < limit):
            raise InputError(
                folder,
                f"{len(paths)} files pairs-{split}-*.h5",
                f"{limit or 'one'} or more",
                "Make scenes first: synergy mock configs/mock/scenes.yaml --data DATA --out DIR.",
            )
        files, described = [], []
        for path in paths:
            try:
                data = h5py.File(path, "r")["truth/flux"]
                bands = json.loads(data.file.attrs["bands"])
                made_by = {name: str(data.file.attrs[name]) for name in _MAKER if name in data.file.attrs}
                made_with = made_by.get("config_hash", "unnamed settings")
                described.append(
                    (tuple(bands), float(data.file.attrs["pixel_scale"]), data.shape[1:], made_with)
                )
            except (OSError, KeyError, ValueError) as error:
                raise InputError(
                    path,
                    str(error),
                    "a shard of pairs",
                    "Delete it and make it again: synergy mock --resume.",
                ) from error
            if described[-1] != described[0]:
                raise InputError(
                    path,
                    str(described[-1]),
                    f"{described[0]} as in {paths[0].name}",
                    "Keep scenes of different configurations in different directories.",
                )
            files.append(data)
        starts = np.concatenate([[0], np.cumsum([len(f) for f in files])])
        bands, pixel_scale, shape, _ = described[0]
        room = int(memory_gb * 1e9 / (4 * np.prod(shape)))
        return cls(tuple(files), tuple(int(s) for s in starts), bands, pixel_scale, made_by, room)

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def side(self) -> int:
        """Smaller of height and width of the stored scenes."""
        return min(self.files[0].shape[-2:])

    def crops(self, rng: np.random.Generator, count: int, side: int) -> Float[np.ndarray, "n band y x"]:
        """Draw random crops of random scenes, each in one of the eight orientations of the square."""
        out = np.empty((count, len(self.bands), side, side), np.float32)
        for i, index in enumerate(rng.integers(0, len(self), count)):
            scene = self.scene(int(index))
            top, left = (int(rng.integers(0, n - side + 1)) for n in scene.shape[-2:])
            crop = scene[:, top : top + side, left : left + side]
            crop = np.rot90(crop, int(rng.integers(4)), axes=(1, 2))
            out[i] = crop[:, :, ::-1] if rng.integers(2) else crop
        return out

    def scene(self, index: int) -> Float[np.ndarray, "band y x"]:
        """Return a scene, not to be written to.

        Raises
        ------
        InputError
            If it cannot be read or is not finite.
        """
        if (kept := self.kept.get(index)) is not None:
            return kept
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        data, row = self.files[shard], index - self.starts[shard]
        source, remedy = f"{data.file.filename}[row {row}]", "Delete this shard and make it again."
        try:
            scene = data[row]
        except OSError as error:
            raise InputError(source, f"damaged data ({error})", "a scene", remedy) from error
        if not np.isfinite(scene).all():
            bad = self.bands[int(np.argmin(np.isfinite(scene).all(axis=(1, 2))))]
            raise InputError(source, f"non-finite pixels in {bad}", "finite nJy/pixel", remedy)
        if len(self.kept) < self.room:
            self.kept[index] = scene
        return scene
