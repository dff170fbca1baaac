"""The example for SLURM asks for nodes of single-threaded workers; needs dask-jobqueue."""

import importlib.util

import pytest

pytest.importorskip("dask_jobqueue")


def test_job_script(pytestconfig):
    path = pytestconfig.rootpath / "configs" / "mock" / "slurm_dask.py"
    spec = importlib.util.spec_from_file_location("slurm_dask", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with example.cluster(cores=4, memory="8GB", queue="short") as cluster:
        script = cluster.job_script()
        address = cluster.scheduler_address
    for expected in ("#SBATCH -p short", "--cpus-per-task=4", "--nthreads 1 ", "--nworkers 4 ", address):
        assert expected in script
