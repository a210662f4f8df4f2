"""Names that a user misspelt: what is known, what was found, and which one may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 200
"""Signs of a name that is compared; a longer one is no slip of the pen."""


def hint(found: object, known: Iterable[object]) -> str:
    """The known name that is closest to what was found, as the end of a message; empty where none is close.

    Upper and lower case do not count.

    Example:
        >>> hint("lroa", ["linear", "lora"])
        " (did you mean 'lora'?)"
    """
    names = {str(name).casefold(): str(name) for name in known}
    text = str(found)
    if len(text) > _LONGEST or text in names.values():
        return ""
    near = difflib.get_close_matches(text.casefold(), names, n=1)
    return f" (did you mean {names[near[0]]!r}?)" if near else ""


def one_of(found: object, known: Iterable[object]) -> str:
    """What was expected and what was found where only some names will do, with the closest of them.

    Example:
        >>> one_of("lroa", ["linear", "lora"])
        "expected one of linear, lora; found 'lroa' (did you mean 'lora'?)"
    """
    names = [str(name) for name in known]
    return f"expected one of {', '.join(names) or 'none'}; found {found!r}{hint(found, names)}"
