"""What a process needs to run one trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wst.records import Intent, Normalisation
from wst.study import Recipe, Study


@dataclass(frozen=True)
class TrialSpec:
    """Everything that a process needs to run one trial; it travels to the worker.

    Attributes:
        root: folder that holds the suite's folder.
        checkpoint_path: where the trial's own state is kept while it runs; None keeps none.
        checkpoint_every: epochs between two states kept.
        threads: CPU threads that the trial may use.
        data_hash: hash of the task's data, for the ledger.
        adapter_path: where a final trial keeps its trainable tensors; None keeps none.
        gpu_share: share of a GPU's memory that the trial may take.
        time_limit: longest that it may train, in seconds.
    """

    intent: Intent
    study: str
    suite: str
    root: str
    backbone: str
    checkpoint: str | None
    pretrained: bool
    image_size: int | None
    normalisation: Normalisation
    method: str
    recipe: Recipe
    checkpoint_path: str | None = None
    checkpoint_every: int = 10
    threads: int = 1
    data_hash: str | None = None
    adapter_path: str | None = None
    gpu_share: float = 1.0
    time_limit: float | None = None


def trial_spec(
    study: Study,
    intent: Intent,
    *,
    root: Path,
    data_hash: str | None = None,
    checkpoint_path: Path | None = None,
    adapter_path: Path | None = None,
) -> TrialSpec:
    """What a worker needs to run one trial of a study; paths become absolute, since it runs elsewhere."""
    return TrialSpec(
        intent=intent,
        study=study.name,
        suite=study.suite,
        root=str(root.absolute()),
        backbone=study.backbone,
        checkpoint=str(Path(study.checkpoint).absolute()) if study.checkpoint else None,
        pretrained=study.pretrained,
        image_size=study.image_size,
        normalisation=study.normalisation,
        method=study.variants[intent.variant].method,
        recipe=study.recipe,
        checkpoint_path=str(checkpoint_path.absolute()) if checkpoint_path else None,
        checkpoint_every=study.checkpoint_every,
        threads=study.resources.cpus_per_trial,
        data_hash=data_hash,
        adapter_path=str(adapter_path.absolute()) if adapter_path else None,
        gpu_share=min(1.0, study.resources.gpus_per_trial or 1.0),
        time_limit=study.faults.time_limit,
    )
