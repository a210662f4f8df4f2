"""Running studies and single fine-tunes from Python."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from analysis.leaderboard.table import read_rows
from wst.api.results import Results
from wst.engine.faults import OutOfTime
from wst.errors import InputError
from wst.models.adapters import Predictor, load_adapter
from wst.records import Hyperparameters, Value
from wst.study import Study
from wst.study.durations import parse_duration
from wst.workflows import single
from wst.workflows.failures import barren, failures, last_line
from wst.workflows.progress import Progress
from wst.workflows.tune import run_study


def tune(
    study: Study | Mapping[str, Any] | str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    root: str | PathLike[str] | None = None,
    inline: bool = False,
    address: str | None = None,
    stop_after: str | float | None = None,
    retry_failed: bool = False,
    track: Sequence[str] = (),
    quiet: bool = False,
) -> Results:
    """Run a study, or go on with the one in ``out``; a study that has ended is only read.

    Trials that failed are rows of the ledger, and a warning here.

    Args:
        study: a :class:`wst.Study`, or what makes one: a mapping, a YAML file, the name of a shipped study.
        out: output folder; ``runs/<name of the study>`` by default.
        root: folder that holds the suite's folder.
        inline: run in this process, one trial at a time, without Ray.
        address: of a running Ray cluster.
        stop_after: time after which to stop, such as ``"3h"`` or seconds; the same call goes on.
        retry_failed: run the trials again that failed before.
        track: names of trackers, such as ``tensorboard``.
        quiet: print nothing.

    Returns:
        What it has come to, as :func:`wst.open` gives it.

    Raises:
        wst.errors.InputError: one line that names what is wrong, what was expected and what was found; no
            trial was lost.
        wst.engine.faults.StudyStoppedError: it cannot go on, as on a full disk; the ledger is whole.
        KeyboardInterrupt: it was stopped; the same call goes on.

    Example::

        results = wst.tune("demo", "runs/demo", inline=True)
        results.leaderboard()
    """
    asked = study if isinstance(study, Study) else Study(study)
    folder = Path(out) if out is not None else Path("runs") / asked.name
    try:
        limit = parse_duration(str(stop_after)) if stop_after is not None else None
    except ValueError as error:
        raise InputError(f"stop_after: {error}") from None
    console = _console(quiet)
    try:
        planner = run_study(
            asked,
            folder,
            fspath(root) if root is not None else None,
            inline=inline,
            address=address,
            stop_after=limit,
            retry_failed=retry_failed,
            track=track,
            display=lambda planner: Progress(planner, console),
            told=_lines_to(console),
            leaderboard=read_rows,
        )
    except OutOfTime:
        return Results([folder])
    failed = failures(planner)
    if failed:
        _warn(f"{failed} trials failed: see error_text in trials(); retry_failed=True runs them again")
    nothing = barren(planner)
    if nothing is not None:
        _warn(nothing)
    return Results([folder])


@dataclass(frozen=True)
class Trained:
    """One configuration that was trained once.

    Attributes:
        folder: output folder, whose ledger has the row; :func:`wst.open` reads it.
        trial_id: the row.
        settings: hyperparameters, those of the recipe among them.
        val_top1: accuracy in [0, 1] on ``val`` after the last epoch; None where ``val`` was trained on.
        test_top1: accuracy in [0, 1] on ``test``; None where it was not read.
        trainable_parameters: without the head.
        epochs: the learning curve, a row an epoch.
        adapter: the file that was saved, if it was.
    """

    folder: Path
    trial_id: str
    settings: Hyperparameters
    val_top1: float | None
    test_top1: float | None
    trainable_parameters: int | None
    epochs: pd.DataFrame
    adapter: Path | None
    _study: Study

    def __repr__(self) -> str:
        scores = {"val_top1": self.val_top1, "test_top1": self.test_top1}
        words = [f"{name}={score:.4f}" for name, score in scores.items() if score is not None]
        return f"Trained({', '.join([repr(self.trial_id), *words, repr(str(self.folder))])})"

    def predictor(self) -> Predictor:
        """The adapted model, ready to predict.

        Raises:
            wst.errors.InputError: it was not saved.
        """
        if self.adapter is None:
            raise InputError(
                f"{self.trial_id}: expected an adapter (final=True, save=True); found none saved"
            )
        (variant,) = self._study.variants.values()
        return load_adapter(self.adapter, checkpoint=self._study.checkpoint, method=variant.method)


def train(
    task: str,
    method: str | PathLike[str] = "wst",
    *,
    out: str | PathLike[str] | None = None,
    suite: str | PathLike[str] | None = None,
    root: str | PathLike[str] | None = None,
    backbone: str | None = None,
    checkpoint: str | PathLike[str] | None = None,
    normalisation: str | None = None,
    background: str | None = None,
    recipe: str | PathLike[str] | Mapping[str, Any] | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    released: bool = False,
    final: bool = False,
    save: bool = False,
    accept: Sequence[str] = (),
    quiet: bool = False,
    **hyperparameters: Value,
) -> Trained:
    """Fine-tune once, without a study; a call that was cut off goes on, and one that has ended is read.

    Args:
        task: name of the task.
        method: a method of wst's own, or the path of a ``.py`` file.
        out: output folder; by default one that the settings name.
        suite: name or path; the one that has the task by default.
        root: folder that holds the suite's folder.
        backbone: a timm model name; ``micro`` by default.
        checkpoint: the backbone's weights file.
        normalisation: ``checkpoint``, ``half`` or ``imagenet``.
        background: colour that transparent pictures are laid on.
        recipe: a recipe file, the name of a shipped one, or its keys.
        epochs: in the recipe's place.
        seed: 0 by default.
        released: the authors' settings, recipe and seed.
        final: train on train and val, and read the test split.
        save: keep the adapter, with ``final``.
        accept: findings of the data check to go on with: ``overlap``.
        quiet: print nothing.
        **hyperparameters: the method's own, with ``lr``.

    Raises:
        wst.errors.InputError: one line that names what is wrong, what was expected and what was found.
        RuntimeError: the training failed; the ledger has the whole text.

    Example::

        trained = wst.train("digits", "lora", lr=1e-2, r=4, epochs=10, final=True, save=True)
        trained.predictor().predict("four.png")
    """
    if save and not final:
        raise InputError("save: expected final=True beside it; found False")
    study, intent = single.from_options(
        task=task,
        method=fspath(method),
        settings=hyperparameters,
        released=released,
        recipe=fspath(recipe) if isinstance(recipe, PathLike) else recipe,
        epochs=epochs,
        seed=seed,
        stage="final" if final else "search",
        save_adapter=save,
        suite=None if suite is None else fspath(suite),
        backbone=backbone,
        checkpoint=None if checkpoint is None else fspath(checkpoint),
        normalisation=normalisation,
        background=background,
        accept=tuple(accept),
    )
    folder = Path(out) if out is not None else single.own_folder(study, intent)
    outcome, _ = single.run_single(
        study, intent, folder, None if root is None else fspath(root), told=_lines_to(_console(quiet))
    )
    if outcome.state == "failed":
        text = f"{last_line(outcome)} (all of it: error_text in the ledger of {folder})"
        raise RuntimeError(f"{intent.trial_id}: {text}")
    return Trained(
        folder=folder,
        trial_id=intent.trial_id,
        settings=intent.hyperparameters,
        val_top1=outcome.epochs[-1].val_top1 if outcome.epochs else None,
        test_top1=outcome.test_top1,
        trainable_parameters=outcome.trainable_parameters,
        epochs=pd.DataFrame([asdict(epoch) for epoch in outcome.epochs]),
        adapter=folder / "adapters" / f"{intent.trial_id}.safetensors" if save else None,
        _study=study,
    )


def _console(quiet: bool) -> Console:
    """Where lines go: plain ones in a notebook, whose kernel says that colours are welcome anywhere."""
    terminal = sys.stdout.isatty()
    return Console(quiet=quiet, force_jupyter=False, force_terminal=terminal, markup=False, emoji=False)


def _lines_to(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, highlight=False, soft_wrap=True)


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=3)
