"""A repair's plan carried out: nothing is deleted.

What is damaged is copied into ``DIR/damaged-<time>``; then what holds is put in the ledger's place, in one
step.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from wst.errors import InputError
from wst.files import flush
from wst.ledger.generations import settle
from wst.ledger.repairing import Plan
from wst.ledger.rewriting import write_generation, write_table


def carry_out(folder: Path, made: Plan) -> Path:
    """Lay aside what a plan says, and put what holds in its place; the caller holds the folder's lock.

    Returns:
        The folder with what was laid aside.
    """
    target = _new_folder(folder)
    for path in made.aside:
        _copy(path, target / path.relative_to(folder))
    for table, rows in made.removed.items():
        path = target / f"rows-of-{table}.parquet"
        write_table(rows, path)
        flush(path)
    flush(target)
    for path in made.aside:  # what lies in a generation of the ledger goes with it
        if path.parent == folder:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    settle(folder)
    if made.tables is not None:
        write_generation(folder, made.tables)
    return target


def _new_folder(folder: Path) -> Path:
    name = f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for number in range(1, 1000):
        target = folder / (name if number == 1 else f"{name}-{number}")
        try:
            target.mkdir()
        except FileExistsError:
            continue
        return target
    raise InputError(f"{folder / name}: expected a name that is free; found none")


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        target.symlink_to(path.readlink())
    elif path.is_dir():
        shutil.copytree(path, target, symlinks=True)
    else:
        shutil.copy2(path, target)
        flush(target)
    flush(target.parent)
