"""One cell of a study, a task x a variant: how far it is, what it waits for and what can begin next.

Whatever is asked of a cell follows from its trials and, where it takes settings over or shares them, from
those of the cells that it takes them from or shares them with.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from wst.planning.choice import Choice, Later, Once
from wst.planning.ranking import Candidate
from wst.records import EndedTrial, Hyperparameters, Intent, Stage, State, Value
from wst.study import Study
from wst.study.space import brought

if TYPE_CHECKING:
    from wst.planning.cell_search import CellSearch

LATER: tuple[Later, ...] = ("confirm", "final")
STAGES: tuple[Stage, ...] = ("search", *LATER)


class Opening(NamedTuple):
    """A trial of a later stage that can begin."""

    candidate: Candidate | None
    """Whose settings it trains; None where these are fixed in the study."""
    seed: int

    @property
    def parent(self) -> str | None:
        """The search trial that found the settings."""
        return self.candidate.trial.intent.trial_id if self.candidate else None


class Cell:
    """One task x variant, and how far it is.

    Args:
        study: what was asked for.
        task: one of its tasks.
        variant: one of its variants.
        seeds: those of every stage; none where the study leaves a stage out.
        giver: the cell of the same task whose settings this one takes over, where its variant says so.
        choice: the one that the cells of a variant with shared settings make together; one of its own where
            it is left out.
        look_only: its search will not be asked.

    ``begin`` and ``end`` note what happens to the cell's trials; everything else is asked of it.
    """

    def __init__(
        self,
        study: Study,
        task: str,
        variant: str,
        seeds: Mapping[Stage, range],
        giver: Cell | None = None,
        choice: Choice | None = None,
        look_only: bool = False,
    ):
        self.task, self.variant = task, variant
        self._study, self._seeds, self._variant = study, seeds, study.variants[variant]
        assert (giver and giver.variant) == self._variant.settings_from, "the giver is the variant's source"
        self.searches = study.search_trials(variant)
        """Trials of the search that the study asks for."""
        self.search = None if look_only else self._new_search()
        self.source = self if self._variant.space is not None else giver
        """The cell whose search gives this cell's settings, often itself; None where they are fixed."""
        self.choice = Choice(study) if choice is None else choice
        self.choice.cells.append(self)
        self.asked: Counter[Stage] = Counter()
        self._numbers: dict[Stage, set[int]] = {stage: set() for stage in STAGES}
        """Of the trials that were asked for."""
        self.ended: dict[Stage, list[EndedTrial]] = {stage: [] for stage in STAGES}
        self.counts: Counter[tuple[Stage, State]] = Counter()
        """Ended trials by stage and state."""
        self.waiting = False
        """The sampler suggests only what is running already; asked again when a trial of the search has
        ended."""
        self._begun: set[tuple[Stage, str | None, int]] = set()
        """(stage, parent, seed) of every trial of the later stages."""
        self._known: dict[str, EndedTrial | None] = {}
        """First trial of every configuration that the search has had; None while it runs."""
        self._once = Once()

    def _new_search(self) -> CellSearch | None:
        if not self.searches:
            return None
        from wst.planning.cell_search import CellSearch  # loads Optuna

        return CellSearch(self._study, self.task, self.variant)

    # What happens to its trials.

    def begin(self, intent: Intent) -> None:
        """Note that a trial was asked for."""
        self.asked[intent.stage] += 1
        self._numbers[intent.stage].add(intent.number)
        if intent.stage == "search":
            self._known.setdefault(self._key(intent.hyperparameters), None)
        else:
            self._begun.add((intent.stage, intent.parent, intent.seed))
        self.choice.begin(intent)

    def end(self, trial: EndedTrial) -> None:
        """Note that a trial has ended."""
        intent = trial.intent
        if intent.stage == "search":
            key = self._key(intent.hyperparameters)
            self._known[key] = self._known.get(key) or trial
            self.waiting = False
        self.ended[intent.stage].append(trial)
        self.counts[intent.stage, trial.outcome.state] += 1
        self.choice.end(trial)

    @property
    def version(self) -> int:
        """A number that grows with every change of this cell and of those that its settings come from."""
        source = self.source
        return self.choice.changes + (0 if source is None or source is self else source.version)

    def _free_number(self, stage: Stage) -> int:
        """The next trial's number: the lowest that no trial has.

        It counts on from the last, unless a ledger has lost a trial.  Then it is that trial's: a search's
        given settings, its grid's points and its sampler's seeds go by the number, so that each is used once.
        """
        return next(number for number in itertools.count() if number not in self._numbers[stage])

    # How far it is.

    def count(self, stage: Stage, state: State | None = None) -> int:
        """Ended trials of a stage, of one state or of any."""
        return len(self.ended[stage]) if state is None else self.counts[stage, state]

    @property
    def shared(self) -> bool:
        """Whether its settings are those that all tasks of the study share."""
        return self.source is not None and self.source._variant.shared

    @property
    def searched(self) -> bool:
        """True once every trial of the search has ended."""
        return self.count("search") >= self.searches

    @property
    def searching(self) -> bool:
        """Whether the search has trials left to ask for, and need not wait for one that runs."""
        return self.asked["search"] < self.searches and not self.waiting

    def planned(self, stage: Stage) -> int:
        """Trials of a stage that the cell has had, and will have as far as is known."""
        if stage == "search":
            return max(self.searches, self.asked["search"])
        return self.asked[stage] + self._missing(stage)

    @property
    def remaining(self) -> int:
        """Trials that have not ended and can still come about."""
        return self._once("remaining", self.version, lambda: sum(map(self.pending, STAGES)))

    def pending(self, stage: Stage) -> int:
        """Trials of a stage that have not ended and can still come about."""
        return self.planned(stage) - self.count(stage)

    def _missing(self, stage: Later) -> int:
        """Trials of a stage yet to be asked for; as many as are expected while that is not known."""
        if not self._takes_part(stage):
            return 0
        if self.ready(stage):
            return len(self.openings(stage))
        assert self.source is not None, "fixed settings wait for nothing"
        top = self._study.confirm.top if self._study.confirm and stage == "confirm" else 1
        return min(top, self.source.searches) * len(self._seeds[stage])

    def _takes_part(self, stage: Later) -> bool:
        """Whether the cell has trials of a stage at all: settings are confirmed where they were searched."""
        return len(self._seeds[stage]) > 0 and (stage == "final" or self.source is self)

    def ready(self, stage: Later) -> bool:
        """Whether what comes before a stage has ended, in every cell whose search decides."""
        return self.source is None or self.source.choice.ready(stage)

    # What its search chose.

    def candidates(self, stage: Later) -> list[Candidate]:
        """Candidates that go into a stage, the winner first; none where settings are fixed.

        They are those of the trials that have ended so far, whether the cell is ``ready`` or not.
        """
        return self.source.choice.candidates(stage)[self.task] if self.source else []

    @property
    def best(self) -> Candidate | None:
        """The winner of the search so far, with the cells it is shared with: by the confirming trials where
        these are complete; None for settings that are not searched here."""
        if self.source is not self:
            return None
        return next(iter(self.candidates("final" if self.ready("final") else "confirm")), None)

    @property
    def chosen(self) -> list[tuple[Hyperparameters, Candidate | None]]:
        """The settings that go into the final stage, with the candidate they come from; none as long as the
        earlier stages go on."""
        if self.source is None:
            return [(self._settings(None), None)]
        if not self.ready("final"):
            return []
        return [(self._settings(one), one) for one in self.candidates("final")]

    # What can begin.

    def openings(self, stage: Later) -> list[Opening]:
        """Trials of a stage that can begin and have not."""
        return self._once(("openings", stage), self.version, lambda: self._find_openings(stage))

    def _find_openings(self, stage: Later) -> list[Opening]:
        if not self._takes_part(stage) or not self.ready(stage):
            return []
        found = self.candidates(stage) if self.source else [None]
        wanted = [Opening(candidate, seed) for candidate in found for seed in self._seeds[stage]]
        return [one for one in wanted if (stage, one.parent, one.seed) not in self._begun]

    def later_intent(self, stage: Later, opening: Opening, ask_order: int) -> Intent:
        """The trial that takes an opening."""
        candidate = opening.candidate
        reason = self._reason(stage, candidate) if candidate else "fixed in the study"
        return self._intent(stage, opening.seed, self._settings(candidate), opening.parent, reason, ask_order)

    def search_intent(self, ask_order: int, above: Callable[[Hyperparameters], bool]) -> Intent | None:
        """The next trial of the search; None where the cell has to wait.

        ``above`` tells settings above the study's ceiling: the sampler is asked for others, a few times.
        """
        assert self.search is not None
        number = self._free_number("search")

        def whole(suggested: Hyperparameters) -> Hyperparameters:
            return self._study.recipe.complete({**self._variant.fixed, **suggested})

        def refused(suggested: Hyperparameters) -> bool:
            return self._key(whole(suggested)) in self._known or above(whole(suggested))

        alike, parent = self.choice.alike(number), None
        if alike is not None:
            self.search.ask_again(number, alike.hyperparameters)
            settings, reason = alike.hyperparameters, f"settings of {alike.trial_id}, which tasks share"
        else:
            suggested, reason = self.search.ask(number, refused)
            settings = whole(suggested)
        if self._key(settings) in self._known:
            first = self.first(settings)
            if first is None:
                self.search.withdraw(number)
                self.waiting = True
                return None
            parent = first.intent.trial_id
            reason = f"settings of {parent} again, which is not run twice"
        return self._intent("search", self._seeds["search"][0], settings, parent, reason, ask_order)

    def first(self, settings: Hyperparameters) -> EndedTrial | None:
        """The first of the search's ended trials that had these settings, which are complete."""
        return self._known.get(self._key(settings))

    def _key(self, settings: Hyperparameters) -> str:
        """Equal for equal settings, as the space has them; an older ledger has steps as Optuna adds them."""
        placed = brought(settings, self._variant.space or {})
        return repr(sorted((name, _plain(value)) for name, value in placed.items()))

    def _intent(
        self,
        stage: Stage,
        seed: int,
        settings: Hyperparameters,
        parent: str | None,
        reason: str,
        ask_order: int,
    ) -> Intent:
        number = self._free_number(stage)
        return Intent(
            trial_id=f"{self.task}.{self.variant}.{stage}.{number:04d}",
            task=self.task,
            variant=self.variant,
            stage=stage,
            number=number,
            ask_order=ask_order,
            seed=seed,
            hyperparameters=self._study.recipe.complete(settings),
            parent=parent,
            reason=reason,
        )

    def _settings(self, candidate: Candidate | None) -> Hyperparameters:
        """Those that a later stage trains: with what this variant fixes, not what the giver's does."""
        if self.source is None or candidate is None:
            return self._variant.given_settings(self.task)
        settings = dict(candidate.trial.intent.hyperparameters)
        if self.source is not self:
            for name in self.source._variant.fixed:
                settings.pop(name)
            settings |= self._variant.fixed
        return settings

    def _reason(self, stage: Later, candidate: Candidate) -> str:
        """Why a later stage trains a candidate's settings, in words."""
        source, study = self.source, self._study
        assert source is not None
        where = "on val" + (f" over {len(study.tasks)} tasks" if self.shared else "")
        if stage == "confirm":
            return f"number {self.candidates(stage).index(candidate) + 1} of {source.count('search')} {where}"
        several = study.search is not None and len(study.search.objectives) > 1
        reason = f"{'on the front' if several else 'best'} of {source.count('search')} {where}"
        if study.confirm:
            reason += f", by the mean of {study.confirm.seeds} more seeds"
        return reason if source is self else f"settings found for {source.variant} ({reason})"


def _plain(value: Value) -> Value:
    """A value whose text tells it from others: 1.0 is 1, and true is neither."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))  # type: ignore[arg-type]
    return int(value) if isinstance(value, float) and value.is_integer() else value
