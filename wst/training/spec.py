"""What a process needs to run one trial."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from wst.data.splits import TaskData
from wst.records import Backbone, Intent, Settings, Steps
from wst.study import Recipe, Study

Device = Literal["cpu", "cuda", "auto"]
"""Where a trial trains; ``auto`` is the first CUDA device if there is one, else the CPU."""


@dataclass(frozen=True)
class TrialSpec:
    """Everything that a process needs to run one trial; it travels to the worker.

    Attributes:
        study: name of the study.
        suite: name of the suite.
        data: the task and where its images are.
        method: reference to the method, see :mod:`wst.methods.registry`.
        method_hash: of its file, where it is a user's own.
        device: where to train.
        checkpoint_path: where the trial's own state is kept while it runs; None keeps none.
        checkpoint_every: epochs between two states kept.
        validated: epochs (1-based) after which it is scored on val, besides the last; each where left out.
        threads: CPU threads that the trial may use.
        data_hash: hash of the task's data, for the ledger.
        tuning_hash: of train and val alone.
        weights: :func:`wst.models.backbones.weights_id` that the backbone must have; any when None.
        adapter_path: where a final trial keeps its trainable tensors; None keeps none.
        gpu_share: share of a GPU's memory that the trial may take.
        time_limit: longest that it may train, in seconds.
        together: how many trials of its job train in one pass.
        steps: how its training steps run on a GPU; on a CPU they are eager.
    """

    intent: Intent
    study: str
    suite: str
    data: TaskData
    backbone: Backbone
    method: str
    method_hash: str | None
    recipe: Recipe
    device: Device = "cpu"
    checkpoint_path: str | None = None
    checkpoint_every: int = 10
    validated: frozenset[int] | None = None
    threads: int = 1
    data_hash: str | None = None
    tuning_hash: str | None = None
    weights: str | None = None
    adapter_path: str | None = None
    gpu_share: float = 1.0
    time_limit: float | None = None
    together: int = 1
    steps: Steps = "eager"

    @property
    def settings(self) -> Settings:
        """The trial's hyperparameters, by who takes them."""
        return Settings.of(self.intent.hyperparameters)


def trial_spec(
    study: Study,
    intent: Intent,
    *,
    data: TaskData,
    device: Device | None = None,
    data_hash: str | None = None,
    tuning_hash: str | None = None,
    weights: str | None = None,
    checkpoint_path: Path | None = None,
    adapter_path: Path | None = None,
) -> TrialSpec:
    """What a worker needs to run one trial of a study; all paths are absolute, since it runs elsewhere.

    Args:
        data: at an absolute path.
        device: as the study's resources say when left out.
    """
    variant = study.variants[intent.variant]
    return TrialSpec(
        intent=intent,
        study=study.name,
        suite=study.suite,
        data=data,
        backbone=backbone_anywhere(study),
        method=variant.method,
        method_hash=variant.method_hash,
        recipe=study.recipe,
        device=device or device_of(study),
        checkpoint_path=str(checkpoint_path.absolute()) if checkpoint_path else None,
        checkpoint_every=study.checkpoint_every,
        validated=frozenset(study.report_epochs()) if study.validate_at == "reports" else None,
        threads=study.resources.cpus_per_trial,
        data_hash=data_hash,
        tuning_hash=tuning_hash,
        weights=weights,
        adapter_path=str(adapter_path.absolute()) if adapter_path else None,
        gpu_share=min(1.0, study.resources.gpus_per_trial or 1.0),
        time_limit=study.faults.time_limit,
        together=study.resources.trials_per_pass,
        steps=study.resources.steps,
    )


def device_of(study: Study) -> Device:
    """Where a study's trials train."""
    return "cuda" if study.resources.gpus_per_trial else "cpu"


def backbone_anywhere(study: Study) -> Backbone:
    """A study's backbone for processes in other current folders: the path of its weights is absolute."""
    backbone = study.frozen_backbone
    if backbone.checkpoint is None:
        return backbone
    return replace(backbone, checkpoint=str(Path(backbone.checkpoint).absolute()))
