"""Methods of parameter-efficient transfer: a file or a folder each, found by name."""

from wst.methods.contract import AtLeast, Below, Method, Parameter, method

__all__ = ["AtLeast", "Below", "Method", "Parameter", "method"]
