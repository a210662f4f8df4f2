"""What a study needs, looked at before it starts: names, settings, weights, every image."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wst.data.check.beside import Beside
from wst.data.check.gate import look
from wst.data.check.report import TaskReport, refuse
from wst.data.lists import SPLITS
from wst.data.splits import TaskData, build_again, data_root
from wst.data.suites import find_suite
from wst.data.tasks import Suite
from wst.engine.fingerprint import Fingerprint, known_weights
from wst.errors import InputError
from wst.methods import registry
from wst.models import backbones
from wst.models.create import adapted, count_backbone, count_without_weights, parameter_counts
from wst.planning.planner import CountParameters
from wst.records import EndedTrial, Hyperparameters, of_the_method
from wst.study import Study, Variant
from wst.workflows.settings import check_settings, given

_MOST_TIMES = 10
"""Trainable parameters that a method may have, as a multiple of the backbone's."""
_MANY = 5_000
"""Images that are not looked at without a word."""


@dataclass(frozen=True)
class Checked:
    """What the checks before a study found out.

    Attributes:
        data: each task's images, by its name.
        fingerprint: hashes of these and of the backbone's weights.
        parameters: :func:`wst.models.create.parameter_counts` of each cell (task, variant).
        beside: what is known of the images of each task, and looks at large test splits while it is entered.
    """

    data: dict[str, TaskData]
    fingerprint: Fingerprint
    parameters: dict[tuple[str, str], dict[str, int]]
    beside: Beside


def example(study: Study, variant: Variant) -> Hyperparameters:
    """One configuration that a variant may run with."""
    if variant.settings_from is not None:
        source = study.variants[variant.settings_from]
        inherited = {k: v for k, v in example(study, source).items() if k not in source.fixed}
        return {**inherited, **variant.fixed}
    if variant.space is None:
        return study.recipe.complete(variant.given_settings(study.tasks[0]))
    return study.recipe.complete(variant.any_settings())


def _check_ceiling(study: Study, name: str, trainable: int) -> None:
    most = study.search.max_trainable_parameters if study.search else None
    if most is not None and study.variants[name].space is None and trainable > most:
        raise InputError(
            f"variants.{name}: expected at most {most} trainable parameters; found {trainable} with its "
            "fixed settings"
        )


def parameter_counter(study: Study) -> CountParameters:
    """Counts trainable parameters without building weights, each configuration of a method once."""
    known: dict[str, int] = {}

    def count(variant: str, settings: Hyperparameters) -> int:
        method = study.variants[variant].method
        key = repr((method, sorted(_shaping(method, settings).items())))
        if key not in known:
            try:
                counts = count_without_weights(study.frozen_backbone, method, of_the_method(settings))
                known[key] = counts["trainable"]
            except InputError:  # settings that fit no model: the trial will say what is wrong
                known[key] = 0
        return known[key]

    return count


def _shaping(method: str, settings: Hyperparameters) -> Hyperparameters:
    """The method's hyperparameters that may change a tensor's shape: what tells two counts apart."""
    free = registry.get(method).free
    return {name: value for name, value in of_the_method(settings).items() if name not in free}


def _check_fits(study: Study, name: str) -> None:
    """Build a model, without weights, for each value that a variant's trials may have.

    The other hyperparameters are as in :func:`example`, so that of each value it shows whether it fits the
    backbone, not whether it goes with every other one.

    Raises:
        InputError: the value's place, and what does not fit, or that the model would be far larger than the
            backbone, which is a slip of the pen and takes its trials very long.
    """
    variant = study.variants[name]
    most = _MOST_TIMES * count_backbone(study.frozen_backbone)
    usual = of_the_method(example(study, variant))
    tried: list[Hyperparameters] = []
    for where, hyperparameter, value in given(study, name):
        settings: Hyperparameters = {**usual, hyperparameter: value}  # type: ignore[dict-item]
        shaping = _shaping(variant.method, settings)
        one_place = isinstance(value, tuple) and len(value) == 1  # of several, which go together
        if hyperparameter not in shaping or one_place or shaping in tried:
            continue
        tried.append(shaping)
        try:
            counts = count_without_weights(study.frozen_backbone, variant.method, of_the_method(settings))
        except InputError as error:
            raise InputError(f"{where}: {hyperparameter} {value}: {error}") from None
        if counts["trainable"] > most:
            raise InputError(
                f"{where}: {hyperparameter} {value}: expected at most {most:,} trainable parameters, "
                f"{_MOST_TIMES} times those of the backbone; found {counts['trainable']:,}"
            )


