"""Search spaces: the ranges and choices of hyperparameters, and when each of them applies."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Container, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from wst.records import Hyperparameters, Scalar, Value, same
from wst.study.bounds import MANY, End, Flag, OneValue, Real, SomeValue, Text, WholeEnd
from wst.yaml_files import Strict, shown

_Range = TypeVar("_Range", "Float", "Int")


class _Entry(Strict):
    """What every entry of a search space has.

    ``brought(value)`` is a value as the entry has it: of its type and on its grid, so that values that are
    equal to a user are equal to a program.  It gives what it gave when it is applied again.  A value that the
    entry does not hold comes back as it is.
    """

    when: dict[Text, Annotated[tuple[OneValue, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Searched only where each of these hyperparameters, set before this one, has one of these values."""


class Float(_Entry):
    """A real hyperparameter in [low, high]; on a log scale, or in steps from low."""

    type: Literal["float"] = "float"
    low: End
    high: End
    log: Flag = False
    step: Annotated[Real, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Float:
        return _check_range(self)

    def values(self, points: int) -> list[Value]:
        """The steps, or ``points`` values evenly spaced on the scale, both ends included."""
        if self.step is not None:
            low, high, step = (Decimal(repr(one)) for one in (self.low, self.high, self.step))
            return [self._at(place) for place in range(int((high - low) / step) + 1)]
        spread = np.geomspace if self.log else np.linspace
        rounded = (float(f"{value:.6g}") for value in spread(self.low, self.high, points))
        return [min(max(value, self.low), self.high) for value in rounded]

    def holds(self, value: Value) -> bool:
        """Whether the range, or one of its steps, includes a value."""
        return self._placed(value) is not None

    def brought(self, value: Value) -> Value:
        """A value as a real number, and on its step: 0.30000000000000004 in steps of 0.1 is 0.3."""
        placed = self._placed(value)
        return value if placed is None else placed

    def _placed(self, value: Value) -> float | None:
        """The number of the range that a value is; None where it is none."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if self.step is None:
            return float(value) if self.low <= value <= self.high else None
        if not self.low - self.step < value < self.high + self.step:
            return None  # NaN and infinities, too
        steps = (value - self.low) / self.step
        placed = self._at(round(steps))
        near = abs(steps - round(steps)) < 1e-8  # as Optuna has it
        return placed if near and self.low <= placed <= self.high else None

    def _at(self, place: int) -> float:
        """The number so many steps from low, in decimals, as users write them."""
        return float(Decimal(repr(self.low)) + place * Decimal(repr(self.step)))


class Int(_Entry):
    """A whole-number hyperparameter in [low, high]."""

    type: Literal["int"] = "int"
    low: WholeEnd
    high: WholeEnd
    log: Flag = False
    step: Annotated[WholeEnd, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _ordered(self) -> Int:
        return _check_range(self)

    def values(self, points: int) -> list[Value]:
        """All values in steps; on a log scale at most ``points``, evenly spaced."""
        if self.log:
            spread = np.rint(np.geomspace(self.low, self.high, points)).tolist()
            return [int(value) for value in dict.fromkeys(spread)]
        return list(range(self.low, self.high + 1, self.step))

    def holds(self, value: Value) -> bool:
        """Whether the range includes a value."""
        brought = self.brought(value)
        return type(brought) is int and brought in range(self.low, self.high + 1, self.step)

    def brought(self, value: Value) -> Value:
        """A value as a whole number: 4.0 is 4."""
        if (
            isinstance(value, float)
            and value.is_integer()
            and int(value) in range(self.low, self.high + 1, self.step)
        ):
            return int(value)
        return value


class Categorical(_Entry):
    """A hyperparameter that takes one of a few values."""

    type: Literal["categorical"] = "categorical"
    choices: tuple[SomeValue, ...] = Field(min_length=1)
    """Each a value, or a list of values where the hyperparameter takes several; 1 and 1.0 are one value."""

    @model_validator(mode="after")
    def _each_once(self) -> Categorical:
        for place, choice in enumerate(self.choices):
            twin = next((other for other in self.choices[:place] if same(other, choice)), None)
            if twin is not None:
                raise ValueError(
                    f"expected each choice once; found {shown(twin)} and {shown(choice)}, which are equal"
                )
        return self

    def values(self, points: int) -> list[Value]:
        """The choices."""
        return list(self.choices)

    def holds(self, value: Value) -> bool:
        """Whether a value is one of the choices."""
        return any(same(choice, value) for choice in self.choices)

    def brought(self, value: Value) -> Value:
        """The choice that a value is equal to: 10 is 10.0 where that is a choice."""
        return next((choice for choice in self.choices if same(choice, value)), value)


def _check_range(space: _Range) -> _Range:
    if space.low > space.high:
        raise ValueError(f"expected low <= high; found low {space.low} and high {space.high}")
    if space.log and space.low <= 0:
        raise ValueError(f"expected low > 0 on a log scale; found low {space.low}")
    if space.log and space.step not in (None, 1):
        raise ValueError(f"expected either log or step; found log with step {space.step}")
    steps = (space.high - space.low) / space.step if space.step is not None and not space.log else 0
    if steps >= MANY:
        raise ValueError(f"expected a range of at most {MANY:,} steps, or log: true; found {steps:,.0f}")
    return space


_SEVERAL = re.compile(r"(?P<name>[^\[\]]+)\[(?P<first>\d{1,6})\.\.(?P<last>\d{1,6})\]")
_ONE = re.compile(r"(?P<name>[^\[\]]+)\[(?P<place>\d{1,6})\]")
_MOST_PLACES = 1_000


def expanded(space: Mapping[str, Any]) -> dict[str, Any]:
    """A space as it stands in a file, with an entry for each place of a hyperparameter that takes several
    values: ``prompts[0..11]`` becomes ``prompts[0]`` to ``prompts[11]``, searched each for itself.

    Raises:
        ValueError: places that do not begin with 0 or do not ascend.
    """
    found: dict[str, Any] = {}
    for key, entry in space.items():
        several = _SEVERAL.fullmatch(str(key))
        if several is None:
            found[key] = entry
            continue
        first, last = int(several["first"]), int(several["last"])
        if first != 0 or not 1 <= last < _MOST_PLACES:
            raise ValueError(
                f"{key}: expected places from 0 upwards, such as [0..11], and at most {_MOST_PLACES:,}; "
                f"found {key!r}"
            )
        found |= {f"{several['name']}[{place}]": entry for place in range(last + 1)}
    return found


def plain(value: Value) -> Scalar:
    """A value as programs keep it that know no lists: several as a text."""
    return json.dumps(value) if isinstance(value, tuple) else value


def spread(settings: Mapping[str, Value], whole: Container[str] = ()) -> dict[str, Value]:
    """Settings with each of several values by its place, as a search has them: ``prompts[0]`` and so on.

    Args:
        settings: as a method takes them.
        whole: names that a space has as they are, and that stay so.
    """
    found: dict[str, Value] = {}
    for name, value in settings.items():
        if isinstance(value, tuple) and name not in whole:
            found |= {f"{name}[{place}]": one for place, one in enumerate(value)}
        else:
            found[name] = value
    return found


def gathered(settings: Mapping[str, Value]) -> Hyperparameters:
    """The reverse of :func:`spread`, as a method takes them: one tuple in the place of its first value."""
    found: dict[str, Any] = {}
    places: dict[str, dict[int, Value]] = {}
    for name, value in settings.items():
        one = _ONE.fullmatch(name)
        if one is None:
            found[name] = value
        else:
            found.setdefault(one["name"], None)
            places.setdefault(one["name"], {})[int(one["place"])] = value
    return found | {name: tuple(at[place] for place in sorted(at)) for name, at in places.items()}


def check_places(space: Mapping[str, Any]) -> None:
    """Refuse a space in which a hyperparameter of several values could lack one of them.

    Raises:
        ValueError: its places are not 0 to the last, or one of them is searched under a condition.
    """
    places: dict[str, set[int]] = {}
    for name, entry in space.items():
        one = _ONE.fullmatch(name)
        if one is not None:
            places.setdefault(one["name"], set()).add(int(one["place"]))
            if entry.when:
                raise ValueError(f"space.{name}.when: expected no condition on a single place; found one")
    for name, found in places.items():
        if found != set(range(len(found))):
            raise ValueError(
                f"space: expected {name}[0] to {name}[{max(found)}], each once; found no "
                f"{name}[{min(set(range(max(found))) - found)}]"
            )


Distribution = Annotated[Float | Int | Categorical, Field(discriminator="type")]
Space = Mapping[str, Distribution]


def applies(entry: Distribution, settings: Mapping[str, Value]) -> bool:
    """Whether a hyperparameter is searched, given those that were set before it."""
    return all(
        any(same(settings.get(name), value) for value in values) for name, values in entry.when.items()
    )


def brought(settings: Mapping[str, Value], space: Space) -> Hyperparameters:
    """Settings with each value of the space as its entry has it, and others as they are; several by place."""
    placed = spread(settings, space)
    return {name: space[name].brought(value) if name in space else value for name, value in placed.items()}


def grid(space: Space, points: int, fixed: Hyperparameters, seed: int | None = None) -> list[Hyperparameters]:
    """Every combination of a few values of each hyperparameter, each once.

    Args:
        space: the search space.
        points: values taken from a range that has no step.
        fixed: further settings, on which a condition may depend; not part of the combinations.
        seed: shuffles them, so that a part of the grid covers the space too; in order when left out.
    """
    found: list[Hyperparameters] = [{}]
    for name, entry in space.items():
        found = [
            extended
            for settings in found
            for extended in (
                [{**settings, name: value} for value in entry.values(points)]
                if applies(entry, {**spread(fixed), **settings})
                else [settings]
            )
        ]
    if seed is not None:
        random.Random(seed).shuffle(found)
    return found
