"""Every kind of wrong value, in every place of a study where a value can stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from wst.errors import InputError
from wst.shipped import shipped_names
from wst.study import Study, load_study
from wst.workflows.settings import check_settings, typed
from wst.yaml_files import first_error

METHOD = """
from typing import Annotated, Literal
from torch import nn
from wst.methods import AtLeast, method

@method(free=("scale",))
def adapt(
    backbone: nn.Module,
    *,
    r: Annotated[int, AtLeast(1)] = 4,
    scale: float = 1.0,
    kind: Literal["haar", "db2"] = "haar",
    on: bool = True,
    sizes: tuple[int, ...] = (1, 1),
) -> nn.Module:
    return backbone
"""
LR = {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}
WRONG = [
    ("r", 2.5, "a whole number of at least 1"),
    ("r", "abc", "a whole number of at least 1"),
    ("r", True, "a whole number of at least 1"),
    ("r", 0, "a whole number of at least 1"),
    ("scale", "big", "a number"),
    ("scale", False, "a number"),
    ("scale", float("nan"), "a number"),
    ("scale", float("inf"), "a number"),
    ("kind", "typo", "one of haar, db2"),
    ("kind", 3, "one of haar, db2"),
    ("on", 1, "true or false"),
    ("on", "yes", "true or false"),
    ("lr", -1.0, "a number of at least 0"),
    ("drop_path", 1.0, "a number of at least 0 below 1"),
    ("weight_decay", "x", "a number of at least 0"),
]
IN_TABLES = [
    ("r", [1, 2], "a whole number of at least 1"),
    ("sizes", 3, "a list, each a whole number"),
    ("sizes", [3, 0.5], "a list, each a whole number"),
    ("sizes", [], "a list, each a whole number"),
]


@pytest.fixture(scope="module")
def method(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("methods") / "own.py"
    path.write_text(METHOD)
    return str(path)


def _study(variants: dict[str, Any], **changes: Any) -> Study:
    data = {
        "name": "s",
        "suite": "mini",
        "tasks": ["digits"],
        "backbone": "micro",
        "variants": variants,
        "search": {"trials": 2},
        "final": {"seeds": 1},
    }
    try:
        return Study.model_validate({**data, **changes})
    except ValidationError as error:  # what is wrong whatever the method is
        raise first_error(error, "s") from None


def _in_fixed(method: str, name: str, value: object) -> Study:
    return _study({"own": {"method": method, "fixed": {"lr": 0.1, name: value}}})


def _in_per_task(method: str, name: str, value: object) -> Study:
    return _study({"own": {"method": method, "per_task": {"digits": {"lr": 0.1, name: value}}}})


def _in_choices(method: str, name: str, value: object) -> Study:
    space = {"lr": LR, name: {"type": "categorical", "choices": [value]}}
    return _study({"own": {"method": method, "space": space}})


def _in_warm_start(method: str, name: str, value: object) -> Study:
    good = {"lr": LR, name: {"type": "categorical", "choices": [value]}}
    return _study({"own": {"method": method, "space": good, "warm_start": [{name: value}]}})


PLACES = [_in_fixed, _in_per_task, _in_choices, _in_warm_start]
SEARCHED = (_in_choices, _in_warm_start)  # where lr has a range already


@pytest.mark.parametrize(
    ("place", "name", "value", "expected"),
    [(place, *wrong) for place in PLACES for wrong in WRONG if wrong[0] != "lr" or place not in SEARCHED],
)
def test_a_wrong_value_is_one_line_wherever_it_stands(
    method: str, place: Any, name: str, value: object, expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_settings(place(method, name, value))
    line = str(caught.value)
    where = {"_in_choices": "space", "_in_per_task": "per_task.digits"}.get(place.__name__)
    where = where or place.__name__.removeprefix("_in_")
    early = line.startswith("s: variants.own")  # looked at when the file is read
    begin = "s: variants.own" if early else f"variants.own.{where}: {name} of own: expected {expected}"
    # a warm start's value stands among the choices, too, which are looked at first
    assert line.startswith(begin) and name in line and (where in line or "space" in line), line
    assert f"expected {expected}" in line or "expected a finite number" in line, line
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    assert line.endswith(f"; found {shown}") and "\n" not in line


@pytest.mark.parametrize("place", [_in_fixed, _in_per_task])
@pytest.mark.parametrize(("name", "value", "expected"), IN_TABLES)
def test_a_wrong_list_is_one_line_too(
    method: str, place: Any, name: str, value: object, expected: str
) -> None:
    with pytest.raises(InputError, match=f"{name} of own: expected {expected}"):
        check_settings(place(method, name, value))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            {"type": "float", "low": 1, "high": 4},
            "r of own: expected a whole number .*; found a range of type float",
        ),
        ({"type": "int", "low": 0, "high": 4}, "r of own: expected a whole number of at least 1; found 0"),
    ],
)
def test_both_ends_of_a_range_are_looked_at(method: str, entry: dict[str, Any], expected: str) -> None:
    study = _study({"own": {"method": method, "space": {"lr": LR, "r": entry}}})
    with pytest.raises(InputError, match=expected):
        check_settings(study)
    space = {"lr": LR, "drop_path": {"type": "float", "low": 0, "high": 1}}
    with pytest.raises(InputError, match=r"drop_path: expected .* below 1; found 1.0"):
        check_settings(_study({"own": {"method": method, "space": space}}))


def test_settings_taken_over_must_fit_the_method_that_takes_them(method: str) -> None:
    space = {"lr": LR, "r": {"type": "int", "low": 1, "high": 2}}
    variants = {
        "first": {"method": method, "space": space},
        "second": {"method": "linear", "settings_from": "first"},
    }
    with pytest.raises(
        InputError, match=r"variants.second.settings_from \(first\): expected hyperparam.*'r'"
    ):
        check_settings(_study(variants))


def test_unknown_names_and_missing_values_are_said(method: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"variants.own.fixed: expected hyperparameters of own .*found 'x'"):
        check_settings(_in_fixed(method, "x", 1))
    needs = tmp_path / "needs.py"
    needs.write_text("def adapt(backbone, *, width: int):\n    return backbone\n")
    with pytest.raises(
        InputError, match=r"variants.own: width of needs: expected a whole number; found no value"
    ):
        check_settings(_study({"own": {"method": str(needs), "fixed": {"lr": 0.1}}}))
    check_settings(_in_fixed(str(needs), "width", 3))


def test_what_every_trial_needs_stands_under_no_condition(tmp_path: Path) -> None:
    needs = tmp_path / "needs.py"
    needs.write_text(METHOD.replace("r: Annotated[int, AtLeast(1)] = 4", "r: Annotated[int, AtLeast(1)]"))
    entry = {"type": "int", "low": 1, "high": 2, "when": {"on": [True]}}
    space = {"lr": LR, "on": {"type": "categorical", "choices": [True, False]}, "r": entry}
    study = _study({"own": {"method": str(needs), "space": space}})
    with pytest.raises(
        InputError, match=r"variants.own: r of needs: .*; found no value but under a condition"
    ):
        check_settings(study)
    start = [{"lr": 0.01, "r": 2}]  # whose r is not searched
    study = _study({"own": {"method": str(needs), "space": {"lr": LR}, "warm_start": start}})
    with pytest.raises(InputError, match=r"variants.own: r of needs: .*; found no value$"):
        check_settings(study)


def test_right_values_pass_in_every_place(method: str) -> None:
    right = {"r": 2, "scale": 1, "kind": "db2", "on": False, "weight_decay": 0, "drop_path": 0.5}
    for name, value in right.items():
        for place in PLACES:
            check_settings(place(method, name, value))
    check_settings(_in_fixed(method, "sizes", [1, 2, 3]))
    space = {"lr": LR, "sizes[0..2]": {"type": "int", "low": 0, "high": 5}}
    check_settings(_study({"own": {"method": method, "space": space}}))


ABLATIONS = [name for name in shipped_names("studies") if name.startswith("ablations/")]


def test_every_ablation_is_shipped() -> None:
    wanted = {"rank", "downsampling", "small-patch", "blocks", "parts", "sensitivity"}
    assert {name.removeprefix("ablations/") for name in ABLATIONS} == wanted


@pytest.mark.parametrize("name", shipped_names("studies"))
def test_shipped_studies_ask_for_what_their_methods_take(name: str) -> None:
    check_settings(load_study(name))


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_shipped_ablation_can_run_and_be_compared(name: str) -> None:
    study = load_study(name)
    assert study.final is not None and study.final.seeds >= 3  # the noise over seeds has to be known
    assert len(study.variants) >= 2


def test_values_are_of_their_types_wherever_they_stand(method: str) -> None:
    space = {"lr": LR, "scale": {"type": "categorical", "choices": [1, 10.0]}}
    study = typed(
        _study(
            {
                "a": {
                    "method": method,
                    "space": {**space, "sizes[0..1]": {"type": "categorical", "choices": [1.0, 2]}},
                    "fixed": {"r": 2.0, "weight_decay": 0},
                    "warm_start": {"digits": [{"scale": 1, "sizes": [2.0, 1]}]},
                },
                "b": {"method": method, "per_task": {"digits": {"lr": 1, "r": 3.0, "sizes": [1.0, 4]}}},
                "c": {"method": method, "fixed": {"lr": 1, "r": 2.5, "unknown": 1}},
            }
        )
    )
    a, b, c = study.variants.values()
    assert repr(a.fixed) == "{'r': 2, 'weight_decay': 0.0}" and a.space is not None
    assert repr(a.space["scale"].choices) == "(1.0, 10.0)"  # type: ignore[union-attr]
    assert repr(a.space["sizes[1]"].choices) == "(1, 2)"  # type: ignore[union-attr]
    assert repr(a.first_points("digits")) == "[{'scale': 1.0, 'sizes[0]': 2, 'sizes[1]': 1}]"
    assert repr(b.given_settings("digits")) == "{'lr': 1.0, 'r': 3, 'sizes': (1, 4)}"
    assert repr(c.fixed) == "{'lr': 1.0, 'r': 2.5, 'unknown': 1}"  # for the check to say
