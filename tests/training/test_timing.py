from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.specs import spec
from wst.training.timing import seconds_per_epoch

pytestmark = pytest.mark.slow  # trains


def test_seconds_of_an_epoch_are_positive(mini_root: Path) -> None:
    assert seconds_per_epoch(spec(mini_root)) > 0
