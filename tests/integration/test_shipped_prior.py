"""The shipped prior on the demonstration scene, on which it was not trained: the claims of the README."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.demo import make_demo
from synergy import SamplerSettings, load_prior, reconstruct
from synergy.baselines.wiener import wiener
from synergy.errors import InputError
from synergy.metrics.calibration import coverage
from synergy.metrics.image import nmse
from synergy.metrics.photometry import total_flux_error
from synergy.priors.diffusion import prior_folder, read_card
from synergy.survey import SCENE_BANDS


@pytest.fixture(scope="module")
def demo():
    """Return truth, frame, observations and a posterior of eight draws, half of what `synergy demo` makes."""
    truth, frame, observations = make_demo(0)
    posterior = reconstruct(observations, load_prior("default"), 0, 8, frame=frame)
    return truth, frame, observations, posterior


def test_posterior_mean_beats_the_wiener_solution(demo):
    truth, frame, observations, posterior = demo
    ratio = nmse(posterior.mean, truth) / nmse(wiener(observations, frame, SCENE_BANDS).scene, truth)
    by_band = dict(zip(SCENE_BANDS, ratio, strict=True))
    assert max(by_band.values()) < 1.0, by_band
    assert max(by_band[f"lsst.{b}"] for b in "griz") <= 0.5, by_band


def test_fluxes_fit_and_intervals(demo):
    truth, _, _, posterior = demo
    assert np.all(np.abs(total_flux_error(posterior.mean, truth)[1:]) < 0.05)
    assert np.all(posterior.chi2_per_pixel < 1.6)
    inside_68, inside_95 = (float(np.mean(level)) for level in coverage(posterior.draws, truth))
    assert 0.5 < inside_68 < 0.9
    assert 0.85 < inside_95 < 0.995
    assert posterior.meta["redone"] == 0
    assert posterior.observed.all()


def test_same_seed_same_draws(demo):
    _, frame, observations, _ = demo
    settings = SamplerSettings(steps=4, batch=2)
    first, again = (reconstruct(observations, load_prior("fast"), 3, 2, settings, frame) for _ in range(2))
    np.testing.assert_array_equal(first.draws, again.draws)
    assert np.abs(first.draws[0] - first.draws[1]).max() > 0


def test_corrector_goes_on_from_the_draws(demo):
    _, frame, observations, _ = demo
    reports = []
    settings = SamplerSettings(steps=16, batch=2, corrector_sweeps=2, corrector_steps=3, scale_width=0.5)
    posterior = reconstruct(
        observations, load_prior("fast"), 3, 2, settings, frame, lambda *report: reports.append(report)
    )
    plain = reconstruct(observations, load_prior("fast"), 3, 2, SamplerSettings(steps=16, batch=2), frame)
    assert np.isfinite(posterior.draws).all()
    assert posterior.meta["settings"]["corrector_sweeps"] == 2
    assert posterior.meta["counts"] == {
        "evaluations": 16 + 2 * 3, "vjps": 0, "applications": 16 * 18 + 2 * 18
    }  # fmt: skip
    # Two sweeps stay near the draws they began from.
    assert np.all(np.abs(posterior.chi2_per_pixel - 1.0) < 0.25)
    assert np.abs(posterior.draws - plain.draws).max() > 0
    assert np.corrcoef(posterior.draws[0].ravel(), plain.draws[0].ravel())[0, 1] > 0.9
    assert plain.meta["scales"] == pytest.approx([plain.meta["scale"]] * 2, rel=1e-5)
    scales = np.array(posterior.meta["scales"]) / posterior.meta["scale"]
    assert scales[0] != scales[1]
    assert np.all(np.abs(np.log(scales)) < 2.0)  # four standard deviations
    assert [done for done, _, _ in reports] == sorted(done for done, _, _ in reports)
    assert reports[-1][:2] == (2000, 2000)
    with pytest.raises(InputError, match="corrector_sweeps"):
        reconstruct(observations, load_prior("fast"), 3, 2, SamplerSettings(scale_width=0.5), frame)


def test_learned_variances_need_a_prior_that_states_them(demo):
    _, frame, observations, _ = demo
    settings, prior = SamplerSettings(batch=2, covariance="learned"), load_prior("fast")
    plain = SamplerSettings(batch=2, steps=4)
    assert [
        reconstruct(observations, p, 3, 2, plain, frame).meta["settings"]["covariance"]
        for p in (prior, dataclasses.replace(prior, correction=None))
    ] == ["learned", "prior"]
    posterior = reconstruct(observations, prior, 3, 2, settings, frame)
    assert np.all(np.abs(posterior.chi2_per_pixel - 1.0) < 0.5)
    assert posterior.meta["settings"]["covariance"] == "learned"
    with pytest.raises(InputError, match="hedge"):
        reconstruct(observations, prior, 3, 2, SamplerSettings(covariance="prior", hedge=0.0), frame)
    with pytest.raises(InputError, match="variance: true"):
        reconstruct(observations, dataclasses.replace(prior, correction=None), 3, 2, settings, frame)


@pytest.mark.parametrize("name", ["default", "fast"])
def test_prior_runs_at_any_size_and_its_card_says_what_it_is(name):
    prior, card = load_prior(name), read_card(name)
    assert prior.bands == SCENE_BANDS
    assert sum(path.stat().st_size for path in prior_folder(name).iterdir()) < 20e6
    for shape in ((64, 64), (40, 88), (37, 51)):
        noisy = jax.random.normal(jax.random.key(0), (1, 10, *shape))
        assert bool(jnp.all(jnp.isfinite(prior(noisy, jnp.float32(0.5)))))
    assert card["training"]["steps"] > 0
    assert card["training"]["core_hours"] > 0
    assert {"bands", "pixel_scale", "validation", "schedule", "network"} <= card.keys()
