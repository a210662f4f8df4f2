"""What Pillow warns of while images are looked at: no line of its own on the screen, but counted by image."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL

from wst.data.check.image_files import looking_at

_PILLOW = Path(PIL.__file__).parent


@contextmanager
def heard() -> Iterator[dict[str, set[bytes]]]:
    """Listen to Pillow's warnings in all threads.

    Yields:
        A mapping that fills: what is warned of, numbers left out, to the digests of the images.
    """
    said: dict[str, set[bytes]] = defaultdict(set)
    with warnings.catch_warnings():
        warnings.filterwarnings("always", module=r"PIL\.")
        usual = warnings.showwarning

        def hear(message: Any, category: Any, filename: str, *rest: Any, **more: Any) -> None:
            if Path(filename).parent == _PILLOW:
                said[_first_words(str(message))].add(getattr(looking_at, "digest", b""))
            else:
                usual(message, category, filename, *rest, **more)

        warnings.showwarning = hear
        yield said


def _first_words(message: str) -> str:
    """A warning's first sentence, without the numbers, so that those of one kind are one."""
    line = " ".join(message.split())
    return re.sub(r"\d[\d,.]*", "N", re.split(r"[.:;,] |\.$", line)[0])
