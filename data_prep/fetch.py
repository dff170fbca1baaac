"""Images of simulated galaxies from the IllustrisTNG data release, through its web interface.

A file is found at ``{api}/{simulation}/snapshots/{snapshot}/subhalos/{subhalo}/...`` and asked for with the
key of a registered user (Nelson et al. 2019; tng-project.org/data/docs/api), which is taken from the
environment variable ``TNG_API_KEY`` and neither shown nor stored. Not every sub-halo has images: those
without are counted, not taken for an error.

Beside the files lies ``fetched.csv``, with address, size and SHA-256 of each. A file that agrees with it is
not fetched again; one that does not, is.
"""

import dataclasses
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path

from data_prep.checksums import Checksums
from data_prep.download import POLITE, Downloader, MissingFileError, Politeness
from synergy.errors import InputError

API = "https://www.tng-project.org/api"
KEY = "TNG_API_KEY"
MANIFEST = "fetched.csv"
_GALAXY = "{simulation}/snapshots/{snapshot}/subhalos/{subhalo}"
PRODUCTS = {
    "sdss": (f"{_GALAXY}/skirt/broadband_sdss.fits",),
    "hsc": tuple(f"{_GALAXY}/skirt/skirt_images_hsc_idealized_v{view}.fits" for view in range(4)),
}
"""Name of a product -> addresses of its files below the interface's."""

