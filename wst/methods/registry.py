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
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from wst.errors import ChangedError, InputError
from wst.files import is_file as is_file_there
from wst.methods.contract import OWN_FILE, Method
from wst.suggest import hint

_HERE = Path(__file__).parent
_NO_METHODS = {"contract", "registry"}


def names() -> list[str]:
    """Names of the methods that come with wst, without importing any."""
    return sorted(
        path.stem
        for path in _HERE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file())
        and not path.name.startswith("_")
        and path.stem not in _NO_METHODS
    )


def is_file(reference: str) -> bool:
    """Whether a reference is the path of a user's own file."""
    return _split(reference)[0].endswith(".py")


def short_name(reference: str) -> str:
    """A name for the method, in letters, digits, ``_`` and ``-``: its file's, or that of its function."""
    where, function = _split(reference)
    name = function or Path(where).stem
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "_-") else "_" for sign in name)
    return plain.lstrip("_-") or "method"


def beside(reference: str, folder: Path) -> str:
    """The reference with a file's path made absolute, as seen from ``folder`` or else from here."""
    if not is_file(reference):
        return reference
    where, function = _split(reference)
    for base in (folder, Path()):
        if is_file_there(base / where):
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
        raise ChangedError(f"method {reference}: expected the file with hash {expected}; found {digest}")
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
                "required": parameter.required,
                "choices": list(parameter.choices),
                "changes no shape": name in method.free,
            }
            for name, parameter in method.parameters.items()
        },
        "merges": method.merge is not None,
    }


def source_hash(reference: str) -> str | None:
    """SHA-256 of the code that a reference leads to, in 16 digits: of a file, or of all Python files of the
    folder that a package's module lies in.  None for a method of wst's own, which is as the version and the
    commit say.

    Raises:
        InputError: there is no such file or module.
    """
    where, _ = _split(reference)
    if is_file(reference):
        files = {"": Path(where)}
    elif ":" in reference:
        files = _package_files(where)
    else:
        if where not in names():
            raise InputError(
                f"method: expected one of {', '.join(names())}, package.module:function, or the path of a "
                f".py file; found {reference!r}{hint(reference, names())}"
            )
        return None
    if not files or not all(is_file_there(path) for path in files.values()):
        raise InputError(f"method: expected a file or a module that can be imported; found none at {where!r}")
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name].read_bytes()).digest())
    return digest.hexdigest()[:16]


def _package_files(module: str) -> dict[str, Path]:
    """The files that a module consists of, by what counts of their names: nothing of a single one's."""
    try:
        spec = importlib.util.find_spec(module)
    except Exception as error:  # a package's own code runs, to find what is in it
        raise InputError(
            f"method: expected a module {module!r} that can be imported; "
            f"found {type(error).__name__}: {' '.join(str(error).split())}"
        ) from None
    if spec is None or spec.origin is None:
        return {}
    path = Path(spec.origin)
    in_package = "." in module or spec.submodule_search_locations is not None
    if not in_package:
        return {"": path}
    return {one.relative_to(path.parent).as_posix(): one for one in path.parent.rglob("*.py")}


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
    except (Exception, SystemExit) as error:  # whatever a user's file raises
        raise InputError(
            f"method {reference}: expected a module that can be imported; "
            f"found {type(error).__name__}: {' '.join(str(error).split())}"
        ) from None
    found = getattr(module, function or "adapt", None)
    if not callable(found):
        raise InputError(f"method {reference}: expected a function {function or 'adapt'!r}; found none")
    return found if isinstance(found, Method) else Method(found)


_imported: dict[str, str | None] = {}
"""Hashes of the packages' modules that this process has imported, which Python does not read again."""


def _module(where: str, digest: str | None) -> ModuleType:
    if where.endswith(".py"):
        return _of_file(Path(where))
    if digest is None:
        return importlib.import_module(f"wst.methods.{where}")
    if _imported.setdefault(where, digest) != digest:
        raise InputError(
            f"method {where}: expected the files as this process imported them; found changed ones"
        )
    return importlib.import_module(where)


def _of_file(path: Path) -> ModuleType:
    """A user's file as a module; one file, which finds no others beside it."""
    name = f"{OWN_FILE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses, pickle and annotations look for it there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module
