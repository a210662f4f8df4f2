"""Studies that grow, and changes that would make another study of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import LR, small_study
from tests.ledger.processes import CODE, write
from tests.ledger.test_ledger import small_trials
from tests.synthetic import run_all
from wst.errors import InputError
from wst.ledger import Ledger, history, resolved_study
from wst.planning.planner import Planner
from wst.study import Study
from wst.study.growth import Difference, check_extension, forbidden_changes


def _changed(**changes: Any) -> Study:
    """The small study with dotted keys (``search__trials``) set; None removes a key."""
    data = small_study().model_dump(mode="json")
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        inner = data
        for parent in parents:
            inner = inner[parent]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return Study.model_validate(data)


def _forbidden(found: Study, wanted: Study, begun: bool = True) -> list[str]:
    return [str(difference) for difference in forbidden_changes(found, wanted, begun=begun)]


POINTS = [{"lr": 0.01}]
TWO_POINTS = [{"lr": 0.01}, {"lr": 0.02}]
VARIANT = {"method": "linear", "fixed": {"lr": 0.1}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"search__trials": 7},
        {"final__seeds": 3},
        {"confirm": {"top": 2, "seeds": 2}},
        {"tasks": ["emoji_group", "digits"]},
        {"variants__later": VARIANT},
        {"resources__slots": 3, "resources__cpus_per_trial": 2},
        {"report_every": 1, "checkpoint_every": 3},
        {"faults": {"retries": 0, "time_limit": "2h"}},
        {"final__save_adapters": True},
        {"checkpoint": "elsewhere/w.safetensors"},  # whose hash says whether it is the same
    ],
    ids=lambda changes: ",".join(changes) or "nothing",
)
def test_a_study_may_grow(changes: dict[str, Any]) -> None:
    assert _forbidden(small_study(), _changed(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "other"}, "name: has 'small', asked for 'other'"),
        ({"seed": 1}, "seed: has 0, asked for 1"),
        ({"backbone": "vit_base_patch16_224"}, "backbone: has 'micro', asked for 'vit_base_patch16_224'"),
        ({"suite": "vtab1k", "tasks": ["digits"]}, "suite: has 'mini', asked for 'vtab1k'"),
        ({"normalisation": "half"}, "normalisation: has 'checkpoint', asked for 'half'"),
        ({"image_size": 64}, "image_size: has nothing, asked for 64"),
        ({"background": "white"}, "background: has nothing, asked for '#ffffff'"),
        ({"ties": "earlier"}, "ties: has 'val_loss', asked for 'earlier'"),
        ({"recipe__epochs": 5}, "recipe.epochs: has 4, asked for 5"),
        ({"search__trials": 5}, "search.trials: has 6, asked for 5"),
        ({"final__seeds": 1}, "final.seeds: has 2, asked for 1"),
        ({"final": None}, "final: has {'seeds': 2, 'seeds_per_job': 1, 'save_adapters': False}"),
        ({"search__sampler": {"type": "random"}}, "search.sampler.type: has 'tpe', asked for 'random'"),
        ({"search__pruner__reduction_factor": 3}, "search.pruner.reduction_factor: has 2, asked for 3"),
        (
            {"search__pruner": {"type": "none"}, "search__objectives": ["val_top1", "train_seconds"]},
            "search.objectives: has ['val_top1'], asked for ['val_top1', 'train_seconds']",
        ),
        ({"variants__linear__method": "full"}, "variants.linear.method: has 'linear', asked for 'full'"),
        ({"variants__linear__space__lr__high": 1.0}, "variants.linear.space.lr.high: has 0.1, asked for"),
        ({"variants__linear__fixed": {"k": 1}}, "variants.linear.fixed.k: has nothing, asked for 1"),
        ({"variants__wst-r2__fixed": {"r": True}}, "variants.wst-r2.fixed.r: has 2, asked for True"),
        ({"variants__linear": None}, "variants.linear: has {'method': 'linear'"),
        (
            {
                "search": {"trials": 6, "sampler": {"type": "random"}},
                "variants__linear__settings": "shared",
            },
            "variants.linear.settings: has 'own', asked for 'shared'",
        ),
        ({"variants__linear__warm_start": POINTS}, "variants.linear.warm_start: has nothing, asked for {"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_would_be_another_study_is_named(changes: dict[str, Any], expected: str) -> None:
    if changes.get("suite") == "vtab1k":  # whose tasks are others
        found = small_study().model_copy(update={"suite": "vtab1k"})
        differences = _forbidden(small_study(), found)
    else:
        differences = _forbidden(small_study(), _changed(**changes))
    assert any(difference.startswith(expected) for difference in differences), differences


def test_a_task_may_not_go() -> None:
    two = _changed(tasks=["digits", "emoji_group"])
    expected = ["tasks: has ['digits', 'emoji_group'], asked for ['digits']"]
    assert _forbidden(two, small_study()) == expected


def test_a_true_is_not_a_one() -> None:
    variants = [{"a": {"method": "linear", "fixed": {"lr": 0.1, "on": value}}} for value in (True, 1)]
    found, wanted = (small_study(variants=v, search=None) for v in variants)
    assert _forbidden(found, wanted) == ["variants.a.fixed.on: has True, asked for 1"]


def test_confirm_may_grow_and_not_shrink() -> None:
    found, larger = (_changed(confirm={"top": top, "seeds": 2}) for top in (2, 4))
    assert _forbidden(found, larger) == []
    assert _forbidden(larger, found) == ["confirm.top: has 4, asked for 2"]


def test_shared_settings_may_have_more_trials_and_tasks() -> None:
    def study(trials: int, tasks: list[str]) -> Study:
        variant = {"method": "linear", "space": {"lr": LR}, "settings": "shared", "warm_start": POINTS}
        search = {"trials": trials, "sampler": {"type": "random"}}
        return small_study(variants={"v": variant}, search=search, tasks=tasks)

    found, larger = study(3, ["digits"]), study(4, ["digits", "emoji_group"])
    assert _forbidden(found, larger) == []
    assert [difference.partition(":")[0] for difference in _forbidden(larger, found)] == [
        "tasks",
        "search.trials",
    ]


def test_a_full_grid_is_larger_than_a_part_of_it() -> None:
    sampler = {"type": "grid", "points": 5}
    part, full = (_changed(search={"trials": trials, "sampler": sampler}) for trials in (4, None))
    # 5 points for linear, 10 for wst-r2
    assert _forbidden(part, full) == []
    assert _forbidden(full, part) == ["search.trials: has nothing, asked for 4"]
    ample = _changed(search={"trials": 10, "sampler": sampler})
    assert _forbidden(full, ample) == []


def test_a_warm_start_may_change_until_a_trial_has_begun() -> None:
    found = _changed(variants__linear__warm_start=POINTS)
    longer = _changed(variants__linear__warm_start=TWO_POINTS)
    assert len(_forbidden(found, longer)) == 1
    assert _forbidden(found, longer, begun=False) == []


def test_tables_by_task_may_take_new_tasks() -> None:
    def study(tasks: list[str], table: dict[str, Any]) -> Study:
        variants = {"a": {"method": "linear", "per_task": table}}
        return small_study(tasks=tasks, variants=variants, search=None)

    found = study(["digits"], {"digits": {"lr": 0.1}})
    wider = study(["digits", "emoji_group"], {"digits": {"lr": 0.1}, "emoji_group": {"lr": 0.2}})
    other = study(["digits", "emoji_group"], {"digits": {"lr": 0.3}, "emoji_group": {"lr": 0.2}})
    assert _forbidden(found, wider) == []
    assert _forbidden(found, other) == ["variants.a.per_task.digits.lr: has 0.1, asked for 0.3"]


def test_one_line_names_at_most_five_differences() -> None:
    recipe = {"epochs": 9, "batch_size": 1, "weight_decay": 0, "warmup_epochs": 0, "min_lr": 0}
    with pytest.raises(InputError) as error:
        wanted = small_study(recipe=recipe, seed=3, name="n")
        check_extension(Path("out"), small_study(), wanted, begun=True)
    text = str(error.value)
    assert text.startswith(
        "out/study.yaml: holds a study that differs: name: has 'small', asked for 'n'; seed: has 0"
    )
    assert text.endswith("; and 2 more; choose another --out") and "\n" not in text
    assert text.count("asked for") == 5


def test_a_study_file_without_the_newer_keys_is_the_same_study(tmp_path: Path) -> None:
    with Ledger(tmp_path, small_study(), CODE) as ledger:
        write(ledger, small_trials()[:1])
    file = tmp_path / "study.yaml"
    data = yaml.safe_load(file.read_text())
    for key in ("confirm", "faults", "ties"):
        del data[key]
    file.write_text(yaml.safe_dump(data))
    with Ledger(tmp_path, small_study(), CODE):
        assert "faults" in file.read_text()


def test_grown_study_runs_what_is_new_and_keeps_what_is_there(tmp_path: Path) -> None:
    with Ledger(tmp_path, small_study(), CODE) as ledger:
        write(ledger, small_trials())
    grown = _changed(search__trials=8, variants__later=VARIANT)
    with Ledger(tmp_path, grown, CODE) as ledger:
        write(ledger, run_all(Planner(grown, *history(tmp_path))))
    assert resolved_study(tmp_path) == grown
    intents, ended = history(tmp_path)
    assert [t.intent.hyperparameters for t in ended[:16]] == [
        t.intent.hyperparameters for t in small_trials()
    ]
    counts = pd.Series([f"{i.variant} {i.stage}" for i in intents]).value_counts()
    assert counts["linear search"] == counts["wst-r2 search"] == 8
    assert counts["later final"] == 2


def _hyperparameters(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "ledger" / "trials").sort_values("ask_order", ignore_index=True)
    return frame[["variant", *(name for name in frame if str(name).startswith("hp_"))]]


def test_new_columns_reach_the_old_rows(tmp_path: Path) -> None:
    def study(**later: Any) -> Study:
        variants = {"a": {"method": "wst", "space": {"lr": LR}, "fixed": {"r": 3, "small_branch": True}}}
        new = {name: {"method": "wst", "fixed": {"lr": 0.1, **table}} for name, table in later.items()}
        return small_study(variants=variants | new)

    first = study()
    with Ledger(tmp_path, first, CODE) as ledger:
        write(ledger, run_all(Planner(first), stop_after=2))
    before = history(tmp_path)
    second = study(b={"r": 1, "scale": 2}, c={"downsampling": "db2"})
    with Ledger(tmp_path, second, CODE) as ledger:
        assert history(tmp_path) == before
        planner = Planner(second, *before)
        write(ledger, run_all(planner))
    files = list((tmp_path / "ledger" / "trials").iterdir())
    assert len(files) > 2
    assert all(pq.read_schema(path).equals(pq.read_schema(files[0])) for path in files)
    rows = _hyperparameters(tmp_path).drop_duplicates("variant").set_index("variant")
    assert rows.loc["a", ["hp_r", "hp_small_branch"]].tolist() == [3, True]
    assert rows.loc["b", ["hp_r", "hp_scale"]].tolist() == [1, 2.0] and pd.isna(rows.loc["a", "hp_scale"])
    assert pd.isna(rows.loc["a", "hp_downsampling"]) and rows.loc["c", "hp_downsampling"] == "db2"
    assert [t.intent.hyperparameters["r"] for t in history(tmp_path)[1][:2]] == [3, 3]


def test_the_same_file_of_a_method_is_the_same_wherever_it_lies() -> None:
    def study(path: str, digest: str) -> Study:
        variant = {"method": path, "method_hash": digest, "fixed": {"lr": 0.1}}
        return small_study(variants={"own": variant}, search=None)

    here, moved = study("/here/own.py", "a" * 16), study("/there/own.py", "a" * 16)
    assert not list(forbidden_changes(here, moved, begun=True))
    (changed,) = forbidden_changes(here, study("/here/own.py", "b" * 16), begun=True)
    assert changed.key == "variants.own.method_hash"
    (other,) = forbidden_changes(
        small_study(variants={"own": {"method": "linear", "fixed": {"lr": 0.1}}}, search=None),
        small_study(variants={"own": {"method": "wst", "fixed": {"lr": 0.1}}}, search=None),
        begun=True,
    )
    assert other.key == "variants.own.method"


def test_a_suite_of_ones_own_is_the_same_wherever_it_lies() -> None:
    def at(suite: str, tasks: tuple[str, ...] = ("digits",)) -> Study:
        return small_study().model_copy(update={"suite": suite, "tasks": tasks})

    assert _forbidden(at("/here/pets"), at("/there/pets")) == []
    assert _forbidden(at("vtab1k"), at("/data/vtab-1k")) == []
    assert _forbidden(at("mini"), at("/here/pets")) == ["suite: has 'mini', asked for '/here/pets'"]
    # a folder of one task gives it its name
    renamed = _forbidden(at("/here/pets", ("pets",)), at("/here/dogs", ("dogs",)))
    assert renamed == ["tasks: has ['pets'], asked for ['dogs']"]


@pytest.mark.parametrize(
    ("length", "shown"),
    [(58, "'" + "x" * 58 + "'"), (59, "'" + "x" * 56 + "..."), (99, "'" + "x" * 56 + "...")],
)
def test_long_values_are_cut(length: int, shown: str) -> None:
    """At sixty signs, the quotes counted."""
    difference = Difference("key", "x" * length, None)
    assert str(difference) == f"key: has {shown}, asked for nothing"
