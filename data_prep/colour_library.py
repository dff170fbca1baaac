"""Integrated colours of galaxies at any redshift, as diverse as those of real ones.

A galaxy's spectrum is a non-negative mixture of templates with and without dust (`synergy.templates`): an old
population behind little dust and a young one behind any amount, in any proportion (`draw_mixtures`). Which
mixtures occur is told by real galaxies with three HST magnitudes but no redshift: the evidence of a
galaxy's colours among mixtures at each redshift, times the redshift distribution of its magnitude (LSST
Science Book, eq. 3.8), says at which redshifts it may lie, as for a photometric redshift. To draw colours at
a redshift, one of the galaxies that may lie there is taken, and a mixture from among those that have its
colours, to the accuracy of templates. A part of the mixtures is drawn without such a witness: 150 galaxies
are too few to hold every kind. What four templates cannot do is covered by random distortions of the
spectrum, a wide one and one as narrow as a break or a group of emission lines, of the usual size of template
errors (Brammer, van Dokkum & Coppi 2008), under which the galaxy has the colours of its witness.

Fluxes are quoted for a flux of 1 in F814W. Absorption by intergalactic hydrogen, which matters in u beyond
redshift 2, is left out.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from data_prep.readers.hst import BANDS as HST_BANDS
from data_prep.readers.hst import Colours
from synergy.errors import InputError
from synergy.filters import filter_curve
from synergy.templates import TYPES, template_fluxes

DUST = (-0.1, 0.0, 0.1, 0.2, 0.35, 0.5, 0.75)
"""E(B-V) of the templates; these have dust of their own, of which a negative excess takes a part away."""
REFERENCE = "sdss.r"
"""Shares of populations are shares of the light in this band at rest."""

KERNEL = 0.1  # mag, how closely a mixture has to have a real galaxy's colours
UNWITNESSED = 0.35  # part of the mixtures drawn without a real galaxy
DISTORTIONS = ((0.25, (0.05, 0.15)), (0.06, (0.03, 0.12)))
"""Coherence in ln(wavelength) and range of the amplitude, mag, of what templates cannot do."""
_WAVES = np.arange(np.log(2000.0), np.log(60000.0), 0.02)
_LARGEST = 0.25  # mag, of a misfit that is kept
_SLACK = 0.04  # mag, by which colours differ from the witness's
_REFERENCE = -2  # F814W among `HST_BANDS` at the end of all bands
_PROPOSALS = 512
_GRID = np.arange(0.05, 2.51, 0.05)
_NEAR = 0.5  # mag between galaxies of like brightness


Populations = tuple[tuple[str, float], ...]

POPULATIONS: Populations = tuple((name, excess) for name in TYPES for excess in DUST)


def population_fluxes(
    populations: Populations,
    bands: tuple[str, ...],
    redshift: float,
    curves: Mapping[str, Path] | None = None,
) -> Float[np.ndarray, "population band"]:
    """Return the fluxes of populations in observed bands, for a flux of 1 in `REFERENCE` at rest.

    Parameters
    ----------
    populations
        Template and E(B-V) of each.
    bands
        Bands.
    redshift
        Redshift; rounded to 0.01, so that tables can be kept.
    curves
        Files of filter curves for bands that have none (see `synergy.filters`).

    Raises
    ------
    InputError
        If there is no such template, or a band has no usable curve.
    """
    return _table(populations, tuple(bands), round(float(redshift), 2), tuple(sorted((curves or {}).items())))


@functools.lru_cache(maxsize=1024)
def _table(
    populations: Populations, bands: tuple[str, ...], redshift: float, curves: tuple[tuple[str, Path], ...]
) -> Float[np.ndarray, "population band"]:
    if unknown := sorted({name for name, _ in populations} - set(TYPES)):
        raise InputError(
            "populations", ", ".join(unknown), f"some of {', '.join(TYPES)}", "Check the spelling."
        )
    dust = tuple(sorted({excess for _, excess in populations}))
    rows = [TYPES.index(name) * len(dust) + dust.index(excess) for name, excess in populations]
    at_rest = template_fluxes((REFERENCE,), 0.0, dust)
    return (template_fluxes(bands, redshift, dust, dict(curves)) / at_rest)[rows]


def draw_mixtures(number: int, rng: np.random.Generator) -> Float[np.ndarray, "number population"]:
    """Draw mixtures of populations, as broad as galaxies are: shares of the light in `REFERENCE` at rest.

    A third is quiescent, the rest forms stars beside any old population. Dust is exponentially distributed.
    """
    old = np.where(rng.random(number) < 0.35, rng.beta(10.0, 0.5, number), rng.beta(0.7, 1.5, number))
    young = rng.dirichlet([0.6, 0.7, 1.2], number)
    shares = np.concatenate([old[:, None], (1.0 - old)[:, None] * young], axis=1)
    excess = np.stack(
        [rng.exponential(0.15, number) - 0.05, *[rng.exponential(0.2, number) - 0.1] * 3], axis=1
    )
    return np.reshape(shares[..., None] * _between_dust(excess), (number, -1))


def _between_dust(excess: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... dust"]:
    """Return the mixture of the two neighbours in `DUST` that stands for an E(B-V)."""
    position = np.interp(excess, DUST, np.arange(len(DUST)))
    return np.clip(1.0 - np.abs(position[..., None] - np.arange(len(DUST))), 0.0, None)


def _hst_colours(mixtures: Float[np.ndarray, "n population"], redshift: float) -> Float[np.ndarray, "n 2"]:
    magnitudes = -2.5 * np.log10(mixtures @ population_fluxes(POPULATIONS, HST_BANDS, redshift))
    return magnitudes[:, :2] - magnitudes[:, 1:]


def _redshift_prior(magnitude: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n z"]:
    """Return ln of the distribution of redshifts of galaxies brighter than an F814W magnitude."""
    scale = 0.0417 * np.clip(magnitude, 20.0, 26.0) - 0.744
    return 2.0 * np.log(_GRID) - _GRID / scale[:, None]


@dataclasses.dataclass(frozen=True)
class ColourLibrary:
    """Real galaxies' colours, to draw from.

    Parameters
    ----------
    colours
        The galaxies.
    """

    colours: tuple[Colours, ...]

    @functools.cached_property
    def _magnitudes(self) -> Float[np.ndarray, "galaxy 3"]:
        return np.array([colours.magnitudes for colours in self.colours], np.float64)

    @functools.cached_property
    def _log_redshift(self) -> Float[np.ndarray, "galaxy z"]:
        """Natural logarithm of each galaxy's probability to lie at each redshift of the grid."""
        mixtures = draw_mixtures(2000, np.random.default_rng(0))
        evidence = np.stack(
            [logsumexp(_match(self._own, _hst_colours(mixtures, z)), axis=1) for z in _GRID], axis=1
        )
        log = evidence + _redshift_prior(self._magnitudes[:, 1])
        return log - logsumexp(log, axis=1, keepdims=True)

    @functools.cached_property
    def _own(self) -> Float[np.ndarray, "galaxy 2"]:
        return self._magnitudes[:, :2] - self._magnitudes[:, 1:]

    def draw(
        self, bands: tuple[str, ...], redshift: float, rng: np.random.Generator,
        magnitude: float | None = None, curves: Mapping[str, Path] | None = None,
    ) -> Float[np.ndarray, " band"]:  # fmt: skip
        """Draw the colours of a galaxy.

        Parameters
        ----------
        bands
            Wanted bands.
        redshift
            Redshift.
        rng
            Random numbers.
        magnitude
            F814W magnitude, because bright galaxies are more often red; None for any.
        curves
            Files of filter curves for bands that have none.

        Returns
        -------
        array
            Flux in each band for an F814W flux of 1.

        Raises
        ------
        InputError
            If a band has no usable curve.
        """
        mixtures = draw_mixtures(_PROPOSALS, rng)
        row, misfit = int(rng.integers(_PROPOSALS)), None
        if rng.random() >= UNWITNESSED:
            log = self._log_redshift[:, np.argmin(np.abs(_GRID - redshift))]
            if magnitude is not None:
                log = log - 0.5 * ((self._magnitudes[:, 1] - magnitude) / _NEAR) ** 2
            witness = int(rng.choice(len(log), p=_probabilities(log)))
            colours = _hst_colours(mixtures, redshift)
            match = _match(self._own[witness : witness + 1], colours)[0]
            row = int(rng.choice(_PROPOSALS, p=_probabilities(match)))
            misfit = np.clip(self._own[witness] - colours[row], -_LARGEST, _LARGEST)
            misfit = misfit + rng.normal(0.0, _SLACK, 2)
        everything = (*bands, *HST_BANDS)
        spectrum = mixtures[row] @ population_fluxes(POPULATIONS, everything, redshift, curves)
        spectrum = spectrum * 10 ** (-0.4 * _distortion(everything, misfit, rng, curves))
        return spectrum[: len(bands)] / spectrum[_REFERENCE]


