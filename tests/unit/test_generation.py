"""Scenes drawn from a prior: the same whatever was asked for and interrupted, in nJy, in a file."""

import dataclasses
import json

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits
from command_line import CommandLine

from synergy import generation
from synergy.drawn_scenes import DrawnScenes
from synergy.errors import InputError
from synergy.generation import DrawSettings, draw_scales, draw_scenes, draw_to_file
from synergy.io.shards import SceneShards
from synergy.plot_scenes import plot_scenes
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.diffusion import DiffusionPrior, load_prior
from synergy.priors.network import UNetConfig
from synergy.priors.schedule import NoiseSchedule
from synergy.priors.statistics import scale_quantiles
from synergy.priors.unet import make_unet

BANDS = ("lsst.g", "lsst.i")
SETTINGS = DrawSettings(size=32, seed=3, steps=4, scale=2.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a prior with an untrained network: the Wiener filter of white noise of 0.5."""
    network = UNetConfig(bands=2, widths=(8, 12), blocks=1, patch=2, embedding=16, data_std=0.5)
    frequency = jnp.log(jnp.array([0.01, 0.7], jnp.float32))
    path = tmp_path_factory.mktemp("prior") / "tiny"
    DiffusionPrior(
        params=make_unet(network)[0](jax.random.key(0)),
        band_scale=jnp.array([0.5, 2.0], jnp.float32),
        covariance=SpectralCovariance(
            jnp.eye(2, dtype=jnp.float32), frequency, jnp.zeros((2, 2), jnp.float32)
        ),
        network=network,
        schedule=NoiseSchedule(),
        bands=BANDS,
        pixel_scale=0.05,
        scale_floor=0.05,
        id="",
    ).save(path, {"name": "tiny"})
    return path


@pytest.fixture(scope="module")
def prior(folder):
    return load_prior(folder)


@pytest.fixture
def two_at_a_time(monkeypatch):
    monkeypatch.setattr(generation, "_BATCH_PIXELS", 2 * 32**2)


@pytest.fixture
def stopping(monkeypatch):
    """Press Ctrl-C in the second batch of a run."""
    real, calls = generation.sample, []

    def sample(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(generation, "sample", sample)


def test_scenes_have_the_prior_s_variance_and_their_scale(prior, tmp_path):
    settings = dataclasses.replace(SETTINGS, steps=32)
    drawn, finished = draw_to_file(prior, {}, 4, settings, tmp_path / "drawn.fits")
    assert finished
    std = drawn.scenes.std(axis=(0, 2, 3))
    # Noise of 0.5 in units of 2 nJy times the bands' 0.5 and 2; the sampler errs upwards by a few per cent.
    np.testing.assert_allclose(std / (0.5 * 2.0 * np.array([0.5, 2.0])), 1.0, atol=0.08)
    np.testing.assert_allclose(drawn.normalised.std(axis=(0, 2, 3)), 0.5, atol=0.04)


def test_the_number_asked_for_changes_no_scene(prior, two_at_a_time):
    many = np.concatenate(list(draw_scenes(prior, 5, SETTINGS)))
    few = np.concatenate(list(draw_scenes(prior, 3, SETTINGS)))
    rest = np.concatenate(list(draw_scenes(prior, 5, SETTINGS, begun=3)))
    assert many.shape == (5, 2, 32, 32)
    np.testing.assert_array_equal(few, many[:3])
    np.testing.assert_array_equal(rest, many[3:])
    flat = many.reshape(5, -1)
    assert np.all(np.abs(np.corrcoef(flat) - np.eye(5)) < 0.15)


def test_interrupted_run_keeps_whole_batches_and_goes_on(prior, tmp_path, two_at_a_time, stopping):
    path = tmp_path / "drawn.fits"
    drawn, finished = draw_to_file(prior, {}, 5, SETTINGS, path)
    assert not finished
    assert len(drawn.scenes) == 2
    drawn, finished = draw_to_file(prior, {}, 5, SETTINGS, path, resume=True)
    assert finished
    whole, _ = draw_to_file(prior, {}, 5, SETTINGS, tmp_path / "whole.fits")
    np.testing.assert_allclose(DrawnScenes.read(path).scenes, whole.scenes, rtol=1e-6)
    with pytest.raises(InputError, match=r"seed 3; expected seed 4"):
        draw_to_file(prior, {}, 5, dataclasses.replace(SETTINGS, seed=4), path, resume=True)


def test_file_holds_what_was_written(prior, tmp_path):
    path = tmp_path / "drawn.fits"
    drawn, _ = draw_to_file(prior, {"scale_quantiles": [0.1, 1.0, 50.0]}, 3, DrawSettings(32, 1, 4), path)
    back = DrawnScenes.read(path)
    np.testing.assert_array_equal(back.scenes, drawn.scenes)
    np.testing.assert_array_equal(back.scale, drawn.scale)
    assert (back.bands, back.pixel_scale, back.meta) == (drawn.bands, 0.05, drawn.meta)
    with fits.open(path) as hdus:
        assert hdus["SCENES"].header["BUNIT"] == "nJy"
        assert hdus[0].header["PRIOR"] == prior.id
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(path, overwrite=True)
    with pytest.raises(InputError, match="synergy sample"):
        DrawnScenes.read(path)


def test_scales_follow_the_quantiles():
    quantiles = [0.1, 1.0, 100.0]
    scales = draw_scales(DrawSettings(), 4000, quantiles)
    assert scales.min() >= 0.1
    assert scales.max() <= 100
    # Log-uniform between neighbouring quantiles: half of the scales on each side of 1, a quarter beyond 10.
    assert np.mean(scales < 1.0) == pytest.approx(0.5, abs=0.03)
    assert np.mean(scales > 10.0) == pytest.approx(0.25, abs=0.03)
    assert set(draw_scales(DrawSettings(scale=3.0), 5, quantiles)) == {3.0}


def test_training_scenes_tell_their_scales(tmp_path):
    """Flat scenes of brightness c: smoothed, their middle stays at c times the colour."""
    brightness = np.random.default_rng(0).uniform(1.0, 3.0, 200).astype(np.float32)
    brightness[:20] = 0.0
    colour = np.array([0.5, 2.0], np.float32)
    with h5py.File(tmp_path / "pairs-train-00000.h5", "w") as file:
        file["truth/flux"] = brightness[:, None, None, None] * colour[:, None, None] * np.ones((1, 1, 64, 64))
        file.attrs["bands"], file.attrs["pixel_scale"] = json.dumps(list(BANDS)), 0.05
    found = scale_quantiles(SceneShards.open(tmp_path, "train"), 64, colour, 0.05, 0)
    assert len(found) == 33
    assert found[0] == pytest.approx(0.05)
    np.testing.assert_allclose(found[8:], np.quantile(brightness, np.linspace(0, 1, 33))[8:], rtol=0.2)


def test_sheet_is_drawn_with_bands_of_any_name(tmp_path):
    scenes = np.random.default_rng(0).random((3, 3, 16, 16)).astype(np.float32)
    scenes[2] = 0.0
    plot_scenes(scenes, ("a", "b", "c"), 0.05, tmp_path / "sheet.png", columns=2, titles=["x", "y", "z"])
    assert (tmp_path / "sheet.png").stat().st_size > 5_000


def test_verb_writes_a_file_that_info_explains(folder, tmp_path, monkeypatch, capsys):
    command, path = CommandLine(monkeypatch, capsys), tmp_path / "drawn.fits"
    options = ("--prior", folder, "--number", 2, "--size", 32, "--steps", 3, "--out", path)
    status, printed, _ = command("sample", *options)
    assert status == 0
    assert "does not know" in printed  # the scales
    assert path.with_suffix(".png").exists()
    status, printed, _ = command("info", path)
    assert status == 0
    assert "scenes drawn from a prior" in printed
    assert "32 x 32 pixels of 0.05 arcsec" in printed
    status, _, complaint = command("sample", *options)
    assert status == 2
    assert "--overwrite" in complaint


def test_verb_draws_any_size_and_refuses_no_brightness(folder, tmp_path, monkeypatch, capsys):
    command, path = CommandLine(monkeypatch, capsys), tmp_path / "drawn.fits"
    options = ("--prior", folder, "--number", 1, "--steps", 3, "--out", path, "--size", 29)
    status, _, complaint = command("sample", *options, "--scale", 0.0)
    assert status == 2
    assert "--scale" in complaint
    assert not path.exists()
    assert command("sample", *options)[0] == 0
    drawn = DrawnScenes.read(path)
    assert drawn.scenes.shape[2:] == (29, 29)
    assert np.isfinite(drawn.scenes).all()


def test_verb_stops_on_ctrl_c(folder, tmp_path, monkeypatch, capsys, two_at_a_time, stopping):
    command, path = CommandLine(monkeypatch, capsys), tmp_path / "drawn.fits"
    options = ("--prior", folder, "--number", 4, "--steps", 3, "--out", path)
    status, printed, complaint = command("sample", *options, "--size", 32)
    assert status == 130
    assert "scenes:  2" in printed
    assert "--resume" in complaint
    status, printed, _ = command("sample", *options, "--size", 32, "--resume")
    assert status == 0
    assert "scenes:  4" in printed
