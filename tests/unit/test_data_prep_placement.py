"""Skies: how much of everything there is, how bright, large and far it is, and what random numbers decide."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.cosmology import Planck18
from scipy.stats import ks_2samp, kstest, poisson

from data_prep.mock_config import PlacementSettings, SceneSettings
from data_prep.placement import COMPANION, LARGEST_PIXEL, MARGIN, Pose, SkyModel, draw_sky
from data_prep.planes import half_light_radius
from data_prep.population import Population, counts
from data_prep.rendering import render_truth
from data_prep.sky import LightMaps
from synergy.errors import InputError
from synergy.frame import Frame

QUIET = {"neighbours": 0.0, "companion": 0.0, "star": 0.0}
SCENE = SceneSettings(bands=("lsst.r", "hst.F814W"), side=64)


def galaxy(name="main", face_on=False, kpc_per_pixel=np.nan, size=96):
    """Return an exponential disc in two populations."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    maps = np.stack([np.exp(-np.hypot(y, x) / (size * h)) for h in (0.05, 0.08)])
    maps /= maps.sum(axis=(1, 2), keepdims=True)
    shares = np.array([0.4, 0.6])
    radius = half_light_radius(np.tensordot(shares, maps, axes=1))
    kinds = (("E", 0.0), ("Im", 0.0))
    return LightMaps(name, name, maps, shares, kinds, True, radius, kpc_per_pixel, face_on)


MAIN, OTHER = galaxy(), galaxy("other")


def spectra(light, redshift, magnitude, rng):
    """Give every galaxy twice as much light in r as in F814W."""
    rng.random()
    return light.shares[:, None] * np.array([2.0, 1.0])


def model(scene=SCENE, **settings):
    return SkyModel(
        scene=scene,
        settings=PlacementSettings(**settings),
        population=Population.shipped(),
        neighbours=lambda rng: OTHER,
        spectra=spectra,
        stars=lambda rng: np.array([0.5, 1.0]),
    )


def skies(main, number, **settings):
    chosen = model(**settings)
    return [draw_sky(main, chosen, np.random.default_rng([7, i])) for i in range(number)]


def magnitudes(sources):
    return np.array([31.4 - 2.5 * np.log10(source.fluxes[:, 1].sum()) for source in sources])


def test_a_sky_is_a_function_of_its_random_numbers():
    one, two = (draw_sky(MAIN, model(companion=1.0), np.random.default_rng(3)) for _ in range(2))
    assert len(one.sources) == len(two.sources) > 1
    for a, b in zip(one.sources, two.sources, strict=True):
        assert (a.name, a.centre, a.redshift) == (b.name, b.centre, b.redshift)
        assert a.fluxes.tobytes() == b.fluxes.tobytes()
        assert a.matrix.tobytes() == b.matrix.tobytes()


def test_sources_do_not_disturb_each_other():
    """Other neighbours, whose drawing takes more random numbers, leave main galaxy and positions alone."""

    def greedy(rng):
        rng.random(100)
        return galaxy("another")

    plain = model()
    other = dataclasses.replace(plain, neighbours=greedy)
    for i in range(10):
        a, b = (draw_sky(MAIN, m, np.random.default_rng([8, i])).sources for m in (plain, other))
        assert [s.centre for s in a] == [s.centre for s in b]
        np.testing.assert_array_equal(magnitudes(a), magnitudes(b))
        np.testing.assert_array_equal(a[0].matrix, b[0].matrix)


def test_main_galaxies_fill_the_scene_and_their_magnitudes():
    sky = skies(MAIN, 400, bright=20.0, faint=24.0, offset=0.1, **QUIET)
    assert all(len(s.sources) == 1 and s.sources[0].light is MAIN for s in sky)
    sources = [s.sources[0] for s in sky]
    assert kstest(magnitudes(sources), "uniform", (20.0, 4.0)).pvalue > 0.01
    half = 0.6 * 64 * 0.05
    for axis in (0, 1):
        assert kstest([s.centre[axis] for s in sources], "uniform", (-half, 2 * half)).pvalue > 0.01
    ratio = [s.fluxes[:, 0].sum() / s.fluxes[:, 1].sum() for s in sources]
    np.testing.assert_allclose(ratio, 2.0)


