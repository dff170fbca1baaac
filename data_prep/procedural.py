"""Made-up galaxies, for mocks without any simulation at hand.

A galaxy is a pure function of a seed and a number. Its Sersic index and axis ratio are drawn together from
the shipped population, and decide, by chance, what it is:

- an *elliptical* (likely above an index of 3): a Sersic profile, bluer outside, at times with a dust lane;
- a *disc* (`data_prep.procedural_disc`), inclined so that it has the axis ratio: a bulge whose share rises
  with the index as it does in bulge and disc fits to COSMOS, an exponential disc of old stars, and young
  stars, knots of star formation and dust along two to four logarithmic spiral arms, in flocculent patches,
  or in hardly any; many barred;
- an *irregular* (likely at low indices): a lopsided disc, ruled by clumps.

All are warped, a few strongly; some have a tidal tail or satellites. The less a bulge dominates, the more
young stars there are, with much scatter, so that colours run from the red sequence to the blue cloud.

Light is that of bulge, old disc, young disc, knots, and what is seen through dust. A share
``1 - exp(-depth)`` of the light behind the disc's dust layer is dimmed and reddened. The layer follows the
inner edges of the arms; more light is behind it on the near side of an inclined disc, and part of the bulge.
Blue galaxies are bluer than the bluest templates, which have dust of their own; a negative E(B-V) takes it
away.

References
----------
Sersic 1968, Atlas de Galaxias Australes; Mandelbaum et al. 2014, ApJS 212, 5 (COSMOS shapes); Savchenko et
al. 2020, A&A 640, A137 (spiral arms); Calzetti et al. 2000, ApJ 533, 682 (dust).
"""

import numpy as np
from scipy.special import expit

from data_prep.painting import (
    Canvas,
    Kinds,
    Light,
    Map,
    clumps,
    disc_plane,
    knots,
    sersic,
    stretched,
    tidal_tail,
    turbulence,
    veil,
)
from data_prep.planes import half_light_radius, softened
from data_prep.population import Population
from data_prep.procedural_disc import CANVAS, RADIUS, SCALE_LENGTH, disc_galaxy
from data_prep.sky import LightMaps
from synergy.windows import fade

HALO = Canvas(512)
"""Grid of ellipticals, wide and fine: of an index of 4, 9 % of the light lie beyond six half-light radii."""

HALO_RADIUS = HALO.size / 16
"""Half-light radius of ellipticals, pixels, before chance and their axis ratio."""

_LEAST = 2e-3  # share of the light below which a map is not worth its cost


def procedural_galaxy(number: int, seed: int = 0) -> LightMaps:
    """Paint one galaxy.

    Parameters
    ----------
    number
        Which one.
    seed
        Of the set of galaxies.

    Returns
    -------
    LightMaps
        With a half-light radius near an eighth of the side, of ellipticals, whose halos are wide, near a
        sixteenth; inclined already. Its shares are those of the light in SDSS r at rest.
    """
    rng = np.random.default_rng([seed, number])
    population = Population.shipped()
    row = int(rng.integers(population.sersic.size))
    index, ratio = float(population.sersic[row]), float(population.axis_ratio[row])
    elliptical = rng.random() < 0.8 * expit((index - 3.0) / 0.5)
    canvas, radius = (HALO, HALO_RADIUS) if elliptical else (CANVAS, RADIUS)
    sky = _warped(canvas, radius, rng)
    if elliptical:
        light, kinds = _elliptical(sky, index, max(ratio, 0.35), rng)
    elif rng.random() < 0.35 * expit((0.9 - index) / 0.15):
        light, kinds = _irregular(sky, ratio, rng)
    else:
        light, kinds = disc_galaxy(sky, index, ratio, rng)
    window = fade(np.hypot(*canvas.coordinates()), 0.3 * canvas.size, 0.48 * canvas.size)
    light = {name: plane * window for name, plane in light.items()}
    if rng.random() < 0.15:
        for _ in range(int(rng.integers(1, 3))):
            name = str(rng.choice([population for population in light if population != "dusty"]))
            light[name] = light[name] + _satellite(canvas, radius, rng)
    return _light_maps(f"procedural/{seed}/{number}", light, kinds)


def _light_maps(name: str, light: Light, kinds: Kinds) -> LightMaps:
    """Merge populations of one spectrum, and normalise those that count for something."""
    merged: dict[tuple[str, float], Map] = {}
    for population, plane in light.items():
        merged[kinds[population]] = merged.get(kinds[population], 0.0) + plane
    totals = {kind: plane.sum() for kind, plane in merged.items()}
    kept = tuple(kind for kind in merged if totals[kind] > _LEAST * sum(totals.values()))
    shares = np.array([totals[kind] for kind in kept])
    shares /= shares.sum()
    maps = np.stack([merged[kind] / totals[kind] for kind in kept])
    radius = half_light_radius(np.tensordot(shares, maps, axes=1))
    return softened(
        LightMaps(name, name, maps.astype(np.float32), shares, kept, own_colours=True, radius=radius)
    )


