"""The lines under a leaderboard: what is missing or does not compare, and reads of the test split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from analysis.leaderboard.board import Leaderboard
from wst.data.check.overlap import overlap_note
from wst.ledger.reads import elsewhere, times

_MOST_READS = 6
"""Lines on reads of the test splits."""
_MOST_NAMES = 8
"""Variants named in such a line."""


def caveats(board: Leaderboard) -> list[str]:
    """Lines to show under the table, and under every picture of its numbers."""
    lines = [board.suite.caveat] if board.suite.caveat else []
    if len(board.tasks) < len(board.suite.tasks):
        lines.append(f"{len(board.tasks)} of the suite's {len(board.suite.tasks)} tasks: not its average.")
    lines += [
        f"{row.variant}: {row.note}; not tuned itself." for row in board.rows if row.note and not row.source
    ]
    lines += _incomplete(board)
    lines += [
        f"Data of {task} differ between {' and '.join(who)}: these numbers do not compare."
        for task, who in board.different_data().items()
    ]
    lines += board.made.line(without=["data"])
    lines += _readouts(board)
    lines += [overlap_note("test", task, share) for task, share in board.overlaps().items()]
    if board.failed:
        lines.append(f"{_counted(board.failed)} failed; see error_text in the ledger.")
    lines += [*_left_out(board), *_reads(board)]
    if any(row.source for row in board.rows):
        lines.append(
            "† published: selected on test or unknown, not re-run here, never ranked against our rows."
        )
    return lines


def _readouts(board: Leaderboard) -> Iterator[str]:
    found = sorted({row.readout() for row in board.rows if not row.source})
    if len(found) == 1:
        yield f"Readout of every row: {found[0]}."
    elif found:
        yield f"Rows read different tokens (readout {', '.join(found)}), which alone may be worth points."


def _incomplete(board: Leaderboard) -> Iterator[str]:
    for row in board.rows:
        if not row.complete and row.printed_mean is None:
            lacking = [task for task in row.expected if task not in row.scores]
            yield (
                f"{row.variant}: incomplete, {len(row.scores)} of {len(row.expected)} tasks "
                f"(no {', '.join(lacking)}): averages over them are left out."
            )
        short = [task for task, score in row.scores.items() if len(score.by_seed) < score.planned]
        if short and not row.source:
            yield f"{row.variant}: {row.seeds()} seeds completed on {', '.join(short)}."


def _left_out(board: Leaderboard) -> Iterator[str]:
    """Final trials of settings that were chosen once and are no longer."""
    for label, by_task in board.put_aside.items():
        number = sum(by_task.values())
        are = "is" if number == 1 else "are"
        yield (
            f"{label}: {_counted(number)} of earlier winners {are} left out, since the search went on and "
            f"found better settings ({', '.join(by_task)})."
        )


def front_members(board: Leaderboard) -> Iterator[str]:
    """Final trials of a study of several objectives that are in no row of the table."""
    for row in board.rows:
        others = sum(len(member.by_seed) for score in row.scores.values() for member in score.front)
        if others:
            yield (
                f"{row.variant}: the row is the most accurate member of each task's front; "
                f"{_counted(others)} of the other members {'is' if others == 1 else 'are'} left out here "
                "(see wst pareto)."
            )


def _reads(board: Leaderboard) -> Iterator[str]:
    """How often test splits were read, tasks of equal numbers in one line."""
    alike: dict[tuple[tuple[tuple[str, int], ...], int | None], list[str]] = {}
    for task, reads in board.reads.items():
        numbers = tuple((label, len(trials)) for label, trials in sorted(board.readers(task).items()))
        if numbers or reads.others:
            alike.setdefault((numbers, reads.others), []).append(task)
    for (numbers, others), tasks in list(alike.items())[:_MOST_READS]:
        each = _each(numbers)
        where = "each task" if len(tasks) == len(board.tasks) > 1 else ", ".join(tasks)
        total = sum(n for _, n in numbers)
        besides = f" Besides, {elsewhere(others)}." if others is not None else ""
        yield f"Test split of {where} read {times(total)}: {each}.{besides}"
    if len(alike) > _MOST_READS:
        yield "Reads of the other tasks' test splits: see --json."
    unknown = [task for task, reads in board.reads.items() if reads.others is None]
    if unknown:
        yield f"Reads by others on this machine are not known ({', '.join(unknown)}): no hash of the images."


def _each(numbers: tuple[tuple[str, int], ...]) -> str:
    """Who read how often: by name, or where there are many by their number."""
    if len(numbers) <= _MOST_NAMES:
        return ", ".join(f"{label} {n}" for label, n in numbers) or "none here"
    how_many = Counter(n for _, n in numbers)
    return ", ".join(f"{n} by each of {rows} variants" for n, rows in sorted(how_many.items()))


def _counted(number: int) -> str:
    return f"{number} final trial{'' if number == 1 else 's'}"
