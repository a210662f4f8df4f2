"""Studies, search spaces and recipes: the YAML files a user writes, validated and fully resolved.

A study file names a suite, a backbone and *variants* (a method with a search space, or with fixed settings);
each task x variant is a *cell*.  Loading resolves every reference, so that the copy written beside the
results says everything that was asked for.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from wst.data.tasks import suite as suite_named

Scalar = bool | int | float | str
Hyperparameters = dict[str, Scalar]
Normalisation = Literal["checkpoint", "half", "imagenet"]
_Range = TypeVar("_Range", "Float", "Int")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class _Strict(BaseModel):
    """A model that refuses unknown keys in words a user can act on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                    hint = f" (did you mean {near[0]!r}?)" if near else ""
                    raise ValueError(
                        f"expected only the keys {', '.join(cls.model_fields)}; found {str(key)!r}{hint}"
                    )
        return data


class Float(_Strict):
    """A real hyperparameter in [low, high]; on a log scale, or in steps from low."""

    type: Literal["float"] = "float"
    low: float
    high: float
    log: bool = False
    step: PositiveFloat | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Float:
        return _check_range(self)


class Int(_Strict):
    """A whole-number hyperparameter in [low, high]."""

    type: Literal["int"] = "int"
    low: int
    high: int
    log: bool = False
    step: PositiveInt = 1

    @model_validator(mode="after")
    def _ordered(self) -> Int:
        return _check_range(self)


class Categorical(_Strict):
    """A hyperparameter that takes one of a few values."""

    type: Literal["categorical"] = "categorical"
    choices: tuple[Scalar, ...] = Field(min_length=1)


def _check_range(space: _Range) -> _Range:
    if space.low > space.high:
        raise ValueError(f"expected low <= high; found low {space.low} and high {space.high}")
    if space.log and space.low <= 0:
        raise ValueError(f"expected low > 0 on a log scale; found low {space.low}")
    if space.log and space.step not in (None, 1):
        raise ValueError(f"expected either log or step; found log with step {space.step}")
    return space


Distribution = Annotated[Float | Int | Categorical, Field(discriminator="type")]


class TPE(_Strict):
    """Tree-structured Parzen estimator; every option that Optuna changes between versions is set by name."""

    type: Literal["tpe"] = "tpe"
    n_startup_trials: int = Field(10, ge=0)
    multivariate: bool = True
    group: bool = False
    constant_liar: bool = True


class Random(_Strict):
    """Independent uniform samples."""

    type: Literal["random"] = "random"


class Grid(_Strict):
    """Every combination once, in an order that the study's seed shuffles.

    ``points`` values are taken from a range that has no step, evenly spaced on its scale, both ends included.
    """

    type: Literal["grid"] = "grid"
    points: int = Field(5, ge=2)


class SuccessiveHalving(_Strict):
    """Asynchronous successive halving: at ``min_resource`` epochs, and at every ``reduction_factor`` times as
    many, only about the best 1 / ``reduction_factor`` of the trials seen there go on."""

    type: Literal["successive_halving"] = "successive_halving"
    min_resource: PositiveInt
    reduction_factor: int = Field(3, ge=2)
    min_early_stopping_rate: int = Field(0, ge=0)


class NoPruner(_Strict):
    """Every trial runs all its epochs."""

    type: Literal["none"] = "none"


class Search(_Strict):
    """Stage ``search``: trials a cell, trained on train800 and scored on val200."""

    trials: PositiveInt | None = None
    """Trials a cell; may be left out with a grid, which then runs in full."""
    sampler: Annotated[TPE | Random | Grid, Field(discriminator="type")] = TPE()
    pruner: Annotated[SuccessiveHalving | NoPruner, Field(discriminator="type")] = NoPruner()

    @model_validator(mode="after")
    def _counted(self) -> Search:
        if self.trials is None and not isinstance(self.sampler, Grid):
            raise ValueError("expected a number of trials (only a grid has one of its own); found none")
        return self

    def rungs(self, epochs: int) -> list[int]:
        """Epochs before the last at which the pruner decides."""
        if isinstance(self.pruner, NoPruner):
            return []
        rungs, rung = (
            [],
            self.pruner.min_resource * (self.pruner.reduction_factor**self.pruner.min_early_stopping_rate),
        )
        while rung < epochs:
            rungs.append(rung)
            rung *= self.pruner.reduction_factor
        return rungs


