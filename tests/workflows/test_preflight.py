from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LR, small_study
from wst.errors import InputError
from wst.workflows import preflight
from wst.workflows.preflight import check, parameter_counter


def _choices(*values: Any) -> dict[str, Any]:
    return {"type": "categorical", "choices": list(values)}


@pytest.mark.slow
def test_every_value_is_tried_on_the_backbone_and_free_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[dict[str, object]] = []
    original = preflight.count_without_weights

    def counted(backbone: Any, method: str, hyperparameters: Any) -> dict[str, int]:
        built.append(dict(hyperparameters))
        return original(backbone, method, hyperparameters)

    monkeypatch.setattr(preflight, "count_without_weights", counted)
    space = {"lr": LR, "scale": _choices(0.1, 1.0), "r": {"type": "int", "low": 1, "high": 4}}
    study = small_study(
        variants={"v": {"method": "wst", "space": {**space, "blocks": _choices("all", "last-half")}}}
    )
    check(study, None)
    assert sorted((one["r"], one["blocks"]) for one in built) == [(1, "all"), (1, "last-half"), (4, "all")]
    built.clear()
    count = parameter_counter(study)
    assert count("v", {"lr": 0.1, "scale": 0.1, "r": 2}) == count("v", {"lr": 0.2, "scale": 1.0, "r": 2}) > 0
    assert len(built) == 1


def test_a_value_that_does_not_fit_the_backbone_is_named_with_its_place() -> None:
    """Patches of 14 pixels have halves, and no quarters."""
    space = {"lr": LR, "small_patch": _choices("half", "quarter")}
    study = small_study(
        backbone="vit_small_patch14_dinov2",
        image_size=28,
        variants={"v": {"method": "wst", "space": space}},
    )
    expected = r"variants.v.space: small_patch quarter: backbone of wst: expected a patch size divisible by 4"
    with pytest.raises(InputError, match=expected):
        preflight._check_fits(study, "v")


def test_a_free_hyperparameter_without_a_default_is_given_where_models_are_tried(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "import torch\nfrom wst.methods import method\n\n@method(free=('scale',))\n"
        "def adapt(backbone, *, scale: float, k: int = 1):\n"
        "    backbone.added = torch.nn.Parameter(torch.zeros(k))\n    return backbone\n"
    )
    space = {"lr": LR, "scale": _choices(0.1, 1.0), "k": {"type": "int", "low": 1, "high": 3}}
    study = small_study(
        variants={
            "searched": {"method": str(own), "space": space},
            "rows": {"method": str(own), "per_task": {"digits": {"lr": 0.1, "scale": 1.0}}},
        }
    )
    assert check(study, None).parameters["digits", "rows"]["trainable"] == 1
    assert parameter_counter(study)("searched", {"lr": 0.1, "scale": 0.1, "k": 2}) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"fixed": {"lr": 0.1, "scale": 1.0, "r": 100_000}},
        {"space": {"lr": LR, "scale": _choices(1.0), "r": {"type": "int", "low": 1, "high": 100_000}}},
        {"per_task": {"digits": {"lr": 0.1, "scale": 1.0, "r": 100_000}}},
    ],
)
def test_a_model_many_times_as_large_as_its_backbone_is_refused_before_it_is_built(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setattr(preflight, "adapted", None)
    study = small_study(variants={"v": {"method": "wst", **settings}})
    expected = (
        r"variants\.v\.(fixed|space|per_task\.digits): r 100000: expected at most 4,676,160 trainable "
        r"parameters, 10 times those of the backbone; found 77,201,560$"
    )
    with pytest.raises(InputError, match=expected):
        check(study, None)


def test_a_model_larger_than_its_backbone_is_taken() -> None:
    fixed = {"lr": 0.1, "scale": 1.0, "r": 5_000}
    study = small_study(variants={"v": {"method": "wst", "fixed": fixed}})
    preflight._check_fits(study, "v")
    assert parameter_counter(study)("v", fixed) > 3_000_000
