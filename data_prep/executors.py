"""Where jobs run: in this process, in worker processes, or on a Dask cluster.

`running` yields one function, ``execute(function, items)``, that calls ``function(item)`` for every item
somewhere and yields the results as they come. An error of any of them is raised at once and the rest is not
begun.

Workers do one thing at a time with one thread each: the jobs themselves are what runs in parallel. They have
their own processes rather than forks, as JAX and HDF5 do not survive forking, and they end when their parent
does, however that ends, after they have cleaned up. Functions have to be importable there.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from synergy.errors import InputError

Execute = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
}
_PATIENCE = 20.0  # seconds that a worker has to clean up


@contextlib.contextmanager
def running(workers: int | str) -> Iterator[Execute]:
    """Yield a function that executes jobs, and stop what is left of them at the end.

    Parameters
    ----------
    workers
        Number of processes, 1 for this one; or the address of a Dask scheduler.

    Raises
    ------
    InputError
        If the number is not positive, a worker dies of a job, or there is no Dask or no scheduler.
    """
    if isinstance(workers, str):
        inner = _dask(workers)
    elif workers > 1:
        inner = _processes(workers)
    elif workers == 1:
        inner = contextlib.nullcontext(map)
    else:
        raise InputError("workers", str(workers), "1 or more", "Choose a positive number.")
    with _interruptible(), inner as execute:
        yield execute


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Turn SIGTERM, which batch systems send, into KeyboardInterrupt, so that files are cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # nobody else receives signals
        return

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _processes(number: int) -> Iterator[Execute]:
    others = set(multiprocessing.active_children())
    before = os.environ.copy()
    os.environ.update(_ONE_THREAD)  # libraries read it when they are imported
    pool = ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), _start_worker)

    def execute(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        try:
            for future in as_completed([pool.submit(_in_worker, function, item) for item in items]):
                yield future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "workers",
                f"that one of {number} worker processes died",
                "memory enough for all of them",
                "Choose fewer workers, and --resume.",
            ) from error

    try:
        yield execute
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        stopped = set(multiprocessing.active_children()) - others
        for worker in stopped:
            worker.terminate()
        for worker in stopped:
            worker.join(_PATIENCE)
        raise
    finally:
        pool.shutdown()
        os.environ.clear()
        os.environ.update(before)


def _start_worker() -> None:
    """Leave interrupts to the parent, clean up when it says so, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _leave(number: int, frame: object) -> None:
    raise SystemExit(1)


def _follow_parent() -> None:
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(1)


def _in_worker(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except SystemExit:  # the pool's loop would take it for a result; files are cleaned up by now
        os._exit(1)


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Execute]:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "dask", "no package distributed", "Dask", "Install it: pip install 'synergy[cluster]'."
        ) from error
    try:
        client = distributed.Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            address, f"no Dask scheduler ({error})", "the address of one", "Start one: dask scheduler."
        ) from error

    def execute(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        futures = client.map(function, list(items), pure=False)
        try:
            for _, result in distributed.as_completed(futures, client.loop, with_results=True):
                yield result
        except distributed.KilledWorker as error:
            raise InputError(
                address,
                f"a job that several workers died of ({error})",
                "memory enough for it",
                "Give the workers more memory, and --resume.",
            ) from error
        finally:
            client.cancel(futures)

    with client:
        yield execute
