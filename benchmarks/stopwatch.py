"""Seconds by part."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall-clock seconds.

    Attributes:
        seconds: by part.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """What happens inside counts as ``part``."""
        begin = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - begin
