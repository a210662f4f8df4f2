"""A method in a file beside the study: tuned, kept, loaded and used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

import wst
from analysis.leaderboard.board import read_leaderboard
from tests.conftest import ROOT
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.errors import InputError
from wst.ledger import history, read_table
from wst.study import load_study
from wst.workflows.tune import run_study

PAGE = (ROOT / "docs" / "method.md").read_text()


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's method and variant, beside WST."""
    folder = tmp_path_factory.mktemp("own")
    (block,) = re.findall(r"```python file=norm_shift.py\n(.*?)```", PAGE, re.DOTALL)
    (folder / "norm_shift.py").write_text(block)
    (variant,) = (b for b in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "norm_shift" in b)
    variants = yaml.safe_load(variant)["variants"]
    variants["wst"] = {"method": "wst", "fixed": {"r": 2}, "space": {"lr": variants["shift"]["space"]["lr"]}}
    study = {
        "name": "own",
        "suite": "mini",
        "tasks": ["digits"],
        "backbone": "micro",
        "variants": variants,
        "recipe": {"epochs": 2, "warmup_epochs": 0.5},
        "search": {"trials": 2},
        "final": {"seeds": 1, "save_adapters": True},
        "resources": {"slots": 1},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def folder(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its output, from real workers."""
    out = tmp_path_factory.mktemp("run") / "out"
    planner = run_study(load_study(str(study_file)), out)
    assert planner.done
    return out


@pytest.mark.slow
def test_it_is_tuned_beside_wst_through_ray(folder: Path) -> None:
    ended = history(folder)[1]
    assert len(ended) == 6 and {t.outcome.state for t in ended} == {"completed"}
    rows = read_table(folder, "trials", ["variant", "hp_last", "trainable_parameters"]).to_pylist()
    shift = [row for row in rows if row["variant"] == "shift"]
    assert all(row["trainable_parameters"] == 96 * row["hp_last"] for row in shift)  # micro is 96 wide
    assert {row.variant for row in read_leaderboard([folder]).rows if row.complete} == {"shift", "wst"}


@pytest.mark.slow
def test_its_adapter_is_loaded_and_used(folder: Path, study_file: Path, mini_root: Path) -> None:
    (trial,) = (t for t in history(folder)[1] if t.intent.trial_id == "digits.shift.final.0000")
    path = folder / "adapters" / "digits.shift.final.0000.safetensors"
    with pytest.raises(
        InputError, match=r"method= \(--method\) to say whose code may run; found the card ask"
    ):
        wst.load_adapter(path)
    predictor = wst.load_adapter(path, method=str(study_file.parent / "norm_shift.py"))
    split = TaskData.of(mini_root, MINI, MINI.task("digits")).open("test", 32, "final")
    with torch.inference_mode():
        found = predictor(torch.tensor(split.images)).argmax(1)
    assert (found == torch.tensor(split.labels)).double().mean().item() == trial.outcome.test_top1
    moved = study_file.parent / "moved.py"
    moved.write_text((study_file.parent / "norm_shift.py").read_text())
    assert wst.load_adapter(path, method=str(moved)).card.method_hash is not None
    moved.write_text("# another\n" + moved.read_text())
    with pytest.raises(InputError, match="expected the file with hash"):
        wst.load_adapter(path, method=str(moved))


@pytest.mark.slow
def test_a_study_does_not_go_on_with_another_version_of_the_file(folder: Path, study_file: Path) -> None:
    method = study_file.parent / "norm_shift.py"
    before = method.read_text()
    method.write_text(before + "\n# changed\n")
    try:
        with pytest.raises(InputError, match=r"a study that differs: variants.shift.method_hash"):
            run_study(load_study(str(study_file)), folder)
    finally:
        method.write_text(before)