def test_a_share_of_main_galaxies_lies_near_the_middle():
    centres = np.array([s.sources[0].centre for s in skies(MAIN, 400, central=0.5, offset=0.1, **QUIET)])
    near = np.all(np.abs(centres) < 0.25 * 64 * 0.05, axis=1).mean()
    expected = 0.5 + 0.5 * (0.25 / 0.6) ** 2
    assert near == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 400))


def test_empty_skies_are_empty_but_for_what_is_asked_for():
    assert all(not s.sources for s in skies(None, 20, **QUIET))
    stars = skies(None, 20, **(QUIET | {"star": 1.0}))
    assert all([source.name for source in s.sources] == ["star"] for s in stars)
    assert all(s.sources[0].fluxes.shape == (1, 2) for s in stars)


def test_stars_lie_around_the_scene_and_have_the_magnitudes_of_their_counts():
    """All within a uniform square; as many per magnitude as ``10^(0.1 m)``."""
    limits = {"star_bright": 16.0, "star_faint": 24.0}
    sources = [s.sources[0] for s in skies(None, 600, **(QUIET | {"star": 1.0} | limits))]
    half = 0.5 * 64 * 0.05 + MARGIN
    for axis in (0, 1):
        assert kstest([s.centre[axis] for s in sources], "uniform", (-half, 2 * half)).pvalue > 0.01

    def below(m):
        return (10 ** (0.1 * m) - 10**1.6) / (10**2.4 - 10**1.6)

    assert kstest(magnitudes(sources), below).pvalue > 0.01


@pytest.mark.parametrize("asked", [None, 2.5])
def test_neighbours_are_as_many_as_the_counts_say_or_as_asked(asked):
    sky = skies(None, 400, **(QUIET | {"neighbours": asked}), faintest=26.0)
    numbers = np.array([len(s.sources) for s in sky])
    side = 64 * 0.05 + 2 * MARGIN
    expected = asked if asked is not None else (counts(26.0) - counts(19.0)) * (side / 60) ** 2
    assert numbers.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / 400))
    # Poisson: as many empty skies as there should be.
    none = poisson(expected).pmf(0)
    assert np.mean(numbers == 0) == pytest.approx(none, abs=4 * np.sqrt(none * (1 - none) / 400))
    sources = [source for s in sky for source in s.sources]
    for axis in (0, 1):
        assert kstest([s.centre[axis] for s in sources], "uniform", (-side / 2, side)).pvalue > 0.01
    drawn = magnitudes(sources)

    def below(m):
        return (10 ** (0.31 * (m - 26)) - 10 ** (0.31 * -7)) / (1 - 10 ** (0.31 * -7))

    assert kstest(drawn, below).pvalue > 0.01


def test_companions_are_near_fainter_and_at_the_same_redshift():
    sky = skies(MAIN, 200, **(QUIET | {"companion": 0.5}), faintest=27.0)
    pairs = [s.sources for s in sky if len(s.sources) == 2]
    assert len(pairs) == pytest.approx(100, abs=4 * np.sqrt(50))
    for main, beside in pairs:
        distance = np.hypot(*np.subtract(beside.centre, main.centre))
        assert COMPANION[0] <= distance <= COMPANION[1]
        assert beside.redshift == main.redshift
        bright, faint = magnitudes((main, beside))
        assert bright <= faint <= 27.0


