"""Which variants differ in their tuning alone."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.tuning import counterparts, tuning_of
from tests.analysis.ledgers import LR, SCALE, TASKS, alpha_study
from wst.study import Study, load_study

SPACE = {"lr": LR, "scale": SCALE}


def _study(**variants: Any) -> Study:
    return alpha_study(variants=variants, search={"trials": 6, "sampler": {"type": "random"}})


def test_every_method_of_the_shipped_leaderboards_stands_in_three_rows() -> None:
    for name, alone in (("leaderboard-mini", 0), ("leaderboard-vtab1k", 2)):
        study = load_study(name)
        found = counterparts(study)
        assert all(set(names) == {"tuned", "shared", "untuned"} for names in found)
        assert 3 * len(found) + alone == len(study.variants)
        assert {"tuned": "wst", "shared": "wst-shared", "untuned": "wst-default"} in found


def test_kinds_of_tuning() -> None:
    study = _study(
        own={"method": "wst", "space": SPACE},
        together={"method": "wst", "space": SPACE, "settings": "shared"},
        taken={"method": "wst", "settings_from": "own"},
        fixed={"method": "wst", "fixed": {"lr": 0.01}},
    )
    assert [tuning_of(study, name) for name in study.variants] == ["tuned", "shared", "untuned", "untuned"]
    assert tuning_of(study, "gone from the study") == "untuned"


@pytest.mark.parametrize(
    ("fixed", "belongs"),
    [
        ({"lr": 0.01, "r": 2}, True),
        ({"lr": 0.01, "scale": 1.0, "r": 2}, True),
        ({"lr": 0.01, "r": 4}, False),
        ({"lr": 0.01}, False),
        ({"lr": 0.01, "r": 2, "wavelet": "db2"}, False),
    ],
)
def test_what_is_not_tuned_belongs_to_what_fixes_the_same(fixed: dict[str, Any], belongs: bool) -> None:
    study = _study(
        own={"method": "wst", "space": SPACE, "fixed": {"r": 2}}, plain={"method": "wst", "fixed": fixed}
    )
    assert counterparts(study) == ([{"tuned": "own", "untuned": "plain"}] if belongs else [])


def test_another_method_space_or_table_is_no_counterpart() -> None:
    study = _study(
        own={"method": "wst", "space": SPACE},
        narrow={"method": "wst", "space": {"lr": LR}, "settings": "shared"},
        other={"method": "lora", "space": SPACE, "settings": "shared"},
        table={"method": "wst", "per_task": {task: {"lr": 0.01} for task in TASKS}},
        taken={"method": "wst", "settings_from": "own"},
    )
    assert counterparts(study) == []
