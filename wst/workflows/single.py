"""One fine-tune: a study of a single trial, run in this process, its row in a ledger of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wst.data.suites import suites
from wst.engine import inline
from wst.engine.driver import Driver
from wst.engine.environment import Environment
from wst.engine.rows import check_row, check_rows
from wst.errors import InputError
from wst.files import read_text
from wst.ledger import Ledger, history, provenance, resolved_study
from wst.methods import registry
from wst.planning.one_trial import OneTrial
from wst.records import Hyperparameters, Intent, Outcome, Stage
from wst.shipped import find_yaml
from wst.study import Recipe, Study
from wst.study.references import absolute_file, absolute_suite
from wst.suggest import hint
from wst.trackers import Tracker, Trackers
from wst.workflows.preflight import check, new_warnings
from wst.workflows.settings import typed
from wst.yaml_files import LARGEST, first_error, read_yaml

RELEASED_TABLES = {
    "vit_base_patch16_224": "released/vit_base",
    "swin_base_patch4_window7_224": "released/swin_base",
}
SINGLE = "a single fine-tune"
RELEASED_SEED = 42
RELEASED_BACKBONE = "vit_base_patch16_224.orig_in21k"


def released_settings(backbone: str, task: str) -> Hyperparameters:
    """The authors' settings (scale, lr, drop_path, r) for a VTAB-1K task.

    Raises:
        InputError: the authors released none for this backbone or task.
    """
    table = RELEASED_TABLES.get(backbone.split(".")[0])
    if table is None:
        raise InputError(
            f"released: expected a backbone that the authors used ({', '.join(RELEASED_TABLES)}); "
            f"found {backbone!r}{hint(backbone, RELEASED_TABLES)}"
        )
    path = find_yaml("settings", table)
    settings: dict[str, Hyperparameters] = read_yaml(read_text(path, LARGEST), str(path))
    if task not in settings:
        raise InputError(f"released: expected a VTAB-1K task ({', '.join(settings)}); found {task!r}")
    return settings[task]


def single(
    *,
    task: str,
    method: str,
    settings: Hyperparameters,
    stage: Stage,
    save_adapter: bool = False,
    **study: Any,
) -> tuple[Study, Intent]:
    """A study of one fixed trial, and that trial.

    Args:
        task: name of the task.
        method: reference to the method, see :mod:`wst.methods.registry`.
        settings: its hyperparameters with ``lr``, and ``drop_path`` if not 0.
        stage: ``search`` trains on train and scores val; ``final`` trains on both and reads the test split
            once.
        save_adapter: keep the trained tensors (stage ``final``).
        **study: further keys of :class:`wst.study.Study`: suite, backbone, recipe, seed and so on.

    Raises:
        InputError: something does not validate.
    """
    stages: dict[str, Any] = {"search": {"trials": 1}}
    if stage == "final":
        stages = {"final": {"seeds": 1, "save_adapters": save_adapter}}
    reference = registry.beside(method, Path())
    digest = registry.source_hash(reference)
    name = registry.short_name(reference)
    if study.get("checkpoint") is not None:
        study["checkpoint"] = absolute_file(study["checkpoint"])
    data = {
        "name": f"train-{task}-{name}",
        "tasks": [task],
        "variants": {name: {"method": reference, "method_hash": digest, "fixed": settings}},
        **stages,
        **study,
    }
    try:
        built = typed(Study.model_validate(data))
    except ValidationError as error:
        raise first_error(error, "train", data) from None
    hyperparameters = built.recipe.complete(built.variants[name].fixed)
    identity = f"{task}.{name}.{stage}.0000"
    return built, Intent(identity, task, name, stage, 0, 0, built.seed, hyperparameters, reason=SINGLE)


def from_options(
    *,
    task: str,
    settings: Hyperparameters,
    released: bool,
    recipe: str | Mapping[str, Any] | None,
    epochs: int | None,
    seed: int | None,
    suite: str | None,
    backbone: str | None,
    normalisation: str | None,
    **rest: Any,
) -> tuple[Study, Intent]:
    """:func:`single` from what a user gives, the rest filled in.

    ``released`` takes the authors' settings, recipe, seed and normalisation, and unless another backbone is
    given their ViT-B/16.

    Raises:
        InputError: no learning rate, an unknown name.
    """
    if backbone is None:
        backbone = RELEASED_BACKBONE if released else "micro"
    if released:
        settings = {**released_settings(backbone, task), **settings}
    if isinstance(recipe, Mapping):
        steps, source = dict(recipe), "recipe"
    else:
        path = find_yaml("recipes", recipe if recipe is not None else "released" if released else "default")
        steps, source = read_yaml(read_text(path, LARGEST), str(path)), str(path)
    return single(
        task=task,
        settings=settings,
        recipe=_recipe(steps, source, epochs),
        seed=seed if seed is not None else RELEASED_SEED if released else 0,
        suite=_suite_of(task) if suite is None else absolute_suite(suite),
        backbone=backbone,
        normalisation=normalisation if normalisation is not None else "half" if released else "checkpoint",
        **rest,
    )


def _recipe(steps: Any, source: str, epochs: int | None) -> Recipe:
    """The recipe of a file, or with other epochs: its warm-up takes a tenth of these at most.

    Raises:
        InputError: it is no recipe, or there are none with so many epochs.
    """
    if epochs is not None and isinstance(steps, dict):
        warmup = steps.get("warmup_epochs", Recipe().warmup_epochs)
        if isinstance(warmup, int | float):
            steps = {**steps, "epochs": epochs, "warmup_epochs": min(warmup, epochs / 10)}
        source = f"{source} with epochs {epochs}"
    try:
        return Recipe.model_validate(steps)
    except ValidationError as error:
        raise first_error(error, source, steps) from None


def _suite_of(task: str) -> str:
    for suite in suites().values():
        if any(known.name == task for known in suite.tasks):
            return suite.name
    known = [one.name for suite in suites().values() for one in suite.tasks]
    raise InputError(
        f"task: expected a task of {' or '.join(suites())} (see wst ls tasks); "
        f"found {task!r}{hint(task, known)}"
    )


def own_folder(study: Study, intent: Intent) -> Path:
    """Where a fine-tune is kept unless its user says otherwise: equal ones in the same place."""
    return Path("runs/train") / f"{intent.trial_id}-{study.digest()}"


def recorded(folder: Path, trial_id: str) -> tuple[Study, Intent, Outcome]:
    """A row of a ledger: its study, its intent and how it ended.

    The intent names no parent: run again, it stands for itself.

    Raises:
        InputError: the ledger has no such ended trial.
    """
    ended = {trial.intent.trial_id: trial for trial in history(folder)[1]}
    if trial_id not in ended:
        raise InputError(
            f"--trial: expected an ended trial of {folder}; found no {trial_id!r}{hint(trial_id, ended)}"
        )
    trial = ended[trial_id]
    return resolved_study(folder), replace(trial.intent, parent=None), trial.outcome


def run_single(
    study: Study,
    intent: Intent,
    out: Path,
    root: str | None,
    trackers: Sequence[Tracker] = (),
    told: Callable[[str], None] = lambda line: None,
    purpose: str = SINGLE,
    again_from: Path | None = None,
) -> tuple[Outcome, bool]:
    """Run one trial in this process and append it to the ledger in ``out``; an interrupted one goes on, and
    one that failed runs again.

    It is a study's trial like any other: with retries, limits and a row where it fails.  It trains on a GPU
    where there is one.

    Args:
        study: with the trial's variant and stage.
        intent: the trial.
        out: output folder.
        root: folder that holds the suite's folder.
        trackers: told of every epoch.
        told: told, a line each, what the check of the data warns of.
        purpose: what it reads the test split for, if it does.
        again_from: output folder with the trial's row, where that is run again: nothing that the row was made
            with may have changed.

    Returns:
        How it ended, and whether it had completed before.

    Raises:
        InputError: bad input, or ``out`` belongs to something else.
        KeyboardInterrupt: the user stopped it; the same call goes on from the last epoch.
        wst.engine.faults.StudyStoppedError: a full disk; the same call goes on.
    """
    changes = {"tasks": (intent.task,), "report_every": 1, "checkpoint_every": 1}
    study = study.model_copy(update=changes)
    checked = check(study, root, told)
    if again_from is not None:
        check_row(again_from, intent.trial_id, study, checked.fingerprint)
    followers = Trackers(trackers)
    seeds = {intent.stage: range(intent.seed, intent.seed + 1)}
    same = partial(check_rows, out, study, checked.fingerprint, seeds)
    with followers, Ledger(out, study, provenance.code(), same) as ledger, checked.beside as beside:
        ended = history(out, checked=True)[1]
        before = next((t.outcome for t in ended if t.intent.trial_id == intent.trial_id), None)
        if before is not None and before.state != "failed":
            return before, True
        retried = [intent.trial_id] if before is not None else []
        ledger.discard(retried)
        plan = OneTrial(intent)
        for line in new_warnings(checked, ended):
            told(line)
        environment = Environment(checked.data, checked.fingerprint, device="auto", beside=beside)
        inline.run(Driver(study, plan, ledger, environment, followers, purpose, retried))
    assert plan.outcome is not None
    return plan.outcome, False
