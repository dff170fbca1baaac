"""From the few bands of a simulated image to every band of a survey, by mixtures of galaxy spectra.

`light_maps` splits a galaxy into a few populations, each with one spectrum, a template behind some dust
(`synergy.templates`); `spectra` gives their fluxes in any bands, at any redshift.

*Calibrated images* in several bands keep their own colours: each pixel is a mixture of templates at the
galaxy's own redshift (`data_prep.mixtures`), which may then be seen at any other.

*Relative images* (8-bit pictures) have lost their colours. Each pixel's light is shared out among four
spectral types by its colour relative to the whole galaxy, smoothed where 8 bits show only noise. The
integrated spectrum is drawn (`data_prep.colour_library`), and a type's spectrum is the integrated one, tilted
by how that type differs from the galaxy's mean type and by a random gradient of dust along the types. Tilts
leave the light in F814W and the integrated colours as they are, so morphology is the simulation's, colours
are those of real galaxies, and no population can be fitted away.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from data_prep.colour_library import ColourLibrary
from data_prep.framing import framed
from data_prep.mixtures import split_light
from data_prep.planes import half_light_radius
from data_prep.readers.galaxy import Galaxy
from data_prep.sky import LightMaps
from data_prep.stellar_populations import Populations, population_fluxes
from synergy.errors import InputError
from synergy.filters import filter_curve
from synergy.templates import TYPES, calzetti

CONTRAST = (0.2, 1.2)
"""Range of the strength of colour variation within a relative image: 0 none, 1 that of the templates."""
SMALLEST = 1e-4
"""Share of the light below which a population is left out."""
DUST_GRADIENT = 0.1
"""Rms of the E(B-V) by which one spectral type is reddened beside its neighbours."""


def light_maps(
    galaxy: Galaxy, redshift: float | None = None, curves: Mapping[str, Path] | None = None
) -> LightMaps:
    """Split a galaxy into populations.

    Parameters
    ----------
    galaxy
        The galaxy: calibrated, in at least two bands, or a relative image in g, r, i.
    redshift
        Redshift at which a calibrated galaxy was seen, for one that does not say it.
    curves
        Files of filter curves for bands that have none (see `synergy.filters`).

    Returns
    -------
    LightMaps
        Of its own colours where it is calibrated. Negative light (noise) is left out.

    Raises
    ------
    InputError
        If a calibrated galaxy has no redshift, one band only, or a band without usable curve or light, or a
        relative one is not of three bands.
    """
    if galaxy.absolute:
        names, maps = split_light(_own_light(galaxy), galaxy.bands, _own_redshift(galaxy, redshift), curves)
    else:
        if len(galaxy.bands) != 3:
            raise InputError(
                galaxy.id, f"a relative image in {', '.join(galaxy.bands)}", "g, r, i", "Calibrate the image."
            )
        names, maps = tuple((name, 0.0) for name in TYPES), populations(galaxy.light)
    shares = maps.sum(axis=(1, 2)) / maps.sum()
    found = shares > SMALLEST
    maps = maps[found]
    return LightMaps(
        id=galaxy.id,
        lineage=galaxy.lineage,
        maps=(maps / maps.sum(axis=(1, 2), keepdims=True)).astype(np.float32),
        shares=shares[found] / shares[found].sum(),
        populations=tuple(name for name, here in zip(names, found, strict=True) if here),
        own_colours=galaxy.absolute,
        radius=half_light_radius(maps.sum(axis=0)),
        kpc_per_pixel=galaxy.kpc_per_pixel,
        face_on=galaxy.face_on,
    )


def _own_redshift(galaxy: Galaxy, redshift: float | None) -> float:
    own = galaxy.redshift if redshift is None else redshift
    if not own >= 0:
        raise InputError(
            galaxy.id,
            "a calibrated galaxy without a redshift",
            "the redshift at which its bands were observed",
            "Pass `redshift`, such as the `likely_redshift` of its fluxes.",
        )
    return own


def _own_light(galaxy: Galaxy) -> Float[np.ndarray, "band y x"]:
    light = framed(np.maximum(galaxy.light, 0.0))
    dark = [band for band, plane in zip(galaxy.bands, light, strict=True) if not plane.sum() > 0]
    if dark or len(galaxy.bands) < 2:
        found = f"no light in {', '.join(dark)}" if dark else f"one band, {galaxy.bands[0]}"
        raise InputError(galaxy.id, found, "light in at least two bands", "Leave the galaxy or the band out.")
    return light


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


def spectra(
    light: LightMaps,
    bands: tuple[str, ...],
    redshift: float,
    rng: np.random.Generator,
    library: ColourLibrary | None,
    magnitude: float | None = None,
    curves: Mapping[str, Path] | None = None,
) -> Float[np.ndarray, "map band"]:
    """Return the flux of each map of a galaxy in each band, for a total F814W flux of 1.

    Parameters
    ----------
    light
        The galaxy's light maps.
    bands
        Wanted bands.
    redshift
        Redshift at which the galaxy is seen; colours are those at the nearest multiple of 0.01.
    rng
        Random numbers, for galaxies without colours of their own.
    library
        Colours for galaxies that have none of their own; None if there are none.
    magnitude
        F814W magnitude, because bright galaxies are more often red; None for any.
    curves
        Files of filter curves for bands that have none (see `synergy.filters`).

    Raises
    ------
    InputError
        If a band has no usable curve, or a galaxy without colours meets no library.
    """
    if light.own_colours:
        everything = (*bands, "hst.F814W")
        flux = light.shares[:, None] * population_fluxes(light.populations, everything, redshift, curves)
        return flux[:, :-1] / flux[:, -1].sum()
    if library is None:
        raise InputError(light.id, "no colours", "a library to draw them from", "Pass `library`.")
    integrated = library.draw(bands, redshift, rng, magnitude, curves)
    contrast, reddening = rng.uniform(*CONTRAST), rng.normal(0.0, DUST_GRADIENT)
    tilts = population_tilts(light.populations, bands, redshift, contrast, reddening, curves)
    return share_out(integrated, light.shares, tilts)


def population_tilts(
    populations: Populations,
    bands: tuple[str, ...],
    redshift: float,
    contrast: float,
    reddening: float,
    curves: Mapping[str, Path] | None = None,
) -> Float[np.ndarray, "map band"]:
    """Return how populations differ in colour: flux in each band, for an F814W flux of 1.

    Parameters
    ----------
    populations
        Template and E(B-V) of each.
    bands
        The bands.
    redshift
        Redshift.
    contrast
        Strength of the differences: 0 none, 1 that of the templates.
    reddening
        E(B-V) by which each population is reddened beside the one that is bluer by the mean step; of
        either sign.
    curves
        Files of filter curves for bands that have none.
    """
    everything = (*bands, "hst.F814W")
    flux = population_fluxes(populations, everything, redshift, curves)
    order = np.argsort(np.argsort(-_rest_colour(populations)))  # 0 for the bluest
    attenuation = np.array([_attenuation(band, redshift, curves) for band in everything])
    tilts = flux**contrast * 10 ** (-0.4 * reddening * np.multiply.outer(order, attenuation))
    return tilts[:, :-1] / tilts[:, -1:]


def share_out(
    integrated: Float[np.ndarray, " band"],
    shares: Float[np.ndarray, " map"],
    tilts: Float[np.ndarray, "map band"],
) -> Float[np.ndarray, "map band"]:
    """Share an integrated spectrum out among populations.

    Parameters
    ----------
    integrated
        Flux of the whole galaxy in each band, for an F814W flux of 1.
    shares
        Share of each population in the galaxy's light; adds up to 1.
    tilts
        Relative flux of each population in each band, 1 in F814W.

    Returns
    -------
    array
        Fluxes that add up to the integrated spectrum; in F814W, the shares.
    """
    flux = shares[:, None] * tilts
    return integrated * flux / flux.sum(axis=0)


def _rest_colour(populations: Populations) -> Float[np.ndarray, " map"]:
    blue, red = population_fluxes(populations, ("sdss.g", "sdss.i"), 0.0).T
    return blue / red


def _attenuation(band: str, redshift: float, curves: Mapping[str, Path] | None) -> float:
    wavelength, transmission = filter_curve(band, curves)
    return float(
        np.average(calzetti(wavelength / (1.0 + redshift)), weights=transmission * np.gradient(wavelength))
    )
