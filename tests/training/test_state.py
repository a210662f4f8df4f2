from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
import torch

from wst.training import state

WHO = {"trial": "digits.wst.search.0000", "recipe": "a"}


def test_state_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.pt"
    assert state.load(path, WHO) is None
    for number in (1, 2):
        state.save(path, WHO, {"tensors": {"a": torch.arange(3) * number}, "curve": [{"epoch": number}]})
    found = state.load(path, WHO)
    assert found is not None and found["curve"] == [{"epoch": 2}]
    assert torch.equal(found["tensors"]["a"], torch.tensor([0, 2, 4]))
    assert [file.name for file in path.parent.iterdir()] == ["t.pt"]


def test_a_write_that_fails_leaves_the_older_state(tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    state.save(path, WHO, {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        state.save(path, WHO, {"epoch": 2, "unsaveable": lambda: None})
    assert state.load(path, WHO) == {"epoch": 1}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"0")


def _plain(path: Path) -> None:
    torch.save({"curve": []}, path)


def _summed(path: Path, body: bytes) -> None:
    """Whatever bytes, with the checksum that they have."""
    path.write_bytes(b"wst trial state 1 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def _no_torch(path: Path) -> None:
    _summed(path, b"what another version wrote")


def _no_identity(path: Path) -> None:
    body = io.BytesIO()
    torch.save({"curve": []}, body)
    _summed(path, body.getvalue())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, "a damaged file"),
        (_empty, "a damaged file"),
        (_flip, "a damaged file"),
        (_longer, "a damaged file"),
        (_plain, "a damaged file, or another one"),
        (_no_torch, "one that cannot be read"),
        (_no_identity, "one that cannot be read (KeyError)"),
    ],
)
def test_a_file_that_does_not_hold_is_said_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object, words: str
) -> None:
    path = tmp_path / "t.pt"
    state.save(path, WHO, {"tensors": torch.arange(100)})
    damage(path)  # type: ignore[operator]
    assert state.load(path, WHO) is None
    (said,) = caplog.messages
    assert str(path) in said and words in said and said.endswith("it begins again") and "\n" not in said


def test_the_state_of_another_trial_is_said_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.pt"
    state.save(path, {**WHO, "seed": "1"}, {"epoch": 1})
    assert state.load(path, {**WHO, "recipe": "b"}) is None
    assert "found that of another trial (recipe, seed)" in caplog.messages[0]


def test_no_code_in_a_file_runs(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> object:
            return (tmp_path / "ran").touch, ()

    body = io.BytesIO()
    torch.save({"identity": WHO, "parts": Evil()}, body)
    _summed(tmp_path / "t.pt", body.getvalue())
    assert state.load(tmp_path / "t.pt", WHO) is None
    assert not (tmp_path / "ran").exists()


def test_what_lies_in_the_place_of_a_state_or_of_its_folder_is_laid_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoints" / "t.pt"
    state.make_way(path)
    assert not list(tmp_path.iterdir()) and not caplog.messages
    path.parent.write_text("a file")
    state.make_way(path)
    path.mkdir(parents=True)
    (path / "kept").write_text("mine")
    state.make_way(path)
    state.save(path, {}, {"a": 1})
    state.make_way(path)
    assert state.load(path, {}) == {"a": 1}
    (file,) = tmp_path.glob("checkpoints.*.aside")
    (folder,) = path.parent.glob("t.pt.*.aside")
    assert file.read_text() == "a file" and (folder / "kept").read_text() == "mine"
    assert caplog.messages == [
        f"wst: {path.parent}: expected a folder; found a file: laid aside as {file.name}",
        f"wst: {path}: expected the state of a trial; found a folder: laid aside as {folder.name}",
    ]
