"""What the names of list files say, and which files look like lists though their names are not read."""

from __future__ import annotations

import os
import re
from pathlib import Path

from wst.data.decode import endings
from wst.data.lists import CLASS_NAMES, VTAB_NAMES, Split
from wst.data.picture_index import is_hidden
from wst.data.split_folders import MEANINGS

LIST_NAMES: dict[str, Split] = {
    **MEANINGS,
    "trainval": "trainval",
    **{name: split for split, name in VTAB_NAMES.items()},
}
"""The names of list files, in lower case and without ``.txt``."""
_TABLES = frozenset({"", ".txt", ".csv", ".tsv", ".lst", ".list", ".json", ".jsonl"})
_WORDS: dict[str, Split] = {**MEANINGS, "holdout": "test", "heldout": "test"}
_LOOKED_AT = 8192
"""Bytes of a file from which it shows whether it lists pictures."""
_ENDING = re.compile(r"""\.[A-Za-z0-9]+(?=["'\s,;\]}]|$)""")


def unread_lists(folder: Path) -> dict[str, set[Split]]:
    """Files of a task's folder that seem to say what a split holds, under names that are not read.

    A name has a split's as a word of its own (``test_list.txt``, ``val.csv``, ``holdout.txt``), or every
    second line at least, of the first ones, names a picture.

    Returns:
        The splits that each name speaks of, which may be none.
    """
    with os.scandir(folder) as entries:
        files = sorted(entry.name for entry in entries if entry.is_file() and not is_hidden(entry.name))
    found = {}
    for name in files:
        stem, ending = os.path.splitext(name.casefold())  # noqa: PTH122
        read = ending == ".txt" and stem in LIST_NAMES
        if not read and name != CLASS_NAMES and ending in _TABLES:
            meant = {_WORDS[word] for word in re.findall(r"[a-z]+", stem) if word in _WORDS}
            if meant or _lists_pictures(folder / name):
                found[name] = meant
    return found


def _lists_pictures(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            head = opened.read(_LOOKED_AT)
    except OSError:  # closed to us
        return False
    lines = [line for line in head.decode(errors="replace").splitlines() if line.strip()]
    naming = sum(any(ending.lower() in endings() for ending in _ENDING.findall(line)) for line in lines)
    return naming > 0 and 2 * naming >= len(lines)
