"""What a method is: a function whose signature says which hyperparameters it takes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, overload

from wst.errors import InputError
from wst.records import OF_THE_TRIAL, Hyperparameters, Scalar, Value
from wst.suggest import hint
from wst.yaml_text import shown

if TYPE_CHECKING:
    from torch import nn

OWN_FILE = "wst_method_"
"""Begins the names of the modules that users' own files become."""
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_RESERVED = frozenset(
    {"backbone", "checkpoint", "drop_path", "image_size", "method", "num_classes", "pretrained", "self"}
)
"""Names that :func:`wst.create_model` has arguments of."""
_EXACT, _MOST = 2**53, 2**63
"""The largest whole number up to which all are real ones, and the first that a column of them cannot hold."""
_WORDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True)
class AtLeast:
    """The least value of a number, in its annotation: ``r: Annotated[int, AtLeast(1)]``."""

    low: float


@dataclass(frozen=True)
class Below:
    """A value that a number does not reach, in its annotation."""

    high: float


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter, as its annotation and default describe it.

    Attributes:
        name: its name.
        kind: type of a value, or of each where there are several.
        several: whether it takes one value for each block, say, as a tuple.
        choices: the only values allowed; empty where any of the kind will do.
        low, high: the least value of a number, and one that it must stay below.
        default: taken where a study says nothing; None where there is none.
        optional: whether it may be left out without a default, as ``r: int | None = None`` says: the method
            knows what to do then.  No study can give None.
    """

    name: str
    kind: type[Scalar]
    several: bool = False
    choices: tuple[Scalar, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    default: Value | None = None
    optional: bool = False

    @property
    def required(self) -> bool:
        """Whether a study has to give a value."""
        return self.default is None and not self.optional

    @property
    def expectation(self) -> str:
        """What a value has to be, in words."""
        if self.choices:
            words = f"one of {', '.join(map(str, self.choices))}"
        else:
            words = _WORDS[self.kind]
            words += f" of at least {self.low:g}" if self.low > -math.inf else ""
            words += f" below {self.high:g}" if self.high < math.inf else ""
        return f"a list, each {words}" if self.several else words

    def checked(self, value: object) -> Value:
        """The value as a method takes it: 1 for a real number is 1.0, 2.0 for a whole one 2, a list a tuple.

        Tables that went through other programs have whole numbers as real ones; 2.5 is none.

        Raises:
            ValueError: it is none; the message says what was expected and found.
        """
        if not self.several:
            one = self._converted(value)
            if one is None:
                raise self._error(value)
            return one
        if not isinstance(value, list | tuple) or not value:
            raise self._error(value)
        each = [self._converted(one) for one in value]
        if None in each:
            raise self._error(value)
        return tuple(one for one in each if one is not None)

    def _converted(self, value: object) -> Scalar | None:
        """One value of the right kind, or None."""
        if self.kind is float and type(value) is int and abs(value) <= _EXACT:
            value = float(value)
        elif self.kind is int and type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not self.kind or (self.choices and value not in self.choices):
            return None
        if isinstance(value, float | int) and not isinstance(value, bool):
            # NaN fails every comparison.
            finite = abs(value) < (math.inf if self.kind is float else _MOST)
            return value if finite and self.low <= value < self.high else None
        assert isinstance(value, bool | str)
        return value

    def _error(self, value: object) -> ValueError:
        given = value if isinstance(value, list | tuple) else [value]
        wrong = next((one for one in given if self._converted(one) is None), "")
        near = hint(wrong, self.choices) if isinstance(wrong, str) else ""
        return ValueError(f"expected {self.expectation}; found {shown(value)}{near}")


TRIAL_PARAMETERS = {
    "lr": Parameter("lr", float, low=0.0),
    "weight_decay": Parameter("weight_decay", float, low=0.0),
    "drop_path": Parameter("drop_path", float, low=0.0, high=1.0, default=0.0),
}
"""Those of :data:`wst.records.OF_THE_TRIAL`."""
assert tuple(TRIAL_PARAMETERS) == OF_THE_TRIAL


@dataclass(frozen=True)
class Method:
    """A way to adapt a frozen backbone: call it with one.

    Attributes:
        function: takes a frozen timm model whose head alone is trainable, and hyperparameters by keyword;
            returns a module with timm's ``get_classifier()`` that maps images to logits, and whose only
            trainable parameters are the method's own and the head.
        fits: classes of timm models that it can adapt; any where empty.
        reasons: why not others, by their class, as the end of a sentence.
        free: hyperparameters that change no tensor's shape.  They enter the model as tensors, so that
            trials which differ in them alone can share a pass.
        untouched: how many of a backbone's first blocks give what they give without the method, given the
            backbone and the hyperparameters, so that their output can be kept; none where it does not say.
        merge: folds what was trained into the backbone's own weights and returns the timm model; None
            where a method cannot be folded.
    """

    function: Callable[..., nn.Module]
    fits: tuple[type, ...] = ()
    reasons: Mapping[type, str] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    untouched: Callable[..., int] = lambda backbone, **settings: 0
    merge: Callable[[nn.Module], nn.Module] | None = None

    def __post_init__(self) -> None:
        for name, kind in (("fits", type), ("free", str)):
            given = getattr(self, name)
            if not isinstance(given, tuple) or not all(isinstance(one, kind) for one in given):
                raise InputError(f"method {self.name}: {name}: expected a tuple; found {given!r}")

    def __reduce__(self) -> str | tuple[Any, ...]:
        # Its function's name leads to the method itself, which pickle would take for another object.
        raise TypeError(f"method {self.name}: only its reference travels between processes")

    @property
    def name(self) -> str:
        """The file or folder that holds the method, for messages."""
        parts = self.function.__module__.split(".")
        return parts[-2] if parts[-1] == "adapt" and len(parts) > 1 else parts[-1].removeprefix(OWN_FILE)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The hyperparameters by name, from the function's signature.

        Raises:
            InputError: an annotation that says nothing about values.
        """
        try:
            taken = list(inspect.signature(self.function, eval_str=True).parameters.values())
        except (NameError, TypeError, ValueError) as error:
            raise InputError(f"method {self.name}: expected annotations that hold; found {error}") from None
        if not taken or taken[0].kind not in _BY_PLACE:
            raise InputError(f"method {self.name}: expected the backbone as the first argument; found none")
        for one in taken[1:]:
            if one.kind not in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD) or one.name in _RESERVED:
                raise InputError(
                    f"method {self.name}: expected hyperparameters by keyword, and other names than "
                    f"{', '.join(sorted(_RESERVED))}; found {str(one)!r}"
                )
        found = {one.name: _parameter(self.name, one) for one in taken[1:]}
        clash = [name for name in OF_THE_TRIAL if name in found]
        unknown = [name for name in self.free if name not in found]
        if clash or unknown:
            raise InputError(
                f"method {self.name}: expected other names than {', '.join(OF_THE_TRIAL)}, and only its own "
                f"in 'free'; found {(clash or unknown)[0]!r}"
            )
        return found

    def checked(self, hyperparameters: Mapping[str, object]) -> Hyperparameters:
        """The hyperparameters as the function takes them.

        Raises:
            InputError: one line with the name, what was expected and what was found.
        """
        for name in hyperparameters:
            if name not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise InputError(
                    f"hyperparameters of {self.name}: expected only {known} "
                    f"(besides {', '.join(OF_THE_TRIAL)} of every trial); found {name!r}"
                    f"{hint(name, (*self.parameters, *OF_THE_TRIAL))}"
                )
        for name, parameter in self.parameters.items():
            if parameter.required and name not in hyperparameters:
                raise InputError(f"{name} of {self.name}: expected {parameter.expectation}; found no value")
        found = {}
        for name, value in hyperparameters.items():
            try:
                found[name] = self.parameters[name].checked(value)
            except ValueError as error:
                raise InputError(f"{name} of {self.name}: {error}") from None
        return found

    def __call__(self, backbone: nn.Module, /, **hyperparameters: object) -> nn.Module:
        """The adapted model.

        Raises:
            InputError: a hyperparameter or the backbone does not fit, and why; or the function raised, and
                what.  Memory that runs out stays as it is: a trial may start again.
        """
        settings = self.checked(hyperparameters)
        if self.fits and not isinstance(backbone, self.fits):
            known = " or ".join(kind.__name__ for kind in self.fits)
            reason = next(
                (f": {why}" for kind, why in self.reasons.items() if isinstance(backbone, kind)), ""
            )
            raise InputError(
                f"backbone of {self.name}: expected a timm {known}; found {type(backbone).__name__}{reason}"
            )
        try:
            return self.function(backbone, **settings)
        except (InputError, MemoryError):
            raise
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":  # PyTorch's
                raise
            shown = ", ".join(f"{name} {value}" for name, value in settings.items())
            raise InputError(
                f"method {self.name}: expected a model with {shown or 'no hyperparameters'}; "
                f"found {type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
            ) from error


