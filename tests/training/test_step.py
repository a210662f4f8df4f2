from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models import SwinTransformer, VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call, vmap

from wst.methods.wst.adapt import adapt
from wst.models.backbones import HALF, create
from wst.records import Backbone
from wst.study import Recipe
from wst.training.batches import Normaliser, Resident
from wst.training.draws import Draw
from wst.training.drop_path import StochasticDepth
from wst.training.step import Step

CPU = torch.device("cpu")
ONE = torch.ones(())
RECIPE = Recipe(label_smoothing=0.1)


def _split(images: int = 12) -> Resident:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Resident(pixels, torch.arange(images) % 3)


class Stepped:
    """A model in training, its step, and a draw."""

    def __init__(self, model: nn.Module, seed: int = 0, recipe: Recipe = RECIPE):
        self.model = model.train()
        self.depth = StochasticDepth(model)
        self.split = _split()
        self.normalise = Normaliser(*HALF, 32, 8, CPU)
        self.step = Step(model, self.depth, self.split, self.normalise, recipe)
        generator = torch.Generator().manual_seed(seed)
        masks = self.depth.draw(1, 8, generator)[0]
        self.draw = Draw(torch.randperm(12, generator=generator)[:8], masks, seed)
        self.trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def images(self) -> Tensor:
        return self.normalise(self.split.inputs[self.draw.indices]).clone()

    def labels(self) -> Tensor:
        return self.split.labels[self.draw.indices]

    def __call__(self) -> tuple[Tensor, dict[str, Tensor]]:
        return self.step(self.trainable, self.draw, ONE)


def _vit(**options: Any) -> nn.Module:
    return VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=32,
        depth=3,
        num_heads=2,
        num_classes=3,
        drop_path_rate=0.5,
        **options,
    )


def _swin() -> nn.Module:
    return SwinTransformer(
        img_size=32,
        embed_dim=16,
        depths=(2, 2),
        num_heads=(2, 2),
        window_size=4,
        num_classes=3,
        drop_path_rate=0.5,
    )


BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "micro": lambda: create(Backbone("micro"), num_classes=3, drop_path=0.5),
    "class token": _vit,
    "registers": lambda: _vit(reg_tokens=2),
    "swin": _swin,
}


def _model(backbone: str = "micro", scale: float = 1.0, seed: int = 0) -> nn.Module:
    """WST on a frozen backbone; the seed is that of method and head."""
    torch.manual_seed(100)
    frozen = BACKBONES[backbone]().requires_grad_(False)
    frozen.get_classifier().requires_grad_(True)  # type: ignore[operator]
    torch.manual_seed(seed)
    nn.init.normal_(frozen.get_classifier().weight)  # type: ignore[operator]
    return adapt(frozen, scale=scale, r=2)


def _everything(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in [*model.named_parameters(), *model.named_buffers()]}


def test_same_arguments_same_results_and_nothing_changes() -> None:
    stepped = Stepped(_model())
    assert stepped.depth.names and (stepped.draw.masks == 0).any()
    before = _everything(stepped.model)
    loss, gradients = stepped()
    kept = {name: gradient.clone() for name, gradient in gradients.items()}
    torch.rand(3)
    generator = torch.get_rng_state()
    again, same = stepped()
    assert torch.equal(loss, again) and gradients.keys() == same.keys() == stepped.trainable.keys()
    for name, gradient in same.items():
        assert torch.equal(gradient, kept[name]) and torch.equal(gradients[name], kept[name]), name
    assert torch.equal(torch.get_rng_state(), generator)
    after = _everything(stepped.model)
    assert before.keys() == after.keys() and all(torch.equal(after[n], t) for n, t in before.items())
    assert stepped.model.training and all(p.grad is None for p in stepped.model.parameters())


def test_tensors_given_are_those_used() -> None:
    stepped, other = Stepped(_model(seed=0)), _model(seed=1).train()
    given = {name: p for name, p in other.named_parameters() if p.requires_grad}
    loss, _ = stepped.step(given, stepped.draw, ONE)
    theirs = Stepped(other)
    assert torch.equal(loss, theirs()[0]) and not torch.equal(loss, stepped()[0])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradients_are_those_of_plain_backward_under_the_same_masks(backbone: str) -> None:
    model = _model(backbone, 0.7)
    stepped = Stepped(model)
    loss, gradients = stepped()
    for name, mask in stepped.depth.buffers(stepped.draw.masks).items():
        model.get_submodule(name.removesuffix(".mask")).mask = mask
    logits = model(stepped.images())
    expected = F.cross_entropy(logits, stepped.labels(), label_smoothing=0.1)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    for name, parameter in stepped.trainable.items():
        assert parameter.grad is not None
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-7)


def test_masks_reach_their_modules() -> None:
    """A branch whose images are all dropped has no say; one that is kept has."""
    stepped = Stepped(_model())
    stepped.depth.keep_shapes()
    name, row = stepped.depth.names[2], 2
    module = stepped.model.get_submodule(name)
    seen: list[Tensor] = []
    module.register_forward_hook(lambda _, __, out: seen.append(out.detach().clone()))
    stepped()
    mask = stepped.draw.masks[row]
    assert torch.equal(seen[0].flatten(1).abs().amax(1) > 0, mask > 0)