def _warped(canvas: Canvas, unit: float, rng: np.random.Generator) -> tuple[Map, Map]:
    """Return coordinates x and y of a sky that is bent away from the centre, a little or, rarely, much."""
    x, y = canvas.coordinates()
    radius = np.hypot(x, y)
    strength = rng.uniform(0.02, 0.08) if rng.random() < 0.85 else rng.uniform(0.12, 0.22)
    bend = strength * radius**2 / (radius + unit)
    return tuple(c + bend * turbulence(rng, canvas.size, 4.0, 12.0) for c in (x, y))


def _elliptical(
    sky: tuple[Map, Map], index: float, ratio: float, rng: np.random.Generator
) -> tuple[Light, Kinds]:
    major, minor = disc_plane(*sky, float(rng.uniform(0.0, np.pi)), ratio)
    boxy = float(np.clip(rng.normal(2.0, 0.12), 1.8, 2.3))
    radius = (np.abs(major) ** boxy + np.abs(minor) ** boxy) ** (1 / boxy)
    half = (
        HALO_RADIUS / np.sqrt(ratio) * (1.0 + 0.05 * index)
    )  # the window at the edges takes more of high indices
    core, envelope = sersic(radius, half, min(max(index, 2.0), 6.0)), sersic(radius, 1.5 * half, 1.5)
    share = rng.uniform(0.0, 0.3) ** 1.5
    light = {"bulge": (1.0 - share) * core / core.sum(), "old": share * envelope / envelope.sum()}
    if rng.random() < 0.15:
        along, across = disc_plane(*sky, float(rng.uniform(0.0, np.pi)), 1.0)
        across = across + 0.1 * HALO_RADIUS * turbulence(rng, HALO.size, 3.0, 4.0)
        width, length = HALO_RADIUS * rng.uniform(0.05, 0.125), HALO_RADIUS * rng.uniform(0.4, 1.0)
        lane = np.exp(-((across / width) ** 2) - (along / length) ** 2)
        hidden = 1.0 - np.exp(-rng.uniform(0.5, 1.5) * lane)
        light = veil(light, {"bulge": 1.0, "old": 1.0}, hidden, 0.3)
    return light, {"bulge": ("E", 0.0), "old": ("Sbc", 0.0), "dusty": ("E", 0.3)}


def _irregular(sky: tuple[Map, Map], ratio: float, rng: np.random.Generator) -> tuple[Light, Kinds]:
    h = SCALE_LENGTH * min(ratio**-0.3, 1.4)
    major, minor = disc_plane(*sky, float(rng.uniform(0.0, np.pi)), max(ratio, 0.2))
    away = h * rng.uniform(-0.4, 0.4, 2)
    radius, shifted = np.hypot(major, minor), np.hypot(major - away[0], minor - away[1])
    flat = minor * max(ratio, 0.2) / max(ratio, 0.4)  # turbulence squeezed less, so that pixels resolve it
    patches = stretched(turbulence(rng, CANVAS.size, 2.8, 1.5), major, flat)
    old = np.exp(-radius / h) * clumps(patches, 0.2)
    young = np.exp(-shifted / (1.2 * h)) * clumps(patches, rng.uniform(0.6, 1.1))
    birth = young * clumps(patches, 0.8) * (shifted < 2.5 * h)
    spots = knots(rng, CANVAS, birth, int(rng.integers(6, 60)), (1.0, float(rng.uniform(1.5, 3.5))), 14)
    new = rng.uniform(0.3, 0.8)
    hot = new * rng.uniform(0.1, 0.5)
    parts = {"old": (old, 1.0 - new), "young": (young, new - hot), "knots": (spots, hot)}
    light = {name: share * part / part.sum() for name, (part, share) in parts.items()}
    hidden = 1.0 - np.exp(-rng.uniform(0.0, 0.5) * np.exp(-radius / (1.5 * h)) * clumps(-patches, 1.0))
    light = veil(light, {"old": 0.6, "young": 0.6, "knots": 0.3}, hidden, 0.2)
    if rng.random() < 0.2:
        tail = rng.uniform(0.05, 0.15) * tidal_tail(rng, radius, np.arctan2(minor, major), h)
        light |= {"old": light["old"] + 0.6 * tail, "young": light["young"] + 0.4 * tail}
    return light, {
        "old": ("Scd", -0.05),
        "young": ("Im", -0.1),
        "knots": ("Im", -0.15),
        "dusty": ("Scd", 0.2),
    }


def _satellite(canvas: Canvas, unit: float, rng: np.random.Generator) -> Map:
    """Paint a small companion beside a galaxy of unit light and half-light radius `unit`."""
    x, y = canvas.coordinates()
    distance, angle = rng.uniform(1.2, 2.6) * unit, rng.uniform(0.0, 2.0 * np.pi)
    x, y = x - distance * np.cos(angle), y - distance * np.sin(angle)
    major, minor = disc_plane(x, y, float(rng.uniform(0.0, np.pi)), float(rng.uniform(0.4, 1.0)))
    blob = np.exp(-np.hypot(major, minor) / (unit * rng.uniform(0.04, 0.11)))
    return 10 ** rng.uniform(-2.3, -1.0) * blob / blob.sum()
