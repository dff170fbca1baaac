"""Disc galaxies, made up: bulge, bar, old and young disc, knots and dust, along arms of many kinds.

The disc's plane is seen inclined; old stars form a thick layer, young stars and dust a thin one. Structure in
the plane is that of one spiral phase: arms are where it is zero, dust lanes lead them, and patches are drawn
out along it by shear. Seen edge-on, the line of sight averages over most of it.
"""

import dataclasses

import numpy as np
from scipy.special import expit

from data_prep.painting import (
    Canvas,
    Kinds,
    Light,
    Map,
    arms,
    clumps,
    disc_plane,
    knots,
    sersic,
    spiral_phase,
    stretched,
    tidal_tail,
    turbulence,
    veil,
)
from synergy.windows import fade

CANVAS = Canvas(160)
"""Grid of procedural galaxies."""

RADIUS = CANVAS.size / 8
"""Half-light radius that they are painted for, pixels."""

SCALE_LENGTH = RADIUS / 1.678
"""Of an exponential disc of that half-light radius."""

_THICK, _THIN = 0.17, 0.07  # axis ratios, edge-on


@dataclasses.dataclass(frozen=True)
class _Arms:
    """Structure of a young disc: how much of it lies along arms, and how it is broken up."""

    number: int
    pitch: float
    contrast: float
    narrowness: float
    shreds: float


_SMOOTH = _Arms(number=2, pitch=0.4, contrast=0.1, narrowness=1.0, shreds=0.1)


def _draw_arms(rng: np.random.Generator) -> _Arms:
    pitch, kind = float(np.radians(rng.uniform(14.0, 30.0))), rng.random()
    if kind < 0.35:  # grand design
        return _Arms(2, pitch, rng.uniform(1.5, 5.0), rng.uniform(2.0, 4.0), rng.uniform(0.2, 0.5))
    if kind < 0.65:  # many arms
        many = int(rng.integers(3, 5))
        return _Arms(many, 1.2 * pitch, rng.uniform(1.0, 2.5), rng.uniform(1.5, 3.0), rng.uniform(0.3, 0.6))
    if kind < 0.9:  # flocculent
        return _Arms(2, pitch, rng.uniform(0.0, 0.4), 1.0, rng.uniform(0.5, 0.9))
    return _SMOOTH


