from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from wst.data.mini import MINI
from wst.data.splits import DataHashes, TaskData
from wst.engine.fingerprint import Fingerprint, check_unchanged, fingerprint
from wst.errors import InputError
from wst.records import Backbone, EndedTrial, Intent, Outcome, Stage

MICRO = Backbone("micro")


def _data(root: Path) -> dict[str, TaskData]:
    return {"digits": TaskData.of(root, MINI, MINI.task("digits"))}


@pytest.fixture(scope="module")
def here(mini_root: Path) -> Fingerprint:
    """This machine, where all is there."""
    return fingerprint(MICRO, _data(mini_root))


def test_machine_with_the_same_data_and_weights_has_no_difference(here: Fingerprint, mini_root: Path) -> None:
    assert here.difference(fingerprint(MICRO, _data(mini_root))) is None


def test_other_data_and_weights_are_named_with_both_hashes(here: Fingerprint) -> None:
    other = replace(here, data={"digits": DataHashes("0" * 64, "", "")})
    found = here.data["digits"].all[:12]
    assert other.difference(here) == f"data of task 'digits': expected hash 000000000000; found {found}"
    other = replace(here, weights="f" * 64)
    assert other.difference(here) == f"backbone weights: expected hash {'f' * 12}; found {here.weights[:12]}"


def test_what_only_one_side_knows_is_no_difference(here: Fingerprint) -> None:
    assert Fingerprint(None, {}).difference(here) is None and here.difference(Fingerprint(None, {})) is None


def test_absent_data_are_named_by_their_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=str(tmp_path / "mini" / "digits")):
        fingerprint(MICRO, _data(tmp_path))


def test_image_that_a_copy_lacks_is_named(mini_root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mini" / "digits"
    shutil.copytree(mini_root / "mini" / "digits", copy)
    image = copy / (copy / "val200.txt").read_text().split()[0]
    image.unlink()
    with pytest.raises(InputError, match=image.name):
        fingerprint(MICRO, _data(tmp_path))


def test_absent_weights_are_said(mini_root: Path, tmp_path: Path) -> None:
    absent = tmp_path / "weights.safetensors"
    with pytest.raises(InputError, match=f"checkpoint: expected a file; found none at {absent}"):
        fingerprint(Backbone("micro", checkpoint=str(absent)), _data(mini_root))
    with pytest.raises(InputError, match="expected a weights file for 'vit_base_patch16_224', or pretrained"):
        fingerprint(Backbone("vit_base_patch16_224"), _data(mini_root))


def _ended(stage: Stage, **known: str) -> list[EndedTrial]:
    intent = Intent(f"digits.wst.{stage}.0000", "digits", "wst", stage, 0, 0, 0, {"lr": 1e-3})
    return [EndedTrial(intent, Outcome("completed", **known))]  # type: ignore[arg-type]


def test_study_whose_images_or_weights_have_changed_is_not_gone_on_with(here: Fingerprint) -> None:
    digits = here.data["digits"]
    known = {"data_hash": digits.all, "tuning_hash": digits.tuning, "checkpoint_hash": str(here.weights)}
    stages: tuple[Stage, ...] = ("search", "confirm", "final")
    for stage in stages:
        check_unchanged(_ended(stage, **known), here)
        check_unchanged(_ended(stage), here)  # a trial that never began
        with pytest.raises(InputError, match=r"backbone weights: expected hash 0{12}; found"):
            check_unchanged(_ended(stage, checkpoint_hash="0" * 64), here)
        with pytest.raises(InputError, match=r"data of task 'digits': expected hash 0{12}; found"):
            check_unchanged(_ended(stage, data_hash="0" * 64), here)


def test_trial_is_compared_by_the_images_that_it_rests_on(here: Fingerprint) -> None:
    other_test = {"data_hash": "0" * 64, "tuning_hash": here.data["digits"].tuning}
    check_unchanged(_ended("search", **other_test), here)
    with pytest.raises(InputError, match=r"data of task 'digits': expected hash 0{12}; found"):
        check_unchanged(_ended("final", **other_test), here)
    with pytest.raises(InputError, match=r"data of task 'digits': expected hash 0{12}; found"):
        check_unchanged(_ended("search", **{**other_test, "tuning_hash": "0" * 64}), here)