@overload
def method(function: Callable[..., nn.Module]) -> Method: ...
@overload
def method(
    *,
    fits: tuple[type, ...] = (),
    reasons: Mapping[type, str] = ...,
    free: tuple[str, ...] = (),
    untouched: Callable[..., int] = ...,
    merge: Callable[[nn.Module], nn.Module] | None = None,
) -> Callable[[Callable[..., nn.Module]], Method]: ...
def method(function: Callable[..., nn.Module] | None = None, **says: Any) -> Any:
    """Make a function a method; what the keywords say of it stands at :class:`Method`.

    Example::

        @method(fits=(VisionTransformer,), free=("scale",))
        def adapt(backbone: nn.Module, *, r: Annotated[int, AtLeast(1)] = 8, scale: float = 1.0) -> nn.Module:
            ...
    """
    if function is not None:
        return Method(function)
    return lambda function: Method(function, **says)


def _parameter(owner: str, found: inspect.Parameter) -> Parameter:
    annotation, optional = _without_none(found.annotation)
    annotation, bounds = _bounds(annotation)
    several = get_origin(annotation) is tuple and get_args(annotation)[1:] == (...,)
    if several:
        annotation = get_args(annotation)[0]
        annotation, inner = _bounds(annotation)
        bounds |= inner
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    kind = type(choices[0]) if choices else annotation
    if kind not in _WORDS or any(type(choice) is not kind for choice in choices):
        raise InputError(
            f"{found.name} of method {owner}: expected an annotation of bool, int, float, str, a Literal or "
            f"a tuple[..., ...] of one of these; found {found.annotation!r}"
        )
    parameter = Parameter(found.name, kind, several, choices, **bounds, optional=optional)
    if optional != (found.default is None):
        raise InputError(
            f"{found.name} of method {owner}: expected '| None' in the annotation where the default is None, "
            f"and nowhere else; found {str(found)!r}"
        )
    if optional or found.default is inspect.Parameter.empty:
        return parameter
    try:
        return replace(parameter, default=parameter.checked(found.default))
    except ValueError as error:
        raise InputError(f"{found.name} of method {owner}: default: {error}") from None


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """An annotation without ``| None``, and whether it had that."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    others = [one for one in members if one is not NoneType]
    return (others[0], True) if len(members) == 2 and len(others) == 1 else (annotation, False)


def _bounds(annotation: Any) -> tuple[Any, dict[str, float]]:
    """An annotation without its notes, and what these say."""
    if get_origin(annotation) is not Annotated:
        return annotation, {}
    bare, *notes = get_args(annotation)
    sides = ((AtLeast, "low"), (Below, "high"))
    return bare, {
        side: getattr(note, side) for note in notes for kind, side in sides if isinstance(note, kind)
    }
