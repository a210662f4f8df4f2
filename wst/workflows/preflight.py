"""What a study needs, looked at before it starts: names, settings, weights, every image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wst.data.splits import data_hash, data_root, open_split
from wst.data.suites import find_suite
from wst.errors import InputError
from wst.methods import registry as methods
from wst.models import backbones
from wst.models.create import count_without_weights, create_model, parameter_counts
from wst.planning.planner import CountParameters
from wst.records import Hyperparameters
from wst.study import Study, Variant


@dataclass(frozen=True)
class Checked:
    """What the checks before a study found out.

    Attributes:
        root: folder that holds the suite's folder.
        data_hashes: hash of each task's data.
        checkpoint_hash: SHA-256 of the backbone's weights file, or timm's name of the weights.
        parameters: :func:`wst.models.create.parameter_counts` of each cell (task, variant).
    """

    root: Path
    data_hashes: dict[str, str]
    checkpoint_hash: str
    parameters: dict[tuple[str, str], dict[str, int]]


def example(study: Study, variant: Variant) -> Hyperparameters:
    """One configuration that a variant may run with."""
    if variant.settings_from is not None:
        source = study.variants[variant.settings_from]
        inherited = {k: v for k, v in example(study, source).items() if k not in source.fixed}
        return {**inherited, **variant.fixed}
    if variant.space is None:
        return {"drop_path": 0.0, **variant.settings(study.tasks[0])}
    return {"drop_path": 0.0, **variant.any_settings()}


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
        shaping = {k: v for k, v in settings.items() if k not in methods.NOT_FOR_METHODS}
        key = repr((method, sorted(shaping.items())))
        if key not in known:
            try:
                counts = count_without_weights(study.backbone, method, study.image_size, shaping)
                known[key] = counts["trainable"]
            except ValueError:  # settings that fit no model: the trial will say what is wrong
                known[key] = 0
        return known[key]

    return count


def check(study: Study, root: str | None) -> Checked:
    """Look at everything a study needs before it starts: names, weights, every image.

    Training and validation images are decoded into the cache on the way.

    Raises:
        InputError: one line on the first thing that is not as it must be.
    """
    backbones.check_name(study.backbone)
    weights = backbones.weights_id(study.backbone, study.checkpoint, study.pretrained)
    if weights is None:
        raise InputError(
            f"checkpoint: expected a weights file for {study.backbone!r}, or pretrained: true; found neither"
        )
    suite = find_suite(study.suite)
    tasks = [suite.task(name) for name in study.tasks]
    parameters, size = {}, 0
    for name, variant in study.variants.items():
        settings = example(study, variant)
        for key in methods.NOT_FOR_METHODS:
            settings.pop(key, None)
        methods.check_hyperparameters(variant.method, {*settings, *(variant.space or {})})
        model = create_model(
            study.backbone,
            method=variant.method,
            num_classes=1,
            checkpoint=study.checkpoint,
            pretrained=study.pretrained,
            image_size=study.image_size,
            **settings,  # type: ignore[arg-type]
        )
        counts = parameter_counts(model)
        size = backbones.input_spec(study.backbone, backbones.timm_model(model), study.normalisation).size
        _check_ceiling(study, name, counts["trainable"])
        for task in tasks:
            head = counts["head"] * task.classes
            total = counts["total"] - counts["head"] + head
            parameters[task.name, name] = {**counts, "head": head, "total": total}
    where = data_root(suite, root)
    hashes = {}
    for task in tasks:
        hashes[task.name] = data_hash(where, suite, task)
        if study.search:
            open_split(where, suite, task, "train", size, "search")
            open_split(where, suite, task, "val", size, "search")
        if study.final:
            open_split(where, suite, task, "trainval", size, "final")
    return Checked(where, hashes, weights, parameters)
