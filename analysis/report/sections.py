"""The sections of the report, each from the numbers that the command of the same name prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from analysis import ablation, pareto
from analysis.figures import ablation as ablation_figures
from analysis.figures import pareto as pareto_figures
from analysis.figures import search as search_figures
from analysis.leaderboard import table as leaderboard_table
from analysis.leaderboard.board import Leaderboard, read_leaderboard
from analysis.leaderboard.published import with_published
from analysis.load import common_suite, studies_of
from analysis.report.census import Census, census, counts_table, failures_table, reads_table
from analysis.report.page import Part, Section, panel, render, table, text
from analysis.report.summary import summary, without_repeats
from analysis.search import confirmation, importance, selection
from analysis.search.agreement import agreement, in_words
from analysis.search.curves import SearchCurve, search_curves
from analysis.search.learning_curves import CurveBand, curve_bands
from analysis.search.trials import read_search
from analysis.tables import Table
from analysis.tables import text as as_text
from wst.data.tasks import Suite
from wst.errors import InputError
from wst.files import replacing
from wst.study import Study


def sections(folders: Sequence[Path], literature: bool = False) -> tuple[str, str, list[Section]]:
    """Title, opening line and sections of the report.

    Raises:
        InputError: the folders are no studies, or of different suites.
    """
    studies = studies_of(folders)
    suite = common_suite(studies, folders)
    counted = [census(folder, study) for folder, study in zip(folders, studies.values(), strict=True)]
    board = read_leaderboard(folders)
    shown = with_published(board) if literature else board
    trials, later = read_search(folders, studies)
    again = trials[trials["attempts"] == 0]
    bands = [
        band
        for folder, study in zip(folders, studies.values(), strict=True)
        for band in curve_bands(folder, study.name, again.loc[again["study"] == study.name, "trial_id"])
    ]
    total = sum(int(row[state]) for c in counted for row in c.counts for state in _STATES)
    noun = "study" if len(studies) == 1 else "studies"
    title = "Report on " + ", ".join(studies)
    lead = (f"{len(studies)} {noun}, suite {suite.name}, {total:,} trials. {suite.caveat}").strip()
    cost = "; ".join(dict(one.facts)["cost"] + f" for {one.study}" * (len(studies) > 1) for one in counted)
    found = [
        Section("summary", "Summary", [text(line) for line in summary(folders, board, cost)]),
        _board(shown),
        _front(shown),
        _ablation(folders, board),
        _hyperparameters(trials, later, studies, suite),
        *_confirm(trials, later, studies, suite),
        _curves(bands, board),
        _run(counted),
        _failures(folders),
        Section("test-reads", "Test reads", [table(reads_table(list(folders)))]),
        _reproduce(folders, studies),
    ]
    return title, lead, without_repeats(found, lead, len(studies))


_MOST_TRIALS = 250
"""Trials a cell behind the page's importances, which a page of hundreds of cells must not wait for."""
_STATES = ("completed", "pruned", "failed")


def _run(counted: Sequence[Census]) -> Section:
    parts = [Part("facts", title=f"Study {one.study}", facts=one.facts) for one in counted]
    return Section("run", "What was run", [*parts, table(counts_table(list(counted)))])


def _board(board: Leaderboard) -> Section:
    if not board.rows:
        return Section("leaderboard", "Leaderboard", [text("No final trial has completed.")])
    return Section("leaderboard", "Leaderboard", [table(_folded(leaderboard_table.as_table(board)))])


def _folded(found: Table) -> Table:
    """Columns that say the same of every row become a note, and settings are left to the next table."""
    columns = [column for column in found.columns if column.name != "settings"]
    if len(found.rows) < 2:
        return replace(found, columns=columns)
    same = {
        c.name: as_text(found.rows[0][c.name], c.kind)
        for c in columns[found.keys :]
        if c.kind in ("text", "count") and len({str(row[c.name]) for row in found.rows}) == 1
    }
    said = [note.lower() for note in found.notes]
    words = [
        f"{name} {value}"
        for name, value in same.items()
        if value and not any(note.startswith(f"{name} of every row") for note in said)
    ]
    notes = [f"Of every row: {'; '.join(words)}.", *found.notes] if words else found.notes
    return replace(found, columns=[c for c in columns if c.name not in same], notes=notes)


