from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wst.training.update
from tests.training.test_step import CPU, RECIPE, Stepped
from wst.training.optimisation import optimiser
from wst.training.update import Update


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.unused = nn.Linear(3, 3), nn.Parameter(torch.ones(2, 2))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.mean((2, 3)))
        return logits


def _updated(steps: int, rates: tuple[float, ...] = (1e-2,)) -> tuple[Stepped, Update, list[float]]:
    stepped = Stepped(_Head())
    update = Update(stepped.model, stepped.step, RECIPE, 1e-2, 0.1, CPU)
    losses = [update(stepped.draw, rates[i % len(rates)]).item() for i in range(steps)]
    return stepped, update, losses


def test_a_gradient_that_lies_otherwise_in_memory_is_the_same_gradient() -> None:
    stepped, update, _ = _updated(1)
    other, transposed, _ = _updated(1)
    gradients = {name: torch.rand_like(tensor) for name, tensor in update.trainable.items()}
    update.apply(gradients, 1e-2)
    transposed.apply({n: g.t().contiguous().t() if g.ndim == 2 else g for n, g in gradients.items()}, 1e-2)
    found, expected = other.model.state_dict(), stepped.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_steps_are_those_of_plain_training() -> None:
    """Adam's step on gradients of plain backward; a tensor that is not reached is not decayed either."""
    rates = (1e-2, 5e-3, 2e-3)
    stepped, _, losses = _updated(3, rates)
    plain = Stepped(_Head())
    adamw = optimiser(plain.model, RECIPE, 1e-2, 0.1)
    expected = []
    for lr in rates:
        for group in adamw.param_groups:
            group["lr"] = lr
        adamw.zero_grad()
        loss = F.cross_entropy(plain.model(plain.images()), plain.labels(), label_smoothing=0.1)
        loss.backward()
        adamw.step()
        expected.append(loss.item())
    assert losses == expected
    for name, parameter in plain.model.named_parameters():
        assert torch.equal(stepped.model.get_parameter(name), parameter), name
    assert torch.equal(stepped.model.get_parameter("unused"), torch.ones(2, 2))


def test_state_goes_on_to_the_same_numbers() -> None:
    whole, _, losses = _updated(5)
    _, first, _ = _updated(2)
    state = first.state_dict()
    stepped, second, _ = _updated(0)
    second.load_state_dict(state)
    assert [second(stepped.draw, 1e-2).item() for _ in range(3)] == losses[2:]
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(stepped.model.get_parameter(name), parameter), name


def test_scaled_loss_gives_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale is a power of two, so that in float32 nothing is rounded otherwise."""
    plain, _, losses = _updated(4)

    def enabled(*_: Any) -> torch.amp.GradScaler:
        return torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)

    monkeypatch.setattr(wst.training.update, "gradient_scaler", enabled)
    scaled, update, theirs = _updated(4)
    assert theirs == losses and update.state_dict()["scaler"]["scale"] == 2.0**12
    for name, parameter in plain.model.named_parameters():
        assert torch.equal(scaled.model.get_parameter(name), parameter), name


def test_scaled_gradients_that_overflow_leave_the_step_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        wst.training.update,
        "gradient_scaler",
        lambda *_: torch.amp.GradScaler("cpu", init_scale=float("inf")),
    )
    stepped, _, losses = _updated(1)
    assert torch.isfinite(torch.tensor(losses)).all()
    assert torch.equal(stepped.model.get_parameter("linear.weight"), _Head().linear.weight)
