"""Whatever stands in any field of an adapter's card: a predictor or one line, and no code of a stranger's."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.generated import Place, check_line, examples, in_time, names_in, places, values
from wst.errors import InputError
from wst.methods import registry
from wst.models import adapters
from wst.models.adapters import Card, load_adapter, save_adapter
from wst.models.backbones import weights_id
from wst.models.create import create_model
from wst.records import Backbone

_CARD = Card(
    backbone="micro",
    checkpoint_hash=str(weights_id(Backbone("micro"))),
    method="wst",
    hyperparameters={"scale": 1.0, "r": 2},
    suite="mini",
    task="digits",
    classes=3,
    image_size=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    data_hash=None,
    seed=0,
    val_top1=None,
    test_top1=None,
    test_images=None,
    study="s",
    trial_id="t",
)
_GOOD = _CARD.model_dump(mode="json")


def _nested(levels: int, of: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = of(value)
    return value


_DEEP = [_nested(900, lambda v: [v]), _nested(900, lambda v: {"a": v}), _nested(5, lambda v: [v] * 9)]
_NAMES = [
    "timm:x",
    "timm:",
    "resnet18",
    "hf-hub:a/b",
    "local-dir:/",
    "./vit.py",
    "os",
    "antigravity:x",
    "wst.methods.linear",
]


def _least(model: type[BaseModel], key: str) -> dict[str, Any]:
    return {"r": 2, "scale": 1.0} if model is dict else _GOOD


PLACES = places(Card, _least)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of WST on ``micro``, not trained."""
    path = tmp_path_factory.mktemp("adapter") / "a.safetensors"
    save_adapter(create_model("micro", method="wst", num_classes=3, scale=1.0, r=2), _CARD, path)
    return path


def _card(adapter: Path, **changes: Any) -> None:
    adapter.with_suffix(".json").write_text(json.dumps({**_GOOD, **changes}))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=str)
@given(data=st.data())
@examples(6)
def test_it_is_taken_or_refused_in_one_line(adapter: Path, place: Place, data: st.DataObject) -> None:
    value = data.draw(values(place) | st.sampled_from([*_DEEP, *_NAMES]))
    try:
        text = json.dumps(place.around(value))
    except (TypeError, ValueError):  # dates, bytes and sets are none of JSON's
        return
    adapter.with_suffix(".json").write_text(text)
    modules = set(sys.modules)
    try:
        with in_time():
            load_adapter(adapter)
    except InputError as error:
        check_line(error)
    assert not {"antigravity", "this"} & (set(sys.modules) - modules)
    assert names_in(adapter.parent) == {"a.json", "a.safetensors"}


def test_every_field_is_a_place(adapter: Path) -> None:
    assert {p.keys[-1] for p in PLACES if p.keys} >= set(Card.model_fields)
    _card(adapter)
    assert load_adapter(adapter).card.classes == 3


_CODE = """
from pathlib import Path
from torch import nn
Path(__file__).with_name("ran").write_text("")
def adapt(backbone: nn.Module, *, r: int = 1) -> nn.Module:
    return backbone
"""


@pytest.mark.parametrize(
    "asked", ["FILE", "FILE:adapt", "antigravity:fly", "os:system", "nope", "../linear", "", "linear.py"]
)
def test_code_that_a_card_asks_for_is_not_run(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    file = tmp_path / "method.py"
    file.write_text(_CODE)
    asked = asked.replace("FILE", str(file))
    for what in ("get", "source_hash"):
        monkeypatch.setattr(registry, what, lambda *_: pytest.fail("looked at"))
    _card(adapter, method=asked, method_hash="0" * 16)
    with pytest.raises(InputError) as refused:
        load_adapter(adapter)
    check_line(refused.value)
    line = str(refused.value)
    assert "a.json: expected a method of wst's own (adapter, " in line and "method= (--method)" in line
    assert "found the card asking for " in line and not (tmp_path / "ran").exists()


def test_code_that_the_caller_names_is_run_if_it_is_the_same(tmp_path: Path) -> None:
    file, path = tmp_path / "method.py", tmp_path / "a.safetensors"
    file.write_text(_CODE)
    changes = {
        "method": "/nowhere/method.py",
        "method_hash": registry.source_hash(str(file)),
        "hyperparameters": {},
    }
    model = create_model("micro", method=str(file), num_classes=3)
    save_adapter(model, _CARD.model_copy(update=changes), path)
    predictor = load_adapter(path, method=str(file))
    assert predictor(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    file.write_text(_CODE + "# changed\n")
    with pytest.raises(InputError, match="expected the file with hash"):
        load_adapter(path, method=str(file))


def _header(length: int, content: bytes = b"") -> bytes:
    return length.to_bytes(8, "little") + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        _header(2**63),
        _header(100_000_001),
        _header(2, b"[]"),
        _header(99_999_999, b"{}"),
        _header(20_000, b"[" * 20_000),
        _header(70, b'{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}'),
        _header(71, b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}, "\\ud800":{}}\0\0\0\0'),
    ],
)
def test_headers_that_lie_are_one_line(adapter: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps(_GOOD))
    with in_time(), pytest.raises(InputError) as refused:
        load_adapter(path)
    check_line(refused.value)


def test_tensors_that_are_larger_than_the_model_are_not_read(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.truncate(2**40)
    path.with_suffix(".json").write_text(json.dumps(_GOOD))
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read"))
    with pytest.raises(InputError, match="expected this adapter's tensors; found 1,099,511,627,776 bytes"):
        load_adapter(path)
    assert adapters._LARGEST_HEADER < 2**30


@pytest.mark.parametrize("name", ["/", "..", "FIFO", "/dev/zero", "x" * 300, "a\0b"])
def test_a_path_that_is_no_adapter_is_one_line(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "FIFO")
    with in_time(), pytest.raises(InputError) as refused:
        load_adapter(tmp_path / name)
    check_line(refused.value)
