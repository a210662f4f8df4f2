"""Finding, fetching and verifying the archives that the user downloads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from wst.data import memo
from wst.data.vtab1k.sources import Archive, Source
from wst.errors import InputError


def find(source: Source, archives: Path) -> dict[str, Path]:
    """The files of a data set, below ``archives/<data set>`` or ``archives`` itself.

    Raises:
        InputError: one is missing, or has another size.
    """
    return {archive.name: _find(source, archive, archives) for archive in source.archives}


def verify(
    source: Source, files: dict[str, Path], say: Callable[[str], None] = lambda text: None
) -> dict[str, str]:
    """SHA-256 sums of the files of a data set; folders have none.

    Raises:
        InputError: a file has another sum than the known one.
    """
    sums = {}
    for archive in source.archives:
        if archive.is_folder:
            continue
        file = files[archive.name]
        say(f"{source.name}: verifying {archive.name}")
        sums[archive.name] = found = _sha256(file)
        if archive.sha256 is not None and found != archive.sha256:
            raise InputError(
                f"{file}: expected SHA-256 {archive.sha256}; found {found} (a damaged download?)"
            )
    return sums


def fetch(source: Source, archives: Path, say: Callable[[str], None] = lambda text: None) -> None:
    """Download the missing files that have a direct address, with torchvision; needs a network.

    Raises:
        InputError: a download failed.
    """
    from torchvision.datasets.utils import download_url

    for archive in source.archives:
        try:
            _find(source, archive, archives)
        except InputError:
            if archive.direct:
                say(f"{source.name}: downloading {archive.name}")
                try:
                    download_url(archive.url, str(archives / source.name), archive.name)
                except (OSError, RuntimeError) as error:
                    raise InputError(f"{archive.url}: expected a download; found {error}") from None


def _find(source: Source, archive: Archive, archives: Path) -> Path:
    for path in (archives / source.name / archive.name, archives / archive.name):
        if path.is_dir() if archive.is_folder else path.is_file():
            if archive.size is not None and path.stat().st_size != archive.size:
                raise InputError(
                    f"{path}: expected {archive.size:,} bytes; found {path.stat().st_size:,} "
                    "(an unfinished download?)"
                )
            return path
    raise InputError(
        f"{source.name}: expected {archive.name} in {archives / source.name}; found none (from {archive.url})"
    )


def _sha256(file: Path) -> str:
    """The file's sum; remembered until it changes, since the largest archives have 39 GB."""
    status = file.stat()
    stamp = f"{file.absolute()} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    key = f"archive-{hashlib.sha256(stamp.encode()).hexdigest()[:32]}"
    known = memo.recall(memo.HASHES, key)
    if isinstance(known, str):
        return known
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    memo.keep(memo.HASHES, key, found)
    return found
