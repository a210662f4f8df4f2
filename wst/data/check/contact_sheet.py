"""Sample images of every class, as a PNG sheet or an HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from wst.data.decode import Reading, UndecodableError, content_of, unreadable
from wst.data.lists import class_names
from wst.data.splits import TaskData
from wst.errors import InputError
from wst.files import replacing

_TILE = 72


_GAP = 4


_CAPTION = 15


_LABEL_WIDTH = 150


_CLASSES_SHOWN = 40


@dataclass(frozen=True)
class ClassSamples:
    """A few training images of one class, and how many there are."""

    name: str
    total: int
    images: tuple[Path, ...]


def samples(data: TaskData, per_class: int = 8) -> list[ClassSamples]:
    """The first training images of every class.

    Raises:
        InputError: the data is missing.
    """
    listed = data.list("train")
    names = class_names(data.folder, data.task)
    by_class: list[list[Path]] = [[] for _ in range(data.task.classes)]
    for path, label in zip(listed.images, listed.labels, strict=True):
        by_class[label].append(path)
    return [
        ClassSamples(f"{label} {names[label]}" if names else str(label), len(paths), tuple(paths[:per_class]))
        for label, paths in enumerate(by_class)
    ]


def contact_sheet(title: str, tasks: Sequence[TaskData], out: Path, per_class: int = 8) -> Path:
    """Write sample images of every class of the tasks to a PNG or HTML file; the HTML page has the title.

    The PNG shows the first 40 classes of a task, the HTML page all of them.

    Raises:
        InputError: the data is missing or unreadable, or the file's ending is another.
    """
    if out.suffix.lower() not in (".png", ".html"):
        raise InputError(f"--sheet: expected a file that ends in .png or .html; found {out.name!r}")
    shown = [(data, samples(data, per_class)) for data in tasks]
    if out.suffix.lower() == ".png":
        sheet = _sheet(shown, per_class)
        with replacing(out, durable=False) as aside:
            sheet.save(aside, format="PNG")
    else:
        page = _page(title, shown)
        with replacing(out, durable=False) as aside:
            aside.write_text(page, encoding="utf-8")
    return out


def _tile(path: Path, reading: Reading) -> Image.Image:
    try:
        small = reading(content_of(path)).rgb
    except UndecodableError as error:
        raise unreadable(path, error) from None
    scale = _TILE / max(small.size)
    size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
    smooth = Image.Resampling.BICUBIC if scale < 1 else Image.Resampling.NEAREST
    tile = Image.new("RGB", (_TILE, _TILE), "white")
    tile.paste(small.resize(size, smooth), ((_TILE - size[0]) // 2, (_TILE - size[1]) // 2))
    return tile


def _sheet(shown: Sequence[tuple[TaskData, list[ClassSamples]]], per_class: int) -> Image.Image:
    columns = 2 if per_class <= 8 else 1
    cell = _LABEL_WIDTH + per_class * (_TILE + _GAP) + 4 * _GAP
    row = _TILE + _GAP
    header = 3 * _CAPTION
    rows = [-(-min(len(classes), _CLASSES_SHOWN) // columns) for _, classes in shown]
    sheet = Image.new("RGB", (columns * cell, sum(header + count * row for count in rows)), "white")
    draw = ImageDraw.Draw(sheet)
    title, text = ImageFont.load_default(18), ImageFont.load_default(13)
    top = 0
    for (data, classes), count in zip(shown, rows, strict=True):
        rest = f", the first {_CLASSES_SHOWN} shown" if len(classes) > _CLASSES_SHOWN else ""
        draw.text(
            (2 * _GAP, top + _CAPTION), f"{data.task.name}: {len(classes)} classes{rest}", "black", font=title
        )
        for index, entry in enumerate(classes[:_CLASSES_SHOWN]):
            left = index // count * cell + 2 * _GAP
            upper = top + header + index % count * row
            name = _fitted(draw, entry.name, text)
            draw.text((left, upper + _TILE // 2 - 16), name, "black", font=text)
            draw.text((left, upper + _TILE // 2), f"{entry.total} in train", "#666666", font=text)
            for place, path in enumerate(entry.images):
                sheet.paste(_tile(path, data.reading), (left + _LABEL_WIDTH + place * (_TILE + _GAP), upper))
        top += header + count * row
    return sheet


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if draw.textlength(text, font=font) <= _LABEL_WIDTH - _GAP:
        return text
    while text and draw.textlength(f"{text}...", font=font) > _LABEL_WIDTH - _GAP:
        text = text[:-1]
    return f"{text}..."


_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem; }
dl { display: grid; grid-template-columns: minmax(7rem, 12rem) 1fr; gap: .4rem 1rem; margin: 0; }
dt { overflow-wrap: anywhere; } dt small { display: block; opacity: .7; } dd { margin: 0; }
dd img { width: 72px; height: 72px; margin: 0 4px 4px 0; image-rendering: auto; }
"""


def _page(title: str, shown: Sequence[tuple[TaskData, list[ClassSamples]]]) -> str:
    """A page that needs no other file."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
    ]
    for data, classes in shown:
        parts.append(f"<h2>{html.escape(data.task.name)}</h2><p>{html.escape(data.task.about)}</p><dl>")
        for entry in classes:
            name = html.escape(entry.name)
            images = "".join(
                f'<img alt="{name}" src="{_data_uri(path, data.reading)}">' for path in entry.images
            )
            parts.append(f"<dt>{name}<small>{entry.total} in train</small></dt><dd>{images or '-'}</dd>")
        parts.append("</dl>")
    return "\n".join([*parts, "</html>", ""])


def _data_uri(path: Path, reading: Reading) -> str:
    file = BytesIO()
    _tile(path, reading).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
