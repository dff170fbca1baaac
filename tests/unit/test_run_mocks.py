"""Mock productions: the same bytes however they run, and nothing lost or doubled where they are cut."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from quick_pairs import FILES, VALUES, contents, make_pair, make_slowly, make_wrongly, settings

from data_prep.run_mocks import jobs_of, run
from synergy.errors import InputError
from synergy.io.pair_manifest import write_manifest
from synergy.io.pairs import PairShards

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a data set in one process, without interruption."""
    out = tmp_path_factory.mktemp("mocks") / "new" / "folder"
    heard = []
    manifest = run(settings(), None, out, make_pair, progress=lambda *state: heard.append(state))
    assert manifest == out / "manifest.ecsv"
    assert heard[-1] == (10, 10, "making pairs")
    return out


def test_a_data_set_is_its_shards_and_their_manifest(made):
    assert set(contents(made)) == {*FILES, "manifest.ecsv", "SHA256SUMS"}
    table = Table.read(made / "manifest.ecsv")
    rows = {(row["shard"], row["row"]): row for row in table}
    assert len(rows) == len(table) == 10
    number = 0
    for split, total in VALUES["pairs"].items():
        shards = PairShards.open(made, split)
        assert len(shards) == total
        for index, pair in enumerate(shards):
            assert pair.id == f"quick/{split}/{index}"
            row = rows[f"pairs-{split}-{index // 2:05d}.h5", index % 2]
            number += 1
            assert (row["object_id"], row["split"], row["seed"]) == (pair.id, split, 0)
            assert row["n_sources"] == len(pair.sources)
            if not pair.sources:
                assert row["galaxy"] is np.ma.masked
                assert np.isnan(row["redshift"])
                continue
            assert row["galaxy"] == pair.sources[0]["name"]
            assert row["redshift"] == pytest.approx(pair.sources[0]["redshift"], abs=1e-4)
            magnitude = 31.4 - 2.5 * np.log10(pair.sources[0]["fluxes"]["lsst.i"])
            assert row["magnitude_lsst.i"] == pytest.approx(magnitude, abs=1e-4)
    assert number == 10
    sums = dict(reversed(line.split("  ")) for line in (made / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in FILES}


def test_a_manifest_does_not_depend_on_who_is_first(made, tmp_path):
    for name in FILES:
        (tmp_path / name).symlink_to(made / name)
    write_manifest(tmp_path, lambda function, paths: map(function, reversed(list(paths))))
    assert contents(tmp_path) == contents(made)


def test_parts_make_the_whole_and_the_last_one_the_manifest(made, tmp_path):
    assert run(settings(), None, tmp_path, make_pair, shard=(3, 3)) is None
    assert {path.name for path in tmp_path.iterdir()} == {FILES[2], FILES[5]}
    assert run(settings(), None, tmp_path, make_pair, shard=(1, 3)) is None
    assert run(settings(), None, tmp_path, make_pair, shard=(2, 3)) == tmp_path / "manifest.ecsv"
    assert contents(tmp_path) == contents(made)


def test_shards_of_another_size_hold_the_same_rows(made, tmp_path):
    run(settings(shard=5), None, tmp_path, make_pair)
    for split in VALUES["pairs"]:
        for one, other in zip(PairShards.open(tmp_path, split), PairShards.open(made, split), strict=True):
            assert (one.id, one.sources) == (other.id, other.sources)
            np.testing.assert_array_equal(one.truth, other.truth)
            for here, there in zip(one.observations, other.observations, strict=True):
                np.testing.assert_array_equal(here.image, there.image)
                np.testing.assert_array_equal(here.psf.image, there.psf.image)


def test_what_is_there_is_kept_only_when_asked(made, tmp_path):
    run(settings(pairs={"train": 4}), None, tmp_path, make_pair)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"2 shards of mocks.*--resume"):
        run(settings(), None, tmp_path, make_pair)
    assert contents(tmp_path) == before
    kept = tmp_path / FILES[0]
    stamp = kept.stat().st_mtime_ns, kept.stat().st_ino
    run(settings(), None, tmp_path, make_pair, resume=True)
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == stamp
    assert contents(tmp_path) == contents(made)
    (tmp_path / "manifest.ecsv").unlink()
    (tmp_path / ".manifest.ecsv.left.ecsv").touch()
    run(settings(), None, tmp_path, make_wrongly, resume=True)  # nothing is left to make
    assert contents(tmp_path) == contents(made)


def test_a_data_set_grows(made, tmp_path):
    run(settings(pairs={"train": 5}), None, tmp_path, make_pair)  # its last shard is half full
    run(settings(), None, tmp_path, make_pair, resume=True)
    assert contents(tmp_path) == contents(made)
    with pytest.raises(InputError, match="these settings do not make") as caught:
        run(settings(pairs={"train": 5}), None, tmp_path, make_pair, resume=True)
    assert caught.value.source == str(tmp_path / FILES[4])


@pytest.mark.parametrize("changes", [{"seed": 1}, {"shard": 3}, {"placement": {"star": 0.5}}], ids=str)
def test_shards_of_other_settings_are_refused(tmp_path, changes):
    run(settings(pairs={"train": 2}), None, tmp_path, make_pair)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="Choose another directory") as caught:
        run(settings(pairs={"train": 2}, **changes), None, tmp_path, make_pair, resume=True)
    assert caught.value.source == str(tmp_path / FILES[0])
    assert contents(tmp_path) == before


