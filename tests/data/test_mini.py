"""The mini suite's folder, and what stands in its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wst.data import mini
from wst.data.mini import build_mini
from wst.errors import InputError


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """With a suite of one small task."""
    (task,) = (task for task in mini.MINI.tasks if task.name == "sprite_loc")
    monkeypatch.setattr(mini, "MINI", replace(mini.MINI, tasks=(replace(task, train=4, val=2, test=2),)))
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_bytes_again(root):
    first = content(build_mini(root))
    assert len(first) == 4 + 8 and content(build_mini(root)) == first
    assert sorted(path.name for path in root.iterdir()) == ["mini"]


def test_what_is_missing_is_made(root):
    whole = content(build_mini(root))
    (root / "mini/sprite_loc/test.txt").unlink()
    (root / "mini/sprite_loc/images/test/000001.bmp").unlink()
    assert content(build_mini(root)) == whole


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cat/photo.jpg", "mine"),
        ("notes.txt", "mine"),
        ("sprite_loc/images/test/mine.bmp", "mine"),
        ("sprite_loc/images/test/000001.bmp", "another picture"),
        ("sprite_loc/train800.txt", "other labels"),
        ("sprite_loc/.hidden", ""),
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_what_is_not_ours_is_never_replaced(root, name, text, beside):
    if beside:
        build_mini(root)
    path = root / "mini" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    before = content(root)
    shown = "cat" if name.startswith("cat/") else name  # a folder that is not ours, before what is in it
    with pytest.raises(InputError) as error:
        build_mini(root)
    assert str(error.value) == (
        f"{root / 'mini'}: expected nothing but what this command makes; found {shown} (--force replaces it)"
    )
    assert content(root) == before
    build_mini(root, force=True)
    assert len(content(root)) == 4 + 8


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_link_or_a_file_in_its_place_stays(root, kind):
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "photo.jpg").write_text("mine")
    target = root / "mini"
    target.symlink_to(root / "elsewhere") if kind == "link" else target.write_text("mine")
    with pytest.raises(InputError, match=f"mini: expected a folder, or nothing; found a {kind}"):
        build_mini(root, force=True)
    assert content(root / "elsewhere") == {"photo.jpg": b"mine"} and target.exists()
