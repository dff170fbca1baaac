"""``synergy mock``, ``info`` and ``export`` on the command line, on a full disk and when interrupted."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import h5py
import pytest
import yaml
from command_line import CommandLine
from quick_pairs import FILES, VALUES, contents, make_pair, settings

from data_prep.run_mocks import run

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a data set."""
    out = tmp_path_factory.mktemp("mocks")
    run(settings(), None, out, make_pair)
    return out


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


COMMAND = """
import sys
import quick_pairs
sys.modules["data_prep.make_mocks"] = quick_pairs
from synergy.cli import main
main()
"""


def test_a_full_disk_ends_the_command_in_order(made, tmp_path, small_disk):
    (tmp_path / "mock.yaml").write_text(yaml.safe_dump(VALUES))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HELPERS), *sys.path])}
    command = [sys.executable, "-c", COMMAND, "mock", tmp_path / "mock.yaml", "--out", small_disk]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    for text in ("error:", FILES[1], "No space left on device", "MB are free", "remedy:"):
        assert text in done.stderr
    assert contents(small_disk) == {FILES[0]: (made / FILES[0]).read_bytes()}


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command line on quick pairs: (exit status, stdout, stderr)."""
    maker = ModuleType("data_prep.make_mocks")
    maker.make_pair = make_pair
    monkeypatch.setitem(sys.modules, "data_prep.make_mocks", maker)
    (tmp_path / "mock.yaml").write_text(yaml.safe_dump(VALUES))
    monkeypatch.chdir(tmp_path)
    execute = CommandLine(monkeypatch, capsys)
    execute.maker = maker
    return execute


def test_the_command_line_makes_shows_and_exports_pairs(command, made, tmp_path):
    assert command("mock", "mock.yaml", "--out", "out", "--shard", "2/2")[0] == 0
    status, printed, _ = command("mock", "mock.yaml", "--out", "out", "--shard", "1/2", "--workers", 1)
    assert status == 0
    assert "manifest.ecsv" in printed
    assert contents(tmp_path / "out") == contents(made)
    printed = command("info", "out/manifest.ecsv")[1]
    for text in ("7 pairs in 4 shards", "3 pairs in 2 shards", "redshift", "magnitude_euclid.vis"):
        assert text in printed
    printed = command("info", f"out/{FILES[1]}")[1]
    for text in (
        "quick/train/2 to quick/train/3",
        "12 x 11 pixels of 0.2 arcsec",
        "correlated noise",
    ):
        assert text in printed
    assert command("export", f"out/{FILES[1]}", 1, "--out", "pair.fits")[0] == 0
    assert (tmp_path / "pair.yaml").exists()
    status, _, complaint = command("export", f"out/{FILES[1]}", 0, "--out", "pair.fits")
    assert (status, "--overwrite" in complaint) == (2, True)
    status, _, complaint = command("export", f"out/{FILES[1]}", 2, "--out", "other.fits")
    assert (status, "no row 2" in complaint) == (2, True)
    assert not (tmp_path / "other.fits").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--shard", "2"), "I/N"),
        (("--shard", "0/2"), "0/2"),
        (("--workers", "0"), "workers"),
        ((), "--resume"),
    ],
)
def test_mistakes_on_the_command_line_end_before_any_work(command, tmp_path, arguments, complaint):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FILES[0]).write_text("precious")
    status, _, text = command("mock", "mock.yaml", "--out", "out", *arguments)
    assert status == 2
    assert complaint in text
    assert contents(tmp_path / "out") == {FILES[0]: b"precious"}


def test_an_interrupt_on_the_command_line_says_how_to_go_on(command, tmp_path):
    def make(*arguments):
        raise KeyboardInterrupt

    command.maker.make_pair = make
    status, _, text = command("mock", "mock.yaml", "--out", "out")
    assert status == 130
    assert "--resume" in text


def test_manifests_that_are_none_are_refused(command, made, tmp_path):
    for text in ("", "object_id\n1\n"):
        (tmp_path / "manifest.ecsv").write_text(text)
        status, _, complaint = command("info", "manifest.ecsv")
        assert status == 2
        assert "manifest of a data set" in complaint
    with h5py.File(made / FILES[0]) as file:
        assert file.attrs["name"] == "quick"
