"""Cut the mini suite's real images out of the packages that carry them, into ``wst/assets/mini.npz``.

    python tools/cut_mini_images.py --out wst/assets/mini.npz

* ``digits``: scikit-learn's copy of the UCI "Optical Recognition of Handwritten Digits" test set (CC BY 4.0),
  1,797 scans of 8 x 8 pixels and 17 grey levels.
* ``emoji``: Noto Color Emoji (Debian package ``fonts-noto-color-emoji``; SIL Open Font License 1.1), every
  emoji of six Unicode groups (Debian package ``unicode-data``) without skin-tone modifiers, on white,
  32 x 32.  Clock faces are left out, since the backbone's clip art has clocks; emoji that look the same after
  the reduction are kept once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits

from wst.data.mini import MINI

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
EMOJI = Path("/usr/share/unicode/emoji/emoji-test.txt")
GROUPS = MINI.task("emoji_group").class_names
SKIN_TONES = {chr(code) for code in range(0x1F3FB, 0x1F400)}
FONT_SIZE = 109  # the one size of this bitmap font; glyphs are 136 x 128


def listed_emoji() -> list[tuple[str, int]]:
    """(emoji, index of its group) in Unicode's order."""
    found, group, subgroup = [], "", ""
    for line in EMOJI.read_text().splitlines():
        if line.startswith("# group:"):
            group = line.removeprefix("# group:").strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.removeprefix("# subgroup:").strip()
        elif "; fully-qualified" in line and group in GROUPS and subgroup != "time":
            text = "".join(chr(int(code, 16)) for code in line.split(";")[0].split())
            if not SKIN_TONES & set(text):
                found.append((text, GROUPS.index(group)))
    return found


def drawn_emoji() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 32, 32, 3) uint8 and group indices (N,) uint8."""
    font = ImageFont.truetype(str(FONT), FONT_SIZE)
    seen: set[bytes] = set()
    images, labels = [], []
    for text, group in listed_emoji():
        if font.getlength(text) > 140:
            continue  # a sequence that the font shows as several glyphs
        picture = Image.new("RGB", (136, 136), "white")
        ImageDraw.Draw(picture).text((0, 4), text, font=font, embedded_color=True)
        small = np.asarray(picture.resize((32, 32), Image.Resampling.LANCZOS))
        if small.tobytes() not in seen:
            seen.add(small.tobytes())
            images.append(small)
            labels.append(group)
    return np.stack(images), np.array(labels, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    digits = load_digits()
    emoji_images, emoji_labels = drawn_emoji()
    np.savez_compressed(
        args.out,
        digits_images=(digits.images * 255 / 16).round().astype(np.uint8),
        digits_labels=digits.target.astype(np.uint8),
        emoji_images=emoji_images,
        emoji_labels=emoji_labels,
    )
    counts = dict(zip(GROUPS, np.bincount(emoji_labels).tolist(), strict=True))
    print(
        f"{len(digits.target)} digits; {len(emoji_labels)} emoji: {counts}; {args.out.stat().st_size} bytes"
    )


if __name__ == "__main__":
    main()
