"""Names of classes: which can go through JSON, Arrow and a terminal, and which are told apart."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence

from wst.errors import InputError
from wst.screen import printable

LONGEST = 255
"""Characters of a name: what a file system takes for a folder's."""


def unfit(name: str) -> bool:
    """Whether a name is empty or too long, has control characters, or stands for bytes that are no UTF-8."""
    return not name.strip() or len(name) > LONGEST or printable(name) != name


def check_names(names: Sequence[str], source: object) -> None:
    """Refuse names of a task's classes that cannot be shown or told apart, and a single class.

    Args:
        names: all of them.
        source: where they stand, for the message.

    Raises:
        InputError: naming the first that is wrong.
    """
    for name in names:
        if unfit(name):
            shown = name if len(name) <= LONGEST else f"{name[:40]}..."
            raise InputError(
                f"{source}: expected names of classes in UTF-8, of 1 to {LONGEST} characters and none of "
                f"them for control; found {_bytes_or_text(shown)}"
            )
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_folded(name), name)
        if other != name:
            raise InputError(
                f"{source}: expected names of classes that differ in more than case or the encoding of "
                f"accents; found {other!a} and {name!a}"
            )
    if len(seen) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{source}: expected each class once; found {twice!r} more than once")
    if len(names) < 2:
        raise InputError(f"{source}: expected two classes at least; found {', '.join(names) or 'none'}")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _bytes_or_text(name: str) -> str:
    if any("\ud800" <= sign <= "\udfff" for sign in name):
        return repr(os.fsencode(name))
    return repr(name)
