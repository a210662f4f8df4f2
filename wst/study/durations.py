"""Durations as people write them."""

from __future__ import annotations

import re

from wst.yaml_files import shown

LONGEST = 3650 * 86400.0
"""Seconds: ten years, which every clock and every library's timeouts can count."""
_UNITS = {"d": 86400, "h": 3600, "m": 60, "min": 60, "s": 1}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)\s*")


def parse_duration(text: str) -> float:
    """Seconds of a text such as ``3h``, ``90 min`` or ``1h30m``; a number alone is seconds.

    Raises:
        ValueError: it is no such text, not above 0, or longer than :data:`LONGEST`.
    """
    try:
        seconds = float(text)
    except ValueError:
        parts = _PART.findall(text)
        whole = "".join(_PART.split(text)[::3]).strip() if parts else text
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts) if not whole else -1.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"expected a duration above 0, such as 90 min or 3h; found {shown(text)}")
    if seconds > LONGEST:
        raise ValueError(f"expected a duration of at most {LONGEST / 86400:.0f} d; found {shown(text)}")
    return seconds
