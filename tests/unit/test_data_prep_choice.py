"""Choosing galaxies by name: even, blind to order, and stable when galaxies are added."""

import dataclasses

import numpy as np
from scipy.stats import chisquare

from data_prep.choice import choose


@dataclasses.dataclass(frozen=True)
class Entry:
    """A name."""

    id: str


GALAXIES = [Entry(f"galaxy/{i}") for i in range(20)]


def chosen(entries, number=500, seed=1):
    rng = np.random.default_rng(seed)
    return [choose(entries, rng).id for _ in range(number)]


def test_all_are_equally_likely():
    names, counts = np.unique(chosen(GALAXIES, 4000), return_counts=True)
    assert len(names) == len(GALAXIES)
    assert chisquare(counts).pvalue > 0.01


def test_order_does_not_matter():
    assert chosen(GALAXIES) == chosen(GALAXIES[::-1])


def test_what_is_added_takes_its_share_and_changes_nothing_else():
    before, after = chosen(GALAXIES, 2000), chosen([*GALAXIES, Entry("a"), Entry("b")], 2000)
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {new for _, new in changed} == {"a", "b"}
    expected = 2000 * 2 / 22
    assert abs(len(changed) - expected) < 4 * np.sqrt(expected)
