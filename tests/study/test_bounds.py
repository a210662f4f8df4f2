"""Whatever no program, table or file name can hold is refused when the study is read; and what is accepted is
the same study when it is written and read again."""

from __future__ import annotations

import math
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.conftest import LR, small_study
from wst.errors import InputError
from wst.study import Study, load_study
from wst.study.durations import parse_duration
from wst.yaml_files import first_error, read_yaml, write_yaml

LINEAR = {"method": "linear"}


def _refusal(changes: dict[str, Any]) -> str:
    data = small_study().model_dump(mode="json") | changes
    with pytest.raises(ValidationError) as error:
        Study.model_validate(data)
    line = str(first_error(error.value, "f", data))
    assert "\n" not in line and len(line) < 300 and "Value error" not in line, line
    assert "expected" in line and "found" in line, line
    return line


def _space(entry: object, **more: object) -> dict[str, Any]:
    return {"variants": {"v": {**LINEAR, "fixed": {"lr": 0.1}, "space": {"scale": entry}, **more}}}


def _fixed(**settings: object) -> dict[str, Any]:
    return {"variants": {"v": {**LINEAR, "fixed": {"lr": 0.1, **settings}}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 2**32}, "seed: expected a number less than 4,294,967,296"),
        ({"seed": 10**400}, "seed: expected a "),
        ({"seed": -1}, "seed: expected a number of at least 0; found -1"),
        ({"seed": True}, "seed: expected a number; found true"),
        ({"seed": "1"}, "seed: expected a number; found '1'"),
        ({"seed": 1.5}, "seed: expected a whole number; found 1.5"),
        ({"seed": None}, "seed: expected a whole number; found null"),
        ({"pretrained": "yes"}, "pretrained: expected true or false; found 'yes'"),
        ({"recipe": {"epochs": 10**9}}, "recipe.epochs: expected a number of at most 100,000"),
        ({"recipe": {"batch_size": 10**12}}, "recipe.batch_size: expected a number of at most 100,000"),
        (
            {"recipe": {"warmup_epochs": math.inf}},
            "recipe.warmup_epochs: expected a finite number; found inf",
        ),
        ({"recipe": {"min_lr": math.nan}}, "recipe.min_lr: expected a finite number; found nan"),
        ({"recipe": {"weight_decay": -1}}, "recipe.weight_decay: expected a number of at least 0"),
        ({"recipe": {"label_smoothing": 1}}, "recipe.label_smoothing: expected a number less than 1"),
        ({"recipe": "fast"}, "recipe: expected a mapping; found 'fast'"),
        ({"recipe": {"precision": "fp8"}}, "recipe.precision: expected one of fp32, bf16, fp16"),
        ({"image_size": 10**9}, "image_size: expected a number of at most 8,192"),
        ({"report_every": 0}, "report_every: expected a number of at least 1"),
        (
            {"validate_at": "reports", "search": {"trials": 1, "pruner": {"type": "median"}}},
            "validate_at: expected epochs, with the median pruner; found reports",
        ),
        ({"resources": {"trials_per_pass": 0}}, "resources.trials_per_pass: expected a number of at least 1"),
        ({"checkpoint_every": 10**12}, "checkpoint_every: expected a number of at most 100,000"),
        ({"search": {"trials": 10**9}}, "search.trials: expected a number of at most 100,000"),
        ({"search": {"trials": 1, "max_trainable_parameters": 2**63}}, "max_trainable_parameters: expected"),
        (
            {"search": {"trials": 1, "pruner": {"type": "successive_halving", "min_resource": 0}}},
            "search.pruner.min_resource: expected a number of at least 1",
        ),
        (
            {
                "search": {
                    "trials": 1,
                    "pruner": {
                        "type": "successive_halving",
                        "min_resource": 1,
                        "min_early_stopping_rate": 10**6,
                    },
                }
            },
            "search.pruner.min_early_stopping_rate: expected a number of at most 16",
        ),
        (
            {"search": {"trials": 1, "sampler": {"type": "nsga2", "mutation_prob": 2}}},
            "search.sampler.mutation_prob: expected a number of at most 1",
        ),
        ({"search": {"trials": 1, "sampler": {}}}, "search.sampler: expected a key 'type'; found none"),
        ({"search": {"trials": 1, "sampler": "tpe"}}, "search.sampler: expected a mapping; found 'tpe'"),
        ({"confirm": {"seeds": 10**6}}, "confirm.seeds: expected a number of at most 1,000"),
        ({"confirm": {"top": 10**9}}, "confirm.top: expected a number of at most 100,000"),
        ({"faults": {"time_limit": math.inf}}, "faults.time_limit: expected a finite number"),
        ({"faults": {"time_limit": -5}}, "faults.time_limit: expected a number greater than 0"),
        ({"faults": {"time_limit": "5000 d"}}, "faults.time_limit: expected a duration of at most 3650 d"),
        ({"faults": {"time_limit": 1e300}}, "faults.time_limit: expected a number of at most"),
        ({"resources": {"slots": 10**9}}, "resources.slots: expected a number of at most 10,000"),
        ({"resources": {"cpus_per_trial": 0}}, "resources.cpus_per_trial: expected a number of at least 1"),
        (
            {"resources": {"gpus_per_trial": math.inf}},
            "resources.gpus_per_trial: expected a number of at most 10000",
        ),
        ({"name": "x" * 101}, "name: expected at most 100 signs"),
        ({"name": "x\n"}, "name: expected a name of letters, digits, _ and -"),
        ({"name": 7}, "name: expected a text; found 7"),
        ({"checkpoint": "a\0b"}, "checkpoint: expected at most 4,096 signs, none of them NUL"),
        ({"checkpoint": "caf\udce9"}, "checkpoint: expected a text that UTF-8 can hold"),
        ({"backbone": "x" * 5000}, "backbone: expected at most 4,096 signs"),
        ({"variants": {7: LINEAR}}, "variants.7: expected a text; found 7 (a key in quotes is a text)"),
        ({"variants": {"a/b": LINEAR}}, "variants.a/b: expected a name of letters"),
        ({"variants": {"x" * 101: LINEAR}}, "expected at most 100 signs"),
        ({"variants": [1]}, "variants: expected a mapping; found [1]"),
        (
            {"variants": {n: {**LINEAR, "fixed": {"lr": 0.1}} for n in ("a", "A")}},
            "variants: expected names that differ in more than case; found 'a' and 'A'",
        ),
        (_fixed(lr="fast"), "variants.v: fixed: lr: expected a number of at least 0; found 'fast'"),
        (_fixed(lr=0), "variants.v: fixed: lr: expected a number above 0; found 0"),
        (_fixed(lr=-1e-3), "variants.v: fixed: lr: expected a number of at least 0"),
        (_fixed(lr=math.inf), "variants.v.fixed.lr: expected a finite number; found inf"),
        (_fixed(lr=True), "variants.v: fixed: lr: expected a number of at least 0; found true"),
        (
            _fixed(drop_path=2),
            "variants.v: fixed: drop_path: expected a number of at least 0 below 1; found 2",
        ),
        (_fixed(drop_path=1.0), "drop_path: expected a number of at least 0 below 1; found 1.0"),
        (_fixed(drop_path=-1), "drop_path: expected a number of at least 0 below 1; found -1"),
        (_fixed(weight_decay=-1), "variants.v: fixed: weight_decay: expected a number of at least 0"),
        (_fixed(r=2**63), "variants.v.fixed.r: expected a whole number of at most 64 bits"),
        (
            _fixed(r={"a": 1}),
            "variants.v.fixed.r: expected a number, a text, true or false, or a list of these",
        ),
        (_fixed(r=None), "variants.v.fixed.r: expected a number, a text, true or false, or a list of these"),
        (_fixed(r=[[1]]), "variants.v.fixed.r: expected a number, a text, true or false, or a list of these"),
        (_fixed(r=[0] * 1001), "variants.v.fixed.r: expected at most 1,000 values; found 1,001"),
        (
            _space({"type": "int", "low": 1, "high": 10**9}),
            "space.scale: expected a range of at most 100,000 steps, or log: true; found 999,999,999",
        ),
        (_space({"type": "float", "low": 0, "high": 1, "step": 1e-9}), "at most 100,000 steps"),
        (_space({"type": "float", "low": 0, "high": 1, "step": 5e-324}), "at most 100,000 steps"),
        (_space({"type": "float", "low": -math.inf, "high": 1}), "space.scale.low: expected a finite number"),
        (_space({"type": "float", "low": -1e308, "high": 1e308}), "space.scale.low: expected a number of at"),
        (_space({"type": "int", "low": 0, "high": 2**63}), "space.scale.high: expected a number of at most"),
        (_space({"type": "int", "low": "a", "high": 2}), "space.scale.low: expected a number; found 'a'"),
        (_space({"type": "categorical", "choices": []}), "space.scale.choices: expected at least 1 entries"),
        (_space({"type": "categorical", "choices": [math.nan]}), "space.scale.choices.0: expected a finite"),
        (
            _space({"type": "normal"}),
            "space.scale: expected type float, int, categorical; found 'normal'",
        ),
        (_space("wide"), "variants.v.space.scale: expected a mapping; found 'wide'"),
        (
            {"variants": {"v": {**LINEAR, "space": {"lr": {**LR, "low": 0.0, "log": False}}}}},
            "variants.v: space: lr: expected a number above 0; found 0.0",
        ),
        (
            {"variants": {"v": {**LINEAR, "space": {"p[0..999999]": LR, "lr": LR}}}},
            "expected places from 0 upwards, such as [0..11], and at most 1,000",
        ),
        (
            _space({"type": "float", "low": 0, "high": 1}, warm_start=[{"scale": {"a": 1}}]),
            "variants.v.warm_start.0.scale: expected a number, a text",
        ),
        (
            _space({"type": "float", "low": 0, "high": 1}, warm_start={"digits": [3]}),
            "variants.v.warm_start.digits.0: expected a mapping; found 3",
        ),
        (
            _space({"type": "float", "low": 0, "high": 1}, warm_start={"ledger": "x", "topp": 3}),
            "warm_start: expected only the keys ledger, top, variant; found 'topp' (did you mean 'top'?)",
        ),
        (
            _space({"type": "float", "low": 0, "high": 1}, warm_start=3),
            "variants.v.warm_start: expected a list of settings, settings by task, or another study's ledger",
        ),
    ],
)
def test_beyond_the_bounds_is_refused_in_one_line(changes: dict[str, Any], words: str) -> None:
    assert words in _refusal(changes)


