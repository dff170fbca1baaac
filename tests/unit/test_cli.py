"""The command line: what it prints, where it writes, and that it answers at once."""

import importlib
import json
import subprocess
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import yaml
from astropy.coordinates import SkyCoord
from command_line import CommandLine
from pydantic import BaseModel, ConfigDict

from synergy import config
from synergy.arguments import parse_center, parse_disc
from synergy.errors import InputError
from synergy.frame import Frame
from synergy.observation import Observation
from synergy.posterior import Posterior
from synergy.psf import PSF

BANDS = ("lsst.i", "euclid.vis")


@pytest.fixture
def command(monkeypatch, capsys):
    return CommandLine(monkeypatch, capsys)


def fake_posterior():
    frame = Frame.tangent(SkyCoord("10d", "5d"), (16, 16), 0.05)
    draws = np.random.default_rng(0).normal(1.0, 0.1, (3, 2, 16, 16)).astype(np.float32)
    return Posterior(
        draws=draws,
        frame=frame,
        bands=BANDS,
        images=("euclid.vis",),
        chi2=np.full((3, 1), 32.0),
        n_pixels=np.array([64]),
        residuals={"euclid.vis": np.zeros((8, 8), np.float32)},
        residual_frames={"euclid.vis": Frame.tangent(SkyCoord("10d", "5d"), (8, 8), 0.1)},
        support=np.full((2, 16, 16), 0.25, np.float32),
        observed=np.array([False, True]),
        band_scale=np.ones(2),
        meta={
            "version": "1",
            "seed": 3,
            "inputs": ["a.fits"],
            "prior": "p",
            "notes": {"euclid.vis": ["a note"]},
        },
    )


@pytest.fixture
def pipeline(monkeypatch):
    """Replace reading, prior and sampler; return what the sampler was called with."""
    called = {}
    posterior = fake_posterior()
    frame = posterior.residual_frames["euclid.vis"]
    observation = Observation(
        "euclid.vis",
        "euclid.vis",
        np.ones((8, 8)),
        np.ones((8, 8)),
        np.zeros((8, 8), bool),
        PSF.gaussian(0.2, 0.1, 5),
        frame,
        meta={"expected_chi2": 0.4},
    )

    def read(files, layout=None, center=None, size=None, register=False):
        called["read"] = (files, layout, center, size, register)
        return [observation]

    def run(observations, prior, key=0, draws=16, settings=None, progress=None):
        called["run"] = (key, draws, settings.steps)
        progress(1, 2, "half way")
        return posterior

    monkeypatch.setattr("synergy.io.read.read_observations", read)
    monkeypatch.setattr(
        "synergy.priors.diffusion.load_prior", lambda name: SimpleNamespace(bands=BANDS, name=name)
    )
    monkeypatch.setattr(importlib.import_module("synergy.reconstruct"), "reconstruct", run)
    return called


def test_reconstruct_writes_prints_and_draws(command, pipeline, tmp_path):
    out, figure = tmp_path / "post.fits", tmp_path / "post.png"
    status, printed, _ = command(
        "reconstruct",
        "a.fits",
        "b.fits",
        "--out",
        out,
        "--draws",
        5,
        "--seed",
        7,
        "--steps",
        9,
        "--center",
        "10.5,-2",
        "--size",
        6,
        "--figure",
        figure,
    )
    assert status == 0
    files, layout, center, size, register = pipeline["read"]
    assert ([f.name for f in files], layout, size, register) == (["a.fits", "b.fits"], None, 6.0, False)
    assert (center.ra.deg, center.dec.deg) == pytest.approx((10.5, -2))
    assert pipeline["run"] == (7, 5, 9)
    assert "0.500" in printed  # chi2 per pixel
    assert "0.400" in printed  # of pure noise
    assert "prior only" in printed
    assert figure.stat().st_size > 10_000
    assert Posterior.read(out).images == ("euclid.vis",)
    status, printed, _ = command("info", out)
    assert status == 0
    assert "a note" in printed
    assert "chi2 per pixel 0.500 of 64 pixels" in printed


