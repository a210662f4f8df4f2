"""Numbers and texts of a study file: each of one kind, and within what programs and tables can hold.

A ledger's columns hold whole numbers of 64 bits and UTF-8; lists of epochs, trials and steps are written out
before a study begins.  So what is beyond these bounds is refused when the file is read.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, GetPydanticSchema
from pydantic import Strict as OfItsType
from pydantic_core.core_schema import no_info_plain_validator_function

from wst.methods.contract import TRIAL_PARAMETERS
from wst.records import Scalar, Value
from wst.yaml_files import shown

MANY = 100_000
"""Most of what is listed before a study begins: epochs, trials, points of a grid, steps of a range."""
_MOST_VALUES = 1_000
"""Of a hyperparameter that takes several."""
_LONGEST = 4_096


def _number(value: Any) -> Any:
    """A number as it is written: what is in quotes is a text, and true is no 1."""
    if isinstance(value, bool | str | bytes):
        raise ValueError(f"expected a number; found {shown(value)}")
    return value


def _text(text: str) -> str:
    # No path, no table and no YAML file takes these.
    if "\0" in text or len(text) > _LONGEST:
        raise ValueError(f"expected at most {_LONGEST:,} signs, none of them NUL; found {shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected a text that UTF-8 can hold; found {shown(text)}") from None
    return text


Flag = Annotated[bool, OfItsType()]
Text = Annotated[str, OfItsType(), AfterValidator(_text)]
Whole = Annotated[int, BeforeValidator(_number)]
Count = Annotated[Whole, Field(ge=1, le=MANY)]
CountOrNone = Annotated[Whole, Field(ge=0, le=MANY)]
Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
NonNegative = Annotated[Real, Field(ge=0)]
Share = Annotated[Real, Field(ge=0, le=1)]
End = Annotated[Real, Field(ge=-1e100, le=1e100)]
"""Of a range, whose width is a number too then."""
WholeEnd = Annotated[Whole, Field(ge=-(2**53), le=2**53)]
"""Of a range: samplers compute with floats, which hold whole numbers up to this."""
Parameters = Annotated[Whole, Field(ge=1, lt=2**63)]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]


def _scalar(value: object) -> Scalar:
    if type(value) is float and not math.isfinite(value):
        raise ValueError(f"expected a finite number; found {value!r}")
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ValueError(f"expected a whole number of at most 64 bits; found {shown(value)}")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | int | float):
        return value
    raise ValueError(f"expected a number, a text, true or false, or a list of these; found {shown(value)}")


def _value(value: object) -> Value:
    if not isinstance(value, list | tuple):
        return _scalar(value)
    if len(value) > _MOST_VALUES:
        raise ValueError(f"expected at most {_MOST_VALUES:,} values; found {len(value):,}")
    return tuple(_scalar(one) for one in value)


# One message where pydantic would give one for each member of the union.
OneValue = Annotated[Scalar, GetPydanticSchema(lambda _, __: no_info_plain_validator_function(_scalar))]
SomeValue = Annotated[Value, GetPydanticSchema(lambda _, __: no_info_plain_validator_function(_value))]
"""A value of a hyperparameter, or several."""
Settings = dict[Text, SomeValue]


def check_of_the_trial(name: str, value: object) -> None:
    """Look at a value of ``lr``, ``weight_decay`` or ``drop_path``; of any other hyperparameter its method
    knows what it may be.

    Raises:
        ValueError: what was expected and found.
    """
    if name in TRIAL_PARAMETERS:
        try:
            checked = TRIAL_PARAMETERS[name].checked(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if name == "lr" and checked == 0:
            raise ValueError(f"lr: expected a number above 0; found {shown(value)}")
