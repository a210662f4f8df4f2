"""The shipped ablation studies load, and ask for hyperparameters that their methods take."""

from __future__ import annotations

import pytest

from wst.methods.registry import check_hyperparameters
from wst.shipped import shipped_names
from wst.study import load_study

NAMES = [name for name in shipped_names("studies") if name.startswith("ablations/")]


def test_every_ablation_is_shipped() -> None:
    wanted = {"rank", "downsampling", "small-patch", "blocks", "parts", "sensitivity"}
    assert {name.removeprefix("ablations/") for name in NAMES} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_study_can_run_and_be_compared(name: str) -> None:
    study = load_study(name)
    assert study.final is not None and study.final.seeds >= 3  # the noise over seeds has to be known
    assert len(study.variants) >= 2
    for variant in study.variants.values():
        check_hyperparameters(variant.method, {*variant.fixed, *(variant.space or {})})


@pytest.mark.parametrize("name", NAMES)
def test_the_variants_of_an_ablation_build_a_model(name: str) -> None:
    """Every value of the option under study is one that the method accepts."""
    import wst

    for variant in load_study(name).variants.values():
        own = {k: v for k, v in variant.fixed.items() if k not in ("lr", "drop_path")}
        model = wst.create_model("micro", method=variant.method, num_classes=3, **own)
        assert wst.parameter_counts(model)["head"] > 0
