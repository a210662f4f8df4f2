"""Finding methods, by the reference that a study gives.

``lora`` is the file or folder of that name here; a name that begins with ``_`` is a part that methods share.
``package.module:function`` is a function of an installed package.  A path that ends in ``.py`` is a file of
the user's, with a function ``adapt`` or, after a colon, another.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from wst.errors import InputError
from wst.methods.contract import Method

_HERE = Path(__file__).parent
_NO_METHODS = {"contract", "registry"}


def names() -> list[str]:
    """Names of the methods that come with wst, without importing any."""
    return sorted(
        path.stem
        for path in _HERE.iterdir()
        if not path.name.startswith(("_", ".")) and path.stem not in _NO_METHODS
    )


def is_file(reference: str) -> bool:
    """Whether a reference is the path of a user's own file."""
    return _split(reference)[0].endswith(".py")


def short_name(reference: str) -> str:
    """A name for the method, in letters, digits, ``_`` and ``-``: its file's, or that of its function."""
    where, function = _split(reference)
    name = function or Path(where).stem
    return "".join(sign if sign.isalnum() or sign in "_-" else "_" for sign in name)


def beside(reference: str, folder: Path) -> str:
    """The reference with a file's path made absolute, as seen from ``folder`` or else from here."""
    if not is_file(reference):
        return reference
    where, function = _split(reference)
    for base in (folder, Path()):
        if (base / where).is_file():
            return ":".join(filter(None, [str((base / where).resolve()), function]))
    return reference


def get(reference: str, expected: str | None = None) -> Method:
    """The method that a reference means.

    Args:
        reference: as above.
        expected: the hash that its file must have, as :func:`source_hash` gave it; any when None.

    Raises:
        InputError: there is none, its file has changed, its module cannot be imported, or its signature says
            too little.
    """
    digest = source_hash(reference)
    if expected is not None and digest != expected:
        raise InputError(f"method {reference}: expected the file with hash {expected}; found {digest}")
    found = _found(reference, digest)
    _ = found.parameters
    return found


def described(reference: str) -> dict[str, Any]:
    """What a method says of itself, in plain values.

    Raises:
        InputError: as :func:`get`.
    """
    method = get(reference)
    return {
        "name": reference,
        "about": (inspect.getdoc(method.function) or "").partition("\n")[0],
        "fits": [kind.__name__ for kind in method.fits],
        "hyperparameters": {
            name: {
                "expected": parameter.expectation,
                "default": parameter.default,
                "choices": list(parameter.choices),
                "changes no shape": name in method.free,
            }
            for name, parameter in method.parameters.items()
        },
        "merges": method.merge is not None,
    }


def source_hash(reference: str) -> str | None:
    """SHA-256 of the file that a reference leads to, in 16 digits; None for a method of wst's own, which is
    as the version and the commit say.

    Raises:
        InputError: there is no such file or module.
    """
    where, _ = _split(reference)
    if is_file(reference):
        path: Path | None = Path(where)
    elif ":" in reference:
        try:
            spec = importlib.util.find_spec(where)
        except (ImportError, ValueError):
            spec = None
        path = Path(spec.origin) if spec is not None and spec.origin else None
    else:
        if where not in names():
            raise InputError(
                f"method: expected one of {', '.join(names())}, package.module:function, or the path of a "
                f".py file; found {reference!r}"
            )
        return None
    if path is None or not path.is_file():
        raise InputError(f"method: expected a file or a module that can be imported; found none at {where!r}")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _split(reference: str) -> tuple[str, str]:
    """Where the method is, and the function's name there; empty for ``adapt``."""
    head, colon, function = reference.rpartition(":")
    return (head, function) if colon and function.isidentifier() else (reference, "")


@lru_cache(maxsize=64)
def _found(reference: str, digest: str | None) -> Method:
    where, function = _split(reference)
    try:
        module = _module(where, digest)
    except InputError:
        raise
    except Exception as error:  # whatever a user's file raises
        raise InputError(
            f"method {reference}: expected a module that can be imported; "
            f"found {type(error).__name__}: {' '.join(str(error).split())}"
        ) from None
    found = getattr(module, function or "adapt", None)
    if not callable(found):
        raise InputError(f"method {reference}: expected a function {function or 'adapt'!r}; found none")
    return found if isinstance(found, Method) else Method(found)


def _module(where: str, digest: str | None) -> ModuleType:
    if not where.endswith(".py"):
        return importlib.import_module(f"wst.methods.{where}" if digest is None else where)
    spec = importlib.util.spec_from_file_location(Path(where).stem, where)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
