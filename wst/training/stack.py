"""The steps of several trials as one call of the model: their own tensors stacked over what they share.

    tensors, inputs and masks of K trials -> stacked -> torch.func.vmap of one model -> K losses -> gradients

One implementation serves every method.  A trial's loss depends on its own tensors alone, so that the
gradients of the losses' sum are those of each.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import EllipsisType
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

from wst.methods import registry
from wst.models.halves import draws
from wst.records import Steps
from wst.training.batching import Rules
from wst.training.draws import Draw
from wst.training.drop_path import MaskedDropPath
from wst.training.forms import Forms
from wst.training.graphs import CompilerError, Graph, Tensors
from wst.training.precision import LOWER

if TYPE_CHECKING:
    from wst.training.trial import Trial

_INPUTS, _LABELS, _MASKS, _SCALES = "/inputs", "/labels", "/masks", "/scales"
"""Names of a step's own tensors among those of a model, which have no such names."""
_NOISE = 0.02
"""Standard deviation of what is added to trainable tensors before a stack is tried: many start at zero, and
would hide what they are multiplied with."""
_TOLERANCE, _LOWER_TOLERANCE = 1e-3, 0.1
"""Largest difference from a trial's own numbers, in norms, in float32 and in lower precision."""


class CannotStackError(ValueError):
    """Trials that cannot share a pass, or have steps of this kind; the message says why."""


class CannotCompileError(CannotStackError):
    """Steps that the compiler does not take."""


@dataclass(eq=False)
class _Captured:
    """What was captured for trials of one kind in this process.

    Attributes:
        model: whose frozen tensors the graphs read.
        constants: names of frozen tensors that are arguments, since trials differ in them.
        graphs: by the shape of the images.
        called: what the graphs were captured of, which may hold tensors besides: the blocks' contexts.
        problem: why there are none.
    """

    model: nn.Module
    constants: frozenset[str]
    graphs: dict[torch.Size, Graph] = field(default_factory=dict)
    called: list[nn.Module] = field(default_factory=list)
    problem: CannotStackError | None = None

    def clear(self) -> None:
        """Give back the graphs, whoever has this."""
        self.graphs.clear()
        self.called.clear()


_CAPTURED: OrderedDict[tuple[object, ...], _Captured] = OrderedDict()
"""By what is equal in all their trials; the last used at the end."""
_KINDS = 24
"""Kinds of trials whose graphs stay for the next job of this process: the tasks of a suite differ in their
heads.  They share the memory that they work in, and what is frozen and equal."""


def forget() -> None:
    """Give back the memory of what was captured in this process; a stack at work captures anew."""
    for kind in _CAPTURED.values():
        kind.clear()
    _CAPTURED.clear()


