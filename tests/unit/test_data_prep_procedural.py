"""Made-up galaxies: pure, well-formed light, and shapes and colours spread as those of real ones."""

import hashlib
import subprocess
import sys

import galsim
import numpy as np
import pytest
from scipy.stats import ks_2samp, spearmanr

from data_prep.painting import Canvas, arms, knots, sersic, spiral_phase, veil
from data_prep.population import Population
from data_prep.procedural import HALO, procedural_galaxy
from synergy.templates import TYPES, calzetti, template_fluxes


@pytest.fixture(scope="module")
def galaxies():
    return [procedural_galaxy(number, seed=11) for number in range(150)]


def whole(galaxy):
    return np.tensordot(galaxy.shares, galaxy.maps, axes=1)


def catalogue_row(number, seed):
    """Return Sersic index and axis ratio that a galaxy starts from: its first random number is the row."""
    rows = Population.shipped()
    row = np.random.default_rng([seed, number]).integers(len(rows.magnitude))
    return rows.sersic[row], rows.axis_ratio[row]


def axis_ratio(light):
    """Measure the axis ratio with GalSim's adaptive moments; NaN where clumps lead them astray."""
    image = galsim.Image(light.astype(float))
    found = galsim.hsm.FindAdaptiveMom(image, guess_sig=12.0, strict=False)
    if found.moments_status != 0:
        return np.nan
    return (1 - found.observed_shape.g) / (1 + found.observed_shape.g)


def test_a_galaxy_is_a_function_of_number_and_seed():
    one, two, other, elsewhere = (procedural_galaxy(*a) for a in ((5, 3), (5, 3), (6, 3), (5, 4)))
    assert one.maps.tobytes() == two.maps.tobytes()
    assert (one.id, one.lineage, one.populations) == (two.id, two.lineage, two.populations)
    assert one.shares.tobytes() == two.shares.tobytes()
    assert one.id == one.lineage == "procedural/3/5"
    for different in (other, elsewhere):
        assert np.abs(whole(different) - whole(one)).sum() > 0.05