def test_existing_results_are_kept_unless_told(command, pipeline, tmp_path):
    out = tmp_path / "post.fits"
    out.write_text("precious")
    status, _, complaint = command("reconstruct", "a.fits", "--out", out)
    assert (status, out.read_text()) == (2, "precious")
    assert "--overwrite" in complaint
    assert "run" not in pipeline
    assert command("reconstruct", "a.fits", "--out", out, "--overwrite")[0] == 0
    assert Posterior.read(out).bands == BANDS


@pytest.mark.parametrize(
    "arguments",
    [
        ("--out", "none/post.fits"),
        ("--out", "post.fits", "--center", "here"),
        ("--out", "post.fits", "--figure", "f.txt"),
        ("--out", "post.fits", "--draws", "0"),
        (),
    ],
)
def test_mistakes_end_before_any_work(command, pipeline, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    status, _, complaint = command("reconstruct", "a.fits", *arguments)
    assert status == 2
    assert complaint
    assert not pipeline
    assert not list(tmp_path.iterdir())


def test_a_failing_sampler_is_reported(command, pipeline, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise FloatingPointError("3 draws diverged")

    monkeypatch.setattr(importlib.import_module("synergy.reconstruct"), "reconstruct", fail)
    status, _, complaint = command("reconstruct", "a.fits", "--out", tmp_path / "post.fits")
    assert status == 1
    assert "3 draws diverged" in complaint
    assert not list(tmp_path.iterdir())


def test_help_needs_no_heavy_imports():
    heavy = ("galsim", "matplotlib", "speclite", "h5py")
    code = f"import sys, synergy.cli; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("text", ["10.5,-2.25", "0h42m00s,-2d15m00s", "0:42:00,-2:15:00"])
def test_positions(text):
    position = parse_center(text)
    assert (position.ra.deg, position.dec.deg) == pytest.approx((10.5, -2.25))


def test_discs():
    position, radius = parse_disc("10.5,-2.25,1.5")
    assert (position.ra.deg, position.dec.deg, radius) == pytest.approx((10.5, -2.25, 1.5))
    for text in ("10.5,-2.25", "10.5,-2.25,0", "10.5,-2.25,nan", "10.5,-2.25,wide", "1.5", ""):
        with pytest.raises(InputError, match="RA,DEC"):
            parse_disc(text)


def test_info_on_other_files_prior_and_run(command, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["cube"] = np.zeros((3, 2, 8, 8), np.float32)
        file.attrs["pixel_scale"] = 0.05
    assert "float32 3 x 2 x 8 x 8" in command("info", tmp_path / "other.h5")[1]
    (tmp_path / "prior").mkdir()
    card = {"format": "synergy-prior-3", "bands": list(BANDS), "sha256": "ab"}
    (tmp_path / "prior" / "prior.json").write_text(json.dumps(card))
    assert "euclid.vis" in command("info", tmp_path / "prior")[1]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"steps": 40}')
    (tmp_path / "run" / "log.csv").write_text("step,loss\n10,0.5\n20,0.25\n")
    printed = command("info", tmp_path / "run")[1]
    assert "40" in printed
    assert "0.25" in printed
    for name in ("none.fits", "none", "none.h5"):
        status, _, complaint = command("info", tmp_path / name)
        assert status == 2
        assert name in complaint


class Settings(BaseModel):
    """An example configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: int
    rate: float = 0.5


def test_config_loads_and_hashes(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("rate: 0.25\nsteps: 3\n")
    loaded = config.load(path, Settings)
    assert loaded == Settings(steps=3, rate=0.25)
    assert config.config_hash(loaded) == config.config_hash(Settings(rate=0.25, steps=3))
    assert config.config_hash(loaded) != config.config_hash(Settings(steps=3))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("steps: 3\nstep: 2", "unknown key 'step'"),
        ("rate: 1.0", "no key 'steps'"),
        ("steps: three", "steps = 'three'"),
        ("- 1", "list at the top"),
        ("steps: [", "valid YAML"),
        (None, "No such file"),
    ],
)
def test_config_mistakes_are_named(tmp_path, text, complaint):
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=complaint) as caught:
        config.load(path, Settings)
    assert "c.yaml" in str(caught.value)


def test_example_configurations_are_yaml(pytestconfig):
    for path in (pytestconfig.rootpath / "configs" / "reconstruct").glob("*.yaml"):
        assert yaml.safe_load(path.read_text())["images"]
