"""Who goes on: which of a cell's trials later stages take their settings from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from wst.records import EndedTrial, Outcome
from wst.study.search import Objective, Ties


@dataclass(frozen=True)
class Candidate:
    """Settings that a later stage may retrain, as a search trial found them.

    Attributes:
        trial: the search trial.
        val_top1: its accuracy on val, or the mean over the seeds that confirmed it.
        val_loss: its validation loss, or the mean likewise.
        values: the objectives' values, accuracy first.
    """

    trial: EndedTrial
    val_top1: float
    val_loss: float
    values: tuple[float, ...]


def candidates(search: Iterable[EndedTrial], objectives: Sequence[Objective], ties: Ties) -> list[Candidate]:
    """The completed trials of a search, each configuration once, the best first.

    Accuracy after the last epoch decides.  Accuracies are coarse, half a point an image where 200
    validate, so ties are common: they go by the study's rule, and after that to the earlier trial.
    """
    found = []
    for trial in search:
        if trial.outcome.state == "completed" and trial.outcome.attempts > 0:  # 0: settings that came again
            last = trial.outcome.epochs[-1]
            assert last.val_top1 is not None and last.val_loss is not None
            values = objective_values(tuple(objectives), trial.outcome)
            found.append(Candidate(trial, last.val_top1, last.val_loss, tuple(values)))
    return _ranked(found, ties)


def confirmed(found: Iterable[Candidate], confirm: Iterable[EndedTrial], ties: Ties) -> list[Candidate]:
    """The candidates whose every confirming trial was completed, by the means over these; the best first.

    The search's own accuracy does not count: it is what they were chosen by.
    """
    by_parent: dict[str | None, list[EndedTrial]] = defaultdict(list)
    for trial in confirm:
        by_parent[trial.intent.parent].append(trial)
    means = []
    for candidate in found:
        trials = by_parent[candidate.trial.intent.trial_id]
        if trials and all(trial.outcome.state == "completed" for trial in trials):
            lasts = [trial.outcome.epochs[-1] for trial in trials]
            # Rounded, since the order of a sum decides on its last digit, and that must not break a tie.
            top1 = round(sum(last.val_top1 or 0.0 for last in lasts) / len(lasts), 9)
            loss = sum(last.val_loss or 0.0 for last in lasts) / len(lasts)
            values = (top1, *candidate.values[1:])
            means.append(replace(candidate, val_top1=top1, val_loss=loss, values=values))
    return _ranked(means, ties)


def front(ranked: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that no other one beats or equals in every objective; of equals the better ranked.

    With accuracy alone this is the winner.
    """

    def beaten(place: int, one: Candidate) -> bool:
        return any(
            other.values[0] >= one.values[0]
            and all(a <= b for a, b in zip(other.values[1:], one.values[1:], strict=True))
            and (other.values != one.values or before < place)
            for before, other in enumerate(ranked)
            if before != place
        )

    return [one for place, one in enumerate(ranked) if not beaten(place, one)]


def _ranked(found: Iterable[Candidate], ties: Ties) -> list[Candidate]:
    def rank(one: Candidate) -> tuple[float, ...]:
        by_rule = {
            "val_loss": one.val_loss,
            "trainable_parameters": float(one.trial.outcome.trainable_parameters or 0),
            "earlier": 0.0,
        }
        return -one.val_top1, by_rule[ties], one.trial.intent.number

    return sorted(found, key=rank)


def objective_values(objectives: tuple[Objective, ...], outcome: Outcome) -> list[float]:
    """A completed trial's values of the objectives: accuracy upwards, the others downwards."""
    values = {
        "val_top1": outcome.epochs[-1].val_top1,
        "trainable_parameters": outcome.trainable_parameters,
        "train_seconds": outcome.train_seconds,
    }
    return [float(values[name] or 0.0) for name in objectives]
