"""``wst export peft``: from a training to peft's own loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cli.commands import Wst, caller
from wst.models.adapters import load_adapter
from wst.models.backbones import create
from wst.records import Backbone

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.slow  # trains


@pytest.fixture
def wst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wst:
    return caller(monkeypatch, capsys)


def test_a_trained_adapter_is_pefts(wst: Wst, tmp_path: Path) -> None:
    out, folder = tmp_path / "run", tmp_path / "peft"
    settings = ["kind=dora", "r=2", "target_modules=[qkv, fc2]", "lr=5e-3"]
    options = [word for setting in settings for word in ("--set", setting)]
    train = ["train", "--task", "digits", "--method", "peft", "--epochs", 1, "--final", "--save"]
    done = wst(*train, *options, "--out", out)
    assert done.status == 0, done.err
    (adapter,) = (out / "adapters").glob("*.safetensors")
    done = wst("export", "peft", adapter, folder)
    assert done.status == 0, done.err
    assert done.out.startswith(f"adapter: {folder}\nmicro is no model of timm's")
    theirs = peft.PeftModel.from_pretrained(create(Backbone("micro"), num_classes=10), str(folder)).eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(theirs(images), load_adapter(adapter).model(images))
    again = wst("export", "peft", adapter, folder)
    assert again.status == 2 and "expected a new or empty folder" in again.err
    assert wst("export", "peft", adapter, out / "ledger" / "x").status == 2
