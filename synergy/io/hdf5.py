"""New HDF5 files: whole or not at all, with bytes that depend on their content alone.

HDF5 stores times and picks file versions unless told not to, and it gives chunks their place in the file when
they leave its cache, which may be whenever Python (or a profiler that holds on to frames) lets go of a
dataset: there is no cache here, so datasets are best written by whole chunks. And where HDF5 cannot write,
because a disk is full, it cannot close its file either, and the process crashes when it ends. So it writes
into a `_Sink` that takes everything: the first thing that goes wrong is kept, to be raised in Python once
HDF5 is out of the way.
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py

from synergy.io.atomic import replacing


@contextlib.contextmanager
def creating(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Yield a new HDF5 file that takes the place of `path` if, and only if, the block succeeds.

    Yields
    ------
    file
        The file. Make datasets without times, which is h5py's default.
    check
        Call it now and then: it writes out what is buffered and raises what has gone wrong.

    Raises
    ------
    InputError
        If the disk is full.
    """
    with replacing(path) as temporary, temporary.open("w+b") as raw:
        sink = _Sink(raw)
        with h5py.File(sink, "w", libver=("earliest", "v110"), rdcc_nbytes=0) as file:
            yield file, sink.check
        sink.check()


class _Sink:
    """A file for HDF5 to write to that never fails.

    Parameters
    ----------
    file
        Where it all goes, until an operation fails.
    """

    def __init__(self, file: io.BufferedRandom) -> None:
        self._file = file
        self._error: BaseException | None = None

    def check(self) -> None:
        """Write out what is buffered, and raise the first error."""
        self._try(self._file.flush, 0)
        if self._error is not None:
            raise self._error

    def _try(self, operation: Callable[[], int | None], otherwise: int) -> int:
        if self._error is None:
            try:
                return operation() or 0
            except BaseException as error:  # also an interrupt: it waits until HDF5 has closed its file
                self._error = error
        return otherwise

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as files do."""
        return self._try(lambda: self._file.seek(offset, whence), 0)

    def tell(self) -> int:
        """Return the position."""
        return self._try(self._file.tell, 0)

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend."""
        return self._try(lambda: self._file.truncate(size), 0)

    def flush(self) -> None:
        """Write out what is buffered."""
        self._try(self._file.flush, 0)

    def write(self, data: Any) -> int:
        """Write all of `data`, a buffer of h5py's."""
        return self._try(lambda: self._file.write(data), len(data))

    def readinto(self, buffer: Any) -> int:
        """Read to fill `buffer`, one of h5py's."""
        return self._try(lambda: self._file.readinto(buffer), len(buffer))

    def read(self, size: int = -1) -> bytes:
        """Read; h5py takes objects with this method for files, and calls `readinto`."""
        return self._file.read(size)
