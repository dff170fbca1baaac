"""Training runs: learning, interruption, resumption and refusals."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from synergy.card import _history, write_model_card
from synergy.errors import InputError
from synergy.io.checkpoint import load_checkpoint
from synergy.io.shards import SceneShards
from synergy.io.training_log import read_rows
from synergy.priors.diffusion import DiffusionPrior, load_prior
from synergy.priors.unet import make_unet
from synergy.train import TrainConfig, train
from synergy.training.step import TrainState

TINY = {
    "name": "tiny",
    "widths": (8,),
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
from synergy.priors.unet import make_unet
from synergy.train import TrainConfig, train
from synergy.training.step import TrainState
config = TrainConfig.model_validate_json(sys.argv[1])
train(config, Path(sys.argv[2]), Path(sys.argv[3]), resume=sys.argv[4] == "resume",
      progress=lambda done, total, label: print(done, flush=True))
"""


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory) -> Iterator[dict[str, str]]:
    """Keep what is compiled, for most runs here are of one program; yield the environment that shares it."""
    values = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in values}
    for name, value in values.items():
        jax.config.update(name, value)
    yield {name.upper(): str(value) for name, value in values.items()}
    for name, value in before.items():
        jax.config.update(name, value)


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


def _start(config: TrainConfig, data: Path, out: Path, mode: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-c", _SCRIPT, config.model_dump_json(), str(data), str(out), mode]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"} | environment
    )


def _assert_same(found: Path, expected: Path) -> None:
    """Compare the weights of two runs, bit for bit, and their losses where both logged them."""
    a, b = _weights(found), _weights(expected)
    assert a.keys() == b.keys()
    for name, value in b.items():
        np.testing.assert_array_equal(a[name], value, err_msg=name)


def _assert_near(found: DiffusionPrior, start: DiffusionPrior) -> None:
    """Compare the weights that two priors share: stored in half precision, and moved by one tiny step."""
    for module in found.params.keys() & start.params.keys():
        for name, value in start.params[module].items():
            np.testing.assert_allclose(found.params[module][name], value, rtol=1e-3, atol=1e-4)


