"""Batches, prepared ahead of the steps that use them.

Threads decode, crop and turn scenes and hand them to the devices while a step is running. A batch is a
function of its number alone, and batches are handed out in order, so that which thread was faster changes
nothing.
"""

import collections
import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

Batch = TypeVar("Batch")


@contextlib.contextmanager
def prefetched(make: Callable[[int], Batch], first: int, last: int) -> Iterator[Iterator[Batch]]:
    """Yield the batches ``make(first), ..., make(last - 1)``, made by threads ahead of their use.

    Parameters
    ----------
    make
        Makes a batch from its number; what it raises is raised where that batch is asked for.
    first, last
        Numbers of the first batch and of the one after the last.
    """
    threads = max(1, min(8, (os.cpu_count() or 1) // 2))
    pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="scenes")
    try:
        yield _in_order(pool, make, range(first, last), ahead=2 * threads)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: concurrent.futures.Executor, make: Callable[[int], Batch], numbers: range, ahead: int
) -> Iterator[Batch]:
    waiting: collections.deque[concurrent.futures.Future[Batch]] = collections.deque()
    for number in numbers:
        waiting.append(pool.submit(make, number))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
