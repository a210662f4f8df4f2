"""What needs no GPU of captured and compiled functions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from wst.errors import TimeLimitError
from wst.training.graphs import CompilerError, _compiled, _letting_through


def _gradient(tensors: Mapping[str, Tensor]) -> list[Tensor | None]:
    weight = tensors["weight"].detach().requires_grad_()
    with torch.enable_grad():
        loss = (tensors["inputs"] @ weight * torch.tensor([1.0, 2.0])).tanh().sum()
        return [loss, *torch.autograd.grad(loss, [weight]), None]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="expected a C++ compiler; found none")
def test_a_compiled_function_has_its_numbers_and_its_gradients() -> None:
    tensors = {"inputs": torch.randn(4, 3), "weight": torch.randn(3, 2)}
    found = _compiled(_gradient, tensors)
    tensors["inputs"].mul_(0.5)
    loss, gradient, nothing = found(tensors)
    expected_loss, expected, _ = _gradient(tensors)
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradient, expected)
    assert nothing is None and loss is not None and not loss.requires_grad


def test_what_the_compiler_says_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no compiler here\nand much more")

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(CompilerError, match=r"^no compiler here$"):
        _compiled(_gradient, {"inputs": torch.randn(4, 3), "weight": torch.randn(3, 2)})


@pytest.mark.parametrize("ended_by", [TimeLimitError("over"), torch.OutOfMemoryError("full")])
def test_what_ends_a_trial_is_not_taken_for_a_compilers_error(ended_by: Exception) -> None:
    with pytest.raises(type(ended_by)), _letting_through():
        try:
            try:
                raise ended_by
            except Exception as error:
                raise RuntimeError("a library's own") from error
        except RuntimeError as error:
            raise CompilerError("ours") from error
    with pytest.raises(CompilerError), _letting_through():
        raise CompilerError("ours")
