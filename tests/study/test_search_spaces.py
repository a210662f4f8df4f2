"""The shipped search spaces: one for every method, with values that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wst.methods import registry
from wst.shipped import shipped_names
from wst.study.load import load_study
from wst.workflows.settings import check_settings


def test_every_method_has_one() -> None:
    assert set(shipped_names("search_spaces")) == set(registry.names())


@pytest.mark.parametrize("name", registry.names())
def test_its_values_are_those_that_the_method_takes(name: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    variants = {"v": {"method": name, "space": name}}
    study = {"name": "s", "suite": "mini", "backbone": "micro", "variants": variants}
    study |= {
        "search": {"trials": 2, "sampler": {"type": "random"}},
        "recipe": {"epochs": 1, "warmup_epochs": 0},
    }
    file.write_text(yaml.safe_dump(study))
    loaded = load_study(str(file))
    check_settings(loaded)
    assert "lr" in loaded.variants["v"].space
