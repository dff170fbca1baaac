"""The sky of the demonstration, painted with GalSim and numpy.

An inclined spiral galaxy (a bulge, an exponential disc, two logarithmic spiral arms broken up by
turbulence, knots of star formation along them, dust lanes on their inner sides), an elliptical companion at
the same redshift and a faint blue neighbour behind them. Every component has the spectrum of a galaxy
template at the galaxy's redshift, so the bands have consistent colours. None of it is in the prior's
training set.
"""

import galsim
import numpy as np
from jaxtyping import Float

from data_prep.painting import Canvas, arms, clumps, disc_plane, knots, spiral_phase, turbulence
from data_prep.render import Source
from synergy.survey import SCENE_BANDS
from synergy.templates import TYPES, template_fluxes
from synergy.units import flux_from_magnitude

_STEP = 0.02  # arcsec per pixel of the maps that the spiral is painted on


def spectrum(
    kind: str, redshift: float, magnitude: float, reddening: float = 0.0, veil: float = 0.0
) -> dict[str, float]:
    """Return the fluxes of a template galaxy in the demonstration's bands, nJy.

    Parameters
    ----------
    kind
        Template: E, Sbc, Scd or Im.
    redshift
        Redshift.
    magnitude
        LSST i magnitude without the veil.
    reddening
        E(B-V) of its spectrum.
    veil
        E(B-V) of further dust, which dims as well as reddens.
    """
    seen, bare = (
        template_fluxes(SCENE_BANDS, redshift, (e,))[TYPES.index(kind)] for e in (reddening + veil, reddening)
    )
    fluxes = seen / bare[SCENE_BANDS.index("lsst.i")] * flux_from_magnitude(magnitude)
    return dict(zip(SCENE_BANDS, map(float, fluxes), strict=True))


def spiral_maps(rng: np.random.Generator, scale_length: float = 0.5) -> dict[str, Float[np.ndarray, "y x"]]:
    """Paint the components of an inclined spiral disc, each to unit sum but for `dust`, an optical depth.

    Parameters
    ----------
    rng
        Random numbers: orientation, turbulence, knots.
    scale_length
        Exponential scale length of the disc in arcsec.
    """
    canvas, edge, h = Canvas(256, _STEP), 4.2 * scale_length, scale_length
    size = canvas.size
    position_angle, cos_inclination = np.radians(rng.uniform(25, 45)), rng.uniform(0.6, 0.72)
    major, minor = disc_plane(*canvas.coordinates(), float(position_angle), cos_inclination)
    radius, azimuth = np.hypot(major, minor), np.arctan2(minor, major)
    fade = 0.5 * (1 - np.tanh((radius / edge - 0.9) / 0.06)) * (radius < 1.2 * edge)
    spiral = spiral_phase(radius, azimuth, h, float(np.radians(rng.uniform(17, 24))))
    spiral = spiral + 0.35 * turbulence(rng, size, 3.0, 2.0)
    inner = 1 - np.exp(-((radius / (0.55 * h)) ** 3))
    wide = arms(spiral, 2.5) * inner

    def clumpy(strength: float) -> Float[np.ndarray, "y x"]:
        return clumps(turbulence(rng, size, 2.4, 1.0), strength)

    old = np.exp(-radius / h) * fade * (1 + 0.35 * wide)
    young = np.exp(-radius / (1.35 * h)) * fade * (0.22 + wide) * clumpy(0.75)
    thin = arms(spiral - 0.05, 5.0) * inner
    birth = np.exp(-radius / (1.8 * h)) * fade * (0.04 + thin) * clumpy(0.8) * (radius > 0.3 * h)
    dust = 1.1 * np.exp(-radius / (1.6 * h)) * (0.25 + arms(spiral + 0.35, 3.0) * inner) * clumpy(0.6)
    spots = knots(rng, canvas, birth, 130, (0.03, 0.06))
    return {"old": old / old.sum(), "young": young / young.sum(), "knots": spots / spots.sum(), "dust": dust}


def _spiral(
    rng: np.random.Generator, position: tuple[float, float], magnitude: float, redshift: float
) -> list[Source]:
    """Compose the spiral; a share 1 - exp(-dust) of each disc component lies behind dust."""
    maps = spiral_maps(rng)
    bulge = galsim.Sersic(3, half_light_radius=0.17).shear(q=0.85, beta=30 * galsim.degrees)
    of_bulge = spectrum("E", redshift, magnitude - 2.5 * np.log10(0.17), 0.1)
    sources = [Source(_faded(bulge, 1.6).shift(*position), of_bulge)]
    hidden = 1 - np.exp(-maps["dust"])
    for name, kind, share, reddening in (
        ("old", "Sbc", 0.48, 0.05),
        ("young", "Im", 0.33, 0.05),
        ("knots", "Im", 0.09, 0.0),
    ):
        for veil, part in ((0.0, maps[name] * (1 - hidden)), (0.3, maps[name] * hidden)):
            profile = galsim.InterpolatedImage(galsim.Image(part, scale=_STEP), flux=1).shift(*position)
            total = magnitude - 2.5 * np.log10(share * part.sum())
            sources.append(Source(profile, spectrum(kind, redshift, total, reddening, veil)))
    return sources


def _faded(profile: galsim.GSObject, radius: float) -> galsim.GSObject:
    """Return a profile that fades out towards a radius in arcsec, so that the frame holds all its light."""
    smooth = galsim.Convolve(profile, galsim.Gaussian(sigma=_STEP))
    side = 2 * round(radius / _STEP) + 1
    image = smooth.drawImage(nx=side, ny=side, scale=_STEP, method="no_pixel", dtype=float)
    axis = np.linspace(-1, 1, side)
    image.array[:] *= np.clip(1 - axis[:, None] ** 2 - axis**2, 0, None) ** 2
    return galsim.InterpolatedImage(image, flux=1)


def make_scene(rng: np.random.Generator) -> list[Source]:
    """Draw the sources of the demonstration, in arcsec from the centre of the scene.

    Parameters
    ----------
    rng
        Random numbers.
    """
    spiral = _spiral(rng, (-0.2, 0.1), magnitude=20.7, redshift=0.45)
    elliptical = galsim.Sersic(3.5, half_light_radius=0.28).shear(q=0.75, beta=70 * galsim.degrees)
    companion = Source(_faded(elliptical, 1.4).shift(1.75, -1.6), spectrum("E", 0.45, 22.5))
    disc = galsim.Exponential(half_light_radius=0.2).shear(q=0.55, beta=20 * galsim.degrees)
    clump = galsim.Gaussian(sigma=0.06).shift(-1.82, 1.9)
    return [
        *spiral,
        companion,
        Source(_faded(disc, 1.1).shift(-1.95, 1.85), spectrum("Scd", 1.1, 24.75)),
        Source(clump, spectrum("Im", 1.1, 26.1)),
    ]