def test_another_process_paints_the_same_galaxy():
    code = (
        "import hashlib; from data_prep.procedural import procedural_galaxy;"
        "print(hashlib.sha256(procedural_galaxy(2, 9).maps.tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(procedural_galaxy(2, 9).maps.tobytes()).hexdigest()


def test_light_is_light(galaxies):
    for galaxy in galaxies:
        assert np.isfinite(galaxy.maps).all()
        assert galaxy.maps.min() >= 0
        np.testing.assert_allclose(galaxy.maps.sum(axis=(1, 2)), 1.0, atol=1e-5)
        assert galaxy.shares.sum() == pytest.approx(1.0)
        assert galaxy.shares.min() > 0
        rim = galaxy.maps.copy()
        rim[:, 2:-2, 2:-2] = 0
        assert rim.sum(axis=(1, 2)).max() < 1e-3
        assert len(set(galaxy.populations)) == len(galaxy.populations) == len(galaxy.maps)
        assert galaxy.own_colours
        assert not galaxy.face_on
        assert 1 / 20 < galaxy.radius / galaxy.maps.shape[-1] < 1 / 5
    assert np.median([g.radius / 160 for g in galaxies]) == pytest.approx(1 / 8, rel=0.15)


def test_centres_are_centres(galaxies):
    """Bulges sit in the middle; whole galaxies may be lopsided, by less than their radius."""
    for galaxy in galaxies:
        y, x = np.indices(galaxy.maps.shape[1:]) - (galaxy.maps.shape[1] - 1) / 2
        light = whole(galaxy)
        assert np.hypot((light * y).sum(), (light * x).sum()) < galaxy.radius


def test_axis_ratios_follow_the_catalogue(galaxies):
    drawn = np.array([catalogue_row(i, 11)[1] for i in range(len(galaxies))])
    painted = np.array([axis_ratio(whole(g)) for g in galaxies])
    found = np.isfinite(painted)
    assert found.mean() > 0.9
    # Warps, bars and satellites scatter them; in between they are neither rounder nor flatter.
    assert abs(np.median((painted - drawn)[found])) < 0.05
    assert spearmanr(drawn[found], painted[found]).statistic > 0.55
    assert ks_2samp(painted[found], Population.shipped().axis_ratio).statistic < 0.2


def light_within(galaxy, radii):
    """Return the share of a galaxy's light within so many half-light radii."""
    y, x = (c - (galaxy.maps.shape[-1] - 1) / 2 for c in np.indices(galaxy.maps.shape[1:]))
    return whole(galaxy)[np.hypot(y, x) < radii * galaxy.radius].sum()


def test_concentration_follows_the_sersic_index(galaxies):
    index = np.array([catalogue_row(i, 11)[0] for i in range(len(galaxies))])
    assert spearmanr(index, [light_within(g, 0.3) for g in galaxies]).statistic > 0.5


def test_ellipticals_have_the_halos_of_their_profiles(galaxies):
    """De Vaucouleurs' law has 69 % within two half-light radii, 85 % within four, and more where it ends."""
    wide = [g for g in galaxies if g.maps.shape[-1] == HALO.size]
    assert len(wide) >= 5
    assert np.median([light_within(g, 2.0) for g in wide]) == pytest.approx(0.72, abs=0.03)
    assert np.median([light_within(g, 4.0) for g in wide]) == pytest.approx(0.90, abs=0.04)


def test_colours_run_from_red_to_blue_and_go_with_the_bulge(galaxies):
    bands = ("lsst.g", "lsst.i")

    def colour(galaxy):
        dust = [excess for _, excess in galaxy.populations]
        flux = np.zeros(2)
        for (kind, _), excess, share in zip(galaxy.populations, dust, galaxy.shares, strict=True):
            row = TYPES.index(kind)
            at_rest = template_fluxes(("sdss.r",), 0.0, (excess,))[row, 0]
            flux += share * template_fluxes(bands, 0.3, (excess,))[row] / at_rest
        return -2.5 * np.log10(flux[0] / flux[1])

    colours = np.array([colour(g) for g in galaxies[:60]])
    index = np.array([catalogue_row(i, 11)[0] for i in range(60)])
    assert np.percentile(colours, 95) > 1.7  # the red sequence at a redshift of 0.3
    assert np.percentile(colours, 10) < 0.8  # the blue cloud
    assert spearmanr(index, colours).statistic > 0.5


def test_structure_is_not_smooth(galaxies):
    """Most discs have arms or clumps: they differ from themselves turned by 90 degrees and by 180."""
    asymmetry = np.array([np.abs(whole(g) - whole(g)[::-1, ::-1]).sum() / 2 for g in galaxies])
    assert np.median(asymmetry) > 0.05
    assert asymmetry.min() < 0.05  # ellipticals
    assert asymmetry.max() < 0.7


def test_spirals_keep_their_pitch():
    radius = np.linspace(1.0, 5.0, 400)[None]
    pitch = np.radians(20.0)
    ridge = np.log(radius / 1.5) / np.tan(pitch)  # azimuth of the arm
    np.testing.assert_allclose(spiral_phase(radius, ridge, 1.5, float(pitch)), 0.0, atol=1e-12)
    slope = np.gradient(np.log(radius[0]), ridge[0])
    np.testing.assert_allclose(np.degrees(np.arctan(slope))[1:-1], 20.0, rtol=1e-3)
    assert arms(np.array([[0.0, np.pi / 2, np.pi]]), 3.0)[0, 0] == 1.0
    np.testing.assert_allclose(arms(np.array([[2 * np.pi / 3]]), 3.0, 3), 1.0)


@pytest.mark.parametrize("index", [1.0, 2.5, 4.0])
def test_sersic_profiles_hold_half_of_their_light_within_their_radius(index):
    radius = np.linspace(0, 400, 400_001)[None] + 5e-4
    light = sersic(radius, 2.0, index)[0] * radius[0]
    assert light[radius[0] < 2.0].sum() / light.sum() == pytest.approx(0.5, abs=2e-3)


def test_knots_near_their_place_are_all_of_a_knot():
    birth = np.zeros((40, 40))
    birth[20, 11] = 1.0
    painted = knots(np.random.default_rng(1), Canvas(40), birth, 5, (1.0, 1.5), reach=9)
    everywhere = knots(np.random.default_rng(1), Canvas(40), birth, 5, (1.0, 1.5))
    np.testing.assert_allclose(painted, everywhere, atol=1e-6 * everywhere.max())
    y, x = np.indices(birth.shape)
    assert (painted * y).sum() / painted.sum() == pytest.approx(20, abs=0.5)
    assert (painted * x).sum() / painted.sum() == pytest.approx(11, abs=0.5)


def test_dust_dims_what_it_hides():
    light = {"old": np.full((4, 4), 2.0), "young": np.ones((4, 4))}
    hidden = np.zeros((4, 4))
    hidden[0, 0] = 0.5
    seen = veil(light, {"old": 0.8}, hidden, 0.3)
    assert seen["old"][0, 0] == pytest.approx(2.0 * 0.6)
    attenuation = 0.3 * calzetti(np.array([6200.0]))[0]
    assert seen["dusty"][0, 0] == pytest.approx(0.8 * 10 ** (-0.4 * attenuation))
    assert seen["dusty"].sum() == seen["dusty"][0, 0]
    np.testing.assert_array_equal(seen["young"], light["young"])
