"""The one decoder: what it reads, what it refuses, and that the check says the same."""

from __future__ import annotations

import os
import random
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from tests.data.trees import png_16_bit
from wst.data.check.image_files import UNUSABLE, examine
from wst.data.check.known import look_at
from wst.data.decode import (
    AS_STORED,
    Preprocessing,
    Reading,
    UndecodableError,
    content_of,
    endings,
    formats,
    opaque_colour,
)
from wst.errors import InputError

HERE = Path("picture")
GREY16 = np.full((6, 8), 45_000, np.uint16)
SIZE = (8, 6)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def noise(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    generator = np.random.RandomState(seed)
    return Image.fromarray(generator.randint(0, 256, (size[1], size[0], 3)).astype(np.uint8))


def tiff_16_bit_rgb() -> bytes:
    """An uncompressed TIFF of one pixel; Pillow itself writes none of this kind."""
    entries = [
        (256, 3, 1, 1),
        (257, 3, 1, 1),
        (258, 3, 3, 200),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 220),
        (277, 3, 1, 3),
        (278, 3, 1, 1),
        (279, 4, 1, 6),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    head += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return (
        head.ljust(200, b"\0") + struct.pack("<3H", 16, 16, 16).ljust(20, b"\0") + struct.pack("<3H", 1, 2, 3)
    )


def dds_half_floats() -> bytes:
    """A DDS texture in BC6H: 4 x 4 pixels of half floats."""
    header = struct.pack("<7I44x", 124, 0x1007, 4, 4, 0, 0, 0)
    header += struct.pack("<2I4s5I", 32, 4, b"DX10", 0, 0, 0, 0, 0) + bytes(20)
    return b"DDS " + header + struct.pack("<5I", 95, 3, 0, 1, 0) + bytes(16)


DEEP = {
    "16-bit grey PNG": saved(Image.fromarray(GREY16), "PNG"),
    "16-bit RGB PNG": png_16_bit(),
    "16-bit grey TIFF": saved(Image.fromarray(GREY16), "TIFF"),
    "32-bit TIFF": saved(Image.fromarray(GREY16.astype(np.int32)), "TIFF"),
    "float TIFF": saved(Image.fromarray((GREY16 / 65_535).astype(np.float32)), "TIFF"),
    "16-bit RGB TIFF": tiff_16_bit_rgb(),
    "16-bit grey JPEG 2000": saved(Image.fromarray(GREY16), "JPEG2000"),
    "16-bit RGB PPM": b"P6\n2 2\n65535\n" + bytes(24),
    "16-bit grey PGM": b"P5\n2 2\n4095\n" + bytes(8),
    "16-bit text PPM": b"P3\n1 1\n1023\n512 0 1023\n",
    "float PFM": saved(Image.fromarray((GREY16 / 65_535).astype(np.float32)), "PPM"),
    "16-bit SGI": saved(Image.new("L", SIZE, 200), "SGI", bpc=2),
    "half-float DDS": dds_half_floats(),
}


@pytest.mark.parametrize("kind", DEEP)
def test_values_that_do_not_fit_into_8_bits_are_refused_by_decoder_and_check(kind: str):
    with pytest.raises(InputError, match=r"^picture: expected 8 bits a value; found mode \S+: its values"):
        Preprocessing(4).decode(DEEP[kind], HERE)
    word = "floating-point" if "float" in kind else "signed" if "signed" in kind else kind.split()[0]
    assert examine(DEEP[kind]).problem == word and word in UNUSABLE


@pytest.mark.parametrize(
    "colour", ["rgb(256,256,255)", "rgb(999,0,0)", "hsl(0,0%,200%)", "hsv(0,0%,101%)", "rgb(0%,101%,0%)"]
)
def test_a_colour_beyond_its_range_is_refused(colour: str):
    with pytest.raises(InputError, match=r"^expected a colour of values up to 255 or 100 %; found '"):
        opaque_colour(colour)
    assert opaque_colour(opaque_colour("rgb(255,254,0)")) == opaque_colour("rgb(255,254,0)") == "#fffe00"


def test_a_lack_of_memory_says_nothing_of_a_picture(monkeypatch: pytest.MonkeyPatch):
    def lacking(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", lacking)
    with pytest.raises(MemoryError):
        AS_STORED(saved(noise(), "PNG"))


def test_8_bit_pictures_of_many_formats_are_read():
    image, found = noise(), {}
    for form in ("PNG", "BMP", "TIFF", "PPM", "SGI", "TGA", "PCX", "DDS", "QOI", "JPEG2000"):
        options = {"irreversible": False} if form == "JPEG2000" else {}
        found[form] = AS_STORED(saved(image, form, **options))
        assert found[form].loss is None, form
        assert np.array_equal(np.asarray(found[form].rgb), np.asarray(image)), form


def turned(image: Image.Image, orientation: int) -> bytes:
    """A JPEG that shows ``image`` when its stored orientation is applied."""
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    tags = Image.Exif()
    tags[0x0112] = orientation
    return saved(image if stored is None else image.transpose(stored), "JPEG", exif=tags, quality=95)


def arrow() -> Image.Image:
    """Its four corners differ, so that each of the eight orientations looks otherwise."""
    pixels = np.full((32, 48, 3), 30, np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24] = (230, 30, 30), (30, 230, 30), (30, 30, 230)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_stored_orientation_is_applied_where_asked(orientation: int):
    content, plain = turned(arrow(), orientation), np.asarray(arrow().resize((16, 16)), int)
    upright = Preprocessing(16, Reading(upright=True)).decode(content, HERE).transpose(1, 2, 0)
    assert np.abs(upright - plain).mean() < 4
    as_stored = Preprocessing(16).decode(content, HERE).transpose(1, 2, 0)
    assert (np.abs(as_stored - plain).mean() < 4) == (orientation == 1)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_tags_that_are_broken_turn_nothing():
    image = arrow()
    broken = saved(image, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12", quality=95)
    assert np.array_equal(Reading(upright=True)(broken).rgb, AS_STORED(broken).rgb)


def test_transparency_is_dropped_or_laid_on_a_colour():
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[:3] = (200, 100, 50, 255)
    rgba = Image.fromarray(pixels)
    clear = Image.new("P", SIZE, 0)
    clear.putpalette([10, 20, 30])
    for content, dropped in (
        (saved(rgba, "PNG"), (0, 0, 0)),
        (saved(rgba, "WEBP", lossless=True, exact=True), (0, 0, 0)),
        (saved(rgba.convert("LA"), "PNG"), (0, 0, 0)),
        (saved(clear, "PNG", transparency=0), (10, 20, 30)),
        (saved(clear, "GIF", transparency=0), (10, 20, 30)),
        (saved(Image.new("RGB", SIZE, (7, 8, 9)), "PNG", transparency=(7, 8, 9)), (7, 8, 9)),
    ):
        assert AS_STORED(content).loss == "alpha"
        assert AS_STORED(content).rgb.getpixel((0, 5)) == dropped
        laid = Reading(background="#ff8000")(content)
        assert laid.loss != "alpha" and laid.rgb.getpixel((0, 5)) == (255, 128, 0)
    assert Reading(background="white")(saved(rgba, "PNG")).rgb.getpixel((0, 0)) == (200, 100, 50)
    assert AS_STORED(saved(rgba.convert("RGB"), "PNG")).loss is None


def test_of_several_frames_the_first_is_read_and_the_others_are_counted():
    first, second = noise(1), noise(2)
    for form, options in (("TIFF", {}), ("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        content = saved(first, form, save_all=True, append_images=[second], **options)
        picture = AS_STORED(content)
        assert (picture.loss, picture.detail) == ("multi-frame", "2 frames: the first is read"), form
        near = np.abs(np.asarray(picture.rgb, int) - np.asarray(first, int)).mean()
        assert near < 20, form  # a GIF has 256 colours


def test_what_is_no_picture_is_one_line():
    whole = saved(noise(size=(40, 30)), "PNG")
    bomb = Image.new("1", (20_000, 10_000))
    for content in (
        b"",
        b"Mac OS X        ",
        whole[:-40],
        saved(noise(), "JPEG")[:-60],
        saved(noise(), "EPS"),
        saved(bomb, "PNG"),
        whole.replace(b"IHDR", b"IHDX"),
    ):
        with pytest.raises(InputError) as refused:
            Preprocessing(8).decode(content, HERE)
        line = str(refused.value)
        assert line.startswith(f"picture: expected a readable image; found {len(content)} bytes")
        assert "\n" not in line and "0x" not in line


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_files_are_read_or_refused_and_the_check_agrees():
    """Bytes changed and cut at random: no other exception leaves the decoder."""
    generator = random.Random(0)
    wholes = [
        saved(noise(size=(24, 20)), form) for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "TGA")
    ]
    wholes += [turned(arrow(), 6), saved(noise(size=(24, 20)), "JPEG2000"), *DEEP.values()]
    refused = 0
    for _ in range(400):
        content = bytearray(generator.choice(wholes))
        for _place in range(generator.randint(1, 6)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        content = bytes(content[: generator.choice((None, len(content) // 2, 30))])
        reading = Reading(upright=True, background="white")
        try:
            pixels = Preprocessing(8, reading).decode(content, HERE)
        except InputError:
            refused += 1
            assert examine(content, reading).problem in UNUSABLE
        else:
            assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8
            assert examine(content, reading).problem not in UNUSABLE
    assert 100 < refused < 400


def test_formats_are_those_that_pillow_opens_by_itself():
    wanted = {
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".mpo",
        ".tif",
        ".tiff",
        ".bmp",
        ".gif",
        ".webp",
        ".jp2",
        ".ppm",
    }
    assert wanted <= endings() and (".avif" in endings()) == features.check("avif")
    assert not {".pdf", ".eps", ".ps", ".emf", ".wmf", ".h5", ".mpg", ".iim"} & endings()
    Image.init()
    assert set(formats()) < set(Image.OPEN)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_and_jfif_are_read():
    for content in (saved(arrow(), "AVIF", quality=95), saved(arrow(), "JPEG", quality=95)):
        near = np.abs(np.asarray(AS_STORED(content).rgb, int) - np.asarray(arrow(), int)).mean()
        assert near < 6


def test_only_regular_files_are_opened(tmp_path: Path):
    pipe, link = tmp_path / "x.png", tmp_path / "y.png"
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    for path in (pipe, link, tmp_path, tmp_path / "none.png", tmp_path / "a\0b", tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match="expected an image file; found"):
            content_of(path)
    sparse = tmp_path / "z.png"
    with sparse.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match=r"z.png: expected an image file; found 1,099,511,627,776 bytes"):
        content_of(sparse)
    problems = [found.problem for found in look_at([pipe, sparse, link, tmp_path / "none.png"])]
    assert problems == ["unreadable"] * 4


def test_words_name_orientation_and_background():
    plain = "RGB, 32 x 32, bicubic, aspect ratio not kept"
    assert Preprocessing(32).words == plain
    assert Preprocessing(32, Reading(upright=True)).words == f"{plain}, stored orientation applied"
    assert Preprocessing(32, Reading(background="white")).words == f"{plain}, transparency on #ffffff"


def test_colours():
    assert {opaque_colour(text) for text in ("white", "White", "#fff", "#FFFFFF", "rgb(255,255,255)")} == {
        "#ffffff"
    }
    for text in ("whyte", "#ffffff80", "", "f" * 5000, "rgb(300%)"):
        with pytest.raises(InputError, match="expected a colour"):
            opaque_colour(text)


def test_what_is_refused_has_a_kind():
    with pytest.raises(UndecodableError) as refused:
        AS_STORED(b"text")
    assert (refused.value.kind, refused.value.found) == ("unreadable", "4 bytes (in no format that is read)")
