"""A damaged study's folder brought back to what holds."""

from __future__ import annotations

from pathlib import Path

from wst.errors import InputError
from wst.files import locked
from wst.ledger.generations import newest
from wst.ledger.laying_aside import carry_out
from wst.ledger.own import is_study
from wst.ledger.reads import read_log
from wst.ledger.repairing import Plan, plan


def repair(folder: Path, *, dry_run: bool = False) -> tuple[Plan, Path | None]:
    """Find what is damaged in a study's folder, and lay it aside.

    Args:
        folder: the study's output folder.
        dry_run: only say what is damaged.

    Returns:
        What was found, and the folder with what was laid aside, if anything was.

    Raises:
        InputError: the folder is no study's, or another process writes to it.
    """
    if not is_study(folder):  # before a lock is left in it
        other = (folder / "study.yaml").exists() or newest(folder) is not None
        found = "a study.yaml or ledger of something else" if other else "no study.yaml and no ledger in it"
        raise InputError(f"{folder}: expected a study's output folder; found {found}")
    if dry_run:
        return plan(folder, read_log()), None
    with locked(folder / ".lock", wait=False) as mine:
        if not mine:
            raise InputError(
                f"{folder}: expected no other process on this study; found one that writes to it"
            )
        made = plan(folder, read_log())
        nothing = not made.aside and not made.removed and made.tables is None
        return made, None if nothing else carry_out(folder, made)
