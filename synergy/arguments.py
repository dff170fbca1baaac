"""Arguments of the command line that are more than a word or a number."""

from typing import TYPE_CHECKING

from synergy.errors import InputError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord


def parse_center(text: str) -> "SkyCoord":
    """Read a sky position: ``RA,DEC`` in degrees, or with units (``10h00m00s,+02d12m00s``).

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
            "--center",
            repr(text),
            "RA,DEC in degrees, or such as 10h00m00s,+02d12m00s",
            "Write both numbers with a comma and no space.",
        ) from error


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
