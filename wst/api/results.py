"""What studies have come to: their tables as data frames, their pictures as figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from analysis import ablation as ablations
from analysis import pareto as fronts
from analysis import tables
from analysis.leaderboard import board, published
from analysis.leaderboard import table as leaderboard_table
from analysis.leaderboard.side_by_side import read_side_by_side
from analysis.load import load, studies_of
from analysis.pairs import as_list, read_pairs
from analysis.sameness import Aspect
from analysis.search import importance as importances
from analysis.search.trials import read_search
from wst.errors import InputError
from wst.ledger.reading import column_names
from wst.records import Tuning
from wst.suggest import one_of
from wst.workflows.best import chosen_settings
from wst.workflows.outputs import check_output
from wst.workflows.status import status_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Interactive


def open(*folders: str | PathLike[str]) -> Results:
    """What the studies in these folders have come to, also while they run.

    Raises:
        wst.errors.InputError: a folder holds no study, or two hold studies of the same name.

    Example::

        results = wst.open("runs/demo")
        results.leaderboard().sort_values("mean of groups")
    """
    if not folders:
        raise InputError("open: expected the output folder of a study; found none")
    return Results(Path(folder) for folder in folders)


class Results:
    """What one study has come to, or several of one suite.

    Every table is a data frame with numbers at full precision; accuracies are in per cent in the tables that
    are computed, and shares of 1 in the ledger's own.  ``frame.attrs["notes"]`` has the lines that belong
    under a table.  Each call reads the ledgers anew.

    Attributes:
        folders: output folders of the studies.
        studies: the studies by name.
    """

    def __init__(self, folders: Iterable[Path]):
        self.folders = tuple(folders)
        self.studies = studies_of(self.folders)

    def __repr__(self) -> str:
        return f"wst.open({', '.join(repr(str(folder)) for folder in self.folders)})"

    def _repr_html_(self) -> str:
        return tables.html_table(leaderboard_table.as_table(board.read_leaderboard(self.folders)))

    def trials(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The ledger's trials, a row each; docs/ledger.md says what the columns are.

        Args:
            columns: these alone.

        Raises:
            wst.errors.InputError: a column that no study has.
        """
        return self._load("trials", columns)

    def epochs(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The ledger's epochs, a row each; else as :meth:`trials`."""
        return self._load("epochs", columns)

    def status(self) -> pd.DataFrame:
        """How far the studies are: a row a cell, with its trials by stage and state, and what is left."""
        return self._by_study(status_rows)

    def best(self) -> pd.DataFrame:
        """The settings that each cell's search has chosen.

        Raises:
            wst.errors.InputError: no search has ended.
        """
        return self._by_study(chosen_settings)

    def leaderboard(
        self,
        tasks: Sequence[str] = (),
        *,
        settings: Tuning | None = None,
        literature: bool = False,
        side_by_side: bool = False,
    ) -> pd.DataFrame:
        """Test accuracy of the final stage: a row a variant, best first.

        Args:
            tasks: these alone; all by default.
            settings: only variants whose settings are ``tuned`` for each task, ``shared`` by all tasks, or
                ``untuned``.
            literature: add published results, marked as such.
            side_by_side: a row a method instead, with its tuned, shared and untuned variants.

        Raises:
            wst.errors.InputError: an unknown task or way of settings; published results beside another suite.
        """
        if isinstance(tasks, str):
            tasks = [tasks]
        if side_by_side:
            if literature or settings:
                raise InputError("side_by_side: expected neither literature nor settings beside it")
            return tables.as_frame(read_side_by_side(self.folders, tasks))
        return tables.as_frame(leaderboard_table.as_table(self._board(tasks, settings, literature)))

    def front(
        self,
        over: str = "mean of groups",
        against: fronts.Cost = "parameters",
        *,
        settings: Tuning | None = None,
        literature: bool = False,
    ) -> pd.DataFrame:
        """The points of :meth:`pareto` as a table."""
        return tables.as_frame(fronts.as_table(self._front(over, against, settings, literature)))

    def pareto(
        self,
        over: str = "mean of groups",
        against: fronts.Cost = "parameters",
        *,
        settings: Tuning | None = None,
        literature: bool = False,
        static: bool = False,
    ) -> Interactive | Figure:
        """Accuracy against what it costs, with the front: a plotly figure, or one of matplotlib's.

        Args:
            over: ``mean of groups``, ``mean of tasks``, a group, or a task.
            against: ``parameters``, ``seconds`` or ``memory``.
            settings: as :meth:`leaderboard`.
            literature: as :meth:`leaderboard`.
            static: matplotlib's, for papers and for pages that run no scripts.

        Raises:
            wst.errors.InputError: an unknown name, or no variant is complete.
        """
        from analysis.figures import pareto

        found = self._front(over, against, settings, literature)
        return pareto.static_figure(found) if static else pareto.figure(found)

    def ablation(
        self,
        baseline: str | None = None,
        *,
        settings: Tuning | None = None,
        across: Sequence[Aspect] = (),
        pairs: bool = False,
    ) -> pd.DataFrame:
        """Variants compared with one of them, paired by task and seed, and whether that is inside the noise.

        Args:
            baseline: the variant that the others are compared with; the study's first by default.
            settings: as :meth:`leaderboard`.
            across: compare variants that differ in these, too, such as ``["recipe"]``.
            pairs: every two variants instead, a row a pair.

        Raises:
            wst.errors.InputError: an unknown variant, or nothing to compare.
        """
        if pairs:
            if baseline is not None:
                raise InputError("pairs: expected no baseline beside it")
            found = read_pairs(self.folders, _known("settings", settings, Tuning), _aspects(across))
            return tables.as_frame(as_list(found))
        return tables.as_frame(ablations.as_table(self._ablation(baseline, settings, across)))

    def differences(
        self,
        baseline: str | None = None,
        *,
        settings: Tuning | None = None,
        across: Sequence[Aspect] = (),
    ) -> Interactive:
        """:meth:`ablation` as a plotly figure: differences from the baseline with their intervals."""
        from analysis.figures.ablation import differences

        return differences(self._ablation(baseline, settings, across))

    def importance(self, method: importances.Method = "ped-anova") -> pd.DataFrame:
        """Which hyperparameters mattered in the search, in per cent: a row a cell, then the mean over tasks.

        Args:
            method: ``ped-anova``, or ``fanova``, which needs scikit-learn.

        Raises:
            wst.errors.InputError: an unknown method.
        """
        return tables.as_frame(importances.as_table(self._importances(method), method))

    def importance_bars(self, method: importances.Method = "ped-anova") -> Interactive:
        """:meth:`importance` as a plotly figure: means over tasks, by variant."""
        from analysis.figures.search import importance_bars

        means = importances.over_tasks(self._importances(method))
        several = len(self.studies) > 1
        return importance_bars({f"{s}: {v}" if several else v: shares for (s, v), shares in means.items()})

    def report(
        self, out: str | PathLike[str] = "report.html", *, literature: bool = False, force: bool = False
    ) -> Path:
        """Write one page about the studies that needs no network, and return its path.

        Args:
            out: the HTML file.
            literature: as :meth:`leaderboard`.
            force: replace a file that exists.

        Raises:
            wst.errors.InputError: the file exists, has another ending, or lies in what a study keeps.
        """
        from analysis.report.sections import write_report

        path = Path(out)
        check_output("out", path, force=force, endings=(".html", ".htm"))
        write_report(self.folders, path, literature)
        return path

    def _load(self, table: str, columns: Sequence[str] | None) -> pd.DataFrame:
        known = {name: None for folder in self.folders for name in column_names(folder, table)}
        for name in columns or ():
            if name not in known:
                raise InputError(f"columns: {one_of(name, known)}")
        return load(self.folders, table, columns)

    def _board(self, tasks: Sequence[str], settings: Tuning | None, literature: bool) -> board.Leaderboard:
        ours = board.read_leaderboard(self.folders, tasks, _known("settings", settings, Tuning))
        return published.with_published(ours) if literature else ours

    def _front(
        self, over: str, against: fronts.Cost, settings: Tuning | None, literature: bool
    ) -> fronts.Front:
        _known("against", against, fronts.Cost)
        return fronts.front(self._board((), settings, literature), over, against)

    def _ablation(
        self, baseline: str | None, settings: Tuning | None, across: Sequence[Aspect]
    ) -> ablations.Ablation:
        tuning = _known("settings", settings, Tuning)
        return ablations.read_ablation(self.folders, baseline, tuning, _aspects(across))

    def _importances(self, method: importances.Method) -> list[importances.Importance]:
        _known("method", method, importances.Method)
        return importances.importances(read_search(self.folders, self.studies)[0], self.studies, method)

    def _by_study(self, rows: Any) -> pd.DataFrame:
        found = zip(self.studies, self.folders, strict=True)
        return pd.DataFrame([{"study": name, **row} for name, folder in found for row in rows(folder)])


def _aspects(across: Sequence[Aspect]) -> Sequence[Aspect]:
    """In what compared variants may differ, each one of those that there are."""
    return [_known("across", one, Aspect) for one in ([across] if isinstance(across, str) else across)]


def _known(name: str, value: Any, names: Any) -> Any:
    """A keyword's value, if it is one of those that there are, or None."""
    if value is not None and value not in get_args(names):
        raise InputError(f"{name}: {one_of(value, get_args(names))}")
    return value
