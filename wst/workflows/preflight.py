"""What a study needs, looked at before it starts: names, settings, weights, every image."""

from __future__ import annotations

from dataclasses import dataclass

from wst.data.splits import TaskData, data_root
from wst.data.suites import find_suite
from wst.engine.fingerprint import Fingerprint, fingerprint, known_weights
from wst.errors import InputError
from wst.methods import registry
from wst.models import backbones
from wst.models.create import adapted, count_without_weights, parameter_counts
from wst.planning.planner import CountParameters
from wst.records import Hyperparameters, of_the_method
from wst.study import Study, Variant
from wst.workflows.settings import check_settings, given


@dataclass(frozen=True)
class Checked:
    """What the checks before a study found out.

    Attributes:
        data: each task's images, by its name.
        fingerprint: hashes of these and of the backbone's weights.
        parameters: :func:`wst.models.create.parameter_counts` of each cell (task, variant).
    """

    data: dict[str, TaskData]
    fingerprint: Fingerprint
    parameters: dict[tuple[str, str], dict[str, int]]


def example(study: Study, variant: Variant) -> Hyperparameters:
    """One configuration that a variant may run with."""
    if variant.settings_from is not None:
        source = study.variants[variant.settings_from]
        inherited = {k: v for k, v in example(study, source).items() if k not in source.fixed}
        return {**inherited, **variant.fixed}
    if variant.space is None:
        return study.recipe.complete(variant.settings(study.tasks[0]))
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
        shaping = _shaping(method, settings)
        key = repr((method, sorted(shaping.items())))
        if key not in known:
            try:
                counts = count_without_weights(study.frozen_backbone, method, shaping)
                known[key] = counts["trainable"]
            except ValueError:  # settings that fit no model: the trial will say what is wrong
                known[key] = 0
        return known[key]

    return count


def _shaping(method: str, settings: Hyperparameters) -> Hyperparameters:
    """The method's hyperparameters that may change a tensor's shape."""
    free = registry.get(method).free
    return {name: value for name, value in of_the_method(settings).items() if name not in free}


def _check_fits(study: Study, name: str) -> None:
    """Build a model, without weights, for each value that a variant's trials may have.

    The other hyperparameters are as in :func:`example`, so that of each value it shows whether it fits the
    backbone, not whether it goes with every other one.

    Raises:
        InputError: the value's place, and what does not fit.
    """
    variant = study.variants[name]
    usual = of_the_method(example(study, variant))
    tried: list[Hyperparameters] = []
    for where, hyperparameter, value in given(study, name):
        settings = _shaping(variant.method, {**usual, hyperparameter: value})  # type: ignore[dict-item]
        one_place = isinstance(value, tuple) and len(value) == 1  # of several, which go together
        if hyperparameter not in settings or one_place or settings in tried:
            continue
        tried.append(settings)
        try:
            count_without_weights(study.frozen_backbone, variant.method, settings)
        except InputError as error:
            raise InputError(f"{where}: {hyperparameter} {value}: {error}") from None


def check(study: Study, root: str | None) -> Checked:
    """Look at everything a study needs before it starts: names, weights, every image.

    Training and validation images are decoded into the cache on the way.

    Raises:
        InputError: one line on the first thing that is not as it must be.
    """
    backbone = study.frozen_backbone
    backbones.check_name(backbone.name)
    known_weights(backbone)
    suite = find_suite(study.suite)
    tasks = [suite.task(name) for name in study.tasks]
    check_settings(study)
    parameters, size = {}, 0
    for name, variant in study.variants.items():
        settings = of_the_method(example(study, variant))
        try:
            model = adapted(backbone, variant.method, settings, num_classes=1)
        except InputError as error:
            raise InputError(f"variants.{name}: {error}") from None
        _check_fits(study, name)
        counts = parameter_counts(model)
        size = backbones.input_spec(backbones.timm_model(model), backbone).size
        _check_ceiling(study, name, counts["trainable"])
        for task in tasks:
            head = counts["head"] * task.classes
            total = counts["total"] - counts["head"] + head
            parameters[task.name, name] = {**counts, "head": head, "total": total}
    where = data_root(suite, root)
    data = {task.name: TaskData.of(where.absolute(), suite, task) for task in tasks}
    found = fingerprint(backbone, data)
    for of in data.values():
        if study.search:
            of.open("train", size, "search")
            of.open("val", size, "search")
        if study.final:
            of.open("trainval", size, "final")
    return Checked(data, found, parameters)