class Final(_Strict):
    """Stage ``final``: the chosen settings retrained on train800val200; the test split read once a seed."""

    seeds: PositiveInt = 3
    save_adapters: bool = False
    """Keep each final trial's trainable tensors, with a card, in ``adapters/`` of the output folder."""


class Resources(_Strict):
    """What one slot holds.  Every job of a study asks for the same, so that none starves."""

    cpus_per_trial: PositiveInt = 1
    gpus_per_trial: NonNegativeFloat = 0
    slots: PositiveInt | None = None
    """Jobs at a time; as many as the machines hold when left out."""


class Recipe(_Strict):
    """How a trial trains: the same for every trial of a study.

    AdamW; weight decay spares biases and norms (``no_decay: vectors``) or biases alone (``biases``).

    Two schedules.  ``cosine``: a linear warm-up from ``warmup_lr`` over ``warmup_epochs``, then half a cosine
    down to ``min_lr``, both stepped at every batch.  ``timm_cosine``: timm's ``CosineLRScheduler`` without
    ``warmup_prefix``, stepped once an epoch, whose cosine begins below the warm-up.  Either ends
    ``cooldown_epochs`` before the last epoch, and these run at ``min_lr``.
    """

    epochs: PositiveInt = 100
    batch_size: PositiveInt = 32
    weight_decay: NonNegativeFloat = 0.05
    no_decay: Literal["vectors", "biases"] = "vectors"
    schedule: Literal["cosine", "timm_cosine"] = "cosine"
    warmup_epochs: NonNegativeFloat = 10
    warmup_lr: NonNegativeFloat = 1e-7
    min_lr: NonNegativeFloat = 1e-8
    cooldown_epochs: int = Field(0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    drop_last: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    @model_validator(mode="after")
    def _warmup_fits(self) -> Recipe:
        if self.warmup_epochs + self.cooldown_epochs >= self.epochs:
            raise ValueError(
                "expected warmup_epochs + cooldown_epochs < epochs; "
                f"found warmup_epochs {self.warmup_epochs:g}, "
                f"cooldown_epochs {self.cooldown_epochs} and epochs {self.epochs}"
            )
        return self

    def digest(self) -> str:
        """A short hash that is equal for equal recipes."""
        return _digest(self.model_dump(mode="json"))


class Variant(_Strict):
    """A method with the hyperparameters that are searched, taken over, or fixed.

    One of four: ``space`` (searched), ``settings_from`` (the settings found for another variant),
    ``per_task`` (a table of settings by task), or none of these (``fixed`` says everything).  ``fixed`` comes
    on top of each. A variant without a space has no search and goes straight to the final stage.
    """

    method: str = Field(pattern=NAME)
    fixed: Hyperparameters = {}
    space: dict[str, Distribution] | None = None
    settings_from: str | None = None
    per_task: dict[str, Hyperparameters] | None = None
    """Settings by task; in a study file also the name of a shipped table, such as ``released/vit_base``."""
    warm_start: dict[str, Hyperparameters] | None = None
    """Where a task's search begins, by task; in a study file also the name of a shipped table."""

    @model_validator(mode="after")
    def _one_source(self) -> Variant:
        sources = [n for n in ("space", "settings_from", "per_task") if getattr(self, n) is not None]
        if len(sources) > 1:
            found = " and ".join(sources)
            raise ValueError(f"expected at most one of space, settings_from, per_task; found {found}")
        if self.warm_start is not None and self.space is None:
            raise ValueError("expected a space to warm-start; found none")
        if self.space is not None and not self.space:
            raise ValueError("expected at least one hyperparameter in space; found none")
        both = sorted(set(self.fixed) & set(self.space or {}))
        if both:
            raise ValueError(f"expected each hyperparameter in space or in fixed; found {both[0]!r} in both")
        tables = self.per_task.values() if self.per_task is not None else [{}]
        if self.settings_from is None and any(
            "lr" not in {*self.fixed, *(self.space or {}), *t} for t in tables
        ):
            raise ValueError("expected a learning rate ('lr') in space, per_task or fixed; found none")
        return self

    def settings(self, task: str) -> Hyperparameters:
        """The settings of a variant that is neither searched nor taken over."""
        return {**(self.per_task or {}).get(task, {}), **self.fixed}


class Study(_Strict):
    """Everything one YAML file asks for."""

    name: str = Field(pattern=NAME)
    suite: str
    tasks: tuple[str, ...] = ()
    """Names of tasks; all tasks of the suite when left out."""
    backbone: str
    """``micro``, or the name of a timm model."""
    checkpoint: str | None = None
    """File with the backbone's pre-trained weights; ``micro`` brings its own."""
    pretrained: bool = False
    """Take the weights that timm knows under the backbone's name, from its cache or the network."""
    image_size: PositiveInt | None = None
    """Side of the square input in pixels; the backbone's own when left out."""
    normalisation: Normalisation = "checkpoint"
    """Mean and standard deviation of the input: those the checkpoint was trained with, 0.5, or ImageNet's."""
    seed: int = Field(0, ge=0)
    variants: dict[Annotated[str, Field(pattern=NAME)], Variant] = Field(min_length=1)
    recipe: Recipe = Recipe()
    search: Search | None = None
    final: Final | None = None
    resources: Resources = Resources()
    report_every: PositiveInt = 10
    """Epochs between two reports of a running trial; the pruner's rungs are reported besides."""
    checkpoint_every: PositiveInt = 10
    """Epochs between two checkpoints of a running trial."""

    @field_validator("tasks")
    @classmethod
    def _no_task_twice(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({task for task in tasks if tasks.count(task) > 1})
        if twice:
            raise ValueError(f"expected each task once; found {twice[0]!r} more than once")
        return tasks

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        known = suite_named(self.suite)
        if not self.tasks:
            object.__setattr__(self, "tasks", tuple(task.name for task in known.tasks))
        for name in self.tasks:
            known.task(name)
        if self.search is None and self.final is None:
            raise ValueError("expected a stage ('search', 'final' or both); found neither")
        for name, variant in self.variants.items():
            for key in ("per_task", "warm_start"):
                table = getattr(variant, key)
                absent = [task for task in self.tasks if table is not None and task not in table]
                if absent:
                    raise ValueError(
                        f"variants.{name}.{key}: expected settings for task {absent[0]!r}; found none"
                    )
            if variant.space is not None and self.search is None:
                raise ValueError(f"expected 'search' since variant {name!r} has a space; found none")
            source = variant.settings_from
            if source is not None and (source not in self.variants or self.variants[source].space is None):
                searched = ", ".join(n for n, v in self.variants.items() if v.space is not None) or "none"
                raise ValueError(
                    f"variants.{name}.settings_from: expected a variant with a space ({searched}); "
                    f"found {source!r}"
                )
        return self

    @property
    def cells(self) -> list[tuple[str, str]]:
        """(task, variant) pairs, in the order in which tables show them."""
        return [(task, variant) for task in self.tasks for variant in self.variants]

    def search_trials(self, variant: str) -> int:
        """Trials of the search of each of a variant's cells; 0 where nothing is searched."""
        space = self.variants[variant].space
        if self.search is None or space is None:
            return 0
        if not isinstance(self.search.sampler, Grid):
            assert self.search.trials is not None
            return self.search.trials
        from wst.grid import combinations

        size = len(combinations(space, self.search.sampler.points))
        return min(self.search.trials or size, size)

    def report_epochs(self) -> list[int]:
        """Epochs (1-based) at which a running trial reports: rungs, every few epochs, and the last."""
        epochs = self.recipe.epochs
        rungs = self.search.rungs(epochs) if self.search else []
        return sorted({*rungs, *range(self.report_every, epochs, self.report_every), epochs})

    def hyperparameter_types(self) -> dict[str, type]:
        """Python type of every hyperparameter that any variant has, for the ledger's typed columns."""
        values: dict[str, list[Scalar]] = {"lr": [0.0], "drop_path": [0.0]}
        for variant in self.variants.values():
            for table in (variant.fixed, *(variant.per_task or {}).values()):
                for name, value in table.items():
                    values.setdefault(name, []).append(value)
            for name, space in (variant.space or {}).items():
                samples = space.choices if isinstance(space, Categorical) else (space.low,)
                values.setdefault(name, []).extend(samples)
        return {name: _common_type(map(type, found)) for name, found in values.items()}

    def identity(self) -> dict[str, Any]:
        """What makes this study this one: everything but where and how often it reports."""
        return self.model_dump(mode="json", exclude={"resources", "report_every", "checkpoint_every"})

    def digest(self) -> str:
        """A short hash that is equal for studies of equal identity."""
        return _digest(self.identity())

    def to_yaml(self) -> str:
        """The resolved study as YAML that :func:`wst.study_files.load_study` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=110)


def _common_type(types: Iterable[type]) -> type:
    found = set(types)
    if len(found) == 1:
        return found.pop()
    return float if found == {int, float} else str


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
