"""What a start says first: what is to run, and what the study file asks for that will not happen."""

from __future__ import annotations

from pathlib import Path

from wst.study import Study
from wst.study.search import GP, NSGA2, TPE, Grid, Median, SuccessiveHalving


def announcement(study: Study, folder: Path) -> str:
    """A line on what is to run, and where the results go.

    Trials are counted as if each search found as many settings as the later stages may take.
    """
    counts = dict.fromkeys(("search", "confirm", "final"), 0)
    for _, name in study.cells:
        searched = study.search_trials(name)
        counts["search"] += searched
        if study.confirm and searched:
            counts["confirm"] += min(study.confirm.top, searched) * study.confirm.seeds
        counts["final"] += study.final.seeds if study.final else 0
    stages = ", ".join(f"{stage} {count}" for stage, count in counts.items() if count)
    return (
        f"Study {study.name}: {_many(len(study.variants), 'variant')} x "
        f"{_many(len(study.tasks), 'task')} on {study.backbone}, "
        f"{_many(sum(counts.values()), 'trial')} ({stages}), into {folder}"
    )


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def not_done(study: Study) -> list[str]:
    """What the study file says and the study will not do, a line each."""
    if study.search is None:
        return []
    found: dict[str, tuple[str, ...]] = {}
    for name in study.variants:
        if trials := study.search_trials(name):
            for line in (_random(study, trials), _grid(study, name, trials), *_pruned(study, trials)):
                found[line] = (*found.get(line, ()), name)
    searched = sum(study.search_trials(name) > 0 for name in study.variants)
    return [
        f"note: {line}" + (f" ({', '.join(names)})" if len(names) < searched else "")
        for line, names in found.items()
        if line
    ]


def _random(study: Study, trials: int) -> str:
    """On a sampler that never comes to learn."""
    sampler = study.search.sampler if study.search else None
    if isinstance(sampler, TPE | GP) and trials <= sampler.n_startup_trials:
        return (
            f"search: {_many(trials, 'trial')} a cell under {sampler.type} with n_startup_trials "
            f"{sampler.n_startup_trials} are a random search"
        )
    if isinstance(sampler, NSGA2) and trials <= sampler.population_size:
        return (
            f"search: {_many(trials, 'trial')} a cell under nsga2 with population_size "
            f"{sampler.population_size} are a random search"
        )
    return ""


def _grid(study: Study, name: str, trials: int) -> str:
    """On a grid of another size than the trials that are asked for."""
    asked = study.search.trials if study.search else None
    if study.search is None or not isinstance(study.search.sampler, Grid) or asked is None:
        return ""
    if trials < asked:
        return f"search: {asked:,} trials are asked for, and the grid has {_many(trials, 'point')}"
    search = study.search.model_copy(update={"trials": None})
    whole = study.model_copy(update={"search": search}).search_trials(name)
    return f"search: {trials:,} of the grid's {whole:,} points are tried" if trials < whole else ""


def _pruned(study: Study, trials: int) -> list[str]:
    """On a pruner that stops nothing, or leaves less than what comes after it takes."""
    search, epochs = study.search, study.recipe.epochs
    assert search is not None
    pruner, completed, found = search.pruner, trials, []
    if isinstance(pruner, SuccessiveHalving):
        rungs = search.rungs(epochs)
        if not rungs:
            found.append(
                f"search: successive_halving prunes nothing: its first rung is not before epoch {epochs}"
            )
        completed = _completed(trials, pruner.reduction_factor, len(rungs))
        if completed == 1 < trials:
            found.append(
                f"search: successive_halving lets about 1 of {trials} trials a cell complete, so that the "
                "pruner chooses"
            )
    elif isinstance(pruner, Median):
        decisions = [epoch for epoch in study.report_epochs() if pruner.n_warmup_epochs < epoch < epochs]
        if trials <= max(pruner.n_startup_trials, pruner.n_min_trials) or not decisions:
            found.append(f"search: median prunes nothing in {trials} trials of {epochs} epochs")
    if study.confirm is not None and completed < study.confirm.top:
        found.append(f"confirm: top is {study.confirm.top}, and about {completed} settings a cell complete")
    return found


def _completed(trials: int, factor: int, rungs: int) -> int:
    """How many trials pass every rung on average, where their order says nothing of their worth.

    The k-th that comes to a rung passes if it is among the best k // factor there, or the best of all.
    """
    found = float(trials)
    for _ in range(rungs):
        passed = [max(1, k // factor) / k for k in range(1, int(found) + 2)]
        found = sum(passed[:-1]) + (found - int(found)) * passed[-1]
    return max(1, round(found))
