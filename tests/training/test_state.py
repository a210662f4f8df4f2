from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wst.training import state


def test_state_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.pt"
    assert state.load(path) is None
    for number in (1, 2):
        state.save(path, {"tensors": {"a": torch.arange(3) * number}, "curve": [{"epoch": number}]})
    found = state.load(path)
    assert found is not None and found["curve"] == [{"epoch": 2}]
    assert torch.equal(found["tensors"]["a"], torch.tensor([0, 2, 4]))
    assert [file.name for file in path.parent.iterdir()] == ["t.pt"]


def test_a_write_that_fails_leaves_the_older_state(tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    state.save(path, {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        state.save(path, {"epoch": 2, "unsaveable": lambda: None})
    assert state.load(path) == {"epoch": 1}
