"""Folding into the backbone's own weights: a plain timm model with the same outputs."""

from __future__ import annotations

import pytest
import torch

from tests.methods.families import FAMILIES, frozen, images
from tests.methods.test_every_method import CASES, PAIRS, attached, moved
from wst.errors import InputError
from wst.methods import registry

MERGING = ("linear", "full", "bitfit", "layernorm", "lora", "ssf", "fact_tt", "fact_tk", "repadapter", "peft")
# The keys of these families have no bias, and what is not the same for all keys changes the attention.
KEYS_WITHOUT_BIAS = {
    (method, family)
    for method in ("ssf", "repadapter")
    for family in FAMILIES
    if "eva" in family or family in ("beit", "beit with a shared bias", "swin v2")
}


def test_what_can_be_folded() -> None:
    assert {name for name in registry.names() if registry.get(name).merge is not None} == set(MERGING)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "family"), [(case, family) for case, family in PAIRS if CASES[case].method in MERGING]
)
@torch.no_grad()
def test_the_merged_model_is_timms_own_with_the_same_outputs(case: str, family: str) -> None:
    model, merge = moved(attached(case, family)).eval().double(), registry.get(CASES[case].method).merge
    x = images().double()
    before = model(x)
    if (CASES[case].method, family) in KEYS_WITHOUT_BIAS:
        with pytest.raises(InputError, match="expected keys without a bias"):
            merge(model)
        return
    merged = merge(model)
    torch.testing.assert_close(merged(x), before, rtol=1e-9, atol=1e-9)
    plain = frozen(family)
    assert type(merged) is type(plain)
    plain.load_state_dict(merged.state_dict())  # strictly: the same names and shapes
    torch.testing.assert_close(plain.eval().double()(x), before, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_an_offset_that_padded_windows_would_not_see_is_refused() -> None:
    from timm.models import SwinTransformer

    torch.manual_seed(0)
    swin = SwinTransformer(img_size=40, embed_dim=16, depths=(2,), num_heads=(2,), window_size=4)
    model = registry.get("repadapter")(swin, r=2)
    with pytest.raises(InputError, match="expected windows that fill the image; found padded ones"):
        registry.get("repadapter").merge(model)