_ID_COLUMNS = ("subhalo", "subhaloid", "subhalo_id", "subfind_id", "subfindid", "id")


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What a run did.

    Parameters
    ----------
    new, kept
        Number of files fetched, and of those that were there already.
    missing
        Names of files that the server does not have.
    """

    new: int
    kept: int
    missing: tuple[str, ...]


def fetch_tng(
    subhalos: Iterable[int], out: Path, simulation: str, snapshot: int, *, product: str = "sdss",
    api: str = API, politeness: Politeness = POLITE,
    progress: Callable[[int, int, str], None] | None = None,
) -> Fetched:  # fmt: skip
    """Fetch the images of some galaxies of a snapshot.

    Parameters
    ----------
    subhalos
        Numbers of the sub-haloes.
    out
        Directory for the files, ``SIMULATION-SNAPSHOT-SUBHALO-NAME``, and their manifest.
    simulation
        Name, such as ``"TNG50-1"``.
    snapshot
        Number of the snapshot.
    product
        One of `PRODUCTS`, or an address below the interface's, with ``{simulation}``, ``{snapshot}`` and
        ``{subhalo}`` where they belong.
    api
        Address of the interface.
    politeness
        How the server is treated.
    progress
        Called with files done, their number, and what is happening.

    Raises
    ------
    InputError
        If the key is missing or refused, a name is wrong, no file exists, a download fails for good, or the
        directory cannot be written.
    """
    downloader = Downloader(_host(api), {"api-key": _key()}, politeness)
    jobs = _jobs(subhalos, simulation, snapshot, product, api)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(out, error.strerror or str(error), "a directory", "Choose another one.") from error
    manifest = Checksums(out / MANIFEST)
    new, kept, missing = 0, 0, []
    try:
        for done, (name, url) in enumerate(jobs.items()):
            tell = _teller(progress, done, len(jobs), name)
            tell(0, None)
            if manifest.agrees(out / name, url):
                kept += 1
                continue
            try:
                downloader.download(url, out / name, tell)
            except MissingFileError:
                missing.append(name)
                continue
            _check_fits(out / name)
            manifest.add(out / name, url)
            new += 1
    finally:
        manifest.save()
    if not new + kept:
        raise InputError(
            api,
            f"none of {len(jobs)} files, such as {next(iter(jobs.values()))}",
            "images of these galaxies",
            "Check simulation, snapshot, product and sub-haloes; only massive galaxies have images.",
        )
    if progress is not None:
        progress(len(jobs), len(jobs), "fetched")
    return Fetched(new, kept, tuple(missing))


def read_subhalos(text: str) -> tuple[int, ...]:
    """Return numbers of sub-haloes: from ``"12,20-29"``, or from the text or CSV file of that name.

    A file has one galaxy per line; the number is in the column ``subhalo``, ``SubhaloID``, ``SubfindID`` or
    ``id`` where there is a line of titles, else in the first column. Repeated numbers count once.

    Raises
    ------
    InputError
        If it is neither, or no number is there.
    """
    if re.fullmatch(r"[\d,\s-]+", text):
        numbers = []
        for item in filter(None, (part.strip() for part in text.split(","))):
            match = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", item)
            if not match or int(match[2] or match[1]) < int(match[1]):
                raise InputError(
                    "sub-haloes", repr(item), "a number, or a range such as 20-29", "Correct it."
                )
            numbers.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    else:
        numbers = _read_table(Path(text))
    if not numbers:
        raise InputError(text, "no number", "numbers of sub-haloes", "Name some.")
    return tuple(dict.fromkeys(numbers))


def _read_table(path: Path) -> list[int]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            path,
            getattr(error, "strerror", None) or "no text",
            "a list such as 12,20-29, or a text or CSV file",
            "Check the path.",
        ) from error
    column, numbers = None, []
    for number, line in enumerate(lines, start=1):
        row = [value.strip("\"'") for value in re.split(r"\s*[,;]\s*|\s+", line.strip())]
        if row == [""] or row[0].startswith("#"):
            continue
        if column is None:
            column = _id_column(path, row)
            if not row[column].isdigit():
                continue
        if len(row) <= column or not row[column].isdigit():
            raise InputError(
                path, f"line {number}: {line.strip()!r}", f"a number in column {column + 1}", "Correct it."
            )
        numbers.append(int(row[column]))
    return numbers


def _id_column(path: Path, row: list[str]) -> int:
    """Return the column of numbers, from the first line of a table."""
    if row[0].isdigit():
        return 0
    titles = [title.lower() for title in row]
    known = [titles.index(title) for title in _ID_COLUMNS if title in titles]
    if not known and len(row) > 1:
        raise InputError(
            path, f"the columns {', '.join(row)}", "one named 'subhalo'", "Rename the column of numbers."
        )
    return known[0] if known else 0


def _key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise InputError(
            f"environment variable {KEY}",
            "nothing" if not key else "blanks or other characters that no key has",
            "the key of your TNG account",
            "Register at https://www.tng-project.org/users/register/, copy the key from your profile there, "
            f"and run: export {KEY}=...",
        )
    return key


def _host(api: str) -> str:
    """Return the host of the interface; the key is not sent over an open line."""
    parts = urllib.parse.urlsplit(api)
    host = parts.hostname or ""
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in ("127.0.0.1", "::1"))):
        raise InputError("--api", api, "an address that begins with https://", f"Leave it out to use {API}.")
    return host


def _jobs(subhalos: Iterable[int], simulation: str, snapshot: int, product: str, api: str) -> dict[str, str]:
    """Return the name of each file -> its address."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", simulation):
        raise InputError("--simulation", repr(simulation), "a name such as TNG50-1", "Correct it.")
    templates = PRODUCTS.get(product, (product,))
    jobs = {}
    for subhalo in subhalos:
        for template in templates:
            try:
                below = template.format(simulation=simulation, snapshot=snapshot, subhalo=subhalo)
            except (KeyError, IndexError, ValueError) as error:
                raise _bad_product(product) from error
            name = below.rpartition("/")[2]
            if "{subhalo}" not in template or not re.fullmatch(r"[\w.-]+", name):
                raise _bad_product(product)
            jobs[f"{simulation}-{snapshot:03d}-{subhalo}-{name}"] = f"{api.rstrip('/')}/{below.lstrip('/')}"
    return jobs


def _bad_product(product: str) -> InputError:
    return InputError(
        "--product",
        repr(product),
        f"{', '.join(PRODUCTS)}, or an address such as {PRODUCTS['sdss'][0]}",
        "Name a known product, or write {simulation}, {snapshot} and {subhalo} where they belong.",
    )


def _teller(
    progress: Callable[[int, int, str], None] | None, done: int, count: int, name: str
) -> Callable[[int, int | None], None]:
    """Return a function that shows bytes and their total."""

    def tell(here: int, total: int | None) -> None:
        if progress is not None:
            size = f" {here / 1e6:.1f}" + (f"/{total / 1e6:.1f} MB" if total else " MB") if here else ""
            progress(done, count, f"{name}{size}")

    return tell


def _check_fits(path: Path) -> None:
    if path.suffix != ".fits":
        return
    with path.open("rb") as file:
        start = file.read(6)
    if start != b"SIMPLE":
        path.unlink()
        raise InputError(path, "something else", "a FITS file", "Check the product; look at its address.")
