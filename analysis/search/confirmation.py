"""What the confirm stage made of the search's ranking, and how lucky the search's accuracies were."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.results import CELL, NO_LONGER, OUT, best_first, candidates
from analysis.search.trials import before_final
from analysis.statistics import spearman
from analysis.tables import Cell, Column, Estimate, Table
from wst.planning.ranking import DIGITS
from wst.study import Study


@dataclass(frozen=True)
class Candidate:
    """Settings that were trained again over several seeds; accuracies on val in per cent.

    Attributes:
        rank: in the search of the cell, from 1; where tasks share settings, by the mean over them.
        searched: accuracy in the search.
        seeds: confirming trials.
        failed: how many of them failed; the settings are out then.
        confirmed: mean over the confirming trials; None where one failed.
        deviation: their sample standard deviation; None with one seed.
        earlier: confirmed once, and no longer among the best of a search that went on since.
        out: a confirming trial failed, here or on another task that shares the settings.
    """

    trial_id: str
    rank: int
    searched: float
    seeds: int
    failed: int
    confirmed: float | None
    deviation: float | None
    earlier: bool = False
    out: bool = False

    @property
    def optimism(self) -> float | None:
        """The search's accuracy less the mean that confirmed it, in points."""
        return None if self.confirmed is None else self.searched - self.confirmed


@dataclass(frozen=True)
class Confirmation:
    """The confirm stage of one cell.

    Attributes:
        candidates: by their rank in the search.
        chosen: the one that goes on, of a front the most accurate; None where all are out.
        agreement: Spearman's correlation of the search's ranking with the one by confirmed accuracy; None
            with fewer than three candidates, or where all are alike.
    """

    study: str
    variant: str
    task: str
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    agreement: float | None


def confirmations(
    search: pd.DataFrame, later: pd.DataFrame, studies: Mapping[str, Study]
) -> list[Confirmation]:
    """One a cell with confirming trials.

    Args:
        search, later: as :func:`analysis.search.trials.read_search` gives them.
        studies: the studies by name.
    """
    confirm = later[later["stage"] == "confirm"]
    if confirm.empty:
        return []
    # All tasks of a variant: they may share their settings.
    own = search.merge(confirm[["study", "variant"]].drop_duplicates(), on=["study", "variant"])
    ranked = candidates(before_final(own, confirm), studies)
    found = []
    for (study, task, variant), part in ranked[ranked["seeds"] > 0].groupby(CELL, sort=False):
        part = part.sort_values("rank")
        cell = {str(row["trial_id"]): _candidate(row) for _, row in part.iterrows()}
        best = best_first(part[part["standing"] != OUT]).sort_values("standing", kind="stable")
        known = part.loc[part["confirmed"].notna() & (part["standing"] != OUT), "accuracy"].round(DIGITS)
        agreement = None
        if len(known) > 2 and known.nunique() > 1:
            agreement = spearman(-part.loc[known.index, "rank"].to_numpy(float), known.to_numpy(float))
        chosen = cell[str(best["trial_id"].iloc[0])] if len(best) else None
        found.append(
            Confirmation(str(study), str(variant), str(task), tuple(cell.values()), chosen, agreement)
        )
    return found


def _candidate(row: pd.Series) -> Candidate:
    confirmed, deviation = (
        None if pd.isna(row[name]) else 100 * float(row[name]) for name in ("confirmed", "deviation")
    )
    return Candidate(
        trial_id=str(row["trial_id"]),
        rank=int(row["rank"]),
        searched=100 * float(row["val_top1_last"]),
        seeds=int(row["seeds"]),
        failed=int(row["failed"]),
        confirmed=confirmed,
        deviation=deviation,
        earlier=bool(row["standing"] == NO_LONGER),
        out=bool(row["standing"] == OUT),
    )


def as_table(found: Sequence[Confirmation]) -> Table:
    """A row a candidate, by cell and rank in the search."""
    rows: list[dict[str, Cell]] = [
        {
            "variant": cell.variant,
            "study": cell.study,
            "task": cell.task,
            "rank in the search": one.rank,
            "search": one.searched,
            "confirmed": None if one.confirmed is None else Estimate(one.confirmed, one.deviation),
            "optimism": one.optimism,
            "seeds": one.seeds,
            "chosen": _verdict(one, cell),
            "trial": one.trial_id,
        }
        for cell in found
        for one in cell.candidates
    ]
    return Table(
        title="Candidates in the search and confirmed over several seeds (val)",
        columns=[
            *(Column("variant"), Column("study"), Column("task"), Column("rank in the search", "count")),
            *(Column("search", "percent"), Column("confirmed", "percent"), Column("optimism", "difference")),
            *(Column("seeds", "count"), Column("chosen"), Column("trial")),
        ],
        rows=rows,
        notes=in_words(found),
        keys=3,
    )


def _verdict(one: Candidate, cell: Confirmation) -> str | bool:
    if one.out:
        return "out: a seed failed" if one.failed else "out: a seed failed on another task"
    return "earlier candidate" if one.earlier and one is not cell.chosen else one is cell.chosen


def in_words(found: Sequence[Confirmation]) -> list[str]:
    """The winners' optimism, and how far the two rankings agree, over all cells."""
    chosen = [cell.chosen for cell in found if cell.chosen is not None]
    gaps = [one.optimism for one in chosen if one.optimism is not None]
    if not gaps:
        return []
    first = sum(one.rank == 1 for one in chosen)
    lines = [
        f"The search's accuracy of the chosen settings is {statistics.fmean(gaps):+.2f} points above the "
        f"mean that confirmed them, on average over {_cells(len(gaps))}; {first} of {len(chosen)} were first "
        "in the search."
    ]
    known = [cell.agreement for cell in found if cell.agreement is not None]
    if known:
        lines.append(
            "Rank in the search against confirmed accuracy: Spearman's correlation "
            f"{statistics.fmean(known):.2f}, mean over {_cells(len(known))}."
        )
    return lines


def _cells(number: int) -> str:
    return f"{number} cell{'' if number == 1 else 's'}"
