"""Celestial coordinate systems as FITS headers in the wild hold them: legal, and nearly so.

astropy reads CD, PC with CDELT, CDELT alone, CROTA2, SIP and TPV. What it reads wrongly, or not at all, is
repaired here before it sees the header.

References
----------
Greisen & Calabretta 2002, A&A 395, 1061 (CD, PC and CDELT; sec. 2.1.2 forbids mixtures).
"""

import warnings

from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from synergy.errors import InputError


def read_wcs(header: fits.Header, source: object) -> WCS:
    """Read the celestial coordinate system of a FITS header.

    Parameters
    ----------
    header
        FITS header.
    source
        What to name in errors: a file and its HDU.

    Raises
    ------
    InputError
        If it cannot be read, or its CD and PC cards contradict each other.
    """
    header = header.copy()
    _drop_stray_linear_cards(header, source)
    with warnings.catch_warnings():
        # astropy tells how it repaired dates and units, none of which moves a pixel.
        warnings.simplefilter("ignore", FITSFixedWarning)
        try:
            # Distortions are defined in two dimensions: a cube's other axes have to go first.
            return WCS(header, naxis=2 if "A_ORDER" in header else None).celestial
        except Exception as error:  # wcslib raises many kinds
            found = f"a WCS that cannot be read ({error})"
            raise InputError(source, found, "a celestial WCS", "Repair the header.") from error


def _drop_stray_linear_cards(header: fits.Header, source: object) -> None:
    """Leave the CD matrix alone in headers that hold CD beside PC or CDELT cards.

    The FITS standard forbids the mixture and wcslib lets PC win, but survey pipelines write CD with CDELT = 1
    and sometimes CD again under the name PC. CD is kept where the other cards repeat it or say nothing.
    """
    axes = range(1, max(2, int(header.get("WCSAXES", header.get("NAXIS", 2)))) + 1)
    pairs = [(i, j) for i in axes for j in axes]
    if not any(f"CD{i}_{j}" in header for i, j in pairs):
        return
    linear = {(i, j): float(header.get(f"CD{i}_{j}", 0.0)) for i, j in pairs}
    rotation = {(i, j): float(header.get(f"PC{i}_{j}", float(i == j))) for i, j in pairs}
    says_nothing = all(value == float(i == j) for (i, j), value in rotation.items())
    largest = max(abs(value) for value in linear.values())
    repeats = all(
        abs(float(header.get(f"CDELT{i}", 1.0)) * rotation[i, j] - linear[i, j]) <= 1e-6 * largest
        for i, j in pairs
    )
    if not says_nothing and not repeats:
        raise InputError(
            source,
            "CD and PC cards that contradict each other",
            "one linear transformation",
            "Remove the wrong set of cards from the header.",
        )
    for card in [f"PC{i}_{j}" for i, j in pairs] + [
        f"{kind}{i}" for kind in ("CDELT", "CROTA") for i in axes
    ]:
        header.remove(card, ignore_missing=True)
