"""The figure: everything observed is on it, at the right place of the sky."""

import matplotlib as mpl
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from PIL import Image

from synergy import plot
from synergy.errors import InputError
from synergy.frame import Frame
from synergy.observation import Observation
from synergy.posterior import Posterior
from synergy.psf import PSF

CENTER = SkyCoord("150d", "2d")
BANDS = ("lsst.g", "lsst.i", "euclid.vis", "euclid.H")


def profile(frame, sigma):
    """Return a Gaussian blob 0.6 arcsec north-east of the centre, per arcsec2."""
    offset = frame.to_sky(np.moveaxis(np.indices(frame.shape), 0, -1).astype(float)).transform_to(
        CENTER.skyoffset_frame()
    )
    east, north = offset.lon.wrap_at("180d").arcsec - 0.5, offset.lat.arcsec - 0.3
    return np.exp(-(east**2 + north**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    scene = Frame.tangent(CENTER, (80, 80), 0.05)
    truth = np.stack([f * profile(scene, 0.3) * 0.05**2 for f in (200.0, 400.0, 400.0, 900.0)])
    draws = (truth + rng.normal(0, 0.02, (4, *truth.shape))).astype(np.float32)
    settings = {
        "euclid.vis": (0.1, 36, 0.0, 0.05),
        "lsst.i": (0.2, 18, 25.0, 0.4),
        "hst.F814W": (0.06, 50, 200.0, 0.05),
    }
    observations = []
    for band, (scale, size, rotation, noise) in settings.items():
        frame = Frame.tangent(CENTER, (size, size), scale, rotation)
        image = 400.0 * profile(frame, 0.35) * scale**2 + rng.normal(0, noise, frame.shape)
        mask = np.zeros(frame.shape, bool)
        mask[:3, :3] = True
        ivar = np.full(frame.shape, noise**-2)
        meta = {"expected_chi2": 0.5} if band == "lsst.i" else {}
        psf = PSF.gaussian(0.2, scale, 11)
        observations.append(Observation(band, band, image, ivar, mask, psf, frame, meta=meta))
    names = tuple(settings)
    posterior = Posterior(
        draws=draws,
        frame=scene,
        bands=BANDS,
        images=names,
        chi2=np.full((4, 3), 300.0),
        n_pixels=np.array([np.count_nonzero(~o.mask) for o in observations]),
        residuals={o.name: rng.normal(size=o.image.shape).astype(np.float32) for o in observations},
        residual_frames={o.name: o.frame for o in observations},
        support=np.ones(truth.shape, np.float32),
        observed=np.array([False, True, True, False]),
        band_scale=np.array([0.5, 1.0, 1.0, 2.0]),
    )
    return posterior, observations


@pytest.fixture
def figure(case, monkeypatch, tmp_path):
    """Draw the figure and return it with the file."""
    kept = []
    draw = plot._draw_figure
    monkeypatch.setattr(plot, "_draw_figure", lambda *a: kept.append(draw(*a)) or kept[-1])
    plot.plot_posterior(*case, tmp_path / "figure.png")
    return kept[0], tmp_path / "figure.png"


def test_writes_a_picture_with_every_image_and_band(case, figure):
    drawn, path = figure
    with Image.open(path) as picture:
        assert min(picture.size) > 500
    labels = {axes.get_ylabel() for axes in drawn.axes}
    assert labels >= {"euclid.vis", "lsst.i", "hst.F814W", "lsst.g", "euclid.H"}
    texts = " ".join(t.get_text() for axes in drawn.axes for t in axes.texts)
    assert texts.count("prior only") == 2
    assert '1"' in texts
    fits = [axes.get_xlabel() for axes in drawn.axes]
    assert any("(noise 0.50)" in f for f in fits)
    assert "matplotlib.pyplot" not in mpl.sys.modules or not mpl.pyplot.get_fignums()


def test_data_mean_and_draws_share_stretch_and_place(case, figure):
    posterior, observations = case
    drawn, _ = figure
    for observation in observations:
        left = next(axes for axes in drawn.axes if axes.get_ylabel() == observation.name)
        row = [
            axes
            for axes in drawn.axes
            if axes.get_subplotspec()
            and axes.images
            and axes.get_subplotspec().rowspan == left.get_subplotspec().rowspan
        ]
        data, mean, draw = (row[i].images[0] for i in (0, 1, 3))
        assert data.norm is mean.norm or (data.norm.vmin, data.norm.vmax) == (mean.norm.vmin, mean.norm.vmax)
        assert draw.norm.vmax == mean.norm.vmax
        # A pixel of the image is drawn where its sky lies on the scene.
        x, y = 10, 4
        on_scene = plot._without_margin(posterior).frame.to_pixels(
            observation.frame.to_sky(np.array([float(y), float(x)]))
        )
        place = (data.get_transform() - left.transData).transform((x, y))
        np.testing.assert_allclose(place, on_scene[::-1], atol=1e-3)
        # Surface brightness: the same peak in data and mean whatever the pixels.
        if observation.band in BANDS:
            assert np.nanmax(data.get_array()) == pytest.approx(mean.get_array().max(), rel=0.35)


def test_colours_prefer_observed_bands(case):
    assert plot.rgb_bands(case[0]) == ("euclid.vis", "lsst.i", "euclid.vis")


def test_bad_requests_are_explained(case, tmp_path):
    posterior, observations = case
    with pytest.raises(InputError, match="ending"):
        plot.plot_posterior(posterior, observations, tmp_path / "figure.txt")
    with pytest.raises(InputError, match="observations"):
        plot.plot_posterior(posterior, observations[:1], tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())
