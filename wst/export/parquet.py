"""A study's tables as Parquet files at any path or URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from wst.errors import InputError
from wst.files import make_folder
from wst.ledger import resolved_study
from wst.ledger.agreement import check_agreement
from wst.ledger.reading import ordered_tables
from wst.ledger.reads import read_log


def export_parquet(folder: Path, target: str) -> None:
    """Write ``trials.parquet``, ``epochs.parquet``, ``intents.parquet`` and ``reads.parquet``, and
    ``study.yaml`` beside them.

    Rows stand in the order of the asks, reads in that of time.

    Args:
        folder: the study's output folder.
        target: a new or empty place: a path, or a URL that pyarrow knows (file, s3, gs, abfs, hdfs).

    Raises:
        InputError: the folder is no study's or is damaged, the scheme is unknown, or the place is taken or
            cannot be written to.
    """
    study = resolved_study(folder)
    check_agreement(folder)
    tables = ordered_tables(folder, read_log().entries)
    try:
        file_system, path = _place(target)
        _check_free(file_system, path, target)
        with _made(file_system, path):
            for name, table in tables.items():
                pq.write_table(table, f"{path}/{name}.parquet", filesystem=file_system, compression="zstd")
            with file_system.open_output_stream(f"{path}/study.yaml") as file:
                file.write(study.to_yaml().encode())
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{target}: expected a place to write to; found {_first_line(error)}") from None


def _place(target: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in target:
        return pafs.LocalFileSystem(), str(Path(target).absolute())
    try:
        file_system, path = pafs.FileSystem.from_uri(target)
    except (ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{target}: expected a path or a URL of a file system that pyarrow knows (file, s3, gs, abfs, "
            f"hdfs); found {_first_line(error)}"
        ) from None
    return file_system, path.rstrip("/")


@contextmanager
def _made(file_system: pafs.FileSystem, path: str) -> Iterator[None]:
    """A folder to fill; when the block raises, what is in it goes, and the folders that were made for it.

    Those of an object store come and go with the files in them.
    """
    made: list[str] = []
    if isinstance(file_system, pafs.LocalFileSystem):
        made = [str(folder) for folder in make_folder(Path(path))]
    elif file_system.get_file_info(path).type == pafs.FileType.NotFound:
        file_system.create_dir(path, recursive=True)
        made = [path]
    try:
        yield
    except BaseException:
        with suppress(OSError, pa.ArrowException):
            file_system.delete_dir_contents(path)
            if made:
                file_system.delete_dir(made[0])
        raise


def _check_free(file_system: pafs.FileSystem, path: str, target: str) -> None:
    kind = file_system.get_file_info(path).type
    if kind == pafs.FileType.NotFound:
        return
    if kind != pafs.FileType.Directory:
        raise InputError(f"{target}: expected a new or empty folder; found a file")
    inside = file_system.get_file_info(pafs.FileSelector(path))
    if inside:
        raise InputError(f"{target}: expected a new or empty folder; found {inside[0].base_name!r} in it")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
