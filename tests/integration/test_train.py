"""Training runs: learning, interruption, resumption and refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synergy.card import write_model_card
from synergy.errors import InputError
from synergy.io.checkpoint import load_checkpoint, save_checkpoint
from synergy.io.shards import SceneShards
from synergy.priors.diffusion import load_prior
from synergy.train import TrainConfig, train

TINY = {
    "name": "tiny",
    "widths": (8, 12),
    "blocks": 1,
    "embedding": 16,
    "crop": 16,
    "batch": 4,
    "steps": 24,
    "checkpoint_every": 4,
    "validate_every": 12,
    "validation_scenes": 8,
    "warmup": 5,
}

_SCRIPT = """
import sys
from pathlib import Path
from synergy.train import TrainConfig, train
config = TrainConfig.model_validate_json(sys.argv[1])
train(config, Path(sys.argv[2]), Path(sys.argv[3]), resume=sys.argv[4] == "resume",
      progress=lambda done, total, label: print(done, flush=True))
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Exponential discs in two bands, as shards."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for split, count in (("train", 40), ("validation", 10)):
        centre, length = rng.uniform(4, 28, (2, count, 1, 1)), rng.uniform(1.5, 4.0, (count, 1, 1))
        disc = np.exp(-np.hypot(y - centre[0], x - centre[1]) / length) * 10 ** rng.uniform(
            0, 2, (count, 1, 1)
        )
        _write_shard(folder / f"pairs-{split}-00000.h5", np.stack([disc, 2.0 * disc], axis=1))
    return folder


def _write_shard(path: Path, scenes: np.ndarray, pixel_scale: float = 0.05) -> None:
    """Write what training reads of a shard of pairs."""
    with h5py.File(path, "w") as file:
        file["truth/flux"] = scenes.astype(np.float32)
        file.attrs["bands"] = json.dumps(["lsst.g", "lsst.i"])
        file.attrs["pixel_scale"] = pixel_scale


def _weights(run: Path) -> dict[str, np.ndarray]:
    prior = load_prior(run / "prior")
    return {f"{m}/{n}": np.asarray(v) for m, group in prior.params.items() for n, v in group.items()}


def _start(config: TrainConfig, data: Path, out: Path, mode: str) -> subprocess.Popen:
    command = [sys.executable, "-c", _SCRIPT, config.model_dump_json(), str(data), str(out), mode]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}
    )


def test_killed_run_resumes_to_the_same_weights(scenes, tmp_path):
    """SIGKILL between checkpoints, resume, and compare with a run that was left alone."""
    config = TrainConfig(**TINY)
    with _start(config, scenes, tmp_path / "whole", "new") as whole:
        with _start(config, scenes, tmp_path / "cut", "new") as cut:
            for line in cut.stdout:
                if int(line) == 10:
                    cut.send_signal(signal.SIGKILL)
                    break
        assert cut.returncode == -signal.SIGKILL
        with _start(config, scenes, tmp_path / "cut", "resume") as again:
            steps = [int(line) for line in again.stdout]
        whole.communicate()
    assert (again.returncode, whole.returncode) == (0, 0)
    assert 4 < steps[0] <= 13  # neither from scratch nor a state that was never saved
    expected, found = _weights(tmp_path / "whole"), _weights(tmp_path / "cut")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    logs = [(tmp_path / run / "log.csv").read_text().splitlines() for run in ("whole", "cut")]
    column = [[row.split(",")[:2] for row in log] for log in logs]
    assert column[0] == column[1]


def test_training_lowers_the_held_out_error(scenes, tmp_path):
    config = TrainConfig(
        **TINY | {"steps": 150, "validate_every": 150, "checkpoint_every": 150, "learning_rate": 2e-3}
    )
    start = time.perf_counter()
    prior = train(config, scenes, tmp_path / "run")
    assert time.perf_counter() - start < 120
    text = write_model_card(tmp_path / "run", draws=2, steps=4).read_text()
    assert "**Steps**: 150 of batch 4, crops of 16 pixels" in " ".join(text.split())
    assert {"loss.png", "samples.png"} <= {path.name for path in (tmp_path / "run" / "prior").iterdir()}
    card = json.loads((tmp_path / "run" / "prior" / "prior.json").read_text())
    assert card["training"]["steps"] == 150
    # The EDM skip alone leaves s^2/(s^2 + sigma^2) of the noise; training must do much better at sigma = 1.
    variance = prior.network.data_std**2
    assert card["validation"]["error_1"] < 0.5 * variance / (variance + 1.0)


