"""A ledger's rows against the study that is asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import LR, small_study
from tests.ledger.processes import CODE, write
from tests.synthetic import run_all
from wst.data.splits import DataHashes
from wst.engine.fingerprint import Fingerprint
from wst.engine.rows import check_rows
from wst.errors import InputError
from wst.ledger import Ledger
from wst.planning.planner import Planner, stage_seeds
from wst.records import EndedTrial
from wst.study import Study

NOW = Fingerprint("w" * 64, {"digits": DataHashes("a" * 64, "t" * 64, "x" * 64)})
HASHES = {"checkpoint_hash": "w" * 64, "data_hash": "a" * 64, "tuning_hash": "t" * 64}
SPACE = {"lr": LR, "scale": {"type": "categorical", "choices": [0.1, 1.0]}}
VARIANTS = {
    "linear": {"method": "linear", "space": {"lr": LR}},
    "wst-r2": {"method": "wst", "space": SPACE, "fixed": {"r": 2}},
    "taker": {"method": "wst", "settings_from": "wst-r2", "fixed": {"r": 4}},
    "table": {"method": "wst", "per_task": {"digits": {"lr": 0.01, "r": 1}}, "fixed": {"drop_path": 0.1}},
}


def _study(**changes: Any) -> Study:
    return small_study(**{"variants": VARIANTS, "confirm": {"top": 1, "seeds": 2}, **changes})


def _variants(name: str, **changes: Any) -> dict[str, Any]:
    return {"variants": {**VARIANTS, name: {**VARIANTS[name], **changes}}}  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of a study that has run."""
    where = tmp_path_factory.mktemp("rows") / "s"
    study = _study()
    ended = [EndedTrial(t.intent, replace(t.outcome, **HASHES)) for t in run_all(Planner(study))]
    with Ledger(where, study, CODE) as ledger:
        write(ledger, ended)
    return where


def _check(folder: Path, study: Study, now: Fingerprint = NOW) -> None:
    check_rows(folder, study, now, stage_seeds(study))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"checkpoint": "elsewhere/w.npz"},
        {"search": {"trials": 9, "sampler": {"type": "random"}}},
        {"final": {"seeds": 3}},
        _variants("wst-r2", fixed={"r": 2.0}),
        {"variants": {**VARIANTS, "later": {"method": "linear", "fixed": {"lr": 0.1}}}},
    ],
)
def test_rows_of_the_same_study_go_on(folder: Path, changes: dict[str, Any]) -> None:
    _check(folder, _study(**changes))


EPOCHS = {"epochs": 5, "warmup_epochs": 1}
TABLE = {"digits": {"lr": 0.02, "r": 1}}
LOWER = {**SPACE, "lr": {**LR, "high": 2e-4}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": EPOCHS}, ".0000: recipe.epochs: has 4, asked for 5"),
        ({"name": "other"}, ".0000: name: has 'small', asked for 'other'"),
        ({"seed": 1}, "digits.table.final.0000: seed: has 1, asked for [2, 3]"),
        ({"final": {"seeds": 1}}, ".final.0001: seed: has 2, asked for [1]"),
        ({"image_size": 64}, "image_size: has nothing, asked for 64"),
        ({"backbone": "vit_tiny_patch16_224"}, "backbone: has 'micro', asked for 'vit_tiny_patch16_224'"),
        ({"normalisation": "half"}, "normalisation: has 'checkpoint', asked for 'half'"),
        ({"ties": "earlier"}, "ties: has 'val_loss', asked for 'earlier'"),
        (
            {"search": {"trials": 9, "objectives": ["val_top1", "trainable_parameters"]}},
            "objectives: has ['val_top1'], asked for ['val_top1', 'trainable_parameters']",
        ),
        ({"pretrained": True}, "pretrained: has False, asked for True"),
        (_variants("linear", method="wst"), "search.0000: method: has 'linear', asked for 'wst'"),
        (_variants("wst-r2", fixed={"r": 3}), "variants.wst-r2.fixed.r: has 2, asked for 3"),
        (_variants("wst-r2", fixed={}), "variants.wst-r2.fixed.r: has 2, asked for nothing"),
        (
            _variants("wst-r2", fixed={"r": 2, "blocks": "all"}),
            "variants.wst-r2.fixed.blocks: has nothing, asked for 'all'",
        ),
        (_variants("wst-r2", space=LOWER), ".space.lr: has 0."),
        (_variants("taker", fixed={"r": 5}), "final.0000: variants.taker.fixed.r: has 4, asked for 5"),
        (_variants("table", per_task=TABLE), "variants.table.fixed.lr: has 0.01, asked for 0.02"),
        (_variants("table", fixed={}), "variants.table.fixed.drop_path: has 0.1, asked for 0.0"),
        ({"variants": {"linear": VARIANTS["linear"]}}, "cells: has 'digits x table', asked for nothing"),
    ],
    ids=lambda value: value[-40:] if isinstance(value, str) else "",
)
def test_rows_made_in_another_way_are_named(folder: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        _check(folder, _study(**changes))
    line = str(caught.value)
    assert line.startswith(f"{folder}: holds a trial that differs: digits.") and "\n" not in line
    assert words in line


def test_a_study_without_a_search_may_get_one(tmp_path: Path) -> None:
    fixed = {"variants": {"table": VARIANTS["table"]}}
    before = _study(**fixed, search=None, confirm=None, final={"seeds": 2})
    with Ledger(tmp_path, before, CODE) as ledger:
        write(ledger, run_all(Planner(before)))
    _check(tmp_path, _study(**fixed, confirm=None))


def test_other_images_or_weights_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match="backbone weights: expected hash w"):
        _check(folder, _study(), replace(NOW, weights="v" * 64))
    with pytest.raises(InputError, match="data of task 'digits': expected hash t"):
        _check(folder, _study(), replace(NOW, data={"digits": DataHashes("a" * 64, "u" * 64, "x" * 64)}))


def test_a_refused_start_leaves_the_folder_as_it_was(folder: Path) -> None:
    before = (folder / "study.yaml").read_bytes()
    study = _study(checkpoint="elsewhere/w.npz")

    def refuse() -> None:
        _check(folder, study, replace(NOW, weights="v" * 64))

    with pytest.raises(InputError, match="backbone weights"):
        Ledger(folder, study, CODE, refuse)
    assert (folder / "study.yaml").read_bytes() == before
    with Ledger(folder, _study(), CODE, lambda: _check(folder, _study())):
        pass


def test_rows_of_an_older_version_are_compared_on_what_they_say(tmp_path: Path) -> None:
    study = _study()
    with Ledger(tmp_path, study, CODE) as ledger:
        write(ledger, run_all(Planner(study), stop_after=1))
    (path,) = (tmp_path / "ledger" / "trials").glob("*.parquet")
    table = pq.read_table(path)
    made = json.loads(table["configuration"][0].as_py())
    del (
        made["ties"],
        made["objectives"],
        made["pretrained"],
        made["normalisation"],
        made["recipe"]["label_smoothing"],
    )
    place = table.schema.get_field_index("configuration")
    pq.write_table(table.set_column(place, table.schema.field(place), [[json.dumps(made)]]), path)
    _check(tmp_path, _study(pretrained=True, ties="earlier"))
    with pytest.raises(InputError, match=r"recipe.epochs: has 4, asked for 5"):
        _check(tmp_path, _study(recipe=EPOCHS))
