"""Measure the micro backbone's transfer for its model card.

    python tools/probe_micro.py > probe.md

For each task of the mini suite: a linear probe on raw pixels, on a randomly initialised copy of the backbone,
on the backbone, and WST on it (scale 1, r 2).  Ten epochs; the learning rate is the best of a grid on val
(trained on train); the figure is test accuracy after retraining on all 1,000 images, mean of three seeds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from wst.data.mini import MINI
from wst.data.splits import TaskData, data_root
from wst.data.tasks import Task
from wst.models.backbones import micro_vit
from wst.records import Hyperparameters, Intent, Stage
from wst.study import Recipe, Study
from wst.training.spec import trial_spec
from wst.training.trial import Trial, score_together

RECIPE = Recipe(epochs=10, warmup_epochs=1)
PROBE_RATES, WST_RATES, PIXEL_RATES = (1e-3, 3e-3, 1e-2, 3e-2), (2e-3, 5e-3, 1e-2), (3e-4, 1e-3, 3e-3)
SEEDS = (1, 2, 3)


def trained(task: Task, settings: Hyperparameters, seed: int, stage: Stage, checkpoint: str | None) -> float:
    method = "wst" if "r" in settings else "linear"
    study = Study.model_validate(
        {
            "name": "probe",
            "suite": "mini",
            "tasks": [task.name],
            "backbone": "micro",
            "checkpoint": checkpoint,
            "variants": {method: {"method": method, "fixed": settings}},
            "recipe": RECIPE.model_dump(),
            "final": {"seeds": 1},
        }
    )
    intent = Intent("probe", task.name, method, stage, 0, 0, seed, study.recipe.complete(settings))
    trial = Trial(trial_spec(study, intent, data=TaskData.of(data_root(MINI, None), MINI, task)))
    curve = list(trial.epochs())
    return score_together([trial])[0].top1 if stage == "final" else curve[-1].val_top1 or 0.0


def pixels(task: Task, lr: float, seed: int, stage: Stage) -> float:
    """A linear classifier on normalised pixels, trained as the probe is."""
    root = data_root(MINI, None)

    def load(split: str) -> tuple[torch.Tensor, torch.Tensor]:
        found = TaskData.of(root, MINI, task).open(split, 32, stage)  # type: ignore[arg-type]
        images = torch.from_numpy(np.array(found.images)).flatten(1).float() / 127.5 - 1
        return images, torch.tensor(found.labels)

    torch.manual_seed(seed)
    x, y = load("train" if stage == "search" else "trainval")
    layer = torch.nn.Linear(x.shape[1], task.classes)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=lr, weight_decay=RECIPE.weight_decay)
    for _ in range(RECIPE.epochs):
        for batch in torch.randperm(len(y)).split(RECIPE.batch_size):
            optimiser.zero_grad()
            F.cross_entropy(layer(x[batch]), y[batch]).backward()
            optimiser.step()
    x, y = load("val" if stage == "search" else "test")
    return (layer(x).argmax(1) == y).double().mean().item()


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        random = str(Path(folder) / "random.safetensors")
        save_file(micro_vit().state_dict(), random)
        print("| task | raw pixels, linear | random copy, linear | micro, linear | micro, WST |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for task in MINI.tasks:
            columns = []
            lr = max(PIXEL_RATES, key=lambda rate: pixels(task, rate, 0, "search"))
            columns.append([pixels(task, lr, seed, "final") for seed in SEEDS])
            for rates, extra, checkpoint in (
                (PROBE_RATES, {}, random),
                (PROBE_RATES, {}, None),
                (WST_RATES, {"scale": 1.0, "r": 2}, None),
            ):

                def scored(rate: float, extra=extra, checkpoint=checkpoint, task=task) -> float:  # type: ignore[no-untyped-def]
                    return trained(task, {"lr": rate, **extra}, 0, "search", checkpoint)

                lr = max(rates, key=scored)
                settings: Hyperparameters = {"lr": lr, **extra}
                columns.append([trained(task, settings, seed, "final", checkpoint) for seed in SEEDS])
            cells = " | ".join(f"{100 * np.mean(c):.1f}" for c in columns)
            print(f"| {task.name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
