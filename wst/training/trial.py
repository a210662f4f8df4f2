"""One configuration trained: an epoch's metrics at a time, with a state that can be saved and continued."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wst.data.lists import Split
from wst.data.splits import TRAINING_SPLIT
from wst.machine import usable_cpus
from wst.methods import registry
from wst.models.adapters import save_adapter
from wst.models.backbones import weights_id
from wst.models.create import adapted
from wst.models.halves import halves
from wst.records import Cost, Epoch, Score, Steps
from wst.training import cost, precision, state
from wst.training.adapter import card
from wst.training.batches import Normaliser, Resident, resident
from wst.training.draws import Draw, Draws, seeded
from wst.training.drop_path import StochasticDepth
from wst.training.features import Features
from wst.training.finite import check_loss, check_score, check_trained
from wst.training.identity import identity
from wst.training.optimisation import learning_rate
from wst.training.place import check_place
from wst.training.scoring import SCORING_BATCH, score
from wst.training.spec import TrialSpec
from wst.training.step import Step
from wst.training.update import Update


class Trial:
    """A trial in progress.

    Iterating over :meth:`epochs` trains, or, beside other trials, answering to the steps of :meth:`epoch`;
    between epochs the whole state is kept at the spec's
    ``checkpoint_path``, and a new ``Trial`` of the same spec continues from it with the very numbers that an
    undisturbed one has.  These numbers come from the spec alone, whoever trains in this process before or
    in between; in a pass with others (:class:`wst.training.together.Pass`) up to rounding.

    Args:
        spec: what to train, and where.
        keeps_features: train on kept features where the method leaves blocks untouched; the numbers are
            the same.
        sample: take the first batch of the training split for all of it, and no val: for measuring a step.

    Attributes:
        spec: the same, with the weights that were loaded.
        device: where it trains.
        recipe: the spec's, with the precision that it comes to here.
        model: maps normalised images to logits.
        halves: the same in two halves, where its method leaves blocks untouched.
        features: what it trains on where these are kept; None where it trains on images.
        called: the model, or its second half where it trains on features.
        input: size and normalisation of its images.
        val: what it validates on; None in stage ``final``, which trains on it.
        normalise: makes its input of images.
        draws: what chance decides, an epoch at a time.
        step: loss and gradients, in training mode.
        update: an optimiser step on these.
        curve: the epochs so far.
        clock: the seconds so far.
        shared: the pass that it trains in with others, by its first trial, and their number; None alone.
        steps: how its training steps run.

    Raises:
        ChangedError: data or weights are not those that the spec expects.
        InputError: data or weights are missing or do not fit.
    """

    def __init__(self, spec: TrialSpec, *, keeps_features: bool = True, sample: bool = False):
        self.clock = cost.Clock()
        if spec.weights is None:
            spec = replace(spec, weights=weights_id(spec.backbone))
        self.spec = spec
        first = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(first if spec.device == "auto" else spec.device)
        torch.set_num_threads(min(spec.threads, usable_cpus()))  # a study may ask for more than there are
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            # Trials that share a GPU keep to their shares, so that none takes another one's memory.
            torch.cuda.set_per_process_memory_fraction(spec.gpu_share)
        settings = spec.settings
        with seeded(spec.intent.seed, torch.device("cpu")):  # where models are made
            model, self.input = adapted(
                spec.backbone,
                spec.method,
                settings.method,
                num_classes=spec.data.task.classes,
                drop_path=settings.drop_path,
                method_hash=spec.method_hash,
                weights=spec.weights,
            )
        method = registry.get(spec.method, spec.method_hash)
        self.halves = halves(model, method, settings.method)
        depth = StochasticDepth(model)
        self.recipe = recipe = precision.resolved(spec.recipe, model, self.device)
        precision.store_frozen(model, recipe)
        self.model = model.to(self.device)
        size, largest = self.input.size, max(recipe.batch_size, SCORING_BATCH)
        self.normalise = Normaliser(self.input.mean, self.input.std, size, largest, self.device)
        training, seed = TRAINING_SPLIT[spec.intent.stage], spec.intent.seed
        self.features = self._kept_features(training) if keeps_features else None
        split = self._sample(training) if sample else self._resident(training)
        images = self._images(training) if sample else len(split)
        self.val = self._resident("val") if spec.intent.stage != "final" and not sample else None
        self.draws = Draws(seed, images, recipe.batch_size, recipe.drop_last, depth, self.device)
        second = self.halves if self.features is not None else None
        self.called: nn.Module = model if second is None else second
        self.step = Step(model, depth, split, self._prepare, recipe, second)
        self.update = Update(model, self.step, recipe, settings.lr, settings.weight_decay, self.device)
        self.curve: list[Epoch] = []
        self.shared: tuple[str, int] | None = None
        self.steps: Steps = "eager"
        self._restore()

    def epochs(self) -> Iterator[Epoch]:
        """Train the epochs that are left, one at a time.

        Raises:
            DivergedError: a loss is not finite, or in stage ``final``, which does not validate, what was
                trained.
        """
        while not self.trained:
            steps = self.epoch()
            try:
                draw, lr = next(steps)
                while True:
                    with self.clock.training():
                        loss = self.update(draw, lr)
                    draw, lr = steps.send(loss)
            except StopIteration as end:
                epoch: Epoch = end.value
            yield epoch
        self.clock.stop()

    @property
    def trained(self) -> bool:
        """Whether the last epoch has ended."""
        return len(self.curve) == self.spec.recipe.epochs

    def epoch(self) -> Generator[tuple[Draw, float], Tensor, Epoch]:
        """Train the next epoch, whoever does the steps.

        Yields the draw and the learning rate of each step, and is sent the loss before it once it is done.
        Whoever does it counts its seconds.

        Returns:
            The epoch.

        Raises:
            DivergedError: as :meth:`epochs`.
        """
        recipe, begin = self.spec.recipe, self.clock.seconds
        done, steps = len(self.curve), self.draws.steps
        self.model.train()
        total, lr = torch.zeros((), device=self.device), 0.0
        for number, draw in enumerate(self.draws.epoch()):
            lr = learning_rate(recipe, self.spec.settings.lr, done + number / steps)
            total += yield draw, lr
        with self.clock.training():  # which waits for the device
            train_loss = total.item() / steps
        check_loss("training", train_loss, done + 1)
        with self.clock.evaluation():
            val_loss, val_top1 = self._validate(done + 1)
        check_loss("validation", val_loss, done + 1)
        # Weights may break in the last step of all, and a loss comes before its step.
        if val_loss is None and done + 1 == recipe.epochs:
            check_trained(self.model, done + 1)
        epoch = Epoch(done + 1, lr, train_loss, val_loss, val_top1, self.clock.seconds - begin)
        self.curve.append(epoch)
        last = epoch.epoch == recipe.epochs
        # The last epoch of a final trial is kept too: scoring a large test split may be interrupted.
        if self.spec.intent.stage == "final" if last else epoch.epoch % self.spec.checkpoint_every == 0:
            self._save()
        return epoch

    @property
    def seconds(self) -> float:
        """Wall-clock seconds that the trial has taken: with its set-up and what it took before it was
        interrupted, without waiting for others."""
        return self.clock.seconds

    def test(self) -> Score:
        """Score the test split.

        Raises:
            TestSplitClosedError: in any stage but ``final``.
        """
        return score_together([self])[0]

    def check_adapter_place(self) -> None:
        """Make sure that :meth:`save_adapter` will find its place.

        Raises:
            InputError: it will not.
        """
        if self.spec.adapter_path is not None:
            check_place(Path(self.spec.adapter_path))

    def save_adapter(self, test: Score | None) -> None:
        """Keep the trainable tensors and their card at the spec's ``adapter_path``, if it has one.

        Raises:
            DivergedError: the model gave no finite numbers on the test split, path or no path.
        """
        if test is not None:
            check_score(test)
        if self.spec.adapter_path is not None:
            last = self.curve[-1] if self.curve else None
            save_adapter(self.model, card(self.spec, self.input, last, test), Path(self.spec.adapter_path))

    def cost(self) -> Cost:
        """What the trial took so far, and with what it ran."""
        images = len(self.curve) * self.draws.images_per_epoch
        found = cost.cost(self.spec, self.recipe, self.model, self.input, self.clock, images, self.device)
        pass_id, size = self.shared if self.shared is not None else (None, None)
        if self.steps != "eager":  # the allocator does not see what a graph keeps for itself
            found = replace(found, peak_memory=torch.cuda.max_memory_reserved(self.device))
        return replace(found, steps=self.steps, pass_id=pass_id, pass_size=size)

    def _save(self) -> None:
        if self.spec.checkpoint_path is not None:
            state.save(
                Path(self.spec.checkpoint_path), identity(self.spec, self.recipe, self.input), self._parts()
            )

    def _parts(self) -> dict[str, Any]:
        """All that changes from one epoch to the next."""
        return {
            "update": self.update.state_dict(),
            "draws": self.draws.state_dict(),
            "clock": self.clock.state_dict(),
            "curve": [asdict(epoch) for epoch in self.curve],
        }

    def _restore(self) -> None:
        """Go on from the state that was kept, or begin again where it is not what this trial left."""
        if self.spec.checkpoint_path is None:
            return
        path = Path(self.spec.checkpoint_path)
        state.make_way(path)
        parts = state.load(path, identity(self.spec, self.recipe, self.input))
        if parts is None:
            return
        fresh = copy.deepcopy(self._parts())
        try:
            self._take(parts)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a state of another version may lack anything, or have it otherwise
            state.left_out(path, f"one that does not fit ({type(error).__name__}: {error})")
            self._take(fresh)

    def _take(self, parts: dict[str, Any]) -> None:
        curve = [Epoch(**epoch) for epoch in parts["curve"]]
        if [epoch.epoch for epoch in curve] != list(range(1, len(curve) + 1)):
            raise ValueError("expected a curve without gaps")
        self.update.load_state_dict(parts["update"])
        self.draws.load_state_dict(parts["draws"])
        self.clock.load_state_dict(parts["clock"])
        self.curve = curve

    def _validate(self, epoch: int) -> tuple[float | None, float | None]:
        """Loss and accuracy on ``val``; None where it is not validated; stage ``final`` trains on it."""
        split, wanted = self.val, self.spec.validated
        if split is None or not (wanted is None or epoch in wanted or epoch == self.spec.recipe.epochs):
            return None, None
        batches = split.batches(SCORING_BATCH)
        ((correct, loss),) = score([self.called], batches, self._prepare, self.recipe, self.device)
        return loss / len(split), correct / len(split)

    def _kept_features(self, split: Split) -> Features | None:
        """Where features come from in the place of images; None where they are not to be kept."""
        if self.halves is None or self.spec.weights is None:
            return None  # random weights are each trial's own
        if self.spec.method not in registry.names() and self.spec.method_hash is None:
            return None  # a package's, whose code nothing tells apart
        found = Features(self.halves, self.spec, self.recipe, self.input, self.normalise, self.device)
        stage = self.spec.intent.stage
        splits: list[Split] = [split] if stage == "final" else [split, "val"]
        return found if found.fit(splits) and found.hold() else None

    def _images(self, split: Split) -> int:
        """Images of a split, none of them decoded."""
        return len(self.spec.data.listed(split, self.spec.intent.stage)[0].images)

    def _sample(self, split: Split) -> Resident:
        """The first batch of a split; nothing is kept of it."""
        spec = self.spec
        found = resident(spec.data, split, self.input.size, spec.intent.stage, self.device)
        size = self.recipe.batch_size
        first = Resident(found.inputs[:size], found.labels[:size])
        return first if self.features is None else self.features.of(first)

    def _prepare(self, inputs: Tensor) -> Tensor:
        return self.normalise(inputs) if self.features is None else self.features.restored(inputs)

    def _resident(self, split: Split) -> Resident:
        if self.features is not None:
            return self.features.resident(split)
        return resident(self.spec.data, split, self.input.size, self.spec.intent.stage, self.device)


def score_together(trials: Sequence[Trial]) -> list[Score]:
    """Score the test split with trained trials of one task in one pass: each image is read once.

    Raises:
        TestSplitClosedError: in any stage but ``final``.
        ChangedError: it is not as the specs expect.
    """
    begin, first = time.perf_counter(), trials[0]
    # Once for all, since to look at its files takes a while; as a trial that may not, if one of them is.
    asking = next((trial for trial in trials if trial.spec.intent.stage != "final"), first)
    split = asking.spec.data.open("test", asking.input.size, asking.spec.intent.stage)
    # Streamed: a test split may be larger than the memory.
    batches = split.batches(SCORING_BATCH)
    if first.features is not None and all(trial.features is not None for trial in trials):
        prepare, called = first.features.first, [trial.called for trial in trials]
    else:
        prepare, called = first.normalise, [trial.model for trial in trials]
    scores = score(called, batches, prepare, first.recipe, first.device)
    share = (time.perf_counter() - begin) / len(trials)
    for trial in trials:
        trial.clock.add_evaluation(share)
    images = len(split.labels)
    return [Score(correct / images if math.isfinite(loss) else None, images) for correct, loss in scores]
