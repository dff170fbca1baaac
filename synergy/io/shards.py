"""Training scenes on disk: truths of pairs (`synergy.io.pairs`), with images or without, a crop at a time."""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float

from synergy.errors import InputError


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
    """

    files: tuple[h5py.Dataset, ...]
    starts: tuple[int, ...]
    bands: tuple[str, ...]
    pixel_scale: float

    @classmethod
    def open(cls, folder: Path, split: str, limit: int | None = None) -> "SceneShards":
        """Open all shards of a split.

        Parameters
        ----------
        folder
            Directory of shards ``pairs-<split>-<number>.h5``.
        split
            ``"train"``, ``"validation"`` or ``"test"``.
        limit
            Use the first `limit` shards only, so that shards still being made do not change a run.

        Raises
        ------
        InputError
            If there are none, one cannot be read, or they disagree in bands, shape or pixel scale.
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
                described.append((tuple(bands), float(data.file.attrs["pixel_scale"]), data.shape[1:]))
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
        bands, pixel_scale, _ = described[0]
        return cls(tuple(files), tuple(int(s) for s in starts), bands, pixel_scale)

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
            shard = int(np.searchsorted(self.starts, index, side="right")) - 1
            data = self.files[shard]
            top, left = (int(rng.integers(0, n - side + 1)) for n in data.shape[-2:])
            crop = data[int(index) - self.starts[shard], :, top : top + side, left : left + side]
            crop = np.rot90(crop, int(rng.integers(4)), axes=(1, 2))
            out[i] = crop[:, :, ::-1] if rng.integers(2) else crop
        if not np.isfinite(out).all():
            raise InputError(
                self.files[0].file.filename,
                "non-finite pixels",
                "finite nJy/pixel",
                "Make the scenes of this directory again.",
            )
        return out
