"""The package as a whole: its public surface and what importing it costs."""

import subprocess
import sys
from pathlib import Path

import pytest

import synergy
from synergy.config import load
from synergy.errors import InputError
from synergy.train import TrainConfig

HEAVY = ("galsim", "haiku", "matplotlib", "reproject", "speclite", "surveycodex", "optax", "h5py")


def test_public_surface():
    for name in (
        "load_prior",
        "read_observations",
        "reconstruct",
        "Posterior",
        "Observation",
        "Frame",
        "PSF",
    ):
        assert callable(getattr(synergy, name))


def test_import_stays_light():
    code = f"import sys, synergy; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_shipped_training_configurations_are_valid_and_typing_errors_are_not(tmp_path):
    folder = Path(__file__).resolve().parents[2] / "configs" / "train"
    for path in folder.glob("*.yaml"):
        assert load(path, TrainConfig).steps > 0
    wrong = tmp_path / "wrong.yaml"
    for text in ("name: x\nsteps: 1\nstep: 2\n", "name: x\nsteps: 1\nschedule: {sigma_mim: 1.0}\n"):
        wrong.write_text(text)
        with pytest.raises(InputError, match=r"wrong\.yaml"):
            load(wrong, TrainConfig)