def _match(
    real: Float[np.ndarray, "galaxy 2"], colours: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "galaxy n"]:
    """Return ln of how well colours match those of real galaxies."""
    return -0.5 * np.sum((real[:, None] - colours) ** 2, axis=-1) / KERNEL**2


def _probabilities(log: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.exp(log - logsumexp(log))


def _distortion(
    bands: tuple[str, ...],
    misfit: Float[np.ndarray, " 2"] | None,
    rng: np.random.Generator,
    curves: Mapping[str, Path] | None,
) -> Float[np.ndarray, " band"]:
    """Draw how far a spectrum lies from the templates, mag; with these colours over the last bands, HST's."""
    files = tuple((curves or {}).get(band) for band in bands)
    terms = (rng.uniform(*amplitude) ** 2 * _covariance(bands, files, n) for n, amplitude in DISTORTIONS)
    covariance = np.sum(list(terms), axis=0)
    # The root of a covariance that is singular where two bands are alike.
    values, vectors = np.linalg.eigh(covariance)
    drawn = vectors @ (np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(len(bands)))
    if misfit is None:
        return drawn
    colours = np.zeros((2, len(bands)))
    colours[[0, 1], [-3, -2]], colours[[0, 1], [-2, -1]] = 1.0, -1.0
    gain = covariance @ colours.T @ np.linalg.inv(colours @ covariance @ colours.T)
    return drawn + gain @ (misfit - colours @ drawn)


@functools.lru_cache(maxsize=64)
def _covariance(
    bands: tuple[str, ...], files: tuple[Path | None, ...], length: float
) -> Float[np.ndarray, "band band"]:
    """Return how far smooth functions of unit variance, averaged over bands, agree."""
    weights = []
    for band, file in zip(bands, files, strict=True):
        wavelength, transmission = filter_curve(band, None if file is None else {band: file})
        light = np.interp(_WAVES, np.log(wavelength), transmission, 0.0, 0.0)
        weights.append(light / light.sum())
    correlation = np.exp(-0.5 * (np.subtract.outer(_WAVES, _WAVES) / length) ** 2)
    return np.array(weights) @ correlation @ np.array(weights).T
