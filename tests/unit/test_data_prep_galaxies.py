"""Which galaxies mocks show: by weight, by split, and the same ones when galaxies are added."""

import numpy as np
import pytest

from data_prep.galaxies import NEIGHBOURS, Candidate, Galaxies
from data_prep.mock_config import MockSettings
from data_prep.procedural import procedural_galaxy
from data_prep.splits import split_of
from synergy.errors import InputError


def settings(numbers=(300, 300), weights=(3.0, 1.0), **changes):
    sources = [
        {"kind": "procedural", "number": n, "weight": w} for n, w in zip(numbers, weights, strict=True)
    ]
    values = {"name": "a", "pairs": {"train": 1}, "sources": sources, "surveys": [{"bands": ["euclid.vis"]}]}
    return MockSettings.model_validate(values | changes)


def drawn(galaxies, split="train", number=400, neighbour=False):
    draw = galaxies.draw_neighbour if neighbour else galaxies.draw
    return [draw(split, np.random.default_rng([5, i])).id for i in range(number)]


def named(names):
    """Return candidates of one source, all in the train split."""
    return {"train": tuple(Candidate(n, n, procedural_galaxy) for n in names), "validation": (), "test": ()}


def test_galaxies_come_from_their_split():
    galaxies = Galaxies.of(settings(), None)
    for split in ("train", "validation", "test"):
        assert {split_of(name) for name in drawn(galaxies, split, 60)} == {split}


def test_halves_share_no_training_galaxy_and_all_that_are_held_out():
    whole, *halves = (Galaxies.of(settings(half=half), None) for half in (None, "first", "second"))

    def names(galaxies, split):
        return {c.id for _, by_split in galaxies.sources for c in by_split[split]}

    first, second = (names(half, "train") for half in halves)
    assert not first & second
    assert first | second == names(whole, "train")
    assert 0.4 < len(first) / len(first | second) < 0.6
    for split in ("validation", "test"):
        assert names(halves[0], split) == names(halves[1], split) == names(whole, split)


def test_sources_are_chosen_by_weight():
    galaxies = Galaxies(((3.0, named(f"a/{i}" for i in range(9))), (1.0, named(f"b/{i}" for i in range(99)))))
    share = np.mean([name.startswith("a") for name in drawn(galaxies, number=2000)])
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 2000)


def test_added_galaxies_change_only_what_falls_on_them():
    names = [f"a/{i}" for i in range(50)]
    before = drawn(Galaxies(((1.0, named(names)),)))
    after = drawn(Galaxies(((1.0, named(["new", *names])),)))
    changed = {new for old, new in zip(before, after, strict=True) if old != new}
    assert changed == {"new"}


def test_neighbours_are_drawn_from_a_part_that_does_not_depend_on_order():
    names = [f"a/{i}" for i in range(4 * NEIGHBOURS)]
    one, other = (
        drawn(Galaxies(((1.0, named(n)),)), number=2000, neighbour=True) for n in (names, names[::-1])
    )
    assert one == other
    assert NEIGHBOURS / 2 < len(set(one)) <= NEIGHBOURS


def test_a_split_without_galaxies_is_refused():
    with pytest.raises(InputError, match="no galaxy of the test split"):
        Galaxies.of(settings(numbers=(1, 1), pairs={"train": 1, "test": 1, "validation": 1}), None)
