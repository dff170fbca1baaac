"""The demonstration from end to end, with Gaussian draws about the truth for the diffusion sampler's."""

import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from rich.console import Console

from data_prep import demo
from synergy.errors import InputError
from synergy.io.read import read_observations
from synergy.posterior import Posterior
from synergy.priors.diffusion import load_prior
from synergy.survey import SCENE_BANDS

SIGMA = 0.02  # of the stand-in's draws, relative to each band's peak


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Return the output directory and the printed table of one run."""
    truth, _, _ = demo.make_demo(seed=0)
    calls = []

    def reconstruct(observations, prior, key, draws, frame, progress):
        calls.append((prior.id, key, draws))
        progress(draws, draws, "draws")
        rng = np.random.default_rng(key)
        sigma = SIGMA * truth.max(axis=(1, 2))[:, None, None]
        center = truth + sigma * rng.standard_normal(truth.shape)
        made = center + sigma * rng.standard_normal((draws, *truth.shape))
        pixels = np.array([o.image.size for o in observations])
        return Posterior(
            draws=made.astype(np.float32),
            frame=frame,
            bands=SCENE_BANDS,
            images=tuple(o.name for o in observations),
            chi2=np.ones((draws, 1)) * pixels,
            n_pixels=pixels,
            residuals={o.name: np.zeros(o.image.shape, np.float32) for o in observations},
            residual_frames={o.name: o.frame for o in observations},
            support=np.ones_like(truth),
            observed=np.ones(len(SCENE_BANDS), bool),
            band_scale=np.ones(len(SCENE_BANDS)),
            meta={"scale": 1.0},
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "reconstruct", reconstruct)
        heard = []
        out = tmp_path_factory.mktemp("demo") / "new" / "folder"
        printed = demo.run(out, draws=4, seed=0, progress=lambda *state: heard.append(state))
    assert calls == [(load_prior("default").id, 0, 4)]
    assert heard == [(4, 4, "draws")]
    return out, printed


def test_everything_is_written(outcome):
    out, _ = outcome
    assert {p.name for p in out.iterdir()} == {
        "posterior.fits",
        "posterior.png",
        "transfer.png",
        "truth.fits",
        "observations.fits",
        "observations.yaml",
        "comparison.png",
        "comparison.ecsv",
    }
    assert Posterior.read(out / "posterior.fits").bands == SCENE_BANDS


def test_table_tells_the_errors(outcome):
    out, printed = outcome
    table = Table.read(out / "comparison.ecsv")
    assert list(table["band"]) == list(SCENE_BANDS)
    truth, _, _ = demo.make_demo(seed=0)
    # The mean of four draws is off by sigma sqrt(1 + 1/4) per pixel.
    expected = 1.25 * (SIGMA * truth.max(axis=(1, 2))) ** 2 / np.mean(truth**2, axis=(1, 2))
    np.testing.assert_allclose(table["nmse"], expected, rtol=0.05)
    np.testing.assert_allclose(table["chi2"], 1)
    np.testing.assert_allclose(table["inside_68"], 0.68, atol=0.02)
    np.testing.assert_allclose(table["inside_95"], 0.95, atol=0.01)
    console = Console(width=80, file=io.StringIO())
    console.print(printed)
    text = console.file.getvalue()
    assert all(band in text for band in SCENE_BANDS)
    assert "…" not in text


def test_bad_requests_fail_before_any_work(tmp_path):
    with pytest.raises(InputError, match="at least 2"):
        demo.run(tmp_path / "new", draws=1)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file"):
        demo.run(tmp_path / "file")
    assert not (tmp_path / "new").exists()


def test_wiener_beats_the_upsampled_image_in_every_band(outcome):
    table = Table.read(outcome[0] / "comparison.ecsv")
    assert np.all(table["nmse_wiener"] < 0.85 * table["nmse_upsampled"])
    assert np.all(np.abs(table["flux_error_upsampled"]) < 0.05)
    assert np.all(np.abs(table["flux_error_wiener"][1:]) < 0.05)


def test_truth_and_observations_come_back_from_disk(outcome):
    out, _ = outcome
    truth, _, observations = demo.make_demo(seed=0)
    with fits.open(out / "truth.fits") as hdus:
        np.testing.assert_allclose(hdus["TRUTH"].data, truth, rtol=1e-5, atol=1e-6 * truth.max())
        assert list(hdus["BANDS"].data["name"]) == list(SCENE_BANDS)
    for before, after in zip(observations, read_observations(out / "observations.yaml"), strict=True):
        assert (after.name, after.band) == (before.name, before.band)
        np.testing.assert_allclose(after.image, before.image, rtol=1e-5, atol=1e-6 * before.image.max())
        np.testing.assert_allclose(after.psf.image, before.psf.image, atol=1e-6 * before.psf.image.max())
        np.testing.assert_allclose(after.ivar, before.ivar, rtol=1e-5)
        assert after.psf.pixel_scale == before.psf.pixel_scale
        matrix, offset = after.frame.affine_to(before.frame)
        np.testing.assert_allclose(matrix, np.eye(2), atol=1e-6)
        np.testing.assert_allclose(offset, 0, atol=1e-4)
