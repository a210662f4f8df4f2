"""The one rule of choice: which settings win, and which lie on a front.

The rule works on arrays, an entry a trial.  The planner applies it to the records of a cell's trials, here
below; the analysis applies it to a ledger's frames (:mod:`analysis.results`).  So a leaderboard cannot rank
by another rule than the study chose by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wst.records import EndedTrial, Outcome
from wst.study.search import Objective, Ties

DIGITS = 9
"""Decimals that are compared: equal means may differ in the sixteenth, by the order of their sums alone."""


def order(accuracy: ArrayLike, tie: ArrayLike, number: ArrayLike) -> NDArray[np.intp]:
    """Indices of trials, the best first: by accuracy, then by ``tie``, lower first, then by number.

    Args:
        accuracy: (trials,); what is no finite number, not known, comes last.
        tie: (trials,), what equal accuracies go by, as :func:`tie_values` gives it.
        number: (trials,), of the search trial: the earlier one goes first.
    """
    return np.lexsort((np.asarray(number, dtype=float), _rounded(tie), -_known(accuracy)))


def tie_values(ties: Ties, val_loss: ArrayLike, trainable_parameters: ArrayLike) -> NDArray[np.float64]:
    """What ties in accuracy go by under a study's rule, lower first: (trials,).

    Accuracies are coarse, half a point an image where 200 validate, so ties are common.
    """
    loss = np.asarray(val_loss, dtype=float)
    parameters = np.asarray(trainable_parameters, dtype=float)
    return {"val_loss": loss, "trainable_parameters": parameters, "earlier": np.zeros_like(loss)}[ties]


def on_front(accuracy: ArrayLike, costs: ArrayLike, keep_equals: bool = False) -> NDArray[np.bool_]:
    """Which trials no other one beats or equals in accuracy and every cost; of equals the first.

    Without costs that is the first of the highest accuracy: the winner, of trials in their :func:`order`.

    Args:
        accuracy: (trials,), higher is better; what is no finite number, not known, is on no front beside one
            that is known, however little it cost.
        costs: (trials, costs), lower is better.
        keep_equals: keep all of those that are equal in everything.
    """
    values = np.column_stack([-_known(accuracy), _rounded(costs)])
    values = np.where(np.isnan(values), np.inf, values)
    known = np.isfinite(values[:, 0])
    kept = known if known.any() else np.ones(len(values), dtype=bool)
    for place, own in enumerate(values):
        if kept[place]:
            beaten = (own <= values).all(axis=1)
            beaten[place] = False
            if keep_equals:
                beaten &= (own != values).any(axis=1)
            kept &= ~beaten
    return kept


def _known(values: ArrayLike) -> NDArray[np.float64]:
    """Rounded, and NaN for what is no finite number."""
    rounded = _rounded(values)
    return np.where(np.isfinite(rounded), rounded, np.nan)


def _rounded(values: ArrayLike) -> NDArray[np.float64]:
    return np.round(np.asarray(values, dtype=float), DIGITS)


@dataclass(frozen=True)
class Candidate:
    """Settings that a later stage may retrain, as a search trial found them.

    Attributes:
        trial: the search trial.
        val_top1: its accuracy on val, or the mean over the seeds that confirmed it.
        val_loss: its validation loss, or the mean likewise.
        parameters: its trainable parameters.
        values: the objectives' values, accuracy first.

    Of settings that tasks share, all of these are means over the tasks, while ``trial`` is each task's own.
    """

    trial: EndedTrial
    val_top1: float
    val_loss: float
    parameters: float
    values: tuple[float, ...]


def candidates(search: Iterable[EndedTrial], objectives: Sequence[Objective], ties: Ties) -> list[Candidate]:
    """The completed trials of a search, each configuration once, the best first.

    Those whose accuracy or loss on val is no finite number are none of them (:attr:`Outcome.ranked`).
    Accuracy after the last epoch decides; ties go by the study's rule, and after that to the earlier trial.
    """
    found = []
    for trial in search:
        if trial.outcome.ranked and trial.outcome.attempts > 0:  # 0: settings that came again
            last = trial.outcome.epochs[-1]
            assert last.val_top1 is not None and last.val_loss is not None
            values = objective_values(tuple(objectives), trial.outcome)
            parameters = trial.outcome.trainable_parameters or 0
            found.append(Candidate(trial, last.val_top1, last.val_loss, parameters, tuple(values)))
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
        if trials and all(trial.outcome.ranked for trial in trials):
            lasts = [trial.outcome.epochs[-1] for trial in trials]
            top1 = sum(last.val_top1 or 0.0 for last in lasts) / len(lasts)
            loss = sum(last.val_loss or 0.0 for last in lasts) / len(lasts)
            values = (top1, *candidate.values[1:])
            means.append(replace(candidate, val_top1=top1, val_loss=loss, values=values))
    return _ranked(means, ties)


def over_tasks(by_task: Sequence[Sequence[Candidate]], ties: Ties) -> list[list[Candidate]]:
    """The candidates that every task has, by their means over the tasks; the best first.

    Args:
        by_task: the candidates of each task, where trials of one number have the same settings.
        ties: the study's rule.

    Returns:
        As many lists, of the same settings in the same order.  Of one task alone, they are what they were.
    """
    alike: dict[int, list[Candidate]] = defaultdict(list)
    for own in by_task:
        for candidate in own:
            alike[candidate.trial.intent.number].append(candidate)
    found: list[list[Candidate]] = [[] for _ in by_task]
    for same in alike.values():
        if len(same) == len(by_task):
            columns = zip(
                *((one.val_top1, one.val_loss, one.parameters, *one.values) for one in same), strict=True
            )
            top1, loss, parameters, *values = (sum(column) / len(same) for column in columns)
            for own, one in zip(found, same, strict=True):
                own.append(Candidate(one.trial, top1, loss, parameters, tuple(values)))
    return [_ranked(own, ties) for own in found]


def front(ranked: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that no other one beats or equals in every objective; of equals the better ranked.

    With accuracy alone this is the winner.
    """
    if not ranked:
        return []
    values = np.array([one.values for one in ranked])
    return [ranked[place] for place in np.flatnonzero(on_front(values[:, 0], values[:, 1:])).tolist()]


def _ranked(found: Sequence[Candidate], ties: Ties) -> list[Candidate]:
    losses = [one.val_loss for one in found]
    parameters = [one.parameters for one in found]
    numbers = [one.trial.intent.number for one in found]
    best_first = order([one.val_top1 for one in found], tie_values(ties, losses, parameters), numbers)
    return [found[place] for place in best_first.tolist()]


def objective_values(objectives: tuple[Objective, ...], outcome: Outcome) -> list[float]:
    """A completed trial's values of the objectives: accuracy upwards, the others downwards."""
    values = {
        "val_top1": outcome.epochs[-1].val_top1,
        "trainable_parameters": outcome.trainable_parameters,
        "train_seconds": outcome.train_seconds,
    }
    return [float(values[name] or 0.0) for name in objectives]
