from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import small_study
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.engine.driver import Environment
from wst.engine.fingerprint import difference
from wst.models import backbones


@pytest.fixture(scope="module")
def here(mini_root: Path) -> Environment:
    """This machine, where all is there."""
    hashes = {"digits": TaskData.of(mini_root, MINI, MINI.task("digits")).hash()}
    return Environment(mini_root, hashes, backbones.weights_id("micro", None, False))


def test_machine_with_the_same_data_and_weights_has_no_difference(here: Environment) -> None:
    assert difference(small_study(), here) is None


def test_other_data_are_named_with_both_hashes(here: Environment) -> None:
    elsewhere = replace(here, data_hashes={"digits": "0" * 64})
    found = here.data_hashes["digits"][:12]
    assert difference(small_study(), elsewhere) == (
        f"data of task 'digits': expected hash 000000000000; found {found}"
    )


def test_absent_data_are_named_by_their_path(here: Environment, tmp_path: Path) -> None:
    found = difference(small_study(), replace(here, root=tmp_path))
    assert found is not None and str(tmp_path / "mini" / "digits") in found


def test_image_that_a_copy_lacks_is_named(here: Environment, mini_root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mini" / "digits"
    shutil.copytree(mini_root / "mini" / "digits", copy)
    image = copy / (copy / "val200.txt").read_text().split()[0]
    image.unlink()
    found = difference(small_study(), replace(here, root=tmp_path))
    assert found is not None and image.name in found


def test_other_and_absent_weights_are_said(here: Environment, tmp_path: Path) -> None:
    found = difference(small_study(), replace(here, checkpoint_hash="f" * 64))
    assert found == f"backbone weights: expected {'f' * 64}; found {here.checkpoint_hash}"
    absent = tmp_path / "weights.safetensors"
    found = difference(small_study(checkpoint=str(absent)), here)
    assert found is not None and str(absent) in found