def test_runs_are_not_overwritten_or_mixed(scenes, tmp_path):
    config = TrainConfig(**TINY | {"steps": 2, "checkpoint_every": 1, "validate_every": 2})
    train(config, scenes, tmp_path / "run")
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    with pytest.raises(InputError, match="--resume"):
        train(config, scenes, tmp_path / "run")
    with pytest.raises(InputError, match=r"learning_rate"):
        train(config.model_copy(update={"learning_rate": 1.0}), scenes, tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="Start it without --resume"):
        train(config, scenes, tmp_path / "other", resume=True)
    with pytest.raises(InputError, match="at most the scenes' side"):
        train(config.model_copy(update={"crop": 64}), scenes, tmp_path / "other")
    with pytest.raises(InputError, match="multiple of 4"):
        train(config.model_copy(update={"crop": 18}), scenes, tmp_path / "other")
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before
    assert not (tmp_path / "other").exists()


def test_non_finite_loss_stops_and_keeps_the_last_state(scenes, tmp_path):
    config = TrainConfig(**TINY | {"steps": 40, "learning_rate": 1e30, "warmup": 1, "checkpoint_every": 1})
    with pytest.raises(FloatingPointError, match="last checkpoint is kept"):
        train(config, scenes, tmp_path / "run")
    assert (tmp_path / "run" / "state.safetensors").is_file()


def test_checkpoint_refuses_damage_and_other_structures(tmp_path):
    tree = {"a": jnp.arange(3, dtype=jnp.float32), "b": (jnp.int32(7),)}
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, tree, {"note": 1})
    restored, metadata = load_checkpoint(path, jax.tree.map(jnp.zeros_like, tree))
    np.testing.assert_array_equal(restored["a"], tree["a"])
    assert (int(restored["b"][0]), metadata) == (7, {"note": 1})
    with pytest.raises(InputError, match=r"float32\[4\]"):
        load_checkpoint(path, tree | {"a": jnp.zeros(4, jnp.float32)})
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="a training state"):
        load_checkpoint(path, tree)


def test_shards_must_exist_agree_and_be_finite(scenes, tmp_path):
    with pytest.raises(InputError, match="0 files"):
        SceneShards.open(tmp_path, "train")
    (tmp_path / "pairs-train-00000.h5").write_bytes((scenes / "pairs-train-00000.h5").read_bytes())
    for number, pixel_scale, value in ((1, 0.1, 0.0), (1, 0.05, np.nan)):
        path = tmp_path / f"pairs-train-{number:05d}.h5"
        _write_shard(path, np.full((400, 2, 32, 32), value), pixel_scale)
        if np.isnan(value):
            with pytest.raises(InputError, match="non-finite"):
                SceneShards.open(tmp_path, "train").crops(np.random.default_rng(0), 8, 16)
        else:
            with pytest.raises(InputError, match="as in pairs-train-00000"):
                SceneShards.open(tmp_path, "train")


def test_a_run_can_begin_from_another_prior(scenes, tmp_path):
    config = TrainConfig(**TINY | {"steps": 8})
    first = train(config, scenes, tmp_path / "first")
    further = config.model_copy(update={"steps": 1, "learning_rate": 1e-6, "warmup": 1})
    second = train(further, scenes, tmp_path / "second", start=load_prior(tmp_path / "first" / "prior"))
    np.testing.assert_array_equal(second.band_scale, first.band_scale)
    assert second.network == first.network
    for module, group in first.params.items():
        for name, value in group.items():
            # Stored in half precision, and moved by one tiny step.
            np.testing.assert_allclose(second.params[module][name], value, rtol=1e-3, atol=1e-4)
    card = json.loads((tmp_path / "second" / "prior" / "prior.json").read_text())
    assert card["training"]["began_from"] == load_prior(tmp_path / "first" / "prior").id
    prolonged = train(further.model_copy(update={"steps": 2}), scenes, tmp_path / "second", resume=True)
    assert prolonged.id == "tiny:step-2"
    card = json.loads((tmp_path / "second" / "prior" / "prior.json").read_text())
    assert card["training"]["began_from"] == load_prior(tmp_path / "first" / "prior").id
    wider = further.model_copy(update={"widths": (8, 16)})
    with pytest.raises(InputError, match="network"):
        train(wider, scenes, tmp_path / "third", start=first)
    with pytest.raises(InputError, match="one of them"):
        train(further, scenes, tmp_path / "second", resume=True, start=first)
    assert not (tmp_path / "third").exists()
