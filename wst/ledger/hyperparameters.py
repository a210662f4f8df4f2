"""The typed columns of hyperparameters, as the signatures of the methods say."""

from __future__ import annotations

import pyarrow as pa

from wst.errors import InputError
from wst.methods import registry
from wst.methods.contract import TRIAL_PARAMETERS, Parameter
from wst.study import Study
from wst.suggest import hint

_ARROW = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def column_types(study: Study) -> dict[str, pa.DataType]:
    """Type of the column of every hyperparameter that a variant sets, by the hyperparameter's name.

    Raises:
        InputError: a method does not take one of them, or two methods take it in different types.
    """
    return {name: _one_type(name, sorted(methods)) for name, methods in study.hyperparameters().items()}


def _one_type(name: str, methods: list[str]) -> pa.DataType:
    if name in TRIAL_PARAMETERS:
        return _type(TRIAL_PARAMETERS[name])
    found: dict[pa.DataType, str] = {}
    for method in methods:
        parameters = registry.get(method).parameters
        if name not in parameters:
            raise InputError(
                f"hyperparameters of {method}: expected only {', '.join(parameters) or 'none'}; "
                f"found {name!r}{hint(name, parameters)}"
            )
        found.setdefault(_type(parameters[name]), method)
    if len(found) > 1:
        words = " and ".join(f"{kind} in {method}" for kind, method in found.items())
        raise InputError(f"hyperparameter {name!r}: expected one type in all methods; found {words}")
    return next(iter(found))


def _type(parameter: Parameter) -> pa.DataType:
    kind = _ARROW[parameter.kind]
    return pa.list_(kind) if parameter.several else kind
