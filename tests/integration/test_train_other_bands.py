"""The trainer and other cameras: nothing but the scenes decides which bands a prior has."""

import json
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from data_prep.make_mocks import make_pair
from data_prep.mock_config import MockSettings
from data_prep.run_mocks import run
from synergy.card import write_model_card
from synergy.priors.diffusion import load_prior
from synergy.sampling.reverse import sample
from synergy.train import TrainConfig, train

CONFIG = TrainConfig(
    name="other",
    widths=(8,),
    blocks=1,
    embedding=8,
    crop=24,
    batch=2,
    steps=3,
    validate_every=3,
    validation_scenes=2,
)
HST_HSC = ("hsc.g", "hsc.r", "hsc.i", "hsc.z", "hsc.y", "hst.F814W")
NIRCAM = ("jwst.F115W", "jwst.F200W", "jwst.F444W")


def hst_hsc(folder: Path) -> None:
    """Make truths of HST and HSC bands with the machinery of mocks."""
    settings = MockSettings(
        name="hst_hsc",
        pairs={"train": 3, "validation": 2},
        scene={"bands": HST_HSC, "side": 32},
        sources=[{"kind": "procedural", "number": 60}],
        surveys=[],
    )
    run(settings, None, folder, make_pair)


def nircam(folder: Path) -> None:
    """Make discs in three bands, at NIRCam's finer pixels."""
    y, x = np.indices((24, 24))
    for split in ("train", "validation"):
        with h5py.File(folder / f"pairs-{split}-00000.h5", "w") as file:
            disc = np.exp(-np.hypot(y - 10, x - 13) / np.array([2.0, 3.0]).reshape(-1, 1, 1))
            file["truth/flux"] = (disc[:, None] * np.array([1.0, 2.0, 5.0]).reshape(-1, 1, 1)).astype(
                np.float32
            )
            file.attrs["bands"], file.attrs["pixel_scale"] = json.dumps(NIRCAM), 0.03


@pytest.mark.parametrize(
    ("make", "bands", "scale"), [(hst_hsc, HST_HSC, 0.05), (nircam, NIRCAM, 0.03)], ids=["hst+hsc", "nircam"]
)
def test_a_prior_of_other_bands(make, bands, scale, tmp_path):
    make(tmp_path)
    train(CONFIG, tmp_path, tmp_path / "run")
    text = write_model_card(tmp_path / "run", draws=1, steps=2).read_text()
    prior = load_prior(tmp_path / "run" / "prior")
    assert (prior.bands, prior.pixel_scale, prior.network.bands) == (bands, scale, len(bands))
    scenes = sample(prior, jax.random.key(0), (2, len(bands), 16, 20), prior.schedule.grid(3))
    assert scenes.shape == (2, len(bands), 16, 20)
    assert np.all(np.isfinite(np.asarray(scenes)))
    assert np.std(np.asarray(scenes[0] - scenes[1])) > 0
    assert f"{len(bands)} bands ({', '.join(bands)}) at {scale}" in " ".join(text.split())
    if make is hst_hsc:
        assert "3 scenes of `synergy mock` with the configuration `hst_hsc` (" in text
        assert "100% painted discs, ellipticals and irregulars" in text
    else:
        assert "files do not say how they were made" in text
