"""Numbers that say what a galaxy looks like, for noise-free images.

*Size*: the radius of the circle that holds half of the light (by `sep`, Barbary 2016, JOSS 1, 58).
*Concentration*: ``5 log10(r80 / r20)`` (Conselice 2003, ApJS 147, 1; 2.1 for a Gaussian, 2.8 for an
exponential disc). *Asymmetry*: ``sum |I - I180| / 2 sum |I|`` for a turn by 180 degrees about the centre that
makes it smallest (Conselice et al. 2000, ApJ 529, 886, with the factor of 2 of most later work; noise-free
images need no correction for the sky). *Ellipticity*: ``(a^2 - b^2)/(a^2 + b^2)`` of adaptive moments (Hirata
& Seljak 2003, by GalSim). *Colour gradient*: colour of a blue and a red band within the half-light radius
minus that of what lies beyond it, in magnitudes; positive where a galaxy is redder inside.

A galaxy's light is what lies within its isophote (`synergy.metrics.sources`); the same definitions are used
for what is compared, so that what lies below it does not matter.
"""

import numpy as np
from jaxtyping import Float

from synergy.metrics.sources import Source

NAMES = ("size", "concentration", "asymmetry", "ellipticity", "colour", "colour gradient")


def describe_source(
    source: Source, bands: tuple[str, ...], pixel_scale: float, colour: tuple[str, str]
) -> dict[str, float]:
    """Return the numbers `NAMES` of a source; NaN where one cannot be measured.

    Parameters
    ----------
    source
        The source.
    bands
        Bands of its scene.
    pixel_scale
        Arcsec; the size is ``log10`` of arcsec.
    colour
        A blue and a red band.
    """
    image = np.where(source.region, source.image, 0.0)
    centre = np.array(source.centre, float)
    r20, r50, r80 = light_radii(image, centre, (0.2, 0.5, 0.8))
    blue, red = (np.where(source.region, source.scene[bands.index(b)], 0.0) for b in colour)
    inner = _distance(image.shape, centre) <= r50
    return {
        "size": float(np.log10(r50 * pixel_scale)),
        "concentration": float(5.0 * np.log10(r80 / r20)),
        "asymmetry": asymmetry(image, centre),
        "ellipticity": ellipticity(image, centre),
        "colour": _colour(blue, red),
        "colour gradient": _colour(blue[inner], red[inner]) - _colour(blue[~inner], red[~inner]),
    }


def light_radii(
    image: Float[np.ndarray, "y x"], centre: Float[np.ndarray, " 2"], fractions: tuple[float, ...]
) -> Float[np.ndarray, " fraction"]:
    """Return the radii of circles that hold fractions of an image's light, pixels.

    Parameters
    ----------
    image
        Image of one source, zero elsewhere.
    centre
        ``(y, x)``.
    fractions
        Between 0 and 1.
    """
    import sep

    y, x, furthest = ([value] for value in (*centre, float(np.hypot(*image.shape))))
    light = np.ascontiguousarray(image, np.float64)
    radii, _ = sep.flux_radius(light, x, y, furthest, fractions, normflux=[light.sum()], subpix=9)
    return np.asarray(radii).reshape(len(fractions))


def asymmetry(image: Float[np.ndarray, "y x"], centre: Float[np.ndarray, " 2"]) -> float:
    """Return the smallest ``sum |I - I180| / 2 sum |I|`` over centres on half pixels near the given one.

    A turn about a point on whole or half pixels moves pixels onto pixels, so that nothing is interpolated.

    Parameters
    ----------
    image
        Image of one source, zero elsewhere.
    centre
        ``(y, x)`` to begin the search at.
    """
    doubled = np.round(2 * centre).astype(int)
    best = _turned(image, doubled)
    moved = True
    while moved:
        moved = False
        for step in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            value = _turned(image, doubled + step)
            if value < best:
                best, doubled, moved = value, doubled + step, True
                break
    return best


def _turned(image: Float[np.ndarray, "y x"], doubled: np.ndarray) -> float:
    """Return the asymmetry about ``doubled / 2``; what is turned out of the image meets zero."""
    side = max(image.shape)
    padded = np.pad(image, side)
    (y, x), (height, width) = doubled + 2 * side, padded.shape
    # Pixel i goes to y - i: a flip and a shift.
    turned = np.roll(padded[::-1, ::-1], (y - (height - 1), x - (width - 1)), axis=(0, 1))
    return float(np.abs(padded - turned).sum() / (2.0 * np.abs(image).sum()))


def ellipticity(image: Float[np.ndarray, "y x"], centre: Float[np.ndarray, " 2"]) -> float:
    """Return the distortion ``(a^2 - b^2)/(a^2 + b^2)`` of adaptive moments; NaN where they do not converge.

    Parameters
    ----------
    image
        Image of one source, zero elsewhere.
    centre
        ``(y, x)`` to begin at.
    """
    import galsim

    picture = galsim.Image(np.ascontiguousarray(image / image.max()), xmin=0, ymin=0, scale=1.0)
    guess = galsim.PositionD(float(centre[1]), float(centre[0]))
    moments = galsim.hsm.FindAdaptiveMom(picture, guess_centroid=guess, strict=False)
    return float(moments.observed_shape.e) if moments.error_message == "" else float("nan")


def _distance(shape: tuple[int, int], centre: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "y x"]:
    y, x = np.indices(shape)
    return np.hypot(y - centre[0], x - centre[1])


def _colour(blue: Float[np.ndarray, "..."], red: Float[np.ndarray, "..."]) -> float:
    """Return ``blue - red`` in magnitudes; NaN where one has no light."""
    light = blue.sum(), red.sum()
    return float(-2.5 * np.log10(light[0] / light[1])) if min(light) > 0 else float("nan")
