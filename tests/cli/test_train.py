"""``wst train`` on pictures of one's own, and ``wst predict`` on whatever people have."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from wst.cli import app as cli
from wst.data.decode import Preprocessing, Reading
from wst.ledger import read_table

pytestmark = pytest.mark.slow  # trains

Call = Callable[..., tuple[int, str, str]]
COLOURS = {"cat": (220, 60, 40), "dog": (40, 90, 220)}


def picture(name: str, seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    pixels = np.array(COLOURS[name], float) + generator.normal(0, 25, (30, 40, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def run(*words: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["wst", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return int(stop.value.code or 0)


@pytest.fixture
def wst(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*words: object) -> tuple[int, str, str]:
        status = run(*words)
        return status, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 pictures, in many formats, with what has no place among them."""
    folder = tmp_path_factory.mktemp("own") / "pets"
    for number, name in enumerate(COLOURS):
        (folder / name).mkdir(parents=True)
        for index in range(20):
            image = picture(name, 1000 * number + index)
            form, ending = ("PNG", "png")
            if name == "dog" and index < 10:
                modern = index % 2 and features.check("avif")
                form, ending = ("AVIF", "avif") if modern else ("JPEG", "jfif")
            image.save(folder / name / f"{index:03d}.{ending}", format=form)
    (folder / "cat" / ".ipynb_checkpoints").mkdir()
    picture("dog", 7).save(folder / "cat" / ".ipynb_checkpoints" / "000-checkpoint.png")
    (folder / "cat" / "._000.png").write_bytes(b"Mac OS X        ")
    return folder


@pytest.fixture(scope="module")
def adapter(pets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    words = ["train", "--suite", pets, "--task", "pets", "--method", "linear", "--set", "lr=1e-2"]
    assert run(*words, "--epochs", 3, "--final", "--save", "--background", "white", "--out", out) == 0
    (found,) = (out / "adapters").glob("*.safetensors")
    return found


def test_names_of_classes_are_printed(wst: Call, adapter: Path, pets: Path) -> None:
    status, out, err = wst("predict", adapter, pets / "cat", pets / "dog", "--top", 1)
    lines = [line.removeprefix(f"{pets}/") for line in out.splitlines()]
    assert (status, err, len(lines)) == (0, "", 40)
    assert lines[0].startswith("cat/000.png: cat (") and not any("checkpoint" in line for line in lines)
    right = sum(line.split("/")[0] == line.split(": ")[1].split(" ")[0] for line in lines)
    assert right > 36 and {line.split(":")[0][-4:] for line in lines} >= {".png", "jfif"}


def test_json_has_numbers_and_names(wst: Call, adapter: Path, pets: Path) -> None:
    status, out, _ = wst("predict", adapter, pets / "cat" / "000.png", "--json")
    (row,) = json.loads(out)
    assert status == 0 and row["names"] == [("cat", "dog")[number] for number in row["classes"]]
    assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-3)


def test_the_card_says_how_the_pictures_were_read(adapter: Path) -> None:
    card = json.loads(adapter.with_suffix(".json").read_text())
    assert card["class_names"] == ["cat", "dog"]
    assert (card["upright"], card["background"]) == (True, "#ffffff")
    (words,) = read_table(adapter.parents[1], "trials", ["preprocessing"])["preprocessing"].to_pylist()
    assert words == Preprocessing(32, Reading(upright=True, background="white")).words


def test_numbers_stand_where_no_names_are_known(wst: Call, adapter: Path, pets: Path, tmp_path: Path) -> None:
    copied = tmp_path / "a.safetensors"
    copied.write_bytes(adapter.read_bytes())
    card = json.loads(adapter.with_suffix(".json").read_text())
    copied.with_suffix(".json").write_text(json.dumps({**card, "class_names": []}))
    _, out, _ = wst("predict", copied, pets / "cat" / "000.png", "--top", 1)
    assert out.startswith(f"{pets}/cat/000.png: 0 (")


