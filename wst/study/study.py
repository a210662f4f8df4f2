"""Studies, search spaces and recipes: the YAML files a user writes, validated and fully resolved.

A study file names a suite, a backbone and *variants* (a method with a search space, or with fixed settings);
each task x variant is a *cell*.  Loading resolves every reference, so that the copy written beside the
results says everything that was asked for.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field, ValidationError, field_validator, model_validator

from wst.data.decode import opaque_colour
from wst.data.suites import find_suite, is_gone
from wst.data.tasks import Suite
from wst.errors import InputError
from wst.records import OF_THE_TRIAL, Backbone, Normalisation, Steps
from wst.study.bounds import MANY, Count, Flag, NonNegative, Real, Seed, Text, Whole
from wst.study.durations import LONGEST, parse_duration
from wst.study.recipe import Recipe, short_hash
from wst.study.references import as_yaml, read_file, resolve
from wst.study.search import Grid, Search, Ties
from wst.study.space import Space, gathered, grid
from wst.study.stages import Confirm, Final
from wst.study.variant import LONGEST_NAME, NAME, FromLedger, Variant
from wst.suggest import hint
from wst.yaml_files import Strict, first_error, shown, write_yaml

_MOST_CELLS = 10_000
_MOST_SLOTS = 10_000
_MOST_TOGETHER = 64
_LARGEST_IMAGE = 8_192
Name = Annotated[Text, Field(pattern=NAME, max_length=LONGEST_NAME)]


class Faults(Strict):
    """What happens when trials go wrong."""

    retries: Whole = Field(2, ge=0, le=1000)
    """How often a trial starts again that ran out of memory or whose worker died."""
    time_limit: Annotated[Real, Field(gt=0, le=LONGEST)] | None = None
    """Longest that a trial may train, in seconds or as ``2h``; it has failed then."""
    stop_when_alike: Whole = Field(8, ge=0, le=10)
    """The study stops when so many of the last 10 trials failed for the same reason; 0 never stops it."""

    @field_validator("time_limit", mode="before")
    @classmethod
    def _in_seconds(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value


class Resources(Strict):
    """What one slot holds.  Every job of a study asks for the same, so that none starves."""

    cpus_per_trial: Whole = Field(1, ge=1, le=_MOST_SLOTS)
    gpus_per_trial: NonNegative = Field(0.0, le=_MOST_SLOTS)
    slots: Annotated[Whole, Field(ge=1, le=_MOST_SLOTS)] | None = None
    """Jobs at a time; as many as the machines hold when left out."""
    trials_per_pass: Whole = Field(1, ge=1, le=_MOST_TOGETHER)
    """Trials that train together in a slot, in one pass over the backbone that they share."""
    steps: Steps = "captured"
    """How training steps run where trials train on a GPU: operation by operation, captured as a CUDA graph,
    or compiled before they are captured."""

    @field_validator("gpus_per_trial")
    @classmethod
    def _whole_or_a_share(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"expected a share of one GPU or a whole number of them; found {gpus:g}")
        return gpus


class Study(Strict):
    """Everything one YAML file asks for: what to train, on which tasks, and how it is chosen and tested.

    Args:
        source: path of a YAML file, name of a shipped study, or a mapping; left out, the keys say all.
        keys: keys of the study, as a file has them; each takes the place of the source's.

    Raises:
        wst.errors.InputError: one line that names the key, what was expected and what was found.

    Example:
        >>> variants = {"lora": {"method": "lora", "space": "lora"}}
        >>> Study(name="a", suite="mini", backbone="micro", variants=variants, search={"trials": 4}).cells[0]
        ('digits', 'lora')
        >>> Study("demo", tasks=["digits"]).tasks
        ('digits',)
    """

    name: Name
    suite: Text
    tasks: tuple[Text, ...] = ()
    """Names of tasks; all tasks of the suite when left out."""
    backbone: Text
    """``micro``, or the name of a timm model."""
    checkpoint: Text | None = None
    """File with the backbone's pre-trained weights; ``micro`` brings its own."""
    pretrained: Flag = False
    """Take the weights that timm knows under the backbone's name, from its cache or the network."""
    image_size: Annotated[Whole, Field(ge=1, le=_LARGEST_IMAGE)] | None = None
    """Side of the square input in pixels; the backbone's own when left out."""
    normalisation: Normalisation = "checkpoint"
    """Mean and standard deviation of the input: those the checkpoint was trained with, 0.5, or ImageNet's."""
    background: Text | None = None
    """Colour that transparent pictures are laid on; left out, their transparency is dropped."""
    seed: Seed = 0
    variants: dict[Name, Variant] = Field(min_length=1)
    recipe: Recipe = Recipe()
    search: Search | None = None
    confirm: Confirm | None = None
    final: Final | None = None
    accept: tuple[Literal["overlap"], ...] = ()
    """Findings of the data check that the study goes on with: ``overlap``, images of a user's own data that
    are in two splits."""
    ties: Ties = "val_loss"
    """Who wins among settings of equal validation accuracy: the lower validation loss or the fewer trainable
    parameters, and after that the earlier trial."""
    faults: Faults = Faults()
    resources: Resources = Resources()
    report_every: Count = 10
    """Epochs between two reports of a running trial; the pruner's rungs are reported besides."""
    validate_at: Literal["epochs", "reports"] = "epochs"
    """When a trial is scored on val: after every epoch, or at its reports alone, which takes less time."""
    checkpoint_every: Count = 10
    """Epochs between two checkpoints of a running trial."""

    def __init__(self, source: str | PathLike[str] | Mapping[str, Any] | None = None, /, **keys: Any) -> None:
        where = Path("study")
        if isinstance(source, str | PathLike):
            data, where = read_file(fspath(source))
        elif source is None or isinstance(source, Mapping):
            data = as_yaml(source or {})
        else:
            raise InputError(f"study: expected a path, a name or a mapping; found {shown(source)}")
        data.update(as_yaml(keys))
        resolve(data, where)
        try:
            self.__pydantic_validator__.validate_python(data, self_instance=self)
        except ValidationError as error:
            raise first_error(error, str(where), data) from None

    # ``model_validate`` builds a study from what is resolved already, and does not come by here.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @field_validator("background")
    @classmethod
    def _one_spelling(cls, colour: str | None) -> str | None:
        try:
            return None if colour is None else opaque_colour(colour)
        except InputError as error:
            raise ValueError(str(error)) from None

    @field_validator("tasks")
    @classmethod
    def _no_task_twice(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted(task for task, count in Counter(tasks).items() if count > 1)
        if twice:
            raise ValueError(f"expected each task once; found {twice[0]!r} more than once")
        return tasks

    @field_validator("variants")
    @classmethod
    def _no_name_twice(cls, variants: dict[str, Variant]) -> dict[str, Variant]:
        _check_apart(variants)
        return variants

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        # A resolved study, which lists its tasks, can be read where its images are not.
        known = None if self.tasks and is_gone(self.suite) else find_suite(self.suite)
        if known is not None:
            self._take_tasks(known)
        _check_apart(self.tasks)
        if len(self.tasks) * len(self.variants) > _MOST_CELLS:
            raise ValueError(
                f"expected at most {_MOST_CELLS:,} cells; found {len(self.tasks):,} tasks and "
                f"{len(self.variants):,} variants"
            )
        longest = max((len(name.encode()) for name in self.tasks), default=0)
        if longest > LONGEST_NAME:
            raise ValueError(
                f"tasks: expected names of at most {LONGEST_NAME} bytes, as files have them; found {longest}"
            )
        if self.search is None and self.final is None:
            raise ValueError("expected a stage ('search', 'final' or both); found neither")
        if self.validate_at == "reports" and self.search is not None and self.search.pruner.type == "median":
            raise ValueError("validate_at: expected epochs, with the median pruner; found reports")
        if self.confirm is not None and self.search is None:
            raise ValueError("expected 'search' before 'confirm'; found none")
        for name, variant in self.variants.items():
            absent = [t for t in self.tasks if variant.per_task is not None and t not in variant.per_task]
            if absent:
                raise ValueError(
                    f"variants.{name}.per_task: expected settings for task {absent[0]!r}; "
                    f"found none{hint(absent[0], variant.per_task or {})}"
                )
            for task in self.tasks if not isinstance(variant.warm_start, FromLedger) else ():
                for point in variant.first_points(task):
                    if not point:
                        raise ValueError(
                            f"variants.{name}.warm_start: expected settings of "
                            f"{', '.join(variant.space or {})}; found an entry with none of them"
                        )
                    outside = [k for k, v in point.items() if not (variant.space or {})[k].holds(v)]
                    if outside:
                        raise ValueError(
                            f"variants.{name}.warm_start: expected {outside[0]!r} inside its range and on "
                            f"its steps; found {shown(point[outside[0]])}"
                        )
            if self.search is not None and isinstance(self.search.sampler, Grid):
                sizes = [
                    len(entry.values(self.search.sampler.points)) for entry in (variant.space or {}).values()
                ]
                if math.prod(sizes) > MANY:
                    raise ValueError(
                        f"variants.{name}.space: expected a grid of at most {MANY:,} points; "
                        f"found up to {math.prod(sizes):,}"
                    )
            if variant.shared and self.search is not None and not self.search.same_anywhere:
                raise ValueError(
                    f"variants.{name}.settings: expected sampler random or grid and pruner none for shared "
                    f"settings, so that every task tries the same ones to the end; found sampler "
                    f"{self.search.sampler.type} and pruner {self.search.pruner.type}"
                )
            if variant.space is not None and self.search is None:
                raise ValueError(f"expected 'search' since variant {name!r} has a space; found none")
            source = variant.settings_from
            if source is not None and (source not in self.variants or self.variants[source].space is None):
                searched = [n for n, v in self.variants.items() if v.space is not None]
                raise ValueError(
                    f"variants.{name}.settings_from: expected a variant with a space "
                    f"({', '.join(searched) or 'none'}); found {source!r}{hint(source, searched)}"
                )
            if any("lr" not in self.set_in_every_trial(name, task) for task in self.tasks):
                raise ValueError(
                    f"variants.{name}: expected a learning rate ('lr') that every trial has; found one under "
                    "a condition ('when'), or what another variant fixes for itself"
                )
        return self

    def _take_tasks(self, suite: Suite) -> None:
        """Fill in the tasks if they were left out, and look every named task up."""
        if not self.tasks:
            object.__setattr__(self, "tasks", tuple(task.name for task in suite.tasks))
        starts = [v.warm_start for v in self.variants.values() if isinstance(v.warm_start, dict)]
        for name in [*self.tasks, *(task for start in starts for task in start)]:
            suite.task(name)

    @property
    def frozen_backbone(self) -> Backbone:
        """The backbone with its weights and its input, which this file gives key by key."""
        return Backbone(self.backbone, self.checkpoint, self.pretrained, self.image_size, self.normalisation)

    @property
    def cells(self) -> list[tuple[str, str]]:
        """(task, variant) pairs, in the order in which tables show them."""
        return [(task, variant) for task in self.tasks for variant in self.variants]

    def search_trials(self, variant: str) -> int:
        """Trials of the search of each of a variant's cells; 0 where nothing is searched."""
        space = self.variants[variant].space
        if self.search is None or space is None:
            return 0
        sampler, trials = self.search.sampler, self.search.trials
        if isinstance(sampler, Grid):
            size = len(grid(space, sampler.points, self.variants[variant].fixed))
            return min(trials or size, size)
        assert trials is not None
        return trials

    def report_epochs(self) -> list[int]:
        """Epochs (1-based) at which a running trial reports: rungs, every few epochs, and the last."""
        epochs = self.recipe.epochs
        rungs = self.search.rungs(epochs) if self.search else []
        return sorted({*rungs, *range(self.report_every, epochs, self.report_every), epochs})

    def hyperparameters(self) -> dict[str, set[str]]:
        """Names of the hyperparameters of the study's trials, each with the methods of those that set it."""
        found: dict[str, set[str]] = {name: set() for name in OF_THE_TRIAL}
        for variant in self.variants.values():
            source = set(gathered(dict.fromkeys(self._taken_over(variant), 0)))
            for name in sorted(source | variant.names()):
                found.setdefault(name, set()).add(variant.method)
        return found

    def set_in_every_trial(self, name: str, task: str) -> set[str]:
        """The hyperparameters that no trial of a cell can lack: those searched under a condition are none."""
        variant = self.variants[name]
        space = variant.space or self._taken_over(variant)
        searched = {key: 0 for key, entry in space.items() if not entry.when}
        return {*variant.given_settings(task), *gathered(searched)}

    def _taken_over(self, variant: Variant) -> Space:
        """The space whose settings a variant takes over; what the other one fixes stays with it."""
        return self.variants[variant.settings_from].space or {} if variant.settings_from else {}

    def identity(self) -> dict[str, Any]:
        """What makes this study this one: everything but where it runs and how often it reports."""
        return self.model_dump(
            mode="json",
            exclude={"resources", "report_every", "validate_at", "checkpoint_every", "faults", "accept"},
        )

    def digest(self) -> str:
        """A short hash that is equal for studies of equal identity."""
        return short_hash(self.identity())

    def to_yaml(self) -> str:
        """The resolved study as YAML that :func:`wst.study.load.load_study` reads back."""
        return write_yaml(self.model_dump(mode="json"))


def _in_plain_types(model: type[Study]) -> inspect.Signature:
    """What help and completion show of a study's keys: types without the bounds that are checked."""
    hints, found = get_type_hints(model), inspect.signature(model)
    parameters = [p.replace(annotation=hints.get(p.name, p.annotation)) for p in found.parameters.values()]
    return found.replace(parameters=parameters)


Study.__signature__ = _in_plain_types(Study)


def _check_apart(names: Iterable[str]) -> None:
    """Refuse names that differ in case alone: not every file system tells files of theirs apart.

    Raises:
        ValueError: with the two names.
    """
    before: dict[str, str] = {}
    for name in names:
        other = before.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(f"expected names that differ in more than case; found {other!r} and {name!r}")