def test_damaged_and_mixed_shards_are_named(tmp_path):
    run(settings(pairs={"train": 4}), None, tmp_path, make_pair)
    whole = (tmp_path / FILES[1]).read_bytes()
    (tmp_path / FILES[1]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged") as caught:
        run(settings(pairs={"train": 4}), None, tmp_path, make_pair, resume=True)
    assert caught.value.source == str(tmp_path / FILES[1])
    (tmp_path / FILES[1]).write_bytes((tmp_path / FILES[0]).read_bytes())
    with pytest.raises(InputError, match="quick/train/0 again"):
        run(settings(pairs={"train": 4}), None, tmp_path, make_pair, resume=True)


def test_bad_requests_are_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    needy = settings(sources=[{"kind": "tng", "folder": "tng_sdss"}])
    for complaint, arguments in {
        "tng_sdss": (needy, None, tmp_path / "o", make_pair),
        "4/3": (settings(), None, tmp_path / "o", make_pair, 1, (4, 3)),
        "1 or more": (settings(), None, tmp_path / "o", make_pair, 0),
        "exists": (settings(), None, tmp_path / "file", make_pair),
    }.items():
        with pytest.raises(InputError, match=complaint):
            run(*arguments)
    assert not list(tmp_path.glob("o/*"))


def test_a_failing_pair_stops_all_workers_and_leaves_whole_shards(made, tmp_path):
    with pytest.raises(InputError, match="quick/train/3"):
        run(settings(), None, tmp_path, make_wrongly, workers=2)
    left = contents(tmp_path)
    assert FILES[1] not in left
    assert left.items() <= contents(made).items()


PRODUCTION = """
import sys
from pathlib import Path
import quick_pairs
from data_prep.mock_config import MockSettings
from data_prep.run_mocks import run
if __name__ == "__main__":
    settings = MockSettings.model_validate_json(sys.argv[1])
    run(settings, None, Path(sys.argv[2]), quick_pairs.make_slowly, workers=2)
"""


def test_a_production_that_was_killed_is_resumed_to_the_same_bytes(made, tmp_path):
    script, out = tmp_path / "production.py", tmp_path / "out"
    script.write_text(PRODUCTION)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HELPERS), *sys.path])}
    command = [sys.executable, str(script), settings().model_dump_json(), str(out)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: list(out.glob("pairs-*.h5")) and list(out.glob(".*")))
        process.kill()
    wait_for(lambda: not list(out.glob(".*")))  # its workers notice, clean up and end
    left = contents(out)
    assert set(left) < set(FILES)
    assert left.items() <= contents(made).items()
    (out / f".{FILES[-1]}.x.h5").touch()  # as a worker that is killed leaves
    before = dict(os.environ)
    run(settings(), None, out, make_pair, workers=2, resume=True)
    assert contents(out) == contents(made)
    assert dict(os.environ) == before


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_terminated_production_leaves_whole_shards_only(made, tmp_path):
    handler = signal.getsignal(signal.SIGTERM)

    def make(*arguments):
        if arguments[-2:] == ("train", 3):
            os.kill(os.getpid(), signal.SIGTERM)
        return make_pair(*arguments)

    with pytest.raises(KeyboardInterrupt):
        run(settings(), None, tmp_path, make)
    assert contents(tmp_path) == {FILES[0]: (made / FILES[0]).read_bytes()}
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_dask_cluster_loses_a_worker_but_no_pair(made, tmp_path):
    distributed = pytest.importorskip("distributed")
    killed = []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:

        def kill(done, total, label):
            if not killed:
                killed.append(cluster.workers[0].pid)
                os.kill(killed[0], signal.SIGKILL)

        run(settings(), None, tmp_path, make_slowly, cluster.scheduler_address, progress=kill)
        assert killed
        assert cluster.workers[0].pid != killed[0]
        with pytest.raises(InputError, match="--resume"):
            run(settings(), None, tmp_path, make_pair, cluster.scheduler_address)
        with pytest.raises(InputError, match="quick/train/3"):
            run(settings(), None, tmp_path / "wrong", make_wrongly, cluster.scheduler_address)
    assert contents(tmp_path / "wrong").items() <= contents(made).items()
    (tmp_path / "wrong").rename(tmp_path.parent / "elsewhere")
    assert contents(tmp_path) == contents(made)
    assert Counter(Table.read(tmp_path / "manifest.ecsv")["object_id"]).most_common(1)[0][1] == 1


def test_no_dask_scheduler_is_an_error(tmp_path):
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    impatient = dask.config.set({"distributed.comm.timeouts.connect": "0.2s"})
    with impatient, pytest.raises(InputError, match="no Dask scheduler"):
        run(settings(), None, tmp_path, make_pair, "tcp://127.0.0.1:9")


def test_without_dask_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"synergy\[cluster\]"):
        run(settings(), None, tmp_path, make_pair, "tcp://127.0.0.1:9")


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match=r"no space for it.*File too large") as caught:
            run(settings(), None, tmp_path, make_pair)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.source == str(tmp_path / FILES[0])
    assert not contents(tmp_path)


def test_jobs_cover_every_pair_once():
    for size in (1, 3, 4, 100):
        jobs = jobs_of(settings(shard=size))
        assert len({job.file for job in jobs}) == len(jobs)
        for split, total in VALUES["pairs"].items():
            assert [n for job in jobs if job.split == split for n in job.pairs] == list(range(total))
    turned = dict(reversed(VALUES["pairs"].items()))
    assert jobs_of(settings(pairs=turned)) == jobs_of(settings())
