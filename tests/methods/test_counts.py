"""Trainable parameters by formula and by model, on ViT-B/16 and Swin-B."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tools.methods_page import COUNTED, SWIN, VIT, counted

D, BLOCKS = 768, 12
WIDTHS = [128] * 2 + [256] * 2 + [512] * 18 + [1024] * 2
"""Of Swin-B's blocks."""
MERGED = [128, 256, 512]
"""Widths of the stages whose tokens Swin-B merges."""

Formula = Callable[..., int]


def _bottleneck(d: int, r: int) -> int:
    return 2 * d * r + r + d


def _convpass(d: int, r: int) -> int:
    return (2 * r + 1) * d + 9 * r**2 + 2 * r


def _repadapter(d: int, r: int) -> int:
    return d * r + r + d * r // 2 + d


def _wst(d: int, r: int) -> int:
    return 2 * d * r + r + d


PER_BLOCK: dict[str, Formula] = {
    "adapter": lambda d, r, position="pfeiffer": _bottleneck(d, r) * (1 + (position == "houlsby")),
    "adaptformer": _bottleneck,
    "adapter_plus": lambda d, r: _bottleneck(d, r) + d,
    "lora": lambda d, r, targets="qv": 4 * d * r,
    "convpass": lambda d, r, position="both": _convpass(d, r) * (1 + (position == "both")),
    "repadapter": lambda d, r, position="both": _repadapter(d, r) * (1 + (position == "both")),
    "vpt_deep": lambda d, prompts: d * prompts,
}
"""Those that have the same in every block, on a ViT and a Swin."""
ON_VIT: dict[str, Formula] = {
    "linear": lambda: 0,
    "full": lambda: 85_798_656,
    "bitfit": lambda: D * (11 * BLOCKS + 2),
    "layernorm": lambda: 2 * D * (2 * BLOCKS + 1),
    "vpt_shallow": lambda prompts: D * prompts,
    "ssf": lambda: 2 * D + BLOCKS * 2 * 11 * D + 2 * D,
    "fact_tt": lambda r: 2 * D * r + 12 * BLOCKS * r**2,
    "fact_tk": lambda r: 2 * D * r + 12 * BLOCKS * r + r**3,
    "dtl": lambda r, kernel=0: BLOCKS * 2 * D * r + D * kernel**2,
    # down to D / r: BLOCKS + 1 maps, the gates, blocks of 12 w^2 + 13 w, the norm, and up again
    "lst": lambda r: (
        (BLOCKS + 1) * (D + 1) * (D // r)
        + BLOCKS * (1 + 12 * (D // r) ** 2 + 13 * (D // r))
        + 2 * (D // r)
        + (D // r + 1) * D
    ),
    "noah": lambda prompt_sizes, lora_sizes, adapter_sizes: sum(
        D * p + 4 * D * r + (2 * D + 1) * h + D * (h > 0)
        for p, r, h in zip(prompt_sizes, lora_sizes, adapter_sizes, strict=True)
    ),
    "wst": lambda r: BLOCKS * _wst(D, r) + (3 * 8**2 + 1) * D // 4,
}
ON_SWIN: dict[str, Formula] = {
    "linear": lambda: 0,
    "full": lambda: 86_743_224,
    # 11 d a block; patch embedding and its norm; merging norms of four times the width; the final norm
    "bitfit": lambda: 11 * sum(WIDTHS) + 2 * 128 + 4 * sum(MERGED) + 1024,
    "layernorm": lambda: 4 * sum(WIDTHS) + 2 * 128 + 8 * sum(MERGED) + 2 * 1024,
    "ssf": lambda: 22 * sum(WIDTHS) + 8 * sum(MERGED) + 4 * 128 + 2 * 1024,
    "dtl": lambda r, kernel=0: 2 * r * (18 * 512 + 2 * 1024) + kernel**2 * (512 + 1024),
    "wst": lambda r: sum(_wst(d, r) for d in WIDTHS) + (3 * 2**2 + 1) * 32 + 2 * 32,
}


def _by_formula(method: str, settings: dict[str, Any], backbone: str) -> int | None:
    if method in PER_BLOCK:
        widths = [D] * BLOCKS if backbone == VIT else WIDTHS
        return sum(PER_BLOCK[method](d, **settings) for d in widths)
    formula = (ON_VIT if backbone == VIT else ON_SWIN).get(method)
    return formula(**settings) if formula else None


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [VIT, SWIN])
def test_the_model_has_what_the_formula_says(backbone: str) -> None:
    for method, settings, _, _ in COUNTED:
        found, expected = counted(backbone, method, settings), _by_formula(method, settings, backbone)
        if expected is None:
            assert not isinstance(found, str), method
        else:
            assert found == f"{expected:,}", (method, settings)


def test_the_formulas_give_the_published_counts() -> None:
    published = {
        "linear": 0,
        "full": 85_798_656,
        "bitfit": 102_912,
        "layernorm": 38_400,
        "vpt_shallow": 7_680,
        "vpt_deep": 92_160,
        "adaptformer": 156_768,
        "adapter_plus": 165_984,
        "adapter": 156_768,
        "lora": 294_912,
        "ssf": 205_824,
        "convpass": 327_552,
        "fact_tt": 61_440,
        "fact_tk": 86_528,
        "repadapter": 239_808,
        "dtl": 36_864,
        "wst": 83_160,
    }
    first: dict[str, int | None] = {}
    for method, settings, _, _ in COUNTED:
        first.setdefault(method, _by_formula(method, settings, VIT))
    assert {method: first[method] for method in published} == published
    assert _by_formula("adapter", {"r": 8, "position": "houlsby"}, VIT) == 313_536
    assert _by_formula("dtl", {"r": 4}, SWIN) == 90_112
    assert _by_formula("dtl", {"r": 4, "kernel": 5}, SWIN) == 128_512
    assert _by_formula("wst", {"r": 4}, SWIN) == 108_864