def check(study: Study, root: str | None, told: Callable[[str], None] = lambda line: None) -> Checked:
    """Look at everything a study needs before it starts: names, weights, every image.

    The data pass the check of ``wst data check``, remembered until they change.  Training and validation
    images are decoded into the cache on the way.

    Args:
        study: what is to run.
        root: folder that holds the suite's folder.
        told: told, a line each, of what takes long, and of warnings that come up later.

    Raises:
        InputError: one line on the first thing that is not as it must be.
    """
    backbone = study.frozen_backbone
    backbones.check_name(backbone.name)
    known_weights(backbone)
    suite = find_suite(study.suite)
    tasks = [suite.task(name) for name in study.tasks]
    check_settings(study)
    parameters = {}
    for name, variant in study.variants.items():
        _check_fits(study, name)
        settings = of_the_method(example(study, variant))
        try:
            model, images = adapted(
                backbone, variant.method, settings, num_classes=1, method_hash=variant.method_hash
            )
        except InputError as error:
            raise InputError(f"variants.{name}: {error}") from None
        counts = parameter_counts(model)
        for task in tasks:
            own = counts
            if variant.per_task is not None:
                row = of_the_method(variant.given_settings(task.name))
                own = count_without_weights(backbone, variant.method, row)
            _check_ceiling(study, name, own["trainable"])
            head = own["head"] * task.classes
            total = own["total"] - own["head"] + head
            parameters[task.name, name] = {**own, "head": head, "total": total}
    where = data_root(suite, root)
    data = {task.name: TaskData.of(where.absolute(), suite, task, study.background) for task in tasks}
    reports = _look_at(study, suite, data, root, told)
    found = Fingerprint(known_weights(backbone), {task: report.hashes for task, report in reports.items()})
    beside = Beside(
        data,
        reports,
        study.accept,
        wanted=study.final is not None,
        shown_by=lambda task: _shown_by(study, root, [task]),
        told=told,
    )
    for of in data.values():
        if study.search:
            of.open("train", images.size, "search")
            of.open("val", images.size, "search")
        if study.final:
            of.open("trainval", images.size, "final")
    return Checked(data, found, parameters, beside)


def _look_at(
    study: Study, suite: Suite, data: dict[str, TaskData], root: str | None, told: Callable[[str], None]
) -> dict[str, TaskReport]:
    """What the check finds of each task.

    Raises:
        InputError: the line that ``wst data check`` has for a task that cannot be used.
    """

    def on_total(total: int) -> None:
        if total >= _MANY:
            told(f"Looking at {total:,} images; the next start remembers them.")

    def found() -> list[TaskReport]:
        return [report.accepting(study.accept) for report in look(list(data.values()), on_total=on_total)]

    reports = found()
    if not all(report.usable for report in reports) and build_again(suite, root):
        told(f"{suite.name}: expected the data that the cache keeps to be whole; found others: made again")
        reports = found()
    refuse(reports, _shown_by(study, root, [r.task for r in reports if not r.usable]))
    return {report.task: report for report in reports}


def _shown_by(study: Study, root: str | None, tasks: list[str]) -> str:
    """The command that shows every finding of these tasks."""
    words = ["wst", "data", "check", study.suite, *(["--root", root] if root is not None else [])]
    return shlex.join([*words, *(word for task in tasks for word in ("--task", task))])


def new_warnings(checked: Checked, ended: Iterable[EndedTrial]) -> list[str]:
    """What the check of the data warns of and no row of the ledger holds, a line each."""
    known: dict[str, set[str]] = {}
    for trial in ended:
        known.setdefault(trial.intent.task, set()).add(trial.outcome.data_warnings or "")
    return [
        f"{task}: warning: {line}"
        for task, report in checked.beside.reports.items()
        for line in report.warnings(SPLITS)
        if not any(line in text for text in known.get(task, ()))
    ]
