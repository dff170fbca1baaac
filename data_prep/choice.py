"""Choose galaxies by name, so that adding some changes only the choices that fall on the new ones.

A random key gives every galaxy a score, a hash of its name and the key, and the highest one is chosen
(rendezvous hashing: Thaler & Ravishankar 1998, IEEE/ACM Trans. Networking 6, 1). All galaxies are equally
likely, their order does not matter, and a galaxy that is added or removed leaves all other scores as they
were. Points on a circle of hashes are as stable but not even: arcs between neighbours differ in length.
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np


@runtime_checkable
class Named(Protocol):
    """Anything with a unique name."""

    @property
    def id(self) -> str:
        """The name."""


Entry = TypeVar("Entry", bound=Named)


def choose(entries: Sequence[Entry], rng: np.random.Generator) -> Entry:
    """Choose one of several entries, all equally likely.

    Parameters
    ----------
    entries
        At least one; their order does not matter.
    rng
        Random numbers; one is drawn, however many entries there are.
    """
    key = rng.integers(2**64, dtype=np.uint64)
    names = np.array([name_hash(entry.id) for entry in entries], np.uint64)
    return entries[int(np.argmax(_mixed(names ^ key)))]


@functools.lru_cache(maxsize=2**18)
def name_hash(name: str) -> int:
    """Return a number below 2^64 that is a function of a name, the same everywhere and always."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _mixed(values: np.ndarray) -> np.ndarray:
    """Scramble 64-bit numbers (the finalizer of splitmix64: Steele, Lea & Flood 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(31))
