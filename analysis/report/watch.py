"""The report of studies that go on: made again whenever their ledgers have grown, until they have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from analysis.report.sections import write_report
from wst.ledger import history, resolved_study
from wst.ledger.reading import files_now
from wst.planning.planner import Planner


def watch_report(
    folders: Sequence[Path],
    path: Path,
    seconds: int,
    literature: bool = False,
    *,
    told: Callable[[str], object],
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Write the page every so many seconds if a ledger has changed; the page reloads itself as often.

    The last page, of studies that have ended or when one interrupts, does not.

    Args:
        told: hears a line a page.
        sleep: waits so many seconds.

    Raises:
        InputError: as :func:`analysis.report.sections.write_report`.
    """
    seen: object = None
    try:
        while True:
            now = [files_now(folder) for folder in folders]  # before the page: what comes later is seen next
            if now != seen:
                ended = all(map(_has_ended, folders))
                write_report(folders, path, literature, None if ended else seconds)
                seen = now
                words = f"report: {path}, made at {datetime.now():%H:%M:%S}"
                told(f"{words}; all trials have ended" if ended else words)
                if ended:
                    return
            sleep(seconds)
    except KeyboardInterrupt:
        if seen is not None:
            write_report(folders, path, literature)
        raise


def _has_ended(folder: Path) -> bool:
    planner = Planner(resolved_study(folder), *history(folder))
    return not any(cell.remaining for cell in planner.cells.values())