@dataclasses.dataclass(frozen=True, eq=False)
class _Plane:
    """The plane of a disc on the sky, and the structure in it.

    Parameters
    ----------
    h
        Scale length of the old disc.
    cosine
        Of the inclination.
    major, across
        Sky coordinates along the major axis and across it.
    radius, azimuth
        Polar coordinates in the thin layer.
    shape
        Kind of arms.
    inner
        Radius at which arms begin: the end of the bar, if there is one.
    bar
        Direction of the bar.
    phase
        Spiral phase; arms are where it is 0.
    shreds, patches
        Turbulence, drawn out along the spiral and not; in units of its standard deviation.
    strength
        Pattern of the arms' brightness, without arms in the middle.
    """

    h: float
    cosine: float
    major: Map
    across: Map
    radius: Map
    azimuth: Map
    shape: _Arms
    inner: float
    bar: float | None
    phase: Map
    shreds: Map
    patches: Map
    strength: Map

    @classmethod
    def draw(
        cls, sky: tuple[Map, Map], ratio: float, h: float, passive: bool, rng: np.random.Generator
    ) -> "_Plane":
        """Draw the structure of a disc that has an axis ratio on the sky."""
        cosine = float(np.sqrt(max(ratio**2 - _THICK**2, 0.0) / (1.0 - _THICK**2)))
        major, across = disc_plane(*sky, float(rng.uniform(0.0, np.pi)), 1.0)
        minor = across / np.hypot(cosine, _THIN)
        radius, azimuth = np.hypot(major, minor), np.arctan2(minor, major)
        shape = _SMOOTH if passive else _draw_arms(rng)
        barred, direction = rng.random() < 0.45 and cosine > 0.3, float(rng.uniform(0.0, np.pi))
        inner = h * float(rng.uniform(0.6, 1.2)) if barred else 0.5 * h
        phase = spiral_phase(radius, azimuth - direction, inner, shape.pitch)
        # Turbulence is squeezed less than the disc, so that pixels resolve it, and weaker seen edge-on.
        flat, seen = across / max(float(np.hypot(cosine, _THIN)), 0.4), min(1.0, 0.3 + 1.2 * cosine)
        bends = stretched(turbulence(rng, CANVAS.size, 3.0, 2.0), major, flat)
        phase = phase + rng.uniform(0.2, 0.5) * bends
        lopsided = 1.0 + rng.uniform(0.0, 0.4) * np.cos(azimuth - rng.uniform(0.0, 2.0 * np.pi))
        distance = np.hypot(major, flat)
        sheared = spiral_phase(distance, np.arctan2(flat, major), h, max(shape.pitch, 0.4)) * (64 / np.pi)
        outwards = 22.0 * np.log(np.maximum(distance, 0.1 * h) / h)
        return cls(
            h=h,
            cosine=cosine,
            major=major,
            across=across,
            radius=radius,
            azimuth=azimuth,
            shape=shape,
            inner=inner,
            bar=direction if barred else None,
            phase=phase,
            shreds=seen * stretched(turbulence(rng, 128, 2.5, 2.0), sheared, outwards),
            patches=seen * stretched(turbulence(rng, CANVAS.size, 2.6, 1.5), major, flat),
            strength=seen * shape.contrast * lopsided * (1.0 - np.exp(-((radius / inner) ** 3))),
        )

    def arms(self, narrowness: float, lead: float = 0.0) -> Map:
        """Return the arms, or what leads them by an angle."""
        return self.strength * arms(self.phase + lead, narrowness, self.shape.number)

    def old(self, rng: np.random.Generator) -> Map:
        """Paint the old disc with its bar."""
        radius = np.hypot(self.major, self.across / np.hypot(self.cosine, _THICK))
        disc = np.exp(-radius / self.h) * fade(radius, 3.0 * self.h, 5.5 * self.h)
        disc = disc * (1.0 + 0.15 * self.arms(self.shape.narrowness))
        if self.bar is None:
            return disc
        along, beside = disc_plane(self.major, self.across / np.hypot(self.cosine, _THIN), self.bar, 0.3)
        boxy = (np.abs(along) ** 2.5 + np.abs(beside) ** 2.5) ** 0.4
        bar = np.exp(-1.5 * (boxy / self.inner) ** 2)
        return disc + disc.sum() * rng.uniform(0.1, 0.3) * bar / bar.sum()

    def young(self, rng: np.random.Generator) -> Map:
        """Paint the young disc, at times with a ring."""
        disc = np.exp(-self.radius / (1.5 * self.h)) * self.edge(float(rng.uniform(4.5, 5.5)))
        disc = disc * (0.5 + self.arms(self.shape.narrowness))
        disc = disc * clumps(self.shreds, self.shape.shreds) * clumps(self.patches, 0.35)
        if rng.random() < 0.15:
            ring = np.exp(-(((self.radius - 1.6 * self.inner) / (0.2 * self.h)) ** 2))
            disc = disc * (1.0 + rng.uniform(1.0, 4.0) * ring)
        return disc

    def knots(self, young: Map, rng: np.random.Generator) -> Map:
        """Scatter knots where young stars are, few in the bar."""
        outside_bar = 1.15 - np.exp(-((self.radius / self.inner) ** 3))
        birth = young * np.exp(-self.radius / (6.0 * self.h)) * outside_bar
        birth = birth * clumps(self.patches, 0.9) * (self.radius < 3.5 * self.h)
        return knots(rng, CANVAS, birth, int(rng.integers(20, 120)), (1.0, 2.2), 9)

    def bulge(self, index: float, share: float, rng: np.random.Generator) -> Map:
        """Paint a bulge, the larger the more light it has."""
        flat = rng.uniform(0.5, 0.9)
        ratio = np.hypot(self.cosine, flat * np.sqrt(1.0 - self.cosine**2))
        radius = np.hypot(self.major, self.across / ratio)
        relative = np.clip((0.25 + 0.5 * share) * np.exp(rng.normal(0.0, 0.3)), 0.1, 1.0)
        return sersic(radius, float(1.678 * self.h * relative), min(max(index, 1.0), 4.0))

    def hidden(self, depth: float) -> Map:
        """Return the part of the light behind the dust layer that meets dust, for a depth seen face-on."""
        dust = np.exp(-self.radius / (1.6 * self.h)) * (0.4 + 0.6 * self.arms(3.0, 0.35)) * self.edge(5.0)
        dust = dust * clumps(self.shreds, 0.8 * self.shape.shreds) * clumps(self.patches, 0.4)
        return 1.0 - np.exp(-depth / np.hypot(self.cosine, 0.25) * dust)

    def edge(self, end: float) -> Map:
        """Return the window in which the disc ends, in scale lengths."""
        return fade(self.radius, 3.0 * self.h, end * self.h)


