"""The reference's steps, and a whole run of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from timm.scheduler import CosineLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.reference.images import loader
from benchmarks.reference.model import LiteralWST
from benchmarks.stopwatch import Stopwatch
from wst.data.lists import ImageList

SEED = 42
BATCH, SCORING_BATCH = 32, 256
WEIGHT_DECAY = 0.05


class Training:
    """A model in training: 32-bit floats on a CPU, 16-bit ones with gradient scaling on CUDA.

    Args:
        model: what is trained.
        lr: peak learning rate.
        device: where.
    """

    def __init__(self, model: LiteralWST, lr: float, device: str):
        self.model, self.device = model.to(device), device
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        groups = [
            {"params": [p for name, p in named if not name.endswith(".bias")], "weight_decay": WEIGHT_DECAY},
            {"params": [p for name, p in named if name.endswith(".bias")], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=lr)
        self.scaler = torch.amp.GradScaler(device, enabled=device == "cuda")

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One optimiser step on normalised images (B, 3, H, W); returns the loss before it."""
        images, labels = self._moved(images, labels)
        with self._autocast():
            loss = F.cross_entropy(self.model(images), labels)
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss.item()

    @torch.no_grad()
    def correct(self, images: Tensor, labels: Tensor) -> int:
        """How many images are classified correctly."""
        images, labels = self._moved(images, labels)
        with self._autocast():
            logits = self.model(images)
        return int((logits.argmax(1) == labels).sum())

    def _moved(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast("cuda", torch.float16) if self.device == "cuda" else nullcontext()


def run(
    backbone: str,
    classes: int,
    train: ImageList,
    test: ImageList,
    *,
    epochs: int,
    warmup_epochs: int,
    settings: dict[str, float],
    device: str,
    watch: Stopwatch,
) -> float:
    """Train, scoring the whole test split after every epoch; returns the last epoch's accuracy.

    Args:
        backbone: ``micro``, or the name of a timm ViT.
        classes: number of classes.
        train: images that are trained on.
        test: images of the test split.
        epochs: number of epochs.
        warmup_epochs: of these, below the cosine as timm has it.
        settings: ``lr``, and the model's ``r``, ``scale`` and ``drop_path``.
        device: where.
        watch: told the seconds of setup, data (waiting for training images), training and evaluation.
    """
    with watch("setup"):
        torch.manual_seed(SEED)
        lr, rest = settings["lr"], {name: value for name, value in settings.items() if name != "lr"}
        training = Training(LiteralWST(backbone, classes, **rest), lr, device)
        schedule = CosineLRScheduler(
            training.optimiser, epochs, lr_min=1e-8, warmup_t=warmup_epochs, warmup_lr_init=1e-7
        )
        size = training.model.image_size
        train_loader = loader(train, size, BATCH, training=True)
        test_loader = loader(test, size, SCORING_BATCH, training=False)
    correct = 0
    for epoch in range(epochs):
        training.model.train()
        for images, labels in _waited_for(train_loader, watch):
            with watch("training"):
                training.step(images, labels)
        schedule.step(epoch + 1)
        with watch("evaluation"):
            training.model.eval()
            correct = sum(training.correct(images, labels) for images, labels in test_loader)
    return correct / len(test.images)


def _waited_for(batches: DataLoader, watch: Stopwatch) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches; the time until each is there is that of the data."""
    with watch("data"):
        iterator = iter(batches)
    while True:
        with watch("data"):
            batch = next(iterator, None)
        if batch is None:
            return
        yield batch
