"""Ends a process whose main thread can no longer be reached."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY_S = 2.0


@contextmanager
def watched(stuck: Callable[[], tuple[str, int] | None], patience_s: float = 20.0) -> Iterator[None]:
    """Leave the process when it has been stuck for a while, without a word from the main thread.

    For compiled code that waits for a server which is gone: it never returns, and neither an exception nor a
    signal's handler gets through.  What is on disk must bear a kill at any moment, as a ledger does.

    Args:
        stuck: what is wrong, in words, and the exit status for it; None while all is well.  Called in a
            thread of its own.
        patience_s: how long it may stay so: most waits end by themselves.
    """
    over = threading.Event()

    def watch() -> None:
        waited = 0.0
        while not over.wait(_EVERY_S):
            found = stuck()
            waited = waited + _EVERY_S if found is not None else 0.0
            if found is not None and waited >= patience_s:
                print(f"wst: {found[0]}", file=sys.stderr, flush=True)
                os._exit(found[1])

    thread = threading.Thread(target=watch, name="wst-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
