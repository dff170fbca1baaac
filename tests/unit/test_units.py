"""Zero points against the definition of the AB magnitude."""

import numpy as np
import pytest

from synergy import units


def test_zero_magnitude_is_3631_jansky():
    assert units.flux_from_magnitude(0.0) == pytest.approx(3631e9, rel=1e-3)


def test_magnitudes_of_known_fluxes():
    assert units.magnitude_from_flux(1.0) == pytest.approx(31.4)
    assert units.magnitude_from_flux(3631.0) == pytest.approx(22.5, abs=1e-3)  # one nanomaggie


def test_counts_at_the_zero_point_are_one_unit():
    assert units.magnitude_from_flux(units.flux_from_counts(1.0, 27.3)) == pytest.approx(27.3)


def test_round_trips():
    magnitude = np.linspace(15.0, 30.0, 7)
    np.testing.assert_allclose(units.magnitude_from_flux(units.flux_from_magnitude(magnitude)), magnitude)
    counts = units.counts_from_flux(units.flux_from_counts(magnitude, 24.6), 24.6)
    np.testing.assert_allclose(counts, magnitude)


def test_no_magnitude_without_flux():
    result = units.magnitude_from_flux(np.array([-1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(np.isnan(result), [True, True, False])
