from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from tests.conftest import LR, small_study
from wst.errors import InputError
from wst.shipped import shipped_names
from wst.study import Study, load_study

GOOD = {
    "name": "s",
    "suite": "mini",
    "tasks": ["digits"],
    "backbone": "micro",
    "variants": {
        "linear": {"method": "linear", "space": {"lr": {"type": "float", "low": 1e-4, "high": 0.1}}}
    },
    "search": {"trials": 2},
}


def _load(tmp_path: Path, text: str, **options: list[str]) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return load_study(str(path), **options)  # type: ignore[arg-type]


def _changed(keys: str, value: object) -> str:
    data = yaml.safe_load(yaml.safe_dump(GOOD))
    *parents, last = keys.split(".")
    inner = data
    for key in parents:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return yaml.safe_dump(data)


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (
            "search.trails",
            3,
            ["search", "expected only the keys trials", "'trails'", "did you mean 'trials'"],
        ),
        ("background", "whyte", ["background: expected a colour such as white", "'whyte'"]),
        ("background", "#ffffff80", ["background: expected a colour that is not transparent itself"]),
        ("tasks", ["digitz"], ["expected one of digits", "'digitz'"]),
        ("suite", "imagenet", ["expected one of mini", "'imagenet'"]),
        (
            "variants.linear.space.lr",
            {"type": "float", "low": 2, "high": 1},
            ["variants.linear", "low <= high"],
        ),
        ("variants.linear.space.lr", {"type": "float", "low": 0, "high": 1, "log": True}, ["low > 0"]),
        ("variants.linear.space", {}, ["at least one hyperparameter", "none"]),
        ("variants.linear.space", "no-such-space", ["no-such-space", "shipped search_spaces", "linear, "]),
        ("variants.copy", {"method": "linear", "settings_from": "lineal"}, ["settings_from", "'lineal'"]),
        ("variants.bare", {"method": "linear"}, ["expected a learning rate"]),
        (
            "variants.linear.settings",
            "shared",
            ["variants.linear.settings", "sampler random or grid and pruner none", "tpe"],
        ),
        ("variants.linear.settings", "mine", ["variants.linear.settings", "one of own, shared", "'mine'"]),
        (
            "variants.bare",
            {"method": "linear", "fixed": {"lr": 0.1}, "settings": "shared"},
            ["variants.bare", "settings", "expected a space", "none"],
        ),
        ("recipe.epochs", 0, ["recipe.epochs", "at least 1", "found 0"]),
        ("recipe", {"epochs": 5, "warmup_epochs": 5}, ["warmup_epochs + cooldown_epochs < epochs"]),
        ("search.trials", "many", ["search.trials", "expected", "'many'"]),
        ("name", "../elsewhere", ["name", "../elsewhere"]),
        ("search", {"sampler": {"type": "tpe"}}, ["search", "a number of trials"]),
        ("search.objectives", ["train_seconds"], ["begin with val_top1"]),
        (
            "search",
            {
                "trials": 2,
                "objectives": ["val_top1", "train_seconds"],
                "pruner": {"type": "median"},
            },
            ["pruner none", "median"],
        ),
        ("search.sampler", {"type": "tpe", "multivariate": False, "group": True}, ["multivariate: true"]),
        ("search.sampler", {"type": "cmaes"}, ["'cmaes'", "nsga2"]),
        ("faults.time_limit", "soon", ["faults.time_limit", "duration", "'soon'"]),
        ("final.seeds", 0, ["final.seeds", "0"]),
        ("variants.linear.warm_start", [{"lr": 3.0}], ["warm_start", "'lr' inside its range", "3.0"]),
        ("variants.linear.warm_start", [{"learning_rate": 0.1}], ["warm_start", "settings of lr", "none"]),
        (
            "variants.linear",
            {
                "method": "linear",
                "fixed": {"lr": 0.1},
                "space": {"drop_path": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1}},
                "warm_start": [{"drop_path": 0.15}],
            },
            ["'drop_path' inside its range and on its steps", "0.15"],
        ),
        ("resources", {"gpus_per_trial": 1.5}, ["gpus_per_trial", "a whole number", "1.5"]),
        ("variants.linear.warm_start", {"digitz": {"lr": 0.1}}, ["expected one of digits", "'digitz'"]),
        (
            "variants.linear.space.lr.when",
            {"optimiser": ["adam"]},
            ["space.lr.when", "set before it (none)", "'optimiser'"],
        ),
    ],
)
def test_a_mistake_gets_one_line_with_file_key_expected_and_found(
    tmp_path: Path, keys: str, value: object, words: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        _load(tmp_path, _changed(keys, value))
    message = str(error.value)
    assert "\n" not in message
    for word in [*words, "expected", "found"]:
        assert word in message


def test_missing_file_names_the_shipped_studies() -> None:
    with pytest.raises(
        InputError, match=r"nowhere: expected a YAML file or one of the shipped studies .*demo"
    ):
        load_study("nowhere")


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 3: expected"):
        _load(tmp_path, "name: s\nsuite: [mini\n")


def test_key_given_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'name' twice"):
        _load(tmp_path, "name: s\nname: t\n")


def test_yaml_floats_without_a_dot_are_numbers(tmp_path: Path) -> None:
    choices = "{type: categorical, choices: [1e-3, 5e-4]}"
    text = _changed("variants.linear.space", "PUT").replace("space: PUT", f"space: {{lr: {choices}}}")
    study = _load(tmp_path, text)
    space = study.variants["linear"].space
    assert space is not None
    assert space["lr"].choices == (1e-3, 5e-4)  # type: ignore[union-attr]


def test_python_objects_in_yaml_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: expected a plain value; found the tag !!python/object"):
        _load(tmp_path, "name: !!python/object/apply:os.system ['true']\n")


def test_overrides_and_tasks_apply(tmp_path: Path) -> None:
    study = _load(
        tmp_path,
        yaml.safe_dump(GOOD),
        overrides=["recipe.epochs=20", "final.seeds=2"],
        tasks=["sprite_loc"],
    )
    assert (study.recipe.epochs, study.tasks) == (20, ("sprite_loc",))
    assert study.final is not None


def test_override_of_an_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'epoch'"):
        _load(tmp_path, yaml.safe_dump(GOOD), overrides=["recipe.epoch=5"])


def test_tasks_left_out_means_all(tmp_path: Path) -> None:
    data = {key: value for key, value in GOOD.items() if key != "tasks"}
    assert len(_load(tmp_path, yaml.safe_dump(data)).tasks) == 5


def test_resolved_yaml_reads_back_the_same(tmp_path: Path) -> None:
    study = small_study()
    assert _load(tmp_path, study.to_yaml()) == study


def test_rungs_and_report_epochs() -> None:
    study = small_study(
        recipe={"epochs": 30, "warmup_epochs": 1},
        search={
            "trials": 2,
            "pruner": {"type": "successive_halving", "min_resource": 3, "reduction_factor": 3},
        },
        report_every=10,
    )
    assert study.search is not None
    assert study.search.rungs(30) == [3, 9, 27]
    assert study.report_epochs() == [3, 9, 10, 20, 27, 30]


def test_hyperparameters_are_told_with_the_methods_that_take_them() -> None:
    study = small_study(
        variants={
            "a": {"method": "linear", "space": {"lr": LR}},
            "b": {"method": "wst", "settings_from": "a", "fixed": {"r": 2}},
            "c": {"method": "own.py", "per_task": {"digits": {"lr": 0.1, "sizes": [1, 2]}}},
        }
    )
    assert study.hyperparameters() == {
        "lr": {"linear", "wst", "own.py"},
        "weight_decay": set(),
        "drop_path": set(),
        "r": {"wst"},
        "sizes": {"own.py"},
    }
    assert study.variants["c"].given_settings("digits")["sizes"] == (1, 2)


def test_settings_by_task_need_every_task(tmp_path: Path) -> None:
    text = _changed("variants.linear", {"method": "linear", "per_task": {"svhn": {"lr": 0.1}}})
    with pytest.raises(InputError, match=r"variants\.linear\.per_task: expected settings for task 'digits'"):
        _load(tmp_path, text)


def test_confirm_needs_a_search(tmp_path: Path) -> None:
    data = {**GOOD, "variants": {"linear": {"method": "linear", "fixed": {"lr": 0.1}}}, "search": None}
    with pytest.raises(InputError, match="expected 'search' before 'confirm'"):
        _load(tmp_path, yaml.safe_dump({**data, "confirm": {}, "final": {}}))


def test_time_limit_is_read_as_people_write_it(tmp_path: Path) -> None:
    assert _load(tmp_path, _changed("faults", {"time_limit": "1h30m"})).faults.time_limit == 5400


def test_grid_knows_its_size(tmp_path: Path) -> None:
    study = _load(tmp_path, _changed("search", {"sampler": {"type": "grid", "points": 4}}))
    assert study.search_trials("linear") == 4
    assert _load(tmp_path, study.to_yaml()) == study


def test_released_settings_serve_as_a_table_by_task(tmp_path: Path) -> None:
    text = (
        "name: r\nsuite: vtab1k\nbackbone: vit_base_patch16_224\nfinal: {seeds: 1}\n"
        "variants: {wst: {method: wst, per_task: released/vit_base}}\n"
    )
    study = _load(tmp_path, text)
    assert study.variants["wst"].given_settings("caltech101") == {
        "scale": 10.0,
        "lr": 1e-3,
        "drop_path": 0.0,
        "r": 2,
    }
    assert len(study.variants["wst"].per_task or {}) == 19


@pytest.mark.parametrize("name", shipped_names("studies"))
def test_every_shipped_study_loads(name: str) -> None:
    assert load_study(name).cells


def test_a_grid_too_large_to_list_is_refused() -> None:
    space = {"lr": LR, "sizes[0..11]": {"type": "int", "low": 0, "high": 20}}
    with pytest.raises(ValueError, match="expected a grid of at most 100,000 points; found up to"):
        small_study(
            variants={"own": {"method": "own.py", "space": space}}, search={"sampler": {"type": "grid"}}
        )


def test_a_background_is_part_of_what_a_study_is_whatever_its_spelling(tmp_path: Path) -> None:
    plain = _load(tmp_path, _changed("seed", 0))
    spelled = {colour: _load(tmp_path, _changed("background", colour)) for colour in ("white", "#FFF")}
    assert {study.background for study in spelled.values()} == {"#ffffff"}
    assert len({study.digest() for study in spelled.values()}) == 1
    assert plain.digest() not in {study.digest() for study in spelled.values()}
    again = _load(tmp_path, spelled["white"].to_yaml())
    assert again.background == "#ffffff" and again.digest() == spelled["white"].digest()


@pytest.mark.parametrize(
    "variants",
    [
        {
            "a": {
                "method": "wst",
                "space": {
                    "r": {"type": "int", "low": 1, "high": 4},
                    "lr": {**LR, "when": {"r": [1]}},
                },
            }
        },
        {
            "b": {
                "method": "wst",
                "fixed": {"lr": 0.1},
                "space": {"r": {"type": "int", "low": 1, "high": 4}},
            },
            "a": {"method": "wst", "settings_from": "b"},
        },
    ],
)
def test_every_trial_has_a_learning_rate(variants: dict[str, Any]) -> None:
    with pytest.raises(
        ValidationError, match=r"variants.a: expected a learning rate .* that every trial has"
    ):
        small_study(variants=variants)
    variants["a"].setdefault("fixed", {})["lr"] = 0.1
    variants["a"].get("space", {}).pop("lr", None)
    assert small_study(variants=variants).set_in_every_trial("a", "digits") == {"lr", "r"}


@pytest.mark.parametrize(
    ("search", "warm_start", "words"),
    [
        ({"sampler": {"type": "gp"}}, None, "expected sampler random or grid and pruner none .* sampler gp"),
        ({"pruner": {"type": "median"}}, None, "pruner none .* found sampler random and pruner median"),
        ({}, {"digits": [{"lr": 0.01}]}, "expected one list for all tasks, .* found settings by task"),
        ({}, {"ledger": "runs/other"}, "expected one list for all tasks, .* found another study's ledger"),
    ],
)
def test_what_differs_between_tasks_goes_with_no_shared_settings(
    search: dict[str, Any], warm_start: Any, words: str
) -> None:
    def study(settings: str) -> Study:
        variant = {"method": "linear", "space": {"lr": LR}, "warm_start": warm_start, "settings": settings}
        asked = {"trials": 2, "sampler": {"type": "random"}, **search}
        return small_study(variants={"v": variant}, search=asked)

    assert study("own").variants["v"].settings == "own"
    with pytest.raises(ValidationError, match=words):
        study("shared")


def test_shared_settings_take_one_list_to_start_from() -> None:
    variant = {"method": "linear", "space": {"lr": LR}, "settings": "shared", "warm_start": [{"lr": 0.01}]}
    for sampler in ({"type": "random"}, {"type": "grid", "points": 2}):
        study = small_study(variants={"v": variant}, search={"trials": 2, "sampler": sampler})
        assert study.variants["v"].first_points("digits") == [{"lr": 0.01}]
        assert Study.model_validate(yaml.safe_load(study.to_yaml())) == study


def test_a_study_is_built_from_keywords_a_mapping_or_a_file(tmp_path: Path) -> None:
    """Names of spaces and recipes are looked up as in a file, and nothing that was given is changed."""
    variants = {"lora": {"method": "lora", "space": "lora"}}
    keys: dict[str, Any] = {
        "suite": "mini",
        "tasks": ("digits",),
        "backbone": "micro",
        "search": {"trials": 2},
    }
    study = Study(name="mine", variants=variants, recipe="released", **keys)
    assert variants == {"lora": {"method": "lora", "space": "lora"}}
    assert study.recipe.epochs == 110 and "scale" in (study.variants["lora"].space or {})
    assert Study({"name": "mine", "variants": variants, "recipe": "released"}, **keys) == study
    path = tmp_path / "s.yaml"
    path.write_text(study.to_yaml())
    assert Study(path) == Study(str(path)) == load_study(str(path)) == study
    assert Study(path, seed=3).seed == 3 and pickle.loads(pickle.dumps(study)) == study
    assert Study("demo", tasks=["digits"]).tasks == ("digits",)


def test_a_study_sees_a_method_and_a_suite_by_their_paths(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / "pets" / name / f"{index}.png")
    method = tmp_path / "mine.py"
    method.write_text("def mine(model):\n    return model\n")
    study = Study(
        name="own",
        suite=tmp_path / "pets",
        backbone="micro",
        variants={"mine": {"method": method, "fixed": {"lr": 0.1}}},
        final={},
    )
    assert study.suite == str((tmp_path / "pets").resolve()) and study.tasks == ("pets",)
    assert study.variants["mine"].method == str(method) and study.variants["mine"].method_hash


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({}, "study: suite: expected a value; found none"),
        ({"sede": 1}, "study: expected only the keys .*found 'sede' .did you mean 'seed'"),
        ({"variants": {"a": {"method": "lroa"}}}, "study: variants.a: method: .*did you mean 'lora'"),
        ({"variants": {"a": {"method": "lora", "space": "lroa"}}}, "lroa: expected .*did you mean 'lora'"),
        ({"recipe": "defualt"}, "defualt: expected .*did you mean 'default'"),
    ],
)
def test_a_wrong_keyword_gets_one_line(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as error:
        Study(name="a", **keys)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="study: expected a path, a name or a mapping; found 3"):
        Study(3)  # type: ignore[arg-type]
