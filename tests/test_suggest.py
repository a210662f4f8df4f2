"""The name that a user may have meant."""

from __future__ import annotations

import pytest

from wst.suggest import hint, one_of

KNOWN = ["linear", "lora", "vpt_deep", "wst"]


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        ("lroa", "lora"),
        ("LoRA", "lora"),
        ("vpt-deep", "vpt_deep"),
        ("lineer", "linear"),
        ("wts", "wst"),
        ("bert", ""),
        ("", ""),
        ("lora", ""),
        ("lora" * 100, ""),
    ],
)
def test_the_closest_name_is_offered_and_only_if_it_is_close(found: str, meant: str) -> None:
    assert hint(found, KNOWN) == (f" (did you mean {meant!r}?)" if meant else "")


def test_nothing_is_close_to_nothing() -> None:
    assert hint("a", []) == ""
    assert one_of("a", []) == "expected one of none; found 'a'"


def test_what_was_expected_stands_beside_what_was_found() -> None:
    assert one_of("lroa", iter(["linear", "lora"])) == (
        "expected one of linear, lora; found 'lroa' (did you mean 'lora'?)"
    )