def test_a_picture_stored_upside_down_is_the_same_picture(wst: Call, adapter: Path, tmp_path: Path) -> None:
    halves = np.full((32, 32, 3), COLOURS["cat"], np.uint8)
    halves[:16] = COLOURS["dog"]
    tags, image = Image.Exif(), Image.fromarray(halves)
    tags[0x0112] = 3
    image.save(tmp_path / "plain.jpg", quality=95)
    image.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "turned.jpg", quality=95, exif=tags)
    image.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "other.jpg", quality=95)
    _, out, _ = wst("predict", adapter, tmp_path, "--json")
    by_name = {Path(row["image"]).stem: row for row in json.loads(out)}
    first = {
        name: dict(zip(row["names"], row["probabilities"], strict=True)) for name, row in by_name.items()
    }
    assert by_name["plain"]["names"] == by_name["turned"]["names"]
    assert first["turned"]["cat"] == pytest.approx(first["plain"]["cat"], abs=0.01)


def test_what_cannot_be_read_is_named_and_the_others_go_on(wst: Call, adapter: Path, tmp_path: Path) -> None:
    good = tmp_path / "a.png"
    picture("cat", 1).save(good)
    broken, deep, gone = tmp_path / "b.png", tmp_path / "c.png", tmp_path / "d.png"
    broken.write_bytes(good.read_bytes()[:60])
    Image.fromarray(np.full((4, 4), 45_000, np.uint16)).save(deep)
    os.mkfifo(tmp_path / "e.png")  # opened, it would never end
    status, out, err = wst("predict", adapter, tmp_path, gone, tmp_path / "e.png")
    assert (status, len(out.splitlines())) == (1, 1) and out.startswith(f"{good}: cat (")
    lines = err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        str(broken),
        str(deep),
        f"{tmp_path}/e.png",
        str(gone),
        f"{tmp_path}/e.png",
    ]
    assert "expected 8 bits a value" in lines[1] and all(line.startswith("wst: ") for line in lines)
    status, out, err = wst("predict", adapter, broken, "--json")
    assert (status, json.loads(out), len(err.splitlines())) == (2, [], 1)


def test_a_folder_without_pictures_is_refused(wst: Call, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    picture("cat", 1).save(tmp_path / ".hidden" / "x.png")
    status, out, err = wst("predict", adapter, tmp_path)
    assert (status, out) == (2, "")
    assert err == f"wst: {tmp_path}: expected a folder with pictures; found none in it\n"


def test_names_of_any_bytes_are_shown_not_sent(wst: Call, adapter: Path, tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", b"a\x1b[2Jb.png"):
        picture("cat", 1).save(tmp_path / "x.png")
        (tmp_path / "x.png").rename(tmp_path / os.fsdecode(name))
    status, out, _ = wst("predict", adapter, tmp_path)
    assert status == 0 and r"caf\xe9.png: cat" in out and r"a\x1b[2Jb.png: cat" in out
    assert len(json.loads(wst("predict", adapter, tmp_path, "--json")[1])) == 2


def test_a_colour_that_is_none_is_one_line(wst: Call, pets: Path) -> None:
    status, _, err = wst(
        "train", "--suite", pets, "--task", "pets", "--set", "lr=1e-2", "--background", "whyte"
    )
    assert (status, err.count("\n")) == (2, 1) and "background: expected a colour" in err
    status, _, err = wst("data", "check", pets, "--background", "#ffffff80")
    assert (status, err.count("\n")) == (2, 1) and "--background: expected a colour that is not transp" in err


def test_a_folder_in_the_adapters_place_is_called_one(wst: Call, adapter: Path, pets: Path) -> None:
    status, out, err = wst("predict", adapter.parent, pets / "cat" / "000.png")
    assert (status, out) == (2, "")
    line = f"wst: adapter: {adapter.parent}: expected a .safetensors file; found a folder"
    assert err == f"{line} (with {adapter.name})\n"


def test_pipes_and_links_to_folders_below_a_folder_are_said(wst: Call, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "cat").mkdir(parents=True)
    picture("cat", 1).save(tmp_path / "in" / "cat" / "a.png")
    (tmp_path / "in" / "cat" / "more").symlink_to(adapter.parent)
    os.mkfifo(tmp_path / "in" / "cat" / "b.png")
    os.mkfifo(tmp_path / "in" / "c.png")
    status, out, err = wst("predict", adapter, tmp_path / "in")
    assert (status, len(out.splitlines())) == (1, 1)
    assert err.splitlines() == [
        f"wst: {tmp_path}/in: links to folders are not followed: cat/more",
        f"wst: {tmp_path}/in/c.png: expected an image file; found no regular file",
        f"wst: {tmp_path}/in/cat/b.png: expected an image file; found no regular file",
    ]
