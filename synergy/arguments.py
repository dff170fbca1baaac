"""Arguments of the command line that are more than a word or a number."""

import math
from typing import TYPE_CHECKING

from synergy.errors import InputError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord


def parse_center(text: str, option: str = "--center") -> "SkyCoord":
    """Read a sky position: ``RA,DEC`` in degrees, or with units (``10h00m00s,+02d12m00s``).

    Parameters
    ----------
    text
        What was given.
    option
        To which option, for the message.

    Raises
    ------
    InputError
        If it is neither.
    """
    from astropy.coordinates import SkyCoord

    try:
        ra, dec = text.split(",")
        plain = all(c not in text for c in "hdm:")
        return SkyCoord(ra, dec, unit="deg" if plain else ("hourangle", "deg"))
    except ValueError as error:
        raise InputError(
            option,
            repr(text),
            "RA,DEC in degrees, or such as 10h00m00s,+02d12m00s",
            "Write both numbers with a comma and no space.",
        ) from error


def parse_disc(text: str) -> tuple["SkyCoord", float]:
    """Read a disc of sky: ``RA,DEC,RADIUS``, a position and a radius in arcsec.

    Raises
    ------
    InputError
        If it is no such thing.
    """
    position, _, radius = text.rpartition(",")
    try:
        size = float(radius)
    except ValueError:
        size = 0.0
    if not 0 < size < math.inf:
        raise InputError(
            "--mask", repr(text), "RA,DEC,RADIUS with a radius in arcsec", "Such as 266.3204,65.9371,1.5."
        )
    return parse_center(position, "--mask"), size


def parse_shard(text: str) -> tuple[int, int]:
    """Read ``I/N``.

    Raises
    ------
    InputError
        If it is no such thing.
    """
    try:
        first, number = map(int, text.split("/"))
    except ValueError as error:
        raise InputError("--shard", repr(text), "I/N, such as 3/16", "Write both numbers.") from error
    return first, number