def test_as_many_cells_as_a_machine_can_plan() -> None:
    variants = {f"v{i}": {**LINEAR, "fixed": {"lr": 0.1}} for i in range(10_001)}
    assert "expected at most 10,000 cells" in _refusal({"variants": variants, "search": None})


def test_a_grid_is_counted_before_it_is_listed() -> None:
    space = {f"h{i}": {"type": "int", "low": 1, "high": 100_000} for i in range(20)} | {"lr": LR}
    line = _refusal({"variants": {"v": {**LINEAR, "space": space}}, "search": {"sampler": {"type": "grid"}}})
    assert "expected a grid of at most 100,000 points" in line


@pytest.mark.parametrize("text", ["1e300", "inf", "nan", "-1h", "9" * 400, "9" * 400 + "d", "4000 d", "1h\0"])
def test_a_duration_that_no_clock_counts(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration") as error:
        parse_duration(text)
    assert len(str(error.value)) < 200


def test_what_bounds_allow_at_their_ends() -> None:
    recipe = {"epochs": 100_000, "warmup_epochs": 0}
    study = small_study(seed=2**32 - 1, recipe=recipe, report_every=1)
    assert len(study.report_epochs()) == 100_000
    whole = {"type": "int", "low": 1, "high": 10**9, "log": True}
    assert small_study(**_space(whole)).variants["v"].any_settings()["scale"] == 1


@pytest.mark.parametrize("text", ["cp1252", "control", "utf-16"])
def test_a_study_in_another_encoding_gets_one_line(tmp_path: Path, text: str) -> None:
    study = "name: t\n# café\nsuite: mini\nbackbone: micro\n"
    content = {
        "cp1252": study.encode("cp1252"),
        "control": study.replace("suite", "\x08suite").encode(),
        "utf-16": study.encode("utf-16"),
    }[text]
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_study(str(path))
    line = str(error.value)
    assert line.startswith(f"{path}, line ") and "\n" not in line


def test_a_byte_order_mark_is_none_of_the_study(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(small_study().to_yaml(), encoding="utf-8-sig")
    assert load_study(str(tmp_path / "study.yaml")) == small_study()


_NAMES = st.sampled_from(
    ["no", "on", "1e3", "007", "0x1f", "true", "null", "7e2", "2001-01-01", "1_0"]
) | st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
_TEXTS = st.sampled_from(["1e-3", "7e2", "no", "null", "~", "1:30", "010", ".inf", "", " a: b", "é\n\t", "'"])
_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_SCALARS = st.booleans() | _NUMBERS | _TEXTS
_SETTINGS = _SCALARS | st.lists(_SCALARS, min_size=1, max_size=3)
_TABLES = st.dictionaries(_NAMES.map(lambda name: f"h{name}"), _SETTINGS, max_size=3)
_REAL = st.floats(1e-6, 1)


def _equal(value: Any) -> Any:
    """The same for choices that are equal, of which a space takes one: 1 and 1.0 are, 1 and true are not."""
    return tuple(map(_equal, value)) if isinstance(value, list) else (isinstance(value, bool), value)


@st.composite
def _variants(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["fixed", "space", "per_task", "warm list", "warm by task", "warm ledger"]))
    variant: dict[str, Any] = {"method": "linear", "fixed": draw(_TABLES)}
    if kind == "per_task":
        return variant | {"per_task": {"digits": draw(_TABLES) | {"lr": draw(_REAL)}}}
    variant["fixed"]["lr"] = draw(_REAL)
    if kind == "fixed":
        return variant
    choices = draw(st.lists(_SETTINGS, min_size=1, max_size=4, unique_by=_equal))
    low = draw(_REAL)
    variant["space"] = {
        "s1": {"type": "categorical", "choices": choices},
        "s2": {"type": "float", "low": low, "high": draw(st.floats(low, 2)), "log": draw(st.booleans())},
        "s3": {
            "type": "int",
            "low": 1,
            "high": draw(st.integers(1, 99)),
            "when": {"s1": ["no", 1e-3, "1e-3"]},
        },
    }
    starts: dict[str, Any] = {
        "warm list": [{"s2": low}],
        "warm by task": {"digits": [{"s2": low}, {"s1": choices[0]}]},
        "warm ledger": {"ledger": draw(_TEXTS), "top": 2, "variant": draw(st.none() | _NAMES)},
    }
    return variant | ({"warm_start": starts[kind]} if kind in starts else {})


@st.composite
def _studies(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(_NAMES, min_size=1, max_size=3, unique_by=str.casefold))
    return {
        "name": draw(_NAMES),
        "suite": "mini",
        "tasks": ["digits"],
        "backbone": draw(_TEXTS),
        "checkpoint": draw(st.none() | _TEXTS),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "variants": {name: draw(_variants()) for name in names},
        "recipe": {"epochs": 3, "warmup_epochs": draw(st.floats(0, 2)), "weight_decay": draw(_REAL)},
        "search": {"trials": 3, "pruner": {"type": draw(st.sampled_from(["none", "median"]))}},
        "final": draw(st.none() | st.just({"seeds": 2})),
        "faults": {"time_limit": draw(st.none() | st.floats(1, 1e6) | st.just("2h"))},
    }


@given(_studies())
@settings(max_examples=25)
def test_a_study_written_and_read_again_is_the_same(data: dict[str, Any]) -> None:
    study = Study.model_validate(read_yaml(write_yaml(data), "f"))
    again = Study.model_validate(read_yaml(study.to_yaml(), "f"))
    assert again == study and repr(again) == repr(study)  # repr: 1 is no 1.0
    assert again.digest() == study.digest() and again.to_yaml() == study.to_yaml()


@given(st.data())
@settings(max_examples=100)
def test_any_value_at_any_key_is_taken_or_refused_in_one_line(data: st.DataObject) -> None:
    study: Any = small_study(
        confirm={"top": 2}, resources={"slots": 1}, faults={"time_limit": "2h"}
    ).model_dump(mode="json")
    here: Any = study
    while True:
        key = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else list(range(len(here)))))
        if not (isinstance(here[key], dict | list) and here[key] and data.draw(st.booleans())):
            break
        here = here[key]
    odd = [None, True, -1, 0, 1.0, 2**63, 10**400, 1e308, math.inf, math.nan, "", "fast", "x" * 9999, "a\0b"]
    here[key] = data.draw(
        st.sampled_from([*odd, "\udcff", b"x", [], [[]], {}, {"a": {}}, {"type": "tpe"}, {1: 2}])
    )
    try:
        Study.model_validate(study)
    except InputError as error:
        assert "\n" not in str(error)
    except ValidationError as error:
        line = str(first_error(error, "f", study))
        assert "\n" not in line and "Value error" not in line and "expected" in line
