"""Whether a folder is a study's, or one of a user's own that only looks like it."""

from __future__ import annotations

import re
from pathlib import Path

_KEYS = re.compile(rb"^(name|suite|tasks|backbone|variants|recipe):", re.MULTILINE)
_ENOUGH = 3
"""Different keys of a study at the left of a file that may be damaged."""
_TABLES = ("trials", "epochs", "intents")


def is_study(folder: Path) -> bool:
    """Whether a folder holds what a study of ours leaves: tables of a ledger, or a study's file.

    Either may be damaged.  Other programs have a ``study.yaml`` or a ``ledger``, too, and theirs is not to be
    written to or laid aside.
    """
    ledger = folder / "ledger"
    if ledger.is_symlink() and re.fullmatch(r"ledger-\d+", ledger.readlink().name):
        return True
    if any((path / table).is_dir() for path in (ledger, *folder.glob("ledger-*")) for table in _TABLES):
        return True
    try:
        content = (folder / "study.yaml").read_bytes() if (folder / "study.yaml").is_file() else b""
    except OSError:
        return False
    return len(set(_KEYS.findall(content))) >= _ENOUGH
