"""``synergy calibrate``: campaigns that go on where they were, and reports that say what they should."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.table import Table
from command_line import CommandLine

from data_prep.make_mocks import make_pair
from data_prep.mock_config import MockSettings
from data_prep.run_mocks import run as make_mocks
from synergy.calibration import campaign
from synergy.calibration.campaign import Outcome, draw_truth, enlarged, most_significant
from synergy.calibration.report import write_report
from synergy.calibration.settings import CalibrationSettings
from synergy.errors import InputError
from synergy.io.pairs import PairShards
from synergy.likelihood import GaussianLikelihood
from synergy.metrics.summaries import summaries
from synergy.priors.diffusion import load_prior

BANDS = ("lsst.g", "lsst.i")
QUICK = "name: quick\npairs: 2\ndraws: 4\nmargin: 8\nsampler: {steps: 2}\n"


@pytest.fixture(scope="module")
def mocks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mocks")
    settings = MockSettings.model_validate(
        {
            "name": "small",
            "pairs": {"test": 2},
            "scene": {"side": 48},
            "placement": {"bright": 21.0, "faint": 23.0, "offset": -0.3},
            "sources": [{"kind": "procedural", "number": 40}],
            "surveys": [
                {"bands": ["euclid.vis"], "psf_radius": 1.0},
                {"bands": ["lsst.g", "lsst.i"], "psf_radius": 1.5},
            ],
        }
    )
    make_mocks(settings, None, folder, make_pair)
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    return CommandLine(monkeypatch, capsys)


def _outcomes(count: int, widening: float, seed: int = 0) -> list[Outcome]:
    """Return outcomes of exact posteriors whose draws are then spread by a factor."""
    rng = np.random.default_rng(seed)
    names = summaries(np.zeros((2, 16, 16)), BANDS, 0.05, np.array([[8.0, 8.0]])).names
    made = []
    for i in range(count):
        mean = rng.normal(size=len(names))
        draws = mean + widening * rng.normal(size=(15, len(names)))
        zero = np.zeros((3, 2))
        truth = mean + rng.normal(size=len(names))
        made.append(Outcome(f"pair {i}", names, truth, draws, rng.uniform(5, 300), 1.0, zero, zero, 0, 1.0))
    return made


def test_a_campaign_goes_on_where_it_was(mocks, tmp_path, command, monkeypatch):
    (tmp_path / "quick.yaml").write_text(QUICK)
    arguments = ("calibrate", tmp_path / "quick.yaml", "--mocks", mocks, "--out", tmp_path / "campaign")
    measure, seen = campaign.measure, []

    def interrupted(pair, prior, settings, index):
        seen.append(index)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return measure(pair, prior, settings, index)

    monkeypatch.setattr(campaign, "measure", interrupted)
    status, _, errors = command(*arguments)
    assert (status, seen) == (130, [0, 1])
    assert "goes on" in errors
    status, page, _ = command(*arguments)
    assert (status, seen) == (0, [0, 1, 1])
    assert "| flux | 0 to 1e+06 | 2 |" in page
    assert page.strip().startswith((tmp_path / "campaign" / "report.md").read_text().strip()[:200])
    for name in ("report.md", "calibration.png", "coverage.ecsv", "ranks.ecsv"):
        assert (tmp_path / "campaign" / name).stat().st_size > 0
    assert len(list((tmp_path / "campaign" / "pairs").iterdir())) == 2
    command(*arguments)
    assert seen == [0, 1, 1]


def test_truths_of_the_prior_are_seen_by_the_same_instruments(mocks):
    pair, prior = PairShards.open(mocks, "test")[0], load_prior("default")
    frame = enlarged(pair.frame, 8)
    scene, observations = draw_truth(pair, prior, frame, jax.random.key(0))
    assert scene.shape == (10, 64, 64)
    likelihood = GaussianLikelihood.build(observations, frame, prior.bands)
    chi2 = np.asarray(likelihood.chi2(jnp.asarray(scene))) / np.asarray(likelihood.n_pixels)
    assert np.all(np.abs(chi2 - 1.0) < 5 * np.sqrt(2.0 / np.asarray(likelihood.n_pixels)))
    for before, after in zip(pair.observations, observations, strict=True):
        assert after.frame is before.frame
        assert np.abs(after.image - before.image).max() > 0


def test_the_place_is_where_the_data_are_most_significant(mocks):
    pair = PairShards.open(mocks, "test")[0]
    place, snr = most_significant(list(pair.observations), pair.frame)
    light = np.argwhere(pair.truth[6] > 0.3 * pair.truth[6].max())
    assert snr > 10
    assert np.hypot(*(light - place).T).min() < 3
    blank = [dataclasses.replace(o, image=np.zeros_like(o.image)) for o in pair.observations]
    place, snr = most_significant(blank, pair.frame)
    np.testing.assert_allclose(place, 23.5)
    assert snr == 0.0


def test_reports_tell_exact_posteriors_from_wide_ones(tmp_path):
    settings = CalibrationSettings(name="synthetic", pairs=300)
    level = settings.levels.index(0.68)
    for widening, right in ((1.0, True), (1.3, False)):
        page = write_report(settings, _outcomes(300, widening), tmp_path)
        coverage = Table.read(tmp_path / "coverage.ecsv")
        whole = coverage[(coverage["snr_low"] == 0) & (coverage["snr_high"] == 1e6)]
        rows = whole[level :: len(settings.levels)]
        assert bool(np.all(np.abs(rows["coverage"] - 0.68) < 3 * rows["binomial_error"])) == right
        ranks = Table.read(tmp_path / "ranks.ecsv")
        assert (np.mean(ranks["ecdf_pvalue"] < 0.01) < 0.1) == right
        assert "TARP" in page
        bins = coverage[(coverage["kind"] == "flux") & (coverage["level"] == 0.5)]
        assert bins["pairs"][0] == sum(bins["pairs"][1:]) == 300


def test_bad_campaigns_are_refused(mocks, tmp_path, command):
    config = tmp_path / "c.yaml"
    for text, found in (
        (QUICK.replace("pairs: 2", "pairs: 5"), "2 pairs of the test split"),
        (QUICK + "colour: red\n", "colour"),
        (QUICK.replace("draws: 4", "draws: 1"), "draws"),
    ):
        config.write_text(text)
        status, _, errors = command("calibrate", config, "--mocks", mocks, "--out", tmp_path / "out")
        assert status == 2
        assert found in errors
    assert not (tmp_path / "out").exists()
    (tmp_path / "damaged.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="damaged"):
        Outcome.read(tmp_path / "damaged.npz")
