"""The names of the package itself: what completion lists, what importing it loads."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import wst
from wst.errors import InputError


def test_completion_lists_what_is_public_and_nothing_else() -> None:
    assert dir(wst) == sorted([*wst.__all__, "__version__"])
    for name in wst.__all__:
        found = getattr(wst, name)
        assert found.__doc__ and (inspect.ismodule(found) or found.__name__ == name)
    assert wst.errors.InputError is InputError


@pytest.mark.parametrize("name", ["create_model", "load_adapter", "open", "train", "tune"])
def test_keywords_have_types_and_errors_are_told(name: str) -> None:
    function = getattr(wst, name)
    assert all(p.annotation is not p.empty for p in inspect.signature(function).parameters.values())
    assert "Raises:" in function.__doc__


def test_a_study_shows_its_keys_with_plain_types() -> None:
    keys = inspect.signature(wst.Study).parameters
    assert list(keys)[:3] == ["source", "name", "suite"] and keys["tasks"].annotation == tuple[str, ...]
    assert set(keys) - {"source"} == set(wst.Study.model_fields)


def test_a_misspelt_name_is_an_attribute_error_with_a_hint() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'tnue' \(did you mean 'tune'\?\)"):
        _ = wst.tnue


@pytest.mark.slow
def test_importing_it_loads_next_to_nothing() -> None:
    code = (
        "import sys, wst; heavy = {'torch', 'timm', 'ray', 'pandas', 'numpy', 'pydantic', 'optuna'};"
        "print(sorted(heavy & set(sys.modules))); dir(wst); wst.errors; wst.open;"
        "print(sorted({'torch', 'timm', 'ray'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout.splitlines() == ["[]", "[]"]