def _resume(config: TrainConfig, data: Path, out: Path) -> list[int]:
    """Go on with a run; return the steps that it told of."""
    steps: list[int] = []
    train(config, data, out, resume=True, progress=lambda done, total, label: steps.append(done))
    return steps


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory) -> Path:
    """Train a run that is left alone."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(TrainConfig(**TINY), scenes, out)
    return out


def test_killed_run_resumes_to_the_same_weights(scenes, whole, tmp_path, compiled):
    """SIGKILL between checkpoints, resume, and compare with a run that was left alone."""
    config, cut = TrainConfig(**TINY), tmp_path / "cut"
    with _start(config, scenes, cut, "new", **compiled) as process:
        for line in process.stdout:
            if int(line) == 10:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    steps = _resume(config, scenes, cut)
    assert 4 <= steps[0] <= 12  # neither from scratch nor a state that was never saved
    _assert_same(cut, whole)
    logs = [(run / "log.csv").read_text().splitlines() for run in (whole, cut)]
    column = [[row.split(",")[:3] for row in log] for log in logs]
    assert column[0] == column[1]
    assert (cut / "validation.csv").read_text() == (whole / "validation.csv").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_saves_its_last_step(scenes, whole, tmp_path, number):
    config = TrainConfig(**TINY)

    def stop(done: int, total: int, label: str) -> None:
        if done == 9:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt, match="of 24"):
        train(config, scenes, tmp_path / "run", progress=stop)
    steps = _resume(config, scenes, tmp_path / "run")
    assert 9 <= steps[0] <= 11
    _assert_same(tmp_path / "run", whole)


def test_four_devices_train_as_one_does(scenes, whole, tmp_path):
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    with _start(TrainConfig(**TINY), scenes, tmp_path / "four", "new", **environment) as process:
        process.communicate()
    assert process.returncode == 0
    one, four = (read_rows(run / "log.csv") for run in (whole, tmp_path / "four"))
    for key, tolerance in (("loss", 1e-4), ("gradient", 1e-3)):
        np.testing.assert_allclose(
            [float(row[key]) for row in four], [float(row[key]) for row in one], rtol=tolerance
        )
    assert [row["step"] for row in four] == [row["step"] for row in one]
    one, four = (read_rows(run / "validation.csv") for run in (whole, tmp_path / "four"))
    np.testing.assert_allclose(
        [float(row["error"]) for row in four], [float(row["error"]) for row in one], rtol=1e-3
    )
    card = json.loads((tmp_path / "four" / "prior" / "prior.json").read_text())
    assert card["training"]["devices"] == "4 x cpu"


def test_a_batch_that_devices_cannot_share_is_refused(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(InputError, match="4 crops on 3 devices"):
        train(TrainConfig(**TINY), scenes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_keeps_the_last_state(scenes, whole, tmp_path):
    """Files may not grow any more from step 9 on, as on a full disk: resume once they may."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    config = TrainConfig(**TINY)

    def fill(done: int, total: int, label: str) -> None:
        if done == 9:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))

    try:
        with pytest.raises(InputError, match="no space for it"):
            train(config, scenes, tmp_path / "run", progress=fill)
        with pytest.raises(InputError, match="no space for it"):
            train(config, scenes, tmp_path / "none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in (tmp_path / "run").rglob(".*") if path.is_file()]
    steps = _resume(config, scenes, tmp_path / "run")
    assert steps[0] == 8
    _assert_same(tmp_path / "run", whole)


def test_what_cannot_be_resumed_is_refused(scenes, whole, tmp_path):
    config, run = TrainConfig(**TINY), tmp_path / "run"
    shutil.copytree(whole, run)
    others = tmp_path / "others"
    shutil.copytree(scenes, others)
    for path in others.iterdir():
        with h5py.File(path, "r+") as file:
            file.attrs["bands"] = json.dumps(["lsst.g", "lsst.r"])
    with pytest.raises(InputError, match="a run on scenes of"):
        train(config, others, run, resume=True)
    with pytest.raises(InputError, match=r"scenes of \('lsst.g', 'lsst.r'\)"):
        train(config.model_copy(update={"bands": ("lsst.g", "lsst.i")}), others, tmp_path / "new")
    (others / "pairs-validation-00000.h5").write_bytes((scenes / "pairs-validation-00000.h5").read_bytes())
    with pytest.raises(InputError, match="as in the train split"):
        train(config, others, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    state = run / "state.safetensors"
    data = bytearray(state.read_bytes())
    data[-50] ^= 255
    state.write_bytes(data)
    with pytest.raises(InputError, match="not those that were written"):
        train(config, scenes, run, resume=True)
    (run / "config.json").write_text("{")
    with pytest.raises(InputError, match="no readable settings"):
        train(config, scenes, run, resume=True)


def test_scenes_that_are_not_finite_stop_a_run_and_are_named(scenes, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(scenes, bad)
    with h5py.File(bad / "pairs-validation-00000.h5", "r+") as file:
        file["truth/flux"][:, 1, 20, 20] = np.nan
    with pytest.raises(InputError, match=r"pairs-validation-00000\.h5\[row \d\]: found non-finite"):
        train(TrainConfig(**TINY), bad, tmp_path / "run")


def test_training_lowers_the_held_out_error(scenes, tmp_path):
    config = TrainConfig(
        **TINY
        | {"widths": (8, 12), "steps": 150, "validate_every": 150, "checkpoint_every": 150}
        | {"learning_rate": 2e-3}
    )
    start = time.process_time()
    prior = train(config, scenes, tmp_path / "run")
    assert time.process_time() - start < 120
    text = write_model_card(tmp_path / "run", draws=2, steps=4).read_text()
    assert "| random weights | 40 | 150 | 4 |" in text
    assert "None were stated." in text
    assert {"loss.png", "validation.png", "samples.png"} <= {
        path.name for path in (tmp_path / "run" / "prior").iterdir()
    }
    card = json.loads((tmp_path / "run" / "prior" / "prior.json").read_text())
    assert card["training"]["steps"] == 150
    # The EDM skip alone leaves s^2/(s^2 + sigma^2) of the noise; training must do much better at sigma = 1.
    variance = prior.network.data_std**2
    assert card["validation"]["error_1"] < 0.5 * variance / (variance + 1.0)
    # The average with the lower error made the prior; the log has both.
    rows = read_rows(tmp_path / "run" / "validation.csv")
    assert {row["step"] for row in rows} == {"150"}
    ratio = {
        average: np.exp(np.mean([np.log(float(row["ratio"])) for row in rows if row["average"] == average]))
        for average in ("16.97", "6.94")
    }
    assert f"{card['training']['average_exponent']}" == min(ratio, key=ratio.get)
    assert card["validation"]["mean_ratio"] == pytest.approx(min(ratio.values()))


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
    with pytest.raises(InputError, match="multiple of 2"):
        train(config.model_copy(update={"crop": 15}), scenes, tmp_path / "other")
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before
    assert not (tmp_path / "other").exists()


def _like(config: TrainConfig) -> TrainState:
    init, _ = make_unet(config.network(2, 1.0))
    return TrainState.begin(init(jax.random.key(0)), config)


def test_non_finite_loss_stops_and_keeps_the_last_state(scenes, tmp_path):
    config = TrainConfig(**TINY | {"steps": 40, "learning_rate": 1e30, "warmup": 1, "checkpoint_every": 1})
    with pytest.raises(FloatingPointError, match=r"after step 1: .* diverged"):
        train(config, scenes, tmp_path / "run")
    state, _ = load_checkpoint(tmp_path / "run" / "state.safetensors", _like(config))
    assert int(state.step) == 0
    late = config.model_copy(update={"checkpoint_every": 40})
    with pytest.raises(FloatingPointError, match=r"at step \d+ the loss became .*state after step 0 is kept"):
        train(late, scenes, tmp_path / "late")


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
    """Of the same network, but for the number of blocks and for a variance head, which may be added."""
    config = TrainConfig(**TINY | {"steps": 8})
    bare = config.model_copy(update={"variance": False, "blocks": 2})
    first = train(bare, scenes, tmp_path / "first")
    further = config.model_copy(update={"steps": 1, "learning_rate": 1e-6, "warmup": 1})
    second = train(further, scenes, tmp_path / "second", start=tmp_path / "first" / "prior")
    np.testing.assert_array_equal(second.band_scale, first.band_scale)
    assert second.network == dataclasses.replace(first.network, variance=True, blocks=1)
    assert second.correction is not None
    assert first.params.keys() - second.params.keys() == {
        f"{way}_0_1_{part}" for way in ("encode", "decode") for part in ("in", "film", "out")
    }
    _assert_near(second, first)
    id_first = load_prior(tmp_path / "first" / "prior").id
    prolonged = train(further.model_copy(update={"steps": 2}), scenes, tmp_path / "second", resume=True)
    assert prolonged.id == "tiny:step-2"
    deeper = further.model_copy(update={"blocks": 2})
    _assert_near(train(deeper, scenes, tmp_path / "third", start=tmp_path / "second" / "prior"), prolonged)
    card = json.loads((tmp_path / "third" / "prior" / "prior.json").read_text())
    oldest, parent = card["training"]["ancestors"]
    assert (oldest["id"], oldest["steps"], parent["steps"]) == (id_first, 8, 2)
    assert parent["id"] == load_prior(tmp_path / "second" / "prior").id
    assert "ancestors" not in oldest | parent
    text = write_model_card(tmp_path / "third", draws=1, steps=2).read_text()
    assert "| random weights | 40 | 8 | 4 |" in text
    assert f"| `{id_first}` | 40 | 2 | 4 |" in text
    assert "| together | | 11 | |" in text
    older = {"began_from": "older:0123abcd", "ancestors": [], "scenes": 5, "steps": 7, "config": {"batch": 2}}
    table = _history(older | {"core_hours": 1.0, "hours": 1.0})
    assert "| `older:0123abcd` | 5 | 7 | 2 | 1.00 | 1.00 |" in table
    wider = further.model_copy(update={"widths": (8, 16)})
    with pytest.raises(InputError, match="network"):
        train(wider, scenes, tmp_path / "fourth", start=tmp_path / "first" / "prior")
    with pytest.raises(InputError, match="one of them"):
        train(further, scenes, tmp_path / "second", resume=True, start="default")
    assert not (tmp_path / "fourth").exists()


def test_a_run_with_muon_resumes_to_the_same_weights(scenes, tmp_path):
    config = TrainConfig(**TINY | {"steps": 8, "optimiser": "muon"})
    train(config, scenes, tmp_path / "whole")
    train(config.model_copy(update={"steps": 4}), scenes, tmp_path / "cut")
    assert _resume(config, scenes, tmp_path / "cut")[0] == 4
    _assert_same(tmp_path / "cut", tmp_path / "whole")


def test_scenes_without_light_are_refused(scenes, tmp_path):
    dark = tmp_path / "dark"
    shutil.copytree(scenes, dark)
    for path in dark.iterdir():
        with h5py.File(path, "r+") as file:
            file["truth/flux"][:, 1] = 0.0
    with pytest.raises(InputError, match="no training scene with flux in every band"):
        train(TrainConfig(**TINY), dark, tmp_path / "run")
    assert not (tmp_path / "run").exists()
