"""Fill a patch of sky with galaxies: where, how bright, how large, how far, how they lie, and beside what.

*Main galaxy.* Anywhere on the scene or a little beyond its edge, with a uniform distribution of magnitudes;
with ``central``, a share of them near the middle, where large ones are seen whole.

*Sizes and redshifts* are drawn together for the magnitude (`data_prep.population`), so that the sky's joint
distribution is that of the catalogue; a simulated galaxy lends its structure, not its size. The radius is
that of a round aperture around the galaxy as it is seen, inclined. With ``sizes: physical`` the galaxy
keeps its kiloparsecs instead, seen at the drawn redshift (Planck 2018 cosmology). Dimming needs nothing more:
apparent magnitudes are drawn, and surface brightness is what flux and size make it. Either way, a source
pixel is never enlarged beyond `LARGEST_PIXEL` scene pixels, the resolution that the source has.

*Orientation* is random. A face-on disc is inclined by squeezing; randomly inclined thin discs have uniform
axis ratios, and thickness keeps them above 0.3. Galaxies that are not face-on are only turned and flipped.

*Neighbours* are a Poisson number of galaxies with magnitudes from the counts, on the scene and `MARGIN`
around it. A *companion* is a galaxy at the redshift of the main one, close enough to blend with it. A *star*
has a magnitude from star counts, which at high latitude grow more slowly than those of galaxies, and lies on
the same area as neighbours: from around the scene, wings of PSFs reach into its images.

Each source has random numbers of its own, spawned from those of the sky: what one of them draws changes none
of the others, as when galaxies are added to those that neighbours are chosen from.
"""

import dataclasses
from collections.abc import Callable

import astropy.units as u
import numpy as np
from astropy.cosmology import Planck18
from jaxtyping import Float

from data_prep.mock_config import PlacementSettings, SceneSettings
from data_prep.planes import half_light_radius
from data_prep.population import Population, counts, draw_magnitude
from data_prep.sky import LightMaps, Sky, SkySource
from synergy.errors import InputError
from synergy.units import flux_from_magnitude

LARGEST_PIXEL = 1.3
"""Largest size of a source pixel, scene pixels."""

MARGIN = 1.5
"""How far beyond the scene neighbours and stars may lie, arcsec."""

STAR_SLOPE = 0.1
"""Slope of log star counts with magnitude, at high latitude and faint magnitudes."""

COMPANION = (0.15, 1.5)
"""Range of separations of companions, arcsec."""


@dataclasses.dataclass(frozen=True, eq=False)
class SkyModel:
    """What skies hold.

    Parameters
    ----------
    scene
        Grid and bands.
    settings
        How much there is of everything.
    population
        Sizes and redshifts.
    neighbours
        Draws the light maps of a galaxy beside the main one.
    spectra
        Draws the flux of each map in each band, for light maps, their redshift and F814W magnitude, in units
        of the galaxy's F814W flux.
    stars
        Draws the flux of a star in each band, in units of its F814W flux.
    """

    scene: SceneSettings
    settings: PlacementSettings
    population: Population
    neighbours: Callable[[np.random.Generator], LightMaps]
    spectra: Callable[[LightMaps, float, float, np.random.Generator], Float[np.ndarray, "map band"]]
    stars: Callable[[np.random.Generator], Float[np.ndarray, " band"]]


@dataclasses.dataclass(frozen=True)
class Pose:
    """How a galaxy lies on the sky.

    Parameters
    ----------
    zoom
        Length of a source pixel along the major axis.
    axis_ratio
        Shortening of the minor axis by inclination.
    position_angle
        Direction of the major axis, radians from x towards y.
    spin
        Rotation within the galaxy's own plane before it is inclined, radians.
    mirrored
        Whether it is seen from behind.
    """

    zoom: float
    axis_ratio: float
    position_angle: float
    spin: float
    mirrored: bool

    @classmethod
    def draw(cls, face_on: bool, rng: np.random.Generator) -> "Pose":
        """Draw an orientation, with a zoom of 1.

        Parameters
        ----------
        face_on
            Whether the galaxy is to be inclined.
        rng
            Random numbers.
        """
        return cls(
            zoom=1.0,
            axis_ratio=float(rng.uniform(0.3, 1.0)) if face_on else 1.0,
            position_angle=float(rng.uniform(0.0, np.pi)),
            spin=float(rng.uniform(0.0, 2.0 * np.pi)),
            mirrored=bool(rng.integers(2)),
        )

    @property
    def matrix(self) -> Float[np.ndarray, "2 2"]:
        """The linear map of source pixels ``(y, x)`` to the sky ``(y, x)``, in the unit of `zoom`."""

        def turn(angle: float) -> Float[np.ndarray, "2 2"]:
            return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

        flip = np.diag([-1.0 if self.mirrored else 1.0, 1.0])
        return (
            turn(self.position_angle) @ np.diag([self.axis_ratio, 1.0]) @ turn(self.spin) @ flip * self.zoom
        )


