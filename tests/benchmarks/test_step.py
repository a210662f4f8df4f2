from __future__ import annotations

from benchmarks.step import images_through
from wst.data.suites import find_suite


def test_images_are_counted() -> None:
    """Of VTAB-1K, by hand: 19 x 1,000 are trained on in each epoch, and the test splits have 387,904."""
    rows = images_through(find_suite("vtab1k").tasks, 100)
    assert [counts for _, *counts in rows] == [
        [1_900_000, 38_790_400],
        [1_900_000, 387_904],
        [1_520_000, 380_000],
    ]