def _front(board: Leaderboard) -> Section:
    drawn = {}
    shown = None
    for over in pareto.choices(board):
        for against in pareto.COSTS:
            try:
                found = pareto.front(board, over, against)
            except InputError:
                continue  # no variant is complete there, or has that cost
            shown = shown or found
            drawn[f"{over}, against {against}"] = pareto_figures.plain(found)
    title = "Accuracy against cost"
    if shown is None:
        return Section("front", title, [text("No variant is complete on a task.")])
    words = (
        "Each point is a variant; bars are one standard deviation over seeds. No variant beyond the line is "
        "both more accurate and cheaper. Hover over a point, or touch it, for its settings."
    )
    return Section("front", title, [*panel("front-plot", title, words, drawn), table(pareto.as_table(shown))])


def _ablation(folders: Sequence[Path], board: Leaderboard) -> Section:
    title = "Variants compared"
    if len(board.rows) < 2:
        return Section("ablation", title, [text("Only one variant has final trials: nothing to compare.")])
    try:
        found = ablation.read_ablation(folders)
    except InputError as refused:  # none was made as the first was
        return Section("ablation", title, [text(str(refused))])
    words = (
        f"Mean difference from {found.baseline} over tasks, paired by task and seed; bars are 95 % bootstrap "
        "intervals over seeds, stratified by task."
    )
    plot = panel("ablation-plot", title, words, {"difference": ablation_figures.differences(found)})
    return Section("ablation", title, [*(plot if found.comparisons else []), table(ablation.as_table(found))])


def _cells(trials: pd.DataFrame) -> list[tuple[str, str, str, pd.DataFrame]]:
    groups = trials.groupby(["study", "variant", "task"], sort=False)
    return [(str(study), str(variant), str(task), part) for (study, variant, task), part in groups]


def _hyperparameters(
    trials: pd.DataFrame, later: pd.DataFrame, studies: Mapping[str, Study], suite: Suite
) -> Section:
    title = "Hyperparameters and search"
    if trials.empty:
        return Section("hyperparameters", title, [text("Nothing was searched.")])
    several = len(studies) > 1
    found = importance.importances(trials, studies, most=_MOST_TRIALS)
    means = {
        f"{study}: {variant}" if several else variant: shares
        for (study, variant), shares in importance.over_tasks(found).items()
    }
    slices, parallel, surfaces = {}, {}, {}
    for study, variant, task, part in _cells(trials):
        space = importance.searched(studies[study], variant)
        if not space or not (part["state"] == "completed").any():
            continue
        name = f"{task}, {study}: {variant}" if several else f"{task}, {variant}"
        slices[name] = search_figures.slices(part, space)
        parallel[name] = search_figures.parallel_coordinates(part, space)
        surface = search_figures.response_surface(part, space)
        if surface is not None:
            surfaces[name] = surface
    by_task: dict[str, list[SearchCurve]] = {}
    for curve in search_curves(trials):
        by_task.setdefault(curve.task, []).append(curve)
    curves = {task: search_figures.search_curves(by_task[task]) for task in _ordered(by_task, suite)}
    chosen = agreement(trials, later)
    return Section(
        "hyperparameters",
        title,
        [
            *panel(
                "importance-plot",
                "Importance",
                "PED-ANOVA: what it took to be among the best tenth of the completed trials.",
                {"mean over tasks": search_figures.importance_bars(means)} if means else {},
            ),
            table(importance.as_table(found, "ped-anova")),
            *panel(
                "search-plot",
                "Search curves",
                "Best validation accuracy so far against the epochs that the search had trained.",
                curves,
            ),
            *panel("slice-plot", "Slices", "Every completed trial against each hyperparameter.", slices),
            *panel(
                "parallel-plot",
                "Parallel coordinates",
                "A line a completed trial, through its hyperparameters to its accuracy; the best are there.",
                parallel,
            ),
            *panel(
                "surface-plot",
                "Response surface of learning rate and scale",
                "Mean validation accuracy of the completed trials in each cell of the grid.",
                surfaces,
            ),
            table(selection.selection_table(selection.selections(trials, later, suite, studies))),
            *panel(
                "agreement-plot",
                "Chosen settings",
                in_words(chosen),
                {"all cells": search_figures.val_against_test(chosen.pairs)} if chosen.pairs else {},
            ),
        ],
    )


