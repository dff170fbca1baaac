"""Interrupts that wait until a step is done."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def holding_interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether this process was asked to stop (Ctrl-C, or SIGTERM).

    The first request only sets that mark; a second one ends the process as it would without us. Signals
    reach the main thread only; elsewhere nothing is changed, and the function returns False.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        restore()

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        restore()
