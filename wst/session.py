"""A study from its file to its ledger: check everything first, then run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from wst import backbones, methods, provenance
from wst.data.splits import data_hash, data_root, open_split
from wst.data.tasks import suite as suite_named
from wst.driver import Environment
from wst.errors import InputError
from wst.ledger import Ledger, check_unchanged, history
from wst.models import create_model, parameter_counts
from wst.planner import Planner
from wst.progress import Progress
from wst.records import Intent, Stage, trial_spec
from wst.study import Categorical, Hyperparameters, Study, Variant
from wst.trial import Trial


@dataclass(frozen=True)
class Checked:
    """What the checks before a study found out.

    Attributes:
        root: folder that holds the suite's folder.
        data_hashes: hash of each task's data.
        checkpoint_hash: SHA-256 of the backbone's weights file, or timm's name of the weights.
        parameters: :func:`wst.models.parameter_counts` of each cell (task, variant).
    """

    root: Path
    data_hashes: dict[str, str]
    checkpoint_hash: str
    parameters: dict[tuple[str, str], dict[str, int]]


def _example(study: Study, variant: Variant) -> Hyperparameters:
    """One configuration that a variant may run with."""
    if variant.settings_from is not None:
        source = study.variants[variant.settings_from]
        inherited = {k: v for k, v in _example(study, source).items() if k not in source.fixed}
        return {**inherited, **variant.fixed}
    if variant.space is None:
        return {"drop_path": 0.0, **variant.settings(study.tasks[0])}
    space = variant.space
    first = {k: d.choices[0] if isinstance(d, Categorical) else d.low for k, d in space.items()}
    return {"drop_path": 0.0, **first, **variant.fixed}


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
    suite = suite_named(study.suite)
    tasks = [suite.task(name) for name in study.tasks]
    parameters, size = {}, 0
    for name, variant in study.variants.items():
        settings = _example(study, variant)
        for key in methods.NOT_FOR_METHODS:
            settings.pop(key, None)
        methods.check_hyperparameters(variant.method, set(settings))
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
        for task in tasks:
            head = counts["head"] * task.classes
            total = counts["total"] - counts["head"] + head
            parameters[task.name, name] = {**counts, "head": head, "total": total}
    where = data_root(suite, root)
    hashes = {}
    for task in tasks:
        hashes[task.name] = data_hash(where, suite, task)
        if study.search:
            open_split(where, suite, task, "train800", size, "search")
            open_split(where, suite, task, "val200", size, "search")
        if study.final:
            open_split(where, suite, task, "train800val200", size, "final")
    return Checked(where, hashes, weights, parameters)


def run_study(study: Study, out: Path, root: str | None, address: str | None, console: Console) -> Planner:
    """Run a study, or go on with the one in ``out``; returns the planner as it stands at the end.

    Raises:
        InputError: bad input; nothing was overwritten.
        wst.engine.StudyInterrupted: the user stopped it; the same call goes on.
    """
    checked = check(study, root)
    with Ledger(out, study, provenance.code()) as ledger:
        intents, ended = history(out)
        check_unchanged(ended, checked.data_hashes, checked.checkpoint_hash)
        planner = Planner(study, intents, ended)
        from wst import engine  # Ray takes seconds to import; checks come first

        environment = Environment(checked.root, checked.data_hashes, address)
        with Progress(planner, console) as progress:
            engine.run(study, planner, ledger, environment, progress.update)
    return planner


@dataclass(frozen=True)
class CellCost:
    """What one cell is expected to cost; seconds are measured on this machine, on one slot."""

    task: str
    variant: str
    trainable: int
    search_trials: int
    search_epochs: float
    final_trials: int
    final_epochs: int
    seconds: float


def expected_costs(study: Study, checked: Checked) -> list[CellCost]:
    """Trials, epochs and slot-seconds of every cell, from a few timed steps of each variant."""
    seconds = {name: _seconds_per_epoch(study, name, checked.root) for name in study.variants}
    finals, epochs = (study.final.seeds if study.final else 0), study.recipe.epochs
    costs = []
    for task, name in study.cells:
        trials = study.search_trials(name)
        per_trial = expected_epochs(study) if trials else 0.0
        training = trials * per_trial + 1.25 * finals * epochs  # 1000 images in final, 800 in search
        costs.append(
            CellCost(
                task,
                name,
                checked.parameters[task, name]["trainable"],
                trials,
                trials * per_trial,
                finals,
                finals * epochs,
                training * seconds[name],
            )
        )
    return costs


def expected_epochs(study: Study) -> float:
    """Epochs of a search trial on average, when every rung lets one in ``reduction_factor`` pass."""
    epochs = study.recipe.epochs
    rungs = study.search.rungs(epochs) if study.search else []
    if not rungs or study.search is None:
        return float(epochs)
    factor: int = study.search.pruner.reduction_factor  # type: ignore[union-attr]
    total, share, done = 0.0, 1.0, 0
    for rung in [*rungs, epochs]:
        total += share * (rung - done)
        share, done = share / factor, rung
    return total


def _seconds_per_epoch(study: Study, variant: str, root: Path) -> float:
    settings = _example(study, study.variants[variant])
    stage: Stage = "search" if study.search else "final"
    intent = Intent("timing", study.tasks[0], variant, stage, 0, 0, 0, settings)
    return Trial(trial_spec(study, intent, root=root)).seconds_per_epoch()
