from __future__ import annotations

from pathlib import Path

import pytest
import timm

from wst.errors import InputError
from wst.models.backbones import check_name
from wst.models.families import FAMILIES, MICRO, check_mentioned
from wst.records import Backbone


def test_every_model_of_timms_is_mentioned() -> None:
    names = [MICRO, *timm.list_models()[::80], *list(timm.models.get_deprecated_models())[::10]]
    for name in [*names, *(example for family in FAMILIES for example in family.examples)]:
        check_mentioned(Backbone(name))


@pytest.mark.parametrize("name", ["vit_base_patch16_244", "vit_base_patch16_244.mae", "no such model"])
def test_a_name_that_stands_nowhere_is_refused_as_timm_would(name: str) -> None:
    with pytest.raises(InputError) as early:
        check_mentioned(Backbone(name))
    with pytest.raises(InputError) as late:
        check_name(name)
    assert str(early.value) == str(late.value)


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checkpoint: expected a file"):
        check_mentioned(Backbone(MICRO, str(tmp_path / "no.pt")))
