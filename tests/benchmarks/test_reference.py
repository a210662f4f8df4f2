"""The reference computes what ours does, so that a ratio of their times compares equal arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.reference import training
from benchmarks.reference.model import Haar, LiteralWST
from benchmarks.stopwatch import Stopwatch
from wst.data.lists import ImageList
from wst.models.create import adapted
from wst.records import Backbone
from wst.study import Recipe
from wst.training.batches import Normaliser, Resident
from wst.training.draws import Draw
from wst.training.drop_path import StochasticDepth
from wst.training.optimisation import learning_rate
from wst.training.step import Step
from wst.training.update import Update

CLASSES, LR = 5, 1e-3
RECIPE = Recipe(no_decay="biases", schedule="timm_cosine")


def pair(backbone: str) -> tuple[LiteralWST, torch.nn.Module, int]:
    """The reference and ours with the same weights, and the side of their images."""
    theirs = LiteralWST(backbone, CLASSES, r=2, scale=1.3, drop_path=0.0)
    settings = {"r": 2, "scale": 1.3}
    ours, _ = adapted(Backbone(backbone, normalisation="half"), "wst", settings, num_classes=CLASSES)
    ours.load_state_dict({theirs_to_ours(name): tensor for name, tensor in theirs.state_dict().items()})
    return theirs, ours, theirs.image_size


def theirs_to_ours(name: str) -> str:
    """Ours has the final norm behind the mean, where timm has one of another name."""
    return name.replace("vit.norm.", "vit.fc_norm.").replace("vit.", "backbone.", 1)


@pytest.mark.parametrize("backbone", ["micro", "test_vit", "vit_tiny_patch16_224"])
def test_logits_are_ours(backbone: str) -> None:
    torch.manual_seed(0)
    theirs, ours, side = pair(backbone)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = ours.eval()(images)
        torch.testing.assert_close(theirs.eval()(images), expected, rtol=1e-4, atol=1e-5)
        torch.nn.init.zeros_(ours.wavelet_blocks["0"].up.weight)
        assert not torch.allclose(ours(images), expected, rtol=1e-3)  # the branch is seen in them


@pytest.mark.parametrize("backbone", ["micro", "test_vit"])
def test_steps_are_ours(backbone: str) -> None:
    """Losses, and the tensors after three steps; the frozen ones stay."""
    torch.manual_seed(0)
    theirs, ours, side = pair(backbone)
    frozen = {n: p.clone() for n, p in theirs.named_parameters() if not p.requires_grad}
    pictures = torch.randint(256, (8, 3, side, side), dtype=torch.uint8)
    labels = torch.randint(CLASSES, (8,))
    normalise = Normaliser([0.5] * 3, [0.5] * 3, side, 8, torch.device("cpu"))
    depth = StochasticDepth(ours)
    step = Step(ours, depth, Resident(pictures, labels), normalise, RECIPE)
    update = Update(ours, step, RECIPE, LR, training.WEIGHT_DECAY, torch.device("cpu"))
    draw = Draw(torch.arange(8), depth.draw(1, 8, torch.Generator())[0], 0)
    run = training.Training(theirs, LR, "cpu")
    theirs.train(), ours.train()
    for _ in range(3):
        loss = run.step((pictures / 255 - 0.5) / 0.5, labels)
        assert loss == pytest.approx(update(draw, LR).item(), rel=1e-4)
    mine = dict(ours.named_parameters())
    for name, tensor in theirs.named_parameters():
        if tensor.requires_grad:
            # Adam's first steps have the size of the learning rate, whatever the gradient's.
            torch.testing.assert_close(tensor, mine[theirs_to_ours(name)], rtol=1e-3, atol=0.02 * LR)
        else:
            assert torch.equal(tensor, frozen[name])
    assert {theirs_to_ours(n) for n, p in theirs.named_parameters() if p.requires_grad} == {
        n for n, p in mine.items() if p.requires_grad
    }


def test_the_inverse_transform_inverts() -> None:
    haar, maps = Haar(), torch.randn(2, 3, 8, 6)
    assert haar(maps).shape == (2, 12, 4, 3)
    torch.testing.assert_close(haar.inverse(haar(maps)), maps)


@pytest.mark.slow
def test_a_run_scores_the_test_split_after_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With our learning rates, on whole batches."""
    lists = [write_list(tmp_path / split, count) for split, count in (("train", 70), ("test", 5))]
    scored, rates = [], []
    step, correct = training.Training.step, training.Training.correct

    def noted_step(self: training.Training, images: torch.Tensor, labels: torch.Tensor) -> float:
        assert self.model.training and images.shape == (training.BATCH, 3, 32, 32)
        rates.append(self.optimiser.param_groups[0]["lr"])
        return step(self, images, labels)

    def noted_correct(self: training.Training, images: torch.Tensor, labels: torch.Tensor) -> int:
        assert not self.model.training
        scored.append(len(labels))
        return correct(self, images, labels)

    monkeypatch.setattr(training.Training, "step", noted_step)
    monkeypatch.setattr(training.Training, "correct", noted_correct)
    watch, settings = Stopwatch(), {"lr": LR, "r": 2, "scale": 1.0, "drop_path": 0.1}
    top1 = training.run(
        "micro", 2, *lists, epochs=3, warmup_epochs=1, settings=settings, device="cpu", watch=watch
    )
    assert top1 in [count / 5 for count in range(6)]
    assert scored == [5, 5, 5]
    recipe = RECIPE.model_copy(update={"epochs": 3, "warmup_epochs": 1})
    assert rates == pytest.approx([learning_rate(recipe, LR, epoch) for epoch in (0, 0, 1, 1, 2, 2)])
    assert set(watch.seconds) == {"setup", "data", "training", "evaluation"}


def write_list(folder: Path, count: int) -> ImageList:
    folder.mkdir()
    paths = tuple(folder / f"{index}.png" for index in range(count))
    for index, path in enumerate(paths):
        Image.new("RGB", (40, 30), (index, 0, 0)).save(path)
    return ImageList(folder / "list.txt", paths, tuple(index % 2 for index in range(count)))
