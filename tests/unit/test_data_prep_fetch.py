"""Fetching from a local server that imitates the TNG interface, with its moods."""

import csv
import email.utils
import hashlib
import resource
import subprocess
import sys
import threading
import time
import urllib.parse

import numpy as np
import pytest
from tng_server import SECRET, Server, content

from data_prep.download import Politeness
from data_prep.fetch import KEY, PRODUCTS, fetch_tng, read_subhalos
from synergy import cli
from synergy.errors import InputError

FAST = Politeness(rate=1e4, attempts=4, backoff=0.01, longest=5.0, timeout=5.0)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(server, out, subhalos=(1,), **options):
    options = {"politeness": FAST, "api": server.api} | options
    return fetch_tng(subhalos, out, "TNG50-1", 95, **options)


def path_of(out, subhalo):
    return out / f"TNG50-1-095-{subhalo}-broadband_sdss.fits"


def left_over(out):
    return sorted(path.name for path in out.iterdir() if ".part" in path.name or path.name.startswith("."))


def test_files_and_their_checksums(server, tmp_path):
    out = tmp_path / "new" / "folder"
    done = fetch(server, out, (1, 2, 3))
    assert (done.new, done.kept, done.missing) == (3, 0, ())
    with (out / "fetched.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    for subhalo in (1, 2, 3):
        path, data = path_of(out, subhalo), content(subhalo)
        assert path.read_bytes() == data
        assert rows[path.name] == {
            "file": path.name,
            "url": f"{server.api}/TNG50-1/snapshots/95/subhalos/{subhalo}/skirt/broadband_sdss.fits",
            "bytes": str(len(data)),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    assert left_over(out) == []
    assert SECRET not in (out / "fetched.csv").read_text()


def test_what_is_right_is_not_fetched_again_and_what_is_not_is(server, tmp_path):
    fetch(server, tmp_path, (1, 2, 3, 4))
    damaged = bytearray(content(2))
    damaged[1000] ^= 1
    path_of(tmp_path, 2).write_bytes(damaged)  # the size is right
    path_of(tmp_path, 3).write_bytes(content(3)[:-5])
    path_of(tmp_path, 4).unlink()
    server.requests.clear()
    done = fetch(server, tmp_path, (1, 2, 3, 4))
    assert (done.new, done.kept) == (3, 1)
    assert len(server.requests) == 3
    for subhalo in (1, 2, 3, 4):
        assert path_of(tmp_path, subhalo).read_bytes() == content(subhalo)


def test_a_file_of_another_address_is_not_taken_for_it(server, tmp_path):
    fetch(server, tmp_path)
    server.requests.clear()
    template = "{simulation}/other/{snapshot}/subhalos/{subhalo}/broadband_sdss.fits"
    assert fetch(server, tmp_path, product=template).new == 1


def test_a_dropped_connection_goes_on_from_there(server, tmp_path):
    server.script = [{"stop": 70_000}, {"stop": 50_000}, {}]
    fetch(server, tmp_path)
    assert path_of(tmp_path, 1).read_bytes() == content(1)
    ranges = [headers.get("Range") for _, headers, _ in server.requests]
    assert ranges == [None, "bytes=70000-", "bytes=120000-"]
    assert server.requests[1][1]["If-Range"] == '"1"'


def test_an_interrupted_run_goes_on_from_there(server, tmp_path):
    def interrupt(done, total, label):
        if done == 1 and "MB" in label:
            raise KeyboardInterrupt

    server.files[2] = content(2, 2_000_000)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, (1, 2), progress=interrupt)
    part = tmp_path / (path_of(tmp_path, 2).name + ".part")
    have = part.stat().st_size
    assert 0 < have < 2_000_000
    assert not path_of(tmp_path, 2).exists()
    server.requests.clear()
    done = fetch(server, tmp_path, (1, 2))
    assert (done.new, done.kept) == (1, 1)
    assert [headers.get("Range") for _, headers, _ in server.requests] == [f"bytes={have}-"]
    assert path_of(tmp_path, 2).read_bytes() == server.files[2]
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("version", ['"2"', None])
def test_a_changed_file_is_never_joined_to_the_old_part(server, tmp_path, version):
    server.version = version and '"1"'
    server.script = [{"stop": 70_000}] + [{"status": 503}] * 4
    with pytest.raises(InputError, match="status 503 after"):
        fetch(server, tmp_path)
    server.version, server.files[1], server.script = version, content(50, 150_000), []
    fetch(server, tmp_path)
    assert path_of(tmp_path, 1).read_bytes() == server.files[1]


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.ranges, server.script = False, [{"stop": 70_000}]
    fetch(server, tmp_path)
    assert path_of(tmp_path, 1).read_bytes() == content(1)


def test_a_wrong_part_is_not_joined(server, tmp_path):
    server.script = [{"stop": 70_000}, {"start": 60_000}]
    fetch(server, tmp_path)
    assert path_of(tmp_path, 1).read_bytes() == content(1)


def test_a_part_that_is_all_there_is_taken_as_it_is(server, tmp_path):
    server.script = [{"stop": 70_000}] + [{"status": 503}] * 4
    with pytest.raises(InputError):
        fetch(server, tmp_path)
    path_of(tmp_path, 1).with_name(path_of(tmp_path, 1).name + ".part").write_bytes(content(1))
    server.requests.clear()
    fetch(server, tmp_path)
    assert server.requests == []
    assert path_of(tmp_path, 1).read_bytes() == content(1)


@pytest.mark.parametrize(("status", "form"), [(429, "seconds"), (503, "date"), (500, "none"), (429, "none")])
def test_a_busy_server_is_given_the_time_it_asks_for(server, tmp_path, status, form):
    asked = {"seconds": "1", "date": email.utils.formatdate(time.time() + 2, usegmt=True), "none": None}[form]
    server.script = [{"status": status, "headers": {"Retry-After": asked} if asked else {}}]
    fetch(server, tmp_path)
    first, second = (when for *_, when in server.requests)
    assert second - first > (0.9 if asked else 0.005)
    assert second - first < (2.5 if asked else 0.9)
    assert path_of(tmp_path, 1).read_bytes() == content(1)


def test_waits_double_and_end(server, tmp_path):
    server.script = [{"status": 503}] * 10
    polite = Politeness(rate=1e4, attempts=4, backoff=0.1)
    with pytest.raises(InputError, match="status 503 after 4 attempts") as caught:
        fetch(server, tmp_path, politeness=polite)
    assert "goes on from here" in caught.value.remedy
    waits = np.diff([when for *_, when in server.requests])
    assert np.all(waits > 0.95 * np.array([0.1, 0.2, 0.4]))
    assert waits[0] < 0.38


def test_a_server_that_asks_for_too_long_a_wait_is_left_alone(server, tmp_path):
    server.script = [{"status": 429, "headers": {"Retry-After": "3600"}}]
    with pytest.raises(InputError, match="request to wait 3600 s"):
        fetch(server, tmp_path)
    assert len(server.requests) == 1


def test_requests_keep_to_the_rate(server, tmp_path):
    fetch(server, tmp_path, (1, 2, 3, 4), politeness=Politeness(rate=10.0))
    assert np.diff([when for *_, when in server.requests]).min() > 0.08


def test_redirections_are_followed_with_the_key_only_at_home(server, tmp_path):
    home = f"http://127.0.0.1:{server.server_port}"
    server.script = [{"redirect": home}, {"redirect": home.replace("127.0.0.1", "localhost")}]
    fetch(server, tmp_path, (1, 2))
    keys = [(path.split("/")[1], headers.get("Api-Key") or headers.get("api-key") or headers.get("Api-key"))
            for path, headers, _ in server.requests]  # fmt: skip
    assert keys == [("api", SECRET), ("data", SECRET), ("api", SECRET), ("data", None)]
    for subhalo in (1, 2):
        assert path_of(tmp_path, subhalo).read_bytes() == content(subhalo)


@pytest.mark.parametrize("key", [None, "", "  ", "two words", "line\nbreak"])
def test_a_missing_or_broken_key_says_where_to_get_one(server, tmp_path, monkeypatch, key):
    monkeypatch.delenv(KEY) if key is None else monkeypatch.setenv(KEY, key)
    with pytest.raises(InputError) as caught:
        fetch(server, tmp_path)
    assert KEY in caught.value.source
    assert "tng-project.org/users/register" in caught.value.remedy
    assert "words" not in str(caught.value)
    assert server.requests == []


def test_a_refused_key_is_not_shown_and_not_tried_again(server, tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, "wrong-key")
    with pytest.raises(InputError, match="status 403: the key is refused") as caught:
        fetch(server, tmp_path)
    assert "wrong-key" not in str(caught.value)
    assert len(server.requests) == 1


def test_galaxies_without_images_are_counted(server, tmp_path):
    done = fetch(server, tmp_path, (1, 100, 2, 101))
    assert (done.new, done.kept) == (2, 0)
    assert done.missing == tuple(path_of(tmp_path, n).name for n in (100, 101))
    with pytest.raises(InputError, match="none of 2 files"):
        fetch(server, tmp_path, (100, 101))


def test_a_page_of_text_is_no_file(server, tmp_path):
    server.script = [{"type": "text/html"}]
    with pytest.raises(InputError, match="a page of text"):
        fetch(server, tmp_path)
    server.files[1] = b"<html>busy</html>"
    with pytest.raises(InputError, match="expected a FITS file"):
        fetch(server, tmp_path)
    assert not path_of(tmp_path, 1).exists()


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    with pytest.raises(InputError, match="no connection"):
        fetch_tng((1,), tmp_path, "TNG50-1", 95, api="http://127.0.0.1:9/api", politeness=FAST)


@pytest.mark.parametrize(
    "api", ["http://www.tng-project.org/api", "ftp://127.0.0.1/api", "www.tng-project.org"]
)
def test_the_key_is_not_sent_over_an_open_line(tmp_path, monkeypatch, api):
    monkeypatch.setenv(KEY, SECRET)
    with pytest.raises(InputError, match="https://"):
        fetch_tng((1,), tmp_path, "TNG50-1", 95, api=api)


def test_a_disk_that_takes_no_more_is_told_and_the_download_goes_on_from_there(server, tmp_path):
    """A limit on the size of files stands in for the end of a disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(InputError, match="File too large") as caught:
            fetch(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.source == f"{path_of(tmp_path, 1)}.part"
    assert not path_of(tmp_path, 1).exists()
    fetch(server, tmp_path)
    assert server.requests[-1][1]["Range"] == "bytes=50000-"
    assert path_of(tmp_path, 1).read_bytes() == content(1)


def test_products(server, tmp_path):
    fetch(server, tmp_path, (7,), product="hsc")
    assert sorted(path.name for path in tmp_path.glob("*.fits")) == [
        f"TNG50-1-095-7-skirt_images_hsc_idealized_v{view}.fits" for view in range(4)
    ]
    template = "{simulation}/snapshots/{snapshot}/subhalos/{subhalo}/cutout.hdf5"
    fetch(server, tmp_path, (7,), product=template)
    assert (tmp_path / "TNG50-1-095-7-cutout.hdf5").exists()
    assert (
        urllib.parse.urlsplit(server.requests[-1][0]).path
        == "/api/TNG50-1/snapshots/95/subhalos/7/cutout.hdf5"
    )


@pytest.mark.parametrize("product", ["jwst", "a/{galaxy}.fits", "a/{}.fits", "{subhalo}/", "a/b.fits"])
def test_unknown_products_are_refused(server, tmp_path, product):
    with pytest.raises(InputError) as caught:
        fetch(server, tmp_path, product=product)
    assert all(name in caught.value.expected for name in PRODUCTS)
    assert server.requests == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", (7,)),
        ("12,20-23", (12, 20, 21, 22, 23)),
        ("3, 1, 3", (3, 1)),
        ("9-9", (9,)),
    ],
)
def test_lists_of_numbers(text, expected):
    assert read_subhalos(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "117359\n117363\n\n99185\n",
        "# massive ones\n117359 10.5\n117363 10.1\n99185 9.9",
        "SubhaloID,mass\n117359,10.5\n117363,\n99185,9.9\n",
        ",mass,subhalo\n0,10.5,117359\n1,,117363\n2,9.9,99185\n",
        "\ufeff\"id\";z\r\n117359;0\r\n117363;0\r\n99185;0\r\n",
        "subhalo\n117359\n117363\n117359\n99185\n",
    ],
)  # fmt: skip
def test_tables_of_numbers(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text, newline="")
    assert read_subhalos(str(path)) == (117359, 117363, 99185)


@pytest.mark.parametrize("text", ["5-", "9-3", "1--3", "", ",", "-4", "nowhere.txt"])
def test_bad_lists_are_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        read_subhalos(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name,mass\na,1\n", "the columns name, mass"),
        ("subhalo\n12\nx\n", "line 3: 'x'"),
        ("mass,subhalo\n1.0\n", "line 2"),
        ("12.5\n", "no number"),
        ("", "no number"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, found):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=found) as caught:
        read_subhalos(str(path))
    assert caught.value.source == str(path)


def test_the_command(server, tmp_path, monkeypatch, capsys):
    arguments = ["synergy", "fetch", "1-2,100", "--out", str(tmp_path / "out"), "--simulation", "TNG50-1",
                 "--snapshot", "95", "--api", server.api, "--rate", "1000"]  # fmt: skip
    for new, kept in ((2, 0), (0, 2)):
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code in (0, None)
        streams = capsys.readouterr()
        assert f"fetched: {new}, there already: {kept}" in streams.out
        assert "missing: 1 (TNG50-1-095-100-broadband_sdss.fits)" in streams.out
        assert SECRET not in streams.out + streams.err
    monkeypatch.delenv(KEY)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "tng-project.org/users/register" in capsys.readouterr().err


def test_progress_moves_on(server, tmp_path):
    seen = []
    fetch(server, tmp_path, (1, 2), progress=lambda *step: seen.append(step))
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    assert {total for _, total, _ in seen} == {2}
    assert seen[-1][0] == 2
    assert any("0.2/0.2 MB" in label for *_, label in seen)


def test_a_killed_run_is_completed(server, tmp_path):
    """SIGKILL at any moment leaves whole files or parts."""
    server.files = {n: content(n, 3_000_000) for n in range(6)}
    code = (
        "from pathlib import Path; from data_prep.fetch import *; from data_prep.download import Politeness;"
        f"fetch_tng(range(6), Path({str(tmp_path)!r}), 'TNG50-1', 95, api={server.api!r},"
        "politeness=Politeness(rate=1000))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while len(server.requests) < 3 and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    for path in tmp_path.glob("*.fits"):
        assert path.read_bytes() == server.files[int(path.name.split("-")[3])]
    fetch(server, tmp_path, range(6))
    for number, data in server.files.items():
        assert path_of(tmp_path, number).read_bytes() == data
    assert list(tmp_path.glob("TNG*.part*")) == []