def draw_sky(main: LightMaps | None, model: SkyModel, rng: np.random.Generator) -> Sky:
    """Draw the sky of one mock.

    Parameters
    ----------
    main
        The galaxy that the mock is about; None for a sky without one.
    model
        What else there may be.
    rng
        Random numbers, from `numpy.random.default_rng`.

    Returns
    -------
    Sky
        The main galaxy, its companion, neighbours and a star, in this order, as far as there are any.

    Raises
    ------
    InputError
        If physical sizes are asked for and a galaxy's source does not say its own.
    """
    settings, side = model.settings, model.scene.side * model.scene.pixel_scale
    sources = []
    if main is not None:
        magnitude = float(rng.uniform(settings.bright, settings.faint))
        middle = settings.central > 0 and rng.random() < settings.central
        centre = _anywhere((0.25 if middle else 0.5 + settings.offset) * side, rng)
        sources.append(_galaxy(main, magnitude, centre, None, model, rng.spawn(1)[0]))
        if rng.random() < settings.companion:
            distance, angle = rng.uniform(*COMPANION), rng.uniform(0.0, 2.0 * np.pi)
            away = distance * np.sin(angle), distance * np.cos(angle)
            beside = float(centre[0] + away[0]), float(centre[1] + away[1])
            fainter = min(magnitude + float(rng.exponential(1.5)), max(settings.faintest, magnitude))
            own = rng.spawn(1)[0]
            sources.append(_galaxy(model.neighbours(own), fainter, beside, sources[0].redshift, model, own))
    half = 0.5 * side + MARGIN
    expected = settings.neighbours
    if expected is None:
        expected = (counts(settings.faintest) - counts(settings.bright)) * (2.0 * half / 60.0) ** 2
    for _ in range(rng.poisson(expected)):
        magnitude = draw_magnitude(settings.bright, settings.faintest, rng)
        centre = _anywhere(half, rng)
        own = rng.spawn(1)[0]
        sources.append(_galaxy(model.neighbours(own), magnitude, centre, None, model, own))
    if rng.random() < settings.star:
        magnitude = draw_magnitude(settings.star_bright, settings.star_faint, rng, STAR_SLOPE)
        flux, centre = flux_from_magnitude(magnitude), _anywhere(half, rng)
        fluxes = model.stars(rng.spawn(1)[0])[None] * flux
        sources.append(SkySource(None, fluxes, centre, np.eye(2), 0.0))
    return Sky(model.scene.bands, tuple(sources))


def _anywhere(half: float, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a position in a square that reaches `half` from its centre."""
    y, x = rng.uniform(-half, half, 2)
    return float(y), float(x)


def _galaxy(
    light: LightMaps,
    magnitude: float,
    centre: tuple[float, float],
    redshift: float | None,
    model: SkyModel,
    rng: np.random.Generator,
) -> SkySource:
    """Place a galaxy of given brightness; at a redshift of its own unless one is given."""
    radius, typical = model.population.draw(magnitude, rng)
    redshift = typical if redshift is None else redshift
    pose = Pose.draw(light.face_on, rng)
    apparent = apparent_radius(light, pose)
    if model.settings.sizes == "physical":
        zoom = light.kpc_per_pixel / _kpc_per_arcsec(redshift)
        if not np.isfinite(zoom):
            raise InputError(
                light.id, "no size of its pixels in kpc", "one, for placement with sizes: physical",
                "Set sizes: catalogue, or leave this source out.",
            )  # fmt: skip
    else:
        zoom = radius / apparent
    zoom = min(zoom, LARGEST_PIXEL * model.scene.pixel_scale)
    fluxes = model.spectra(light, redshift, magnitude, rng) * flux_from_magnitude(magnitude)
    matrix = dataclasses.replace(pose, zoom=zoom).matrix
    return SkySource(light, fluxes, centre, matrix, redshift, zoom * apparent)


def apparent_radius(light: LightMaps, pose: Pose) -> float:
    """Return the half-light radius of a galaxy in a pose, in the unit of the pose's zoom."""
    if pose.axis_ratio == 1.0:
        return light.radius * pose.zoom
    return half_light_radius(np.tensordot(light.shares, light.maps, axes=1), pose.matrix)


def _kpc_per_arcsec(redshift: float) -> float:
    return float(Planck18.kpc_proper_per_arcmin(redshift).to_value(u.kpc / u.arcsec))