def disc_galaxy(
    sky: tuple[Map, Map], index: float, ratio: float, rng: np.random.Generator
) -> tuple[Light, Kinds]:
    """Paint a disc galaxy.

    Parameters
    ----------
    sky
        Coordinates x and y of the pixels, which may be warped.
    index
        Sersic index of the whole.
    ratio
        Axis ratio of the whole.
    rng
        Random numbers.
    """
    # The bulge's share as in fits of bulge and disc to COSMOS: 0.1 at an index of 1.25, 0.3 at 2, 0.6 at 3.
    bulge = float(np.clip(expit((index - 2.6) / 0.7) + rng.normal(0.0, 0.08), 0.0, 0.9))
    passive = rng.random() < 0.06 + 0.4 * bulge
    youth = float(np.clip(0.9 - 0.9 * bulge + rng.normal(0.0, 0.25), 0.0, 1.0))
    h = SCALE_LENGTH * (1.0 + 0.35 * bulge) * min(ratio**-0.3, 1.4)
    plane = _Plane.draw(sky, ratio, h, passive, rng)
    new = 0.0 if passive else 0.2 + 0.6 * youth
    hot = new * youth * rng.uniform(0.05, 0.3)
    young = plane.young(rng)
    parts = {
        "bulge": (plane.bulge(index, bulge, rng), bulge),
        "old": (plane.old(rng), (1.0 - bulge) * (1.0 - new)),
        "young": (young, (1.0 - bulge) * (new - hot)),
        "knots": (plane.knots(young, rng), (1.0 - bulge) * hot),
    }
    light = {name: share * part / part.sum() for name, (part, share) in parts.items()}
    near = np.tanh(plane.across / (0.2 * h)) * np.sqrt(1.0 - plane.cosine**2)  # 1 on the near side, -1 beyond
    behind = {
        "bulge": np.maximum(near, 0.0),
        "old": 0.6 + 0.3 * near,
        "young": 0.6 + 0.2 * near,
        "knots": 0.3,
    }
    reddening, haze = float(rng.choice([0.2, 0.3, 0.4])), float(rng.choice([-0.15, -0.1, 0.0, 0.1]))
    light = veil(light, behind, plane.hidden(0.1 if passive else float(rng.uniform(0.3, 1.1))), reddening)
    if rng.random() < 0.08:
        tail = rng.uniform(0.05, 0.15) * tidal_tail(rng, plane.radius, plane.azimuth, h)
        light |= {"old": light["old"] + 0.6 * tail, "young": light["young"] + 0.4 * tail}
    late = youth > 0.5 and not passive
    return light, {
        "bulge": ("Sbc" if late else "E", 0.0),
        "old": ("E", 0.0) if passive else ("Scd" if late else "Sbc", haze),
        "young": ("Im", haze),
        "knots": ("Im", -0.15),
        "dusty": ("Scd" if late else "Sbc", reddening),
    }