@pytest.mark.parametrize("face_on", [False, True])
def test_sizes_on_the_scene_are_those_of_the_population(face_on):
    """Measured on the placed image, on a scene so fine that the model PSF hardly widens it."""
    main, fine = galaxy(face_on=face_on, size=192), 0.025
    chosen = model(SceneSettings(bands=("lsst.r", "hst.F814W"), side=192, pixel_scale=fine), bright=22.0,
                   faint=22.0, **QUIET)  # fmt: skip
    frame = Frame.tangent(SkyCoord(60.0 * u.deg, -30.0 * u.deg), (192, 192), fine)
    measured, expected = [], []
    for i in range(60):
        sky = draw_sky(main, chosen, np.random.default_rng([9, i]))
        (source,) = sky.sources
        zoom = np.sqrt(np.linalg.eigvalsh(source.matrix.T @ source.matrix)[-1])
        assert zoom <= LARGEST_PIXEL * fine * (1 + 1e-9)
        radius, _ = Population.shipped().draw(22.0, np.random.default_rng([9, i]).spawn(1)[0])
        if zoom > 0.999 * LARGEST_PIXEL * fine or radius < 0.2:
            continue  # limited by resolution, or not much larger than the model PSF
        centred = dataclasses.replace(sky, sources=(dataclasses.replace(source, centre=(0.0, 0.0)),))
        measured.append(fine * half_light_radius(render_truth(centred, frame)[1]))
        expected.append(radius)
    assert len(measured) > 10
    np.testing.assert_allclose(measured, expected, rtol=0.04)
    if face_on:
        ratios = [np.linalg.svd(s.sources[0].matrix)[1] for s in skies(main, 300, **QUIET)]
        assert kstest([low / high for high, low in ratios], "uniform", (0.3, 0.7)).pvalue > 0.01


def test_orientations_have_no_preference():
    matrices = np.array([s.sources[0].matrix for s in skies(MAIN, 300, **QUIET)])
    determinants = np.linalg.det(matrices)
    assert np.mean(determinants < 0) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(300))
    angles = np.arctan2(matrices[:, 0, 1], matrices[:, 1, 1])
    assert kstest(angles, "uniform", (-np.pi, 2 * np.pi)).pvalue > 0.01


def test_no_galaxy_is_enlarged_beyond_its_resolution():
    for s in skies(MAIN, 100, bright=19.0, faint=19.5, **QUIET):
        assert np.linalg.svd(s.sources[0].matrix)[1].max() <= LARGEST_PIXEL * 0.05 * (1 + 1e-9)


def test_physical_sizes_are_those_of_the_cosmology():
    main = galaxy(kpc_per_pixel=0.2)
    for s in skies(main, 20, sizes="physical", bright=23.0, **QUIET):
        (source,) = s.sources
        # An angular diameter distance of D makes D * (1 radian / 206265) per arcsec.
        distance = Planck18.angular_diameter_distance(source.redshift).to_value("kpc")
        arcsec = 0.2 / distance * 206264.806
        size = np.linalg.svd(source.matrix)[1]
        np.testing.assert_allclose(size, min(arcsec, LARGEST_PIXEL * 0.05), rtol=1e-6)
    with pytest.raises(InputError, match="sizes: catalogue"):
        skies(MAIN, 1, sizes="physical", **QUIET)


def test_sizes_and_redshifts_at_a_magnitude_are_the_catalogues():
    """Two samples: what skies hold, and the rows of the table near 22nd magnitude."""
    sky = skies(MAIN, 400, bright=22.0, faint=22.0, **QUIET)
    rows = Population.shipped()
    near = np.abs(rows.magnitude - 22.0) < 0.3
    assert ks_2samp([s.sources[0].redshift for s in sky], rows.redshift[near]).pvalue > 0.01
    radii = [MAIN.radius * np.linalg.svd(s.sources[0].matrix)[1][0] for s in sky]
    assert ks_2samp(radii, np.minimum(rows.radius[near], MAIN.radius * LARGEST_PIXEL * 0.05)).pvalue > 0.01


def test_the_matrix_of_a_pose_is_that_of_its_words():
    """In (x, y), with complex numbers for the rotations: mirrored, spun, inclined, turned, enlarged."""
    rng = np.random.default_rng(6)
    for mirrored in (False, True):
        zoom, ratio, angle, spin = rng.uniform(0.1, 1.0, 4)
        matrix = Pose(zoom, ratio, angle, spin, mirrored).matrix
        for x, y in rng.normal(size=(5, 2)):
            z = complex(x, -y if mirrored else y) * np.exp(1j * spin)
            z = zoom * complex(z.real, ratio * z.imag) * np.exp(1j * angle)
            np.testing.assert_allclose(matrix @ [y, x], [z.imag, z.real], atol=1e-12)


def test_poses_that_are_not_inclined_are_isometries():
    rng = np.random.default_rng(5)
    for _ in range(20):
        matrix = Pose.draw(False, rng).matrix
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(2), atol=1e-12)
