"""Where shipped YAML files and assets are."""

from __future__ import annotations

from pathlib import Path

from wst.errors import InputError
from wst.files import is_file
from wst.suggest import hint

_PACKAGE = Path(__file__).parent
ASSETS = _PACKAGE / "assets"


def shipped_folder(kind: str) -> Path:
    """The folder of shipped YAML files of one kind (``studies``, ``search_spaces``, ``settings`` or
    ``recipes``).

    A wheel carries them inside the package; an editable install has no such copy, since hatchling's
    ``force-include`` acts on wheels alone, and reads them at the root of the clone.
    """
    inside = _PACKAGE / "_shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def shipped_names(kind: str) -> list[str]:
    """Names of the shipped files of one kind, without their ending, sorted."""
    folder = shipped_folder(kind)
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def find_yaml(kind: str, name: str, beside: Path | None = None) -> Path:
    """The file that ``name`` means: a path, a path relative to ``beside``, or the name of a shipped file.

    Raises:
        InputError: nothing of that name exists; the message lists the shipped names.
    """
    candidates = [Path(name)]
    if beside is not None:
        candidates.insert(0, beside / name)
    candidates.append(shipped_folder(kind) / f"{name}.yaml")
    for path in candidates:
        if is_file(path):
            return path
    known = shipped_names(kind)
    raise InputError(
        f"{name}: expected a YAML file or one of the shipped {kind} ({', '.join(known) or 'none'}); "
        f"found neither{hint(name, known)}"
    )
