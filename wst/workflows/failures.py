"""What failed in a study that has run: how many trials, and which of its parts came to nothing."""

from __future__ import annotations

from wst.planning.planner import Planner
from wst.records import EndedTrial, Outcome

_NAMED = 5
"""Cells that a line names."""


def failures(planner: Planner) -> int:
    """How many trials failed, of those that were run."""
    return sum(trial.outcome.state == "failed" for trial in _run_trials(planner))


def barren(planner: Planner) -> str | None:
    """A line where every trial of a cell failed in one of its stages, or no settings were completed on all of
    the tasks that share them; None where neither is so."""
    stages: dict[tuple[str, str, str], list[Outcome]] = {}
    for trial in _run_trials(planner):
        intent = trial.intent
        stages.setdefault((intent.task, intent.variant, intent.stage), []).append(trial.outcome)
    failed = {key: ends for key, ends in stages.items() if all(end.state == "failed" for end in ends)}
    if not failed:
        searched = [cell for cell in planner.cells.values() if cell.source is cell]
        none = {cell.variant: None for cell in searched if cell.shared and cell.best is None}
        if none:
            return f"{', '.join(none)}: expected shared settings that every task completed; found none"
        return None
    names = [
        f"{task}, {variant} ({stage}: {ends[-1].error_type})"
        for (task, variant, stage), ends in failed.items()
    ]
    more = f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"every trial failed of {'; '.join(names[:_NAMED])}{more}; the first one's: "
        f"{last_line(next(iter(failed.values()))[-1])} (all of it: error_text in the ledger)"
    )


def last_line(outcome: Outcome) -> str:
    """The end of what a failed trial said."""
    lines = [line for line in (outcome.error_text or "").splitlines() if line.strip()]
    return " ".join(lines[-1].split())[:200] if lines else "no text"


def _run_trials(planner: Planner) -> list[EndedTrial]:
    """Ended trials that were run: not those above the ceiling, nor settings that came again."""
    ended = (trial for cell in planner.cells.values() for trials in cell.ended.values() for trial in trials)
    return [trial for trial in ended if trial.outcome.attempts > 0]
