"""A table of the files in a directory: address, size and SHA-256 of each, as CSV.

``fetched.csv`` has the columns file, url, bytes and sha256; ``sha256sum`` gives the same digits.
"""

import csv
import hashlib
import io
import time
from pathlib import Path

from synergy.errors import InputError
from synergy.io.atomic import write_bytes

_COLUMNS = ("file", "url", "bytes", "sha256")
_EVERY = 5.0  # seconds between writes: a run of many small files would write little else


class Checksums:
    """The table of one directory.

    Parameters
    ----------
    path
        The CSV file; read if it exists.

    Raises
    ------
    InputError
        If it exists and is no such table.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._saved = path, time.monotonic()
        self._rows: dict[str, dict[str, str]] = {}
        if path.exists():
            try:
                with path.open(newline="") as file:
                    self._rows = {row["file"]: {c: row[c] for c in _COLUMNS} for row in csv.DictReader(file)}
            except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
                raise InputError(
                    path, f"{type(error).__name__} {error}", f"the columns {', '.join(_COLUMNS)}",
                    "Remove it; files are then fetched again.",
                ) from error  # fmt: skip

    def agrees(self, path: Path, url: str) -> bool:
        """Return whether a file is there and is the one that was fetched from this address."""
        row = self._rows.get(path.name)
        if row is None or row["url"] != url or not path.is_file() or str(path.stat().st_size) != row["bytes"]:
            return False
        return sha256_of(path) == row["sha256"]

    def add(self, path: Path, url: str) -> None:
        """Enter a file; the table is written now and then, and by `save`."""
        values = (path.name, url, str(path.stat().st_size), sha256_of(path))
        self._rows[path.name] = dict(zip(_COLUMNS, values, strict=True))
        if time.monotonic() - self._saved > _EVERY:
            self.save()

    def save(self) -> None:
        """Write the table whole.

        Raises
        ------
        InputError
            If there is no writing it.
        """
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for _, row in sorted(self._rows.items()))
        try:
            write_bytes(self._path, text.getvalue().encode())
        except OSError as error:
            raise InputError(
                self._path,
                error.strerror or str(error),
                "room to write",
                "Free some space, and run it again.",
            ) from error
        self._saved = time.monotonic()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
