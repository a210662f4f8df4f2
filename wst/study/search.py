"""How a search is done: samplers, pruners, objectives and limits, as a study file names them.

Every option that Optuna changes between versions, or that decides about a result, is set by name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wst.study.bounds import MANY, Count, CountOrNone, Flag, Parameters, Share, Whole
from wst.yaml_files import Strict, shown

Objective = Literal["val_top1", "trainable_parameters", "train_seconds"]
Ties = Literal["val_loss", "trainable_parameters", "earlier"]


class TPE(Strict):
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011)."""

    type: Literal["tpe"] = "tpe"
    n_startup_trials: CountOrNone = 10
    n_ei_candidates: Count = 24
    multivariate: Flag = True
    group: Flag = False
    constant_liar: Flag = True


class GP(Strict):
    """Bayesian optimisation with a Gaussian process; better on few trials, slower a trial."""

    type: Literal["gp"] = "gp"
    n_startup_trials: CountOrNone = 10
    deterministic_objective: Flag = False


class Random(Strict):
    """Independent uniform samples."""

    type: Literal["random"] = "random"


class Grid(Strict):
    """Every combination once, in an order that the study's seed shuffles.

    ``points`` values are taken from a range that has no step, evenly spaced on its scale, both ends included.
    """

    type: Literal["grid"] = "grid"
    points: Whole = Field(5, ge=2, le=MANY)


class NSGA2(Strict):
    """The evolutionary algorithm NSGA-II (Deb et al., 2002), for several objectives."""

    type: Literal["nsga2"] = "nsga2"
    population_size: Whole = Field(20, ge=2, le=MANY)
    mutation_prob: Share | None = None
    """Probability of mutating each hyperparameter; 1 / their number when left out."""
    crossover_prob: Share = 0.9
    swapping_prob: Share = 0.5


class SuccessiveHalving(Strict):
    """Asynchronous successive halving: at ``min_resource`` epochs, and at every ``reduction_factor`` times as
    many, only about the best 1 / ``reduction_factor`` of the trials seen there go on."""

    type: Literal["successive_halving"] = "successive_halving"
    min_resource: Count
    reduction_factor: Whole = Field(3, ge=2, le=MANY)
    min_early_stopping_rate: Whole = Field(0, ge=0, le=16)


class Median(Strict):
    """Stops a trial that is below the median, at the same epoch, of the trials completed before it.

    The first ``n_startup_trials`` trials and the first ``n_warmup_epochs`` of every trial are left alone; an
    epoch decides once at least ``n_min_trials`` have reached it.  Decisions fall at the reported epochs.
    """

    type: Literal["median"] = "median"
    n_startup_trials: CountOrNone = 5
    n_warmup_epochs: CountOrNone = 0
    n_min_trials: Count = 1


class NoPruner(Strict):
    """Every trial runs all its epochs."""

    type: Literal["none"] = "none"


class Search(Strict):
    """Stage ``search``: trials a cell, trained on ``train`` and scored on ``val``."""

    trials: Count | None = None
    """Trials a cell; may be left out with a grid, which then runs in full."""
    sampler: Annotated[TPE | GP | Random | Grid | NSGA2, Field(discriminator="type")] = TPE()
    pruner: Annotated[SuccessiveHalving | Median | NoPruner, Field(discriminator="type")] = NoPruner()
    objectives: tuple[Objective, ...] = ("val_top1",)
    """What is optimised: accuracy upwards, parameters and seconds downwards.  Several end in a front, each of
    whose members goes on to the later stages."""
    max_trainable_parameters: Parameters | None = None
    """Settings with more trainable parameters, head not counted, are not trained."""

    @model_validator(mode="after")
    def _consistent(self) -> Search:
        if self.trials is None and not isinstance(self.sampler, Grid):
            raise ValueError("expected a number of trials (only a grid has one of its own); found none")
        if not self.objectives or self.objectives[0] != "val_top1":
            raise ValueError(f"expected objectives that begin with val_top1; found {shown(self.objectives)}")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"expected each objective once; found {shown(self.objectives)}")
        if len(self.objectives) > 1 and not isinstance(self.pruner, NoPruner):
            raise ValueError(
                "expected pruner none with several objectives (a cost is known at the end only); "
                f"found {self.pruner.type}"
            )
        if isinstance(self.sampler, TPE) and self.sampler.group and not self.sampler.multivariate:
            raise ValueError("expected multivariate: true with group: true; found multivariate: false")
        return self

    @property
    def learns(self) -> bool:
        """Whether results change which settings it tries."""
        return not isinstance(self.sampler, Random | Grid)

    @property
    def same_anywhere(self) -> bool:
        """Whether results change nothing in it: neither which settings it tries nor how long these train."""
        return not self.learns and isinstance(self.pruner, NoPruner)

    def rungs(self, epochs: int) -> list[int]:
        """Epochs before the last at which successive halving decides."""
        if not isinstance(self.pruner, SuccessiveHalving):
            return []
        factor, rungs = self.pruner.reduction_factor, []
        rung = self.pruner.min_resource * factor**self.pruner.min_early_stopping_rate
        while rung < epochs:
            rungs.append(rung)
            rung *= factor
        return rungs
