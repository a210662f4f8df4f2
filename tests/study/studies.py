"""Every place of a study file, each in a study that is otherwise as it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tests.conftest import LR
from tests.generated import Place, places
from wst.study import Study

_LINEAR = {"method": "linear", "fixed": {"lr": 0.1}}
_KEYS: dict[str, dict[str, Any]] = {
    "variants": {"v": _LINEAR},
    "fixed": {"lr": 0.1, "r": 2},
    "space": {"lr": LR},
    "per_task": {"digits": {"lr": 0.1}},
    "warm_start": {"digits": [{"lr": 0.01}]},
    "digits": {"lr": 0.01},
    "0": {"lr": 0.01},
    "when": {"scale": [1.0]},
}
"""Keys of what holds any, with a value each; by the key under which it stands."""
_LEAST: dict[tuple[str, str], dict[str, Any]] = {
    ("Variant", ""): _LINEAR,
    ("Variant", "space"): {"method": "wst", "fixed": {"scale": 1.0, "r": 2}},
    ("Variant", "per_task"): {"method": "linear"},
    ("Variant", "settings_from"): {"method": "linear"},
    ("Variant", "warm_start"): {"method": "linear", "space": {"lr": LR}},
    ("Recipe", ""): {"epochs": 2, "warmup_epochs": 0.5},
    ("Search", ""): {"trials": 2},
    ("FromLedger", ""): {"ledger": "x"},
    ("SuccessiveHalving", ""): {"type": "successive_halving", "min_resource": 1},
    ("Float", ""): {"type": "float", "low": 0.01, "high": 0.1},
    ("Int", ""): {"type": "int", "low": 1, "high": 2},
    ("Categorical", ""): {"type": "categorical", "choices": [0.01, 0.1]},
}


def study_places(suite: Path) -> list[Place]:
    """All of them, over one task ``digits``."""
    study = {
        "name": "small",
        "suite": str(suite),
        "tasks": ["digits"],
        "backbone": "micro",
        "variants": {"linear": {"method": "linear", "space": {"lr": LR}}},
        "recipe": _LEAST["Recipe", ""],
        "search": _LEAST["Search", ""],
        "final": {"seeds": 1},
    }

    def least(model: type[BaseModel], key: str) -> dict[str, Any]:
        if model is dict:
            return _KEYS[key]
        if model is Study:
            return study
        kind = model.model_fields.get("type")
        usual = {"type": kind.default} if kind is not None else {}
        return _LEAST.get((model.__name__, key), _LEAST.get((model.__name__, ""), usual))

    def whole(place: Place) -> Place:
        """With the variant that others refer to, where variants are written."""

        def around(value: Any) -> Any:
            content = place.around(value)
            if place.keys[:1] == ("variants",) and len(place.keys) > 2 and isinstance(content, dict):
                return {**content, "variants": {**study["variants"], **content["variants"]}}  # type: ignore[dict-item]
            return content

        return Place(place.keys, around, place.near)

    return [whole(place) for place in places(Study, least)]
