"""Whole files or none: write under a temporary name in the same directory, then rename.

A process that is killed outright leaves its temporary file, a hidden one, behind: `clear` removes it.
"""

import contextlib
import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from synergy.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place if, and only if, the block succeeds.

    Raises
    ------
    InputError
        If the disk, or what the user may have of it, is full.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _full(path, temporary, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole, or leave what was there."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def clear(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left; nobody else may write it."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{path.suffix}"):
        leftover.unlink(missing_ok=True)


def _full(path: Path, temporary: Path, error: OSError) -> InputError:
    written, free = temporary.stat().st_size, shutil.disk_usage(path.parent).free
    return InputError(
        path,
        f"no space for it ({os.strerror(error.errno)}; {free / 1e6:.3g} MB are free)",
        f"more room than for the {written / 1e6:.3g} MB that were written and are removed again",
        "Free some space, or choose another place.",
    )
