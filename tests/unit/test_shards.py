"""Shards of scenes and the state of training runs, as files."""

import json

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synergy.errors import InputError
from synergy.io.checkpoint import load_checkpoint, save_checkpoint
from synergy.io.shards import SceneShards


@pytest.fixture
def shards(tmp_path):
    """Three shards of different scenes, of pairs' layout: deflated, a chunk per scene."""
    for number in range(3):
        with h5py.File(tmp_path / f"pairs-train-{number:05d}.h5", "w") as file:
            scenes = np.random.default_rng(number).normal(size=(5, 2, 12, 14)).astype(np.float32)
            file.create_dataset("truth/flux", data=scenes, chunks=(1, 2, 12, 14), shuffle=True, compression=1)
            file.attrs["bands"], file.attrs["pixel_scale"] = json.dumps(["hsc.g", "hst.F814W"]), 0.05
            file.attrs["config_hash"], file.attrs["name"] = "abc", "three"
    return tmp_path


def test_kept_scenes_change_nothing_and_stay_within_their_room(shards):
    size = 4 * 2 * 12 * 14
    plain, some = (SceneShards.open(shards, "train", memory_gb=n * size / 1e9) for n in (0, 4.5))
    for seed in (0, 1):
        expected, found = (s.crops(np.random.default_rng(seed), 20, 8) for s in (plain, some))
        np.testing.assert_array_equal(found, expected)
    assert (len(plain.kept), len(some.kept)) == (0, 4)
    assert plain.made_by == {"name": "three", "config_hash": "abc"}


def test_bad_scenes_are_named(shards):
    with h5py.File(shards / "pairs-train-00001.h5", "r+") as file:
        file["truth/flux"][3, 1, 5, 5] = np.inf
    with h5py.File(shards / "pairs-train-00002.h5") as file:
        place = file["truth/flux"].id.get_chunk_info(4)
    with (shards / "pairs-train-00002.h5").open("r+b") as raw:
        raw.seek(place.byte_offset + 20)
        raw.write(b"\xff" * 40)
    opened = SceneShards.open(shards, "train")
    with pytest.raises(InputError, match=r"pairs-train-00001\.h5\[row 3\]: found non-finite pixels in hst"):
        opened.scene(8)
    with pytest.raises(InputError, match=r"00002\.h5\[row 4\]: found damaged data"):
        opened.scene(14)
    with pytest.raises(InputError, match="row"):
        opened.crops(np.random.default_rng(0), 100, 8)


def test_shards_of_different_configurations_do_not_mix(shards):
    with h5py.File(shards / "pairs-train-00002.h5", "r+") as file:
        file.attrs["config_hash"] = "other"
    with pytest.raises(InputError, match="different configurations"):
        SceneShards.open(shards, "train")


def test_checkpoints_with_a_changed_byte_are_refused(tmp_path):
    path, tree = tmp_path / "state.safetensors", {"a": jnp.arange(1000, dtype=jnp.float32)}
    save_checkpoint(path, tree, {"note": 1})
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="not those that were written"):
        load_checkpoint(path, tree)


def test_checkpoints_can_be_refused_by_their_metadata_first(tmp_path):
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, {"a": jnp.zeros(3)}, {"bands": ["g"]})

    def check(metadata):
        raise InputError(path, str(metadata["bands"]), "r", "Change it.")

    like = jax.eval_shape(lambda: {"a": jnp.zeros(4)})
    with pytest.raises(InputError, match=r"\['g'\]"):
        load_checkpoint(path, like, check)
    with pytest.raises(InputError, match=r"float32\[4\]"):
        load_checkpoint(path, like)