def test_loss_scale_is_a_factor_on_the_gradients_alone() -> None:
    stepped = Stepped(_model())
    loss, gradients = stepped()
    same, scaled = stepped.step(stepped.trainable, stepped.draw, torch.tensor(1024.0))
    assert torch.equal(loss, same)
    for name, gradient in gradients.items():
        torch.testing.assert_close(scaled[name], 1024 * gradient, rtol=1e-6, atol=0)


class _Probe(nn.Module):
    """A head on the pixels' means, with dropout, a tied parameter and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.dropout = nn.Linear(3, 3), nn.Dropout(0.5)
        self.same = nn.Linear(3, 3)
        self.same.weight = self.head.weight
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.same(self.dropout(self.head(images.mean((2, 3)))))
        return logits


def test_what_a_model_draws_itself_comes_from_the_draws_seed() -> None:
    stepped = Stepped(_Probe())
    loss, _ = stepped()
    torch.rand(5)
    assert torch.equal(stepped()[0], loss)
    assert not torch.equal(Stepped(stepped.model, seed=1)()[0], loss)


def test_tied_parameters_stay_tied_and_unused_ones_have_no_gradient() -> None:
    stepped = Stepped(_Probe())
    other = {name: p.detach() * 2 for name, p in stepped.trainable.items()}
    loss, gradients = stepped.step(other, stepped.draw, ONE)
    assert gradients.keys() == other.keys() - {"unused"}
    with torch.no_grad():
        for parameter in stepped.model.parameters():
            parameter.mul_(2)
    expected, theirs = stepped()
    assert torch.equal(loss, expected)
    assert all(torch.equal(gradients[name], theirs[name]) for name in theirs)


def test_a_module_in_two_places_keeps_its_parameters() -> None:
    model = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3, 3))
    model.append(model[2])
    stepped = Stepped(model)
    before = dict(model.named_parameters())
    _, gradients = stepped()
    after = dict(model.named_parameters())
    assert before.keys() == after.keys() == gradients.keys()
    assert all(after[name] is parameter for name, parameter in before.items())
    loss = F.cross_entropy(model(stepped.images()), stepped.labels(), label_smoothing=0.1)
    loss.backward()
    for name, parameter in before.items():
        torch.testing.assert_close(gradients[name], parameter.grad)


def test_lower_precision_computes_in_it() -> None:
    full = Stepped(_model())
    loss, gradients = Stepped(_model(), recipe=Recipe(label_smoothing=0.1, precision="bf16"))()
    assert loss.dtype == torch.float32 and not torch.equal(loss, full()[0])
    torch.testing.assert_close(loss, full()[0], rtol=0.02, atol=0.02)
    assert all(gradient.dtype == torch.float32 for gradient in gradients.values())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_losses_of_stacked_trials_are_theirs_alone(backbone: str) -> None:
    """Two trials that differ in weights, scale, images and masks, on one frozen backbone, in one pass."""
    trials = [Stepped(_model(backbone, scale, seed), seed) for seed, scale in enumerate((0.5, 2.0))]
    first = trials[0]
    first.depth.keep_shapes()
    leaves = [{n: p.detach().clone().requires_grad_() for n, p in t.trainable.items()} for t in trials]
    stacked = {name: torch.stack([own[name] for own in leaves]) for name in leaves[0]}
    scales = torch.stack([t.model.get_buffer("scale") for t in trials])
    logits = vmap(first.step.logits)(
        {**stacked, "scale": scales},
        torch.stack([t.images() for t in trials]),
        torch.stack([t.draw.masks for t in trials]),
    )
    losses = torch.stack([first.step.loss(own, t.labels()) for own, t in zip(logits, trials, strict=True)])
    losses.sum().backward()
    for trial, own, loss in zip(trials, leaves, losses, strict=True):
        expected, gradients = trial()
        torch.testing.assert_close(loss.detach(), expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(own[name].grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_shared_batch_need_not_be_stacked() -> None:
    stepped = Stepped(_model())
    two = {name: torch.stack([p.detach(), 2 * p.detach()]) for name, p in stepped.trainable.items()}
    found = vmap(stepped.step.logits, in_dims=(0, None, None))(two, stepped.images(), stepped.draw.masks)
    losses = torch.stack([stepped.step.loss(one, stepped.labels()) for one in found])
    logits = functional_call(
        stepped.model,
        {
            **{name: 2 * p.detach() for name, p in stepped.trainable.items()},
            **stepped.depth.buffers(stepped.draw.masks),
        },
        stepped.images(),
    )
    expected = F.cross_entropy(logits, stepped.labels(), label_smoothing=0.1)
    torch.testing.assert_close(losses, torch.stack([stepped()[0], expected.detach()]))
