"""Text of a user's on a screen: shown, never obeyed."""

from __future__ import annotations

import unicodedata

_OBEYED = frozenset(("Cc", "Cs", "Zl", "Zp"))
"""Unicode categories of control characters, of halves of characters, and of separators of lines."""
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Signs that nobody sees and that change the order of those around them."""


def printable(text: str) -> str:
    r"""A text on one line with what a terminal would obey written out, such as ``\x1b`` for an escape.

    A byte of a path that is no UTF-8, which Python keeps as half of a character, is shown as that byte.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(sign) if _is_obeyed(sign) else sign for sign in text)


def _is_obeyed(sign: str) -> bool:
    return unicodedata.category(sign) in _OBEYED or sign in _TURNING


def _shown(sign: str) -> str:
    number = ord(sign)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode("ascii")
