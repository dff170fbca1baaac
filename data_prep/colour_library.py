"""Integrated colours of galaxies at any redshift, as diverse as those of real ones.

A galaxy's spectrum is a mixture of stellar populations (`data_prep.stellar_populations`). Which mixtures
occur is told by real galaxies with three HST magnitudes but no redshift; at which redshifts they may lie,
`data_prep.photometric_redshifts` says. To draw colours at a redshift, one of the galaxies that may lie there
is taken, one of like brightness (for galaxies brighter or fainter than most of them, like their brightest or
faintest tenth), and a mixture from among those that have its colours, to the accuracy of templates. A part of
the mixtures is drawn without such a witness: 150 galaxies are too few to hold every kind. What four templates
cannot do is covered by random distortions of the spectrum, a wide one and one as narrow as a break or a group
of emission lines, of the usual size of template errors (Brammer, van Dokkum & Coppi 2008), under which the
galaxy has the colours of its witness.

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

from data_prep.photometric_redshifts import REDSHIFTS, log_match, log_redshifts, mixture_magnitudes
from data_prep.readers.hst import BANDS as HST_BANDS
from data_prep.readers.hst import Colours
from data_prep.stellar_populations import POPULATIONS, draw_mixtures, population_fluxes
from synergy.filters import filter_curve

UNWITNESSED = 0.35  # part of the mixtures drawn without a real galaxy
DISTORTIONS = ((0.25, (0.05, 0.15)), (0.06, (0.03, 0.12)))
"""Coherence in ln(wavelength) and range of the amplitude, mag, of what templates cannot do."""
_WAVES = np.arange(np.log(2000.0), np.log(60000.0), 0.02)
_LARGEST = 0.25  # mag, of a misfit that is kept
_SLACK = 0.04  # mag, by which colours differ from the witness's
_REFERENCE = -2  # F814W among `HST_BANDS` at the end of all bands
_PROPOSALS = 512
_NEAR = 0.5  # mag between galaxies of like brightness
_DENSE = (10.0, 90.0)  # percentiles of magnitude within which several galaxies are near


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
        return log_redshifts(HST_BANDS, self._magnitudes, self._magnitudes[:, 1])

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
            log = self._log_redshift[:, np.argmin(np.abs(REDSHIFTS - redshift))]
            if magnitude is not None:
                like = np.clip(magnitude, *np.percentile(self._magnitudes[:, 1], _DENSE))
                log = log - 0.5 * ((self._magnitudes[:, 1] - like) / _NEAR) ** 2
            witness = int(rng.choice(len(log), p=_probabilities(log)))
            drawn, real = mixture_magnitudes(mixtures, HST_BANDS, redshift), self._magnitudes[witness]
            row = int(rng.choice(_PROPOSALS, p=_probabilities(log_match(real[None], drawn)[0])))
            misfit = np.clip(-np.diff(real - drawn[row]), -_LARGEST, _LARGEST) + rng.normal(0.0, _SLACK, 2)
        everything = (*bands, *HST_BANDS)
        spectrum = mixtures[row] @ population_fluxes(POPULATIONS, everything, redshift, curves)
        spectrum = spectrum * 10 ** (-0.4 * _distortion(everything, misfit, rng, curves))
        return spectrum[: len(bands)] / spectrum[_REFERENCE]


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