def _confirm(
    trials: pd.DataFrame, later: pd.DataFrame, studies: Mapping[str, Study], suite: Suite
) -> list[Section]:
    """The confirm stage; no section for studies without one."""
    found = confirmation.confirmations(trials, later, studies)
    if not found:
        return []
    by_task: dict[str, list[confirmation.Confirmation]] = {}
    for one in found:
        by_task.setdefault(one.task, []).append(one)
    drawn = {task: search_figures.confirmed(by_task[task]) for task in _ordered(by_task, suite)}
    words = (
        "The best settings of each search, trained again over several seeds: mean validation accuracy "
        "against the rank in the search; bars are one standard deviation over seeds."
    )
    plot = panel("confirm-plot", "Confirmed accuracy by rank in the search", words, drawn)
    return [Section("confirm", "Candidates confirmed", [*plot, table(confirmation.as_table(found))])]


def _ordered(names: Mapping[str, object], suite: Suite) -> list[str]:
    return [task.name for task in suite.tasks if task.name in names]


def _curves(bands: list[CurveBand], board: Leaderboard) -> Section:
    by_task: dict[str, list[CurveBand]] = {}
    for band in bands:
        by_task.setdefault(band.task, []).append(band)
    drawn = {t: search_figures.learning_curves(by_task[t]) for t in _ordered(by_task, board.suite)}
    words = (
        "Validation accuracy by epoch over all trials of the search: the median and, of few variants, the "
        "middle half and the middle four fifths. Pruned trials count until they stop."
    )
    parts = panel("curves-plot", "Learning curves", words, drawn)
    return Section("curves", "Learning curves", parts or [text("No epoch has a validation accuracy.")])


def _failures(folders: Sequence[Path]) -> Section:
    found = failures_table(list(folders))
    parts = [table(found)] if found.rows else [text(line) for line in ("No trial failed.", *found.notes)]
    return Section("failures", "Failures", parts)


def _reproduce(folders: Sequence[Path], studies: Mapping[str, Study]) -> Section:
    parts = [
        text(
            "Save a study below as a file and run it with the same version of wst, the same backbone weights "
            "and the same data, whose hashes are above. The ledger has every trial's configuration and seed."
        )
    ]
    for folder, study in zip(folders, studies.values(), strict=True):
        commands = f"wst tune {study.name}.yaml --out {folder.name}\nwst report {folder.name} -o report.html"
        parts += [
            Part("code", title=f"Commands for {study.name}", text=commands, open=True),
            Part("code", title=f"{study.name}.yaml", text=study.to_yaml()),
        ]
    return Section("reproduce", "How to reproduce it", parts)


def write_report(
    folders: Sequence[Path], path: Path, literature: bool = False, reload: int | None = None
) -> None:
    """Write the page about the studies in these folders.

    Args:
        reload: seconds after which the page reloads itself.

    Raises:
        InputError: the folders are no studies, or of different suites; the file does not end in ``.html``.
    """
    if path.suffix not in (".html", ".htm"):
        raise InputError(f"-o: expected a file ending in .html; found {path.name!r}")
    title, lead, content = sections(folders, literature)
    page = render(title, lead, content, reload)
    with replacing(path, durable=False) as aside:
        aside.write_text(page, encoding="utf-8")
