"""Splits are functions of the name alone, of the right size, and the same forever."""

import csv
import itertools

import numpy as np
import pytest

from data_prep.readers.eagle import lineage, read_index
from data_prep.splits import SPLITS, split_of

NAMES = [f"eagle/Box/{i}" for i in range(5000)]


def test_fractions_are_as_asked():
    for validation, test in ((0.1, 0.1), (0.3, 0.05)):
        found = [split_of(name, validation, test) for name in NAMES]
        expected = {"test": test, "validation": validation, "train": 1.0 - test - validation}
        for split in SPLITS:
            error = np.sqrt(expected[split] * (1.0 - expected[split]) / len(NAMES))
            assert found.count(split) / len(NAMES) == pytest.approx(expected[split], abs=4.0 * error)


def test_splits_are_what_they_were_when_the_shipped_prior_was_trained():
    # Literals: a change here would leak training galaxies into the test set of a prior already trained.
    expected = {
        "eagle/RecalL0025N0752/959840": "train",
        "eagle/RefL0050N0752/1377285": "train",
        "eagle/RefL0050N0752/485410": "validation",
        "eagle/RefL0050N0752/1857012": "validation",
    }
    assert {name: split_of(name) for name in expected} == expected


def test_a_larger_test_set_keeps_the_smaller_one():
    small = {name for name in NAMES if split_of(name, test=0.05) == "test"}
    assert small < {name for name in NAMES if split_of(name, test=0.2) == "test"}


def test_snapshots_of_one_galaxy_share_a_lineage(tmp_path):
    rows = [
        {"file": "a.png", "sim": "Box", "GalaxyID": "11", "ProjGalaxyID": "11", "z": "0"},
        {"file": "b.png", "sim": "Box", "GalaxyID": "12", "ProjGalaxyID": "11", "z": "0.5"},
        {"file": "c.png", "sim": "Box", "GalaxyID": "99", "ProjGalaxyID": "", "z": "0"},
        {"file": "d.png", "sim": "Other", "GalaxyID": "11", "ProjGalaxyID": "11", "z": "0"},
    ]
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    names = [lineage(row) for row in read_index(tmp_path)]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_new_data_move_no_lineage_and_snapshots_stay_together(tmp_path):
    rng = np.random.default_rng(3)
    numbers = rng.permutation(900)  # snapshots of 300 galaxies: the first 400 files now, the others later
    rows = [
        {"file": f"{n}.png", "sim": "Box", "GalaxyID": f"{n}", "ProjGalaxyID": f"{n - n % 3}", "z": "0"}
        for n in numbers
    ]

    def splits(rows):
        with (tmp_path / "index.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return {row["file"]: split_of(lineage(row)) for row in read_index(tmp_path)}

    before, after = splits(rows[:400]), splits(sorted(rows, key=lambda row: row["file"]))
    assert len(after) == 900
    assert before.items() < after.items()
    for first in range(0, 900, 3):
        assert len({after[f"{n}.png"] for n in range(first, first + 3)}) == 1
    assert set(after.values()) == set(SPLITS)


@pytest.mark.shared_data
def test_no_eagle_galaxy_is_on_both_sides(shared_data):
    """Main-branch progenitors have consecutive numbers, so neighbours in number are one galaxy."""
    folder = shared_data / "eagle_skirt_rgb"
    rows = sorted(read_index(folder), key=lambda row: (row["sim"], int(row["GalaxyID"])))
    assert all((folder / row["file"]).is_file() for row in rows)
    for one, next_ in itertools.pairwise(rows):
        if one["sim"] == next_["sim"] and int(next_["GalaxyID"]) - int(one["GalaxyID"]) < 29:  # snapshots
            assert split_of(lineage(one)) == split_of(lineage(next_))
    splits = [split_of(name) for name in {lineage(row) for row in rows}]
    assert min(splits.count(split) for split in SPLITS) >= 20
