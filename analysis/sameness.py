"""What differs among rows that stand beside each other, besides the variants that they are to compare."""

from __future__ import annotations

import pandas as pd

MADE_WITH = {
    "recipe_hash": "recipe",
    "backbone": "backbone",
    "checkpoint_hash": "weights",
    "normalisation": "normalisation",
    "preprocessing": "preprocessing",
    "precision": "precision",
}
"""Columns of ``trials`` that one study has equal in all its rows of a task, and what they are in words."""


def differing(trials: pd.DataFrame) -> list[str]:
    """A line that names in what the studies of these trials differ; none where they are alike.

    Studies are compared on the tasks that they share, and what a row does not say is no difference.

    Args:
        trials: with the columns ``study`` and ``task`` and those of :data:`MADE_WITH` that are known.
    """
    words: list[str] = []
    for column, name in MADE_WITH.items():
        if column not in trials:
            continue
        known = trials[["study", "task", column]].dropna().drop_duplicates()
        found: dict[str, None] = {}
        for _, part in known.groupby("task", sort=False):
            values = {str(study): frozenset(own) for study, own in part.groupby("study", sort=False)[column]}
            alike: dict[frozenset[object], list[str]] = {}
            for study, own in values.items():
                alike.setdefault(own, []).append(study)
            if len(alike) > 1:
                found[" against ".join(sorted(", ".join(sorted(group)) for group in alike.values()))] = None
        words += [f"{name} ({'; '.join(found)})"] if found else []
    if not words:
        return []
    return [f"These rows differ in {', '.join(words)}: not in their variants alone."]
