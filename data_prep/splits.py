"""Train, validation and test, by lineage: stable when data are added, and no galaxy on both sides."""

from data_prep.choice import name_hash

SPLITS = ("train", "validation", "test")
HALVES = ("first", "second")


def split_of(lineage: str, validation: float = 0.1, test: float = 0.1) -> str:
    """Return the split of a lineage, a function of its name alone.

    Parameters
    ----------
    lineage
        Name shared by all snapshots and views of one galaxy.
    validation, test
        Fractions of these splits.
    """
    position = name_hash(lineage) / 2**64
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def half_of(lineage: str) -> str:
    """Return the half of a lineage, whatever its split: priors of the two halves have no galaxy in common."""
    return HALVES[name_hash(lineage) % 2]
