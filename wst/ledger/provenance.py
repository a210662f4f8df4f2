"""Where a result comes from: code version and commit, library versions."""

from __future__ import annotations

import json
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

_LIBRARIES = ("torch", "torchvision", "timm", "peft", "ray", "optuna", "numpy", "pillow", "pyarrow")


@cache
def code() -> dict[str, str | None]:
    """``version`` of wst, git ``commit`` (+ if the tree had changes; None outside a clone), ``libraries``."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"version": metadata.version("wst"), "commit": _commit(), "libraries": json.dumps(versions)}


def _commit() -> str | None:
    root = Path(__file__).parent.parent.parent
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10)
        return run.stdout.strip() if run.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        return (
            commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "") if commit else None
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
