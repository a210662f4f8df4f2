"""One configuration trained: an epoch's metrics at a time, with a state that can be saved and continued."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wst.data.decode import preprocessing
from wst.data.lists import Split
from wst.data.splits import TRAINING_SPLIT, TaskData
from wst.models import backbones
from wst.models.adapters import Card, save_adapter
from wst.models.create import adapted, parameter_counts
from wst.records import Cost, Epoch, Score, Stage
from wst.training.batches import Normaliser
from wst.training.optimisation import autocast, gradient_scaler, learning_rate, optimiser
from wst.training.spec import TrialSpec

_SCORING_BATCH = 256


class DivergedError(ArithmeticError):
    """The training loss is no longer a finite number."""


class Trial:
    """A trial in progress.

    Iterating over :meth:`epochs` trains; between epochs :meth:`save` keeps the whole state, and a new
    ``Trial`` of the same spec continues from it with the very numbers that an undisturbed one has.

    Args:
        spec: what to train.
        device: where to train; the first CUDA device if there is one, else the CPU, when left out.

    Raises:
        InputError: data or weights are missing or do not fit.
    """

    def __init__(self, spec: TrialSpec, device: torch.device | None = None):
        self._start = time.perf_counter()
        self._started = datetime.now(UTC)
        self.spec = spec
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_num_threads(spec.threads)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            # Trials that share a GPU keep to their shares, so that none takes another one's memory.
            torch.cuda.set_per_process_memory_fraction(spec.gpu_share, self.device)
        torch.manual_seed(spec.intent.seed)
        self._shuffle = torch.Generator().manual_seed(spec.intent.seed)

        settings = spec.settings
        self._peak_lr = settings.lr
        self.model = adapted(
            spec.backbone,
            spec.method,
            settings.method,
            num_classes=spec.data.task.classes,
            drop_path=settings.drop_path,
            method_hash=spec.method_hash,
        ).to(self.device)
        self._input = backbones.input_spec(backbones.timm_model(self.model), spec.backbone)
        self._normalised = Normaliser(
            self._input.mean,
            self._input.std,
            self._input.size,
            max(spec.recipe.batch_size, _SCORING_BATCH),
            self.device,
        )
        self._optimiser = optimiser(self.model, spec.recipe, settings.lr, settings.weight_decay)
        self._scaler = gradient_scaler(spec.recipe, self.device)
        self._images, self._labels = self._on_device(TRAINING_SPLIT[spec.intent.stage])
        self.curve: list[Epoch] = []
        self._train_seconds = self._eval_seconds = self._earlier_seconds = 0.0
        self._seconds: float | None = None
        if spec.checkpoint_path and Path(spec.checkpoint_path).is_file():
            self._restore(Path(spec.checkpoint_path))

    def epochs(self) -> Iterator[Epoch]:
        """Train the epochs that are left, one at a time.

        Raises:
            DivergedError: the loss is not finite.
        """
        while len(self.curve) < self.spec.recipe.epochs:
            yield self._epoch()
        self._seconds = self.seconds

    @property
    def seconds(self) -> float:
        """Wall-clock seconds that the trial has taken: with its set-up and what it took before it was
        interrupted, without waiting for others."""
        if self._seconds is not None:
            return self._seconds
        return self._earlier_seconds + time.perf_counter() - self._start

    def test(self) -> Score:
        """Score the test split.

        Raises:
            TestSplitClosedError: in any stage but ``final``.
        """
        return test_together([self])[0]

    def seconds_per_epoch(self) -> float:
        """Training seconds of one epoch, estimated from a few steps.  The trial is spoilt afterwards."""
        batch = torch.arange(min(self.spec.recipe.batch_size, len(self._labels)), device=self.device)
        self.model.train()
        self._step(batch, 0.0).item()
        begin, repeats = time.perf_counter(), 3
        for _ in range(repeats):
            self._step(batch, 0.0).item()  # .item() waits for the device
        return (time.perf_counter() - begin) / repeats * self._steps()

    def save_adapter(self, test: Score | None) -> None:
        """Keep the trainable tensors and their card at the spec's ``adapter_path``."""
        spec, path = self.spec, self.spec.adapter_path
        if path is None:
            return
        card = Card(
            backbone=spec.backbone.name,
            checkpoint_hash=self._weights_id() or "",
            method=spec.method,
            method_hash=spec.method_hash,
            hyperparameters=spec.settings.method,
            suite=spec.suite,
            task=spec.intent.task,
            classes=spec.data.task.classes,
            image_size=self._input.size,
            mean=self._input.mean,
            std=self._input.std,
            data_hash=spec.data_hash,
            seed=spec.intent.seed,
            val_top1=self.curve[-1].val_top1 if self.curve else None,
            test_top1=test.top1 if test else None,
            test_images=test.images if test else None,
            study=spec.study,
            trial_id=spec.intent.trial_id,
        )
        save_adapter(self.model, card, Path(path))

    def cost(self) -> Cost:
        """What the trial took so far, and with what it ran."""
        counts, device = parameter_counts(self.model), self.device
        seen = len(self.curve) * self._images_per_epoch()
        return Cost(
            trainable_parameters=counts["trainable"],
            head_parameters=counts["head"],
            total_parameters=counts["total"],
            train_seconds=self._train_seconds,
            eval_seconds=self._eval_seconds,
            wall_seconds=self.seconds,
            images_per_second=seen / self._train_seconds if self._train_seconds else None,
            peak_memory=_peak_memory(device),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            node=socket.gethostname(),
            slot=f"{socket.gethostname()}:{os.getpid()}",
            checkpoint_hash=self._weights_id(),
            normalisation=self._input.describe_normalisation(),
            data_hash=self.spec.data_hash,
            preprocessing=preprocessing(self._input.size),
            started=self._started,
            ended=datetime.now(UTC),
        )

    def save(self) -> None:
        """Keep the state at ``checkpoint_path``: trainable tensors, optimiser, generators, curve."""
        if self.spec.checkpoint_path is None:
            return
        path = Path(self.spec.checkpoint_path)
        state = {
            "trainable": {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad},
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "generators": self._generators(),
            "curve": [asdict(epoch) for epoch in self.curve],
            "train_seconds": self._train_seconds,
            "eval_seconds": self._eval_seconds,
            "wall_seconds": self.seconds,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".partial")
        with aside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)

    def _restore(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(state["trainable"][name])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        generators = state["generators"]
        torch.set_rng_state(generators["cpu"])
        self._shuffle.set_state(generators["shuffle"])
        if self.device.type == "cuda" and "cuda" in generators:
            torch.cuda.set_rng_state(generators["cuda"], self.device)
        self.curve = [Epoch(**epoch) for epoch in state["curve"]]
        self._train_seconds, self._eval_seconds = state["train_seconds"], state["eval_seconds"]
        self._earlier_seconds = state["wall_seconds"]

    def _generators(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state(), "shuffle": self._shuffle.get_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def _on_device(self, split: Split) -> tuple[Tensor, Tensor]:
        stage = self.spec.intent.stage
        return _resident_split(self.spec.data, split, self._input.size, stage, self.device)

    def _steps(self) -> int:
        """Optimiser steps an epoch."""
        full, rest = divmod(len(self._labels), self.spec.recipe.batch_size)
        return max(1, full if self.spec.recipe.drop_last else full + bool(rest))

    def _weights_id(self) -> str | None:
        return backbones.weights_id(self.spec.backbone)

    def _images_per_epoch(self) -> int:
        return min(self._steps() * self.spec.recipe.batch_size, len(self._labels))

    def _epoch(self) -> Epoch:
        recipe, begin = self.spec.recipe, time.perf_counter()
        done, steps = len(self.curve), self._steps()
        self.model.train()
        order = torch.randperm(len(self._labels), generator=self._shuffle).to(self.device)
        total, lr = torch.zeros((), device=self.device), 0.0
        for step in range(steps):
            lr = learning_rate(recipe, self._peak_lr, done + step / steps)
            total += self._step(order[step * recipe.batch_size : (step + 1) * recipe.batch_size], lr)
        train_loss = total.item() / steps
        if not np.isfinite(train_loss):
            raise DivergedError(f"training loss is {train_loss} in epoch {done + 1}")
        trained = time.perf_counter()
        val_loss, val_top1 = self._validate()
        now = time.perf_counter()
        self._train_seconds += trained - begin
        self._eval_seconds += now - trained
        epoch = Epoch(done + 1, lr, train_loss, val_loss, val_top1, now - begin)
        self.curve.append(epoch)
        last = epoch.epoch == recipe.epochs
        # The last epoch of a final trial is kept too: scoring a large test split may be interrupted.
        if self.spec.intent.stage == "final" if last else epoch.epoch % self.spec.checkpoint_every == 0:
            self.save()
        return epoch

    def _step(self, batch: Tensor, lr: float) -> Tensor:
        """One optimiser step on the images at the indices ``batch``; returns the loss."""
        recipe = self.spec.recipe
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        with autocast(recipe, self.device):
            logits = self.model(self._normalised(self._images.index_select(0, batch)))
        loss = F.cross_entropy(logits.float(), self._labels[batch], label_smoothing=recipe.label_smoothing)
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return loss.detach()

    def _validate(self) -> tuple[float | None, float | None]:
        if self.spec.intent.stage == "final":
            return None, None  # final trains on val
        images, labels = self._on_device("val")
        starts = range(0, len(labels), _SCORING_BATCH)
        batches = ((images[i : i + _SCORING_BATCH], labels[i : i + _SCORING_BATCH]) for i in starts)
        ((correct, loss),) = _score([self], batches)
        return loss / len(labels), correct / len(labels)


def test_together(trials: Sequence[Trial]) -> list[Score]:
    """Score the test split with trained trials of one cell in one pass: each image is read once.

    Raises:
        TestSplitClosedError: in any stage but ``final``.
    """
    begin = time.perf_counter()
    for trial in trials:
        split = trial.spec.data.open("test", trial._input.size, trial.spec.intent.stage)
    # Streamed: a test split may be larger than the memory.
    scores = _score(trials, split.batches(_SCORING_BATCH))
    share = (time.perf_counter() - begin) / len(trials)
    for trial in trials:
        trial._eval_seconds += share
        trial._seconds = trial.seconds + share
    return [Score(correct / len(split.labels), len(split.labels)) for correct, _ in scores]


@torch.inference_mode()
def _score(
    trials: Sequence[Trial], batches: Iterable[tuple[Tensor | np.ndarray, Tensor | np.ndarray]]
) -> list[tuple[int, float]]:
    """For each trial's model: (number of images classified correctly, sum of the cross-entropies)."""
    first, correct, loss = trials[0], [0] * len(trials), [0.0] * len(trials)
    for trial in trials:
        trial.model.eval()
    for images, labels in batches:
        inputs = first._normalised(_tensor(images).to(first.device))
        target = _tensor(labels).to(first.device)
        for i, trial in enumerate(trials):
            with autocast(trial.spec.recipe, trial.device):
                logits = trial.model(inputs)
            correct[i] += int((logits.argmax(1) == target).sum())
            loss[i] += F.cross_entropy(logits.float(), target, reduction="sum").item()
    return list(zip(correct, loss, strict=True))


def _tensor(values: Tensor | np.ndarray) -> Tensor:
    """A tensor; of a memory-mapped array, which is read only, a copy."""
    return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))


@lru_cache(maxsize=4)
def _resident_split(
    data: TaskData, split: Split, size: int, stage: Stage, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A split as tensors on the device, kept there for the next trial in this process."""
    decoded = data.open(split, size, stage)
    return torch.from_numpy(np.array(decoded.images)).to(device), torch.from_numpy(decoded.labels).to(device)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
