"""The log of a training run: a CSV file always replaced as a whole."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synergy.io.atomic import write_bytes


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a log; none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows; columns that only some rows have are empty in the others."""
    _write(path, [*read_rows(path), *rows])


def truncate(path: Path, step: int) -> None:
    """Drop the rows of steps that were taken after the last checkpoint and are about to be taken again."""
    _write(path, [row for row in read_rows(path) if int(row["step"]) <= step])


def _write(path: Path, rows: list[Mapping[str, Any]]) -> None:
    if not rows:
        path.unlink(missing_ok=True)
        return
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, buffer.getvalue().encode())
