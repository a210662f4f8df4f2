from __future__ import annotations

import json
import subprocess

import pytest

from tests.conftest import ROOT
from wst.ledger.provenance import code


def test_commit_is_the_clones() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    commit = code()["commit"]
    assert commit is not None and commit.rstrip("+") == head.stdout.strip()


def test_libraries_have_versions() -> None:
    libraries = code()["libraries"]
    assert libraries is not None and json.loads(libraries)["torch"]
