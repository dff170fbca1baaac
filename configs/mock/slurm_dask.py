"""Make mocks on a SLURM cluster: ``python slurm_dask.py CONFIG DATA OUT``, with dask-jobqueue installed.

SLURM starts workers as it has room for them, lost ones are replaced, and their shards made again. Stop it
and start it again at will. Without Dask, a job array does as well, and leaves what was interrupted to a
second one with ``--resume``::

    sbatch --array=1-64 --wrap 'synergy mock CONFIG --out OUT --shard $SLURM_ARRAY_TASK_ID/64'
"""

import sys
from pathlib import Path

from dask_jobqueue import SLURMCluster

from data_prep.make_mocks import make_pair
from data_prep.mock_config import MockSettings
from data_prep.run_mocks import run
from synergy.config import load


def cluster(cores: int = 16, memory: str = "48GB", queue: str = "normal") -> SLURMCluster:
    """Return a cluster whose jobs take one node each: edit this for yours."""
    # One thread per worker: a job of ours is one shard, and shards are what runs in parallel.
    return SLURMCluster(cores=cores, processes=cores, memory=memory, walltime="04:00:00", queue=queue)


def main() -> None:
    """Ask for up to 32 nodes and make everything that is missing."""
    config, data, out = map(Path, sys.argv[1:])
    with cluster() as nodes:
        nodes.adapt(maximum_jobs=32)
        run(load(config, MockSettings), data, out, make_pair, nodes.scheduler_address, resume=True)


if __name__ == "__main__":
    main()