class Stack:
    """Steps of K trials in one pass.

    What is frozen and equal in their models is shared from now on, and takes the memory of one.

    Args:
        trials: of one method and on one device, whose tensors differ in their values alone; the heads may
            differ in their number of classes.
        steps: how they run.  Captured and compiled ones are CUDA graphs, which later trials of the process
            use, too.

    Attributes:
        setup_seconds: that making graphs has taken, and comparing what they give.

    Raises:
        CannotStackError: the trials' models differ in more, draw numbers themselves, or give other logits
            together than alone; or, in a call, the step cannot be captured or, as
            :class:`CannotCompileError`, compiled.
    """

    def __init__(self, trials: Sequence[Trial], steps: Steps = "eager"):
        self._trials, self._steps = list(trials), steps
        # A model without stochastic depth has no place for masks.
        widest = max(trials, key=lambda trial: len(trial.step.depth.names))
        self._step, self._model, self._called = widest.step, widest.model, widest.called
        self._device = widest.device
        self._step.depth.keep_shapes()
        self._shapes = self._common_shapes()
        self._captured = self._known() if steps != "eager" else None
        names = self._share(self._model) if self._captured is None else self._captured.constants
        self.setup_seconds = 0.0
        self._tried: set[torch.Size] = set()
        """Shapes whose graph was compared with the step itself."""
        self._constants = {
            name: torch.stack([dict(_frozen(trial.model))[name] for trial in trials])
            for name in sorted(names)
        }
        if len(trials) > 1:
            self._try()

    def __call__(self, steps: Sequence[Draw], loss_scales: Sequence[Tensor]) -> list[tuple[Tensor, Tensors]]:
        """The loss and the gradients of each trial, as :class:`wst.training.step.Step` gives them.

        Args:
            steps: a draw for each trial, of equally many images.
            loss_scales: factors on the gradients of each.
        """
        batches = [trial.step.batch(draw) for trial, draw in zip(self._trials, steps, strict=True)]
        tensors = {
            _INPUTS: _stacked([images for images, _ in batches]),
            _LABELS: _stacked([labels for _, labels in batches]),
            _MASKS: _stacked([self._masks(draw) for draw in steps]),
            _SCALES: _stacked(loss_scales),
            **self._rows([trial.update.trainable for trial in self._trials]),
            **self._constants,
        }
        if self._captured is None:
            return self._each(self._results(tensors))
        try:
            each, shape = self._each(self._replayed(self._captured, tensors)), tensors[_INPUTS].shape
            if shape not in self._tried:
                self._tried.add(shape)
                with self._setting_up():
                    self._compare(steps, loss_scales, each)
        except CannotStackError as error:  # of the next trials neither
            self._captured.problem = type(error)(str(error))  # without the frames, which hold the trials
            self._captured.clear()
            raise
        return each

    def _each(self, found: Sequence[Tensor | None]) -> list[tuple[Tensor, Tensors]]:
        """The loss and the gradients of each trial, of :meth:`_results`."""
        count = len(self._trials)
        losses, rows = found[:count], zip(self._shapes, found[count:], strict=True)
        gradients = {name: of_all for name, of_all in rows if of_all is not None}
        own = [
            {n: of_all[i][_part(trial.update.trainable[n], of_all[i])] for n, of_all in gradients.items()}
            for i, trial in enumerate(self._trials)
        ]
        return [(loss.detach(), of_one) for loss, of_one in zip(losses, own, strict=True) if loss is not None]

    @contextmanager
    def _setting_up(self) -> Iterator[None]:
        """What happens inside is no training."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.setup_seconds += time.perf_counter() - begin

    def _replayed(self, known: _Captured, tensors: Tensors) -> Sequence[Tensor | None]:
        """:meth:`_results` of a graph."""
        graphs, shape = known.graphs, tensors[_INPUTS].shape
        if shape not in graphs:
            try:
                with self._setting_up():
                    graphs[shape] = Graph(self._results, tensors, self._steps == "compiled")
                known.called.append(self._called)
            except RuntimeError as error:  # of CUDA, which cannot capture everything
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                kind = CannotCompileError if isinstance(error, CompilerError) else CannotStackError
                raise kind(f"expected a step that can be {self._steps}; found: {error}") from None
        return graphs[shape](tensors, self._constants)

    def _compare(
        self, steps: Sequence[Draw], loss_scales: Sequence[Tensor], found: Sequence[tuple[Tensor, Tensors]]
    ) -> None:
        """Compare losses and gradients with those of each trial's own step."""
        for trial, draw, scale, (loss, gradients) in zip(
            self._trials, steps, loss_scales, found, strict=True
        ):
            expected_loss, expected = trial.step(trial.update.trainable, draw, scale)
            same = self._alike([loss], [expected_loss])
            if not same or not self._alike([gradients[name] for name in expected], list(expected.values())):
                kind = CannotCompileError if self._steps == "compiled" else CannotStackError
                raise kind(f"expected the numbers of the step itself from {self._steps} ones; found others")

    def _alike(self, found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
        """Whether tensors are equal up to rounding; what is small beside the others may be rounding alone."""
        tolerance = _LOWER_TOLERANCE if self._trials[0].recipe.precision in LOWER else _TOLERANCE
        sizes = torch.stack(torch._foreach_norm(list(expected)))
        errors = torch.stack(torch._foreach_norm(torch._foreach_sub(list(found), list(expected))))
        known = sizes.isfinite()  # in fp16 some overflow, until the scale of the loss has fallen
        if not known.any():
            return True
        most = tolerance * sizes.clamp(min=tolerance * sizes[known].max())
        return bool((errors <= most)[known].all())

    def _results(self, tensors: Mapping[str, Tensor]) -> list[Tensor | None]:
        """The losses of the trials, and the gradients (K, ...) of their trainable tensors."""
        leaves = {name: tensors[name].detach().requires_grad_() for name in self._shapes}
        with torch.enable_grad():
            logits = self._logits({**tensors, **leaves}, tensors[_INPUTS], tensors[_MASKS])
            losses = [
                self._step.loss(own, labels) for own, labels in zip(logits, tensors[_LABELS], strict=True)
            ]
            scales = list(tensors[_SCALES].unbind())
            gradients = torch.autograd.grad(losses, list(leaves.values()), scales, allow_unused=True)
        return [*losses, *gradients]

    def _logits(self, tensors: Mapping[str, Tensor], inputs: Tensor, masks: Tensor) -> list[Tensor]:
        """Logits of each trial (B, its classes)."""
        own = {name: tensors[name] for name in (*self._shapes, *self._constants)}
        with nullcontext() if self._steps == "eager" else Forms():
            if len(self._trials) == 1:
                alone = {name: rows[0] for name, rows in own.items()}
                return [self._step.logits(alone, inputs[0], masks[0])]
            with Rules():
                found = vmap(self._step.logits)(own, inputs, masks)
        classes = (trial.spec.data.task.classes for trial in self._trials)
        return [logits[:, :count] for logits, count in zip(found, classes, strict=True)]

    def _masks(self, draw: Draw) -> Tensor:
        """A draw's masks; of ones for a trial that drops nothing."""
        if len(draw.masks):
            return draw.masks
        return torch.ones(len(self._step.depth.names), len(draw.indices), device=self._device)

    def _rows(self, tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Trainable tensors stacked (K, ...); a head with fewer classes is filled up with zeros."""
        return {
            name: _stacked([_filled(own[name].detach(), shape) for own in tensors])
            for name, shape in self._shapes.items()
        }

    def _common_shapes(self) -> dict[str, torch.Size]:
        """Shapes of the trainable tensors, with the head of the most classes."""
        first, every = self._trials[0], [trial.update.trainable for trial in self._trials]
        if any(own.keys() != every[0].keys() for own in every):
            raise CannotStackError("expected trainable tensors of the same names")
        depths = {trial.step.depth.names for trial in self._trials} - {()}
        if len(depths) > 1:
            raise CannotStackError("expected stochastic depth in the same blocks")
        head = {id(p) for p in first.model.get_classifier().parameters()}  # type: ignore[operator]
        shapes = {}
        for name, tensor in every[0].items():
            found = {own[name].shape for own in every}
            if len(found) > 1 and (id(tensor) not in head or len({shape[1:] for shape in found}) > 1):
                raise CannotStackError(f"expected tensors of one shape; found {name} in {len(found)} shapes")
            shapes[name] = max(found)
        return shapes

    def _known(self) -> _Captured:
        """What was captured for trials of this kind, or a place for it where nothing was that fits."""
        if any(draws(trial.model) for trial in self._trials):
            raise CannotStackError("expected a model that draws no numbers itself")
        trial = self._trials[0]
        spec, recipe = trial.spec, trial.recipe
        free = registry.get(spec.method, spec.method_hash).free
        family = (
            *(spec.backbone, spec.weights, spec.method, spec.method_hash, self._device, recipe.precision),
            frozenset((name, tensor.shape) for name, tensor in _frozen(self._model)),
        )
        key = (
            family,
            frozenset((name, value) for name, value in spec.settings.method.items() if name not in free),
            *(self._steps, recipe.label_smoothing, trial.features is not None),
            *(
                self._step.depth.names,
                tuple(self._shapes.items()),
                tuple(other.spec.data.task.classes for other in self._trials),
            ),
        )
        known = _CAPTURED.pop(key, None)
        related = known or next((kind for (own, *_), kind in _CAPTURED.items() if own == family), None)
        differ = self._share(related.model if related is not None else self._model)
        if known is None or not differ <= known.constants:
            before = known.constants if known is not None else self._named(free)
            known = _Captured(self._model, differ | before)
        _CAPTURED[key] = known
        while len(_CAPTURED) > _KINDS:
            _CAPTURED.popitem(last=False)
        if known.problem is not None:
            raise type(known.problem)(str(known.problem))
        return known

    def _named(self, hyperparameters: Collection[str]) -> frozenset[str]:
        """Names of the buffers that hold hyperparameters, in which the next trials will differ."""
        return frozenset(
            name for name, _ in _frozen(self._model) if name.rpartition(".")[2] in hyperparameters
        )

    def _share(self, reference: nn.Module) -> frozenset[str]:
        """Let the models share what is frozen and equal with another one; names of what is not equal."""
        theirs, differ = dict(_frozen(reference)), set()
        for trial in self._trials:
            for name, tensor in list(_frozen(trial.model)):
                other = theirs.get(name)
                if other is None or other.shape != tensor.shape:
                    raise CannotStackError(
                        f"expected frozen tensors of the same shapes; found {name} to differ"
                    )
                if torch.equal(other, tensor):
                    _put(trial.model, name, other)
                else:
                    differ.add(name)
        return frozenset(differ)

    @torch.no_grad()
    def _try(self) -> None:
        """Compare with each trial alone, on two of its images.

        Raises:
            CannotStackError: they differ, or the model has something that cannot be stacked.
        """
        generator = torch.Generator().manual_seed(0)
        noisy = [
            {
                name: tensor + _NOISE * torch.randn(tensor.shape, generator=generator).to(tensor)
                for name, tensor in trial.update.trainable.items()
            }
            for trial in self._trials
        ]
        alone, inputs, masks = [], [], []
        for trial, tensors in zip(self._trials, noisy, strict=True):
            trial.model.train()
            draw = trial.draws.of(torch.arange(2, device=self._device))
            images, _ = trial.step.batch(draw)
            inputs.append(images.clone())
            masks.append(self._masks(draw))
            alone.append(trial.step.logits(tensors, images, draw.masks).float())
        try:
            tensors = {**self._rows(noisy), **self._constants}
            together = self._logits(tensors, torch.stack(inputs), torch.stack(masks))
        except RuntimeError as error:  # of functorch, which knows no random numbers and not every operation
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise CannotStackError(f"expected a model that can be stacked; found: {error}") from None
        if not self._alike([logits.float() for logits in together], alone):
            raise CannotStackError("expected the logits of each trial alone; found others")


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors along a new first axis; a single one is not copied."""
    return torch.stack(list(tensors)) if len(tensors) > 1 else tensors[0].unsqueeze(0)


def _filled(tensor: Tensor, shape: torch.Size) -> Tensor:
    """A tensor of a head with zeros for the classes that it lacks."""
    if tensor.shape == shape:
        return tensor
    return F.pad(tensor, [0, 0] * (tensor.ndim - 1) + [0, shape[0] - len(tensor)])


def _part(tensor: Tensor, filled: Tensor) -> EllipsisType | slice:
    """Which part of a filled tensor is that of a tensor."""
    return ... if tensor.shape == filled.shape else slice(len(tensor))


def _frozen(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What a model has and does not train, by name, but for the masks, which each step brings."""
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad:
            yield name, parameter
    for name, buffer in model.named_buffers(remove_duplicate=False):
        if not isinstance(model.get_submodule(name.rpartition(".")[0]), MaskedDropPath):
            yield name, buffer


def _put(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Let a model have a tensor of another in the place of its own."""
    prefix, _, own = name.rpartition(".")
    module = model.get_submodule(prefix)
    place = module._parameters if own in module._parameters else module._buffers
    place[own] = tensor  # type: ignore[assignment]
