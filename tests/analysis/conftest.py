"""The hand-made ledgers, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.analysis.ledgers import write_alpha, write_beta
from tests.analysis.staged_ledgers import write_extended, write_front


@pytest.fixture(scope="session")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_alpha(tmp_path_factory.mktemp("ledgers") / "alpha")


@pytest.fixture(scope="session")
def beta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_beta(tmp_path_factory.mktemp("ledgers") / "beta")


@pytest.fixture(scope="session")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_extended(tmp_path_factory.mktemp("ledgers") / "extended")


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of several objectives."""
    return write_front(tmp_path_factory.mktemp("ledgers") / "front")
