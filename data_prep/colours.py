"""From the few bands of a simulated image to every band of a survey, by mixtures of galaxy spectra.

The integrated spectrum of a galaxy is a non-negative mixture of templates (`synergy.templates`, with and
without dust) fitted to the three-band colours of a real galaxy (HST stamps) at the drawn redshift. Colour
varies over the galaxy as in the simulation: each pixel's light is shared out among four spectral types by its
colour relative to the whole galaxy, smoothed where 8-bit images have only noise, and a type's spectrum is the
integrated one, tilted by how that type differs from the galaxy's mean type. Tilts leave the light in F814W
and the integrated colours as they are, so morphology is the simulation's, colours are those of real galaxies,
and no population can be fitted away.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from scipy.optimize import nnls

from data_prep.readers.hst import BANDS as HST_BANDS
from data_prep.readers.hst import Colours
from synergy.templates import TYPES, template_fluxes

DUST = (0.0, 0.25)
REDSHIFTS = np.concatenate([np.linspace(0.02, 0.5, 13), np.linspace(0.55, 2.0, 16)])


def populations(light: Float[np.ndarray, "3 y x"], smoothing: float = 2.0) -> Float[np.ndarray, "type y x"]:
    """Split an image in g, r, i into light maps of the four spectral types.

    Parameters
    ----------
    light
        Surface brightness, linear, in any unit common to the bands.
    smoothing
        Gaussian sigma in pixels over which colours are measured.

    Returns
    -------
    array
        Maps that add up to the band-averaged light, scaled to a total of 1.
    """
    total = light.mean(axis=0)
    total = total / total.sum()
    blue, red = (gaussian_filter(plane, smoothing) for plane in (light[0], light[2]))
    floor = 1e-3 * red.max()
    colour = np.log((blue + floor) / (red + floor))
    mean = np.sum(total * colour)
    spread = np.sqrt(np.sum(total * (colour - mean) ** 2)) + 0.05
    # The types form a sequence from red (0) to blue; light at the mean colour lies half way.
    position = (len(TYPES) - 1) * (0.5 + 0.5 * np.tanh(0.6 * (colour - mean) / spread))
    weights = np.stack([np.clip(1.0 - np.abs(position - i), 0.0, None) for i in range(len(TYPES))])
    return weights * total


@functools.lru_cache(maxsize=256)
def _fluxes(bands: tuple[str, ...], redshift: float) -> Float[np.ndarray, "template band"]:
    return template_fluxes(bands, redshift, DUST)


def nearest_redshift(redshift: float) -> float:
    """Return the tabulated redshift nearest to one that was drawn."""
    return float(REDSHIFTS[np.argmin(np.abs(REDSHIFTS - redshift))])


def fit_spectrum(
    colours: Colours, bands: tuple[str, ...], redshift: float, ridge: float = 0.1
) -> tuple[Float[np.ndarray, " band"], float]:
    """Fit a mixture of templates to the colours of a real galaxy.

    Parameters
    ----------
    colours
        Magnitudes of the galaxy.
    bands
        Wanted bands.
    redshift
        Redshift, one of `REDSHIFTS`.
    ridge
        Strength of the pull towards an even mixture, which keeps spectra smooth where colours do not decide.

    Returns
    -------
    spectrum
        Flux in the wanted bands for an F814W flux of 1.
    misfit
        Root mean square of the colour residuals, mag.
    """
    spectra = _fluxes(HST_BANDS, redshift)
    target = 10 ** (-0.4 * np.array(colours.magnitudes))
    target = target / target[1]
    reference = spectra[:, 1]
    matrix = np.concatenate(
        [(spectra / reference[:, None]).T / target[:, None], ridge * np.eye(len(spectra))]
    )
    mixture, _ = nnls(matrix, np.concatenate([np.ones(3), np.full(len(spectra), ridge / len(spectra))]))
    mixture = mixture / reference
    flux = mixture @ spectra
    misfit = float(np.std(-2.5 * np.log10(flux / target)))
    return mixture @ _fluxes(bands, redshift) / flux[1], misfit


@functools.lru_cache(maxsize=64)
def _possible(
    library: "ColourLibrary", bands: tuple[str, ...], redshift: float
) -> Float[np.ndarray, "galaxy band"]:
    fits = [fit_spectrum(colours, bands, redshift) for colours in library.colours]
    order = np.argsort([misfit for _, misfit in fits])
    return np.array([fits[i][0] for i in order[: max(1, len(order) // 2)]])


@dataclasses.dataclass(frozen=True)
class ColourLibrary:
    """Real galaxies' colours, to draw from.

    Parameters
    ----------
    colours
        The galaxies.
    """

    colours: tuple[Colours, ...]

    def draw(
        self, bands: tuple[str, ...], redshift: float, rng: np.random.Generator
    ) -> Float[np.ndarray, " band"]:
        """Draw one of the half of the galaxies whose colours are most natural at this redshift.

        Returns the flux in each band for an F814W flux of 1.
        """
        spectra = _possible(self, bands, redshift)
        return spectra[rng.integers(len(spectra))]


def type_spectra(
    integrated: Float[np.ndarray, " band"], types: Float[np.ndarray, " type"], bands: tuple[str, ...],
    redshift: float, contrast: float,
) -> Float[np.ndarray, "type band"]:  # fmt: skip
    """Return the spectrum of each type's light within a galaxy.

    Parameters
    ----------
    integrated
        Flux of the whole galaxy in each band, for an F814W flux of 1.
    types
        Share of each type in the galaxy's light; adds up to 1.
    bands
        The bands.
    redshift
        One of `REDSHIFTS`.
    contrast
        Strength of the colour variation: 0 none, 1 that of the templates.
    """
    dustless = slice(None, None, len(DUST))
    relative = _fluxes(bands, redshift)[dustless] / _fluxes(("hst.F814W",), redshift)[dustless]
    tilted = integrated * (relative / (types @ relative)) ** contrast
    return tilted * integrated / (types @ tilted)


def stellar_spectrum(bands: tuple[str, ...], rng: np.random.Generator) -> Float[np.ndarray, " band"]:
    """Draw the colours of a star, roughly: an undiluted galaxy template at rest, for an F814W flux of 1."""
    kind = rng.dirichlet([2.0, 1.0, 1.0, 0.5])
    dustless = slice(None, None, len(DUST))
    redshift = float(REDSHIFTS[0])
    return kind @ (_fluxes(bands, redshift)[dustless] / _fluxes(("hst.F814W",), redshift)[dustless])
