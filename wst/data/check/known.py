"""Looking at image files in parallel, each content once: what is in it is remembered by its SHA-256.

The memory is a database in the cache folder, shared by all processes.  It is written as the work goes on, so
that a look that was cut off goes on where it stopped.  A row carries a sum of its own; one that does not hold
it, and a database that is damaged, count as not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import astuple
from pathlib import Path

import PIL

from wst.data import memo
from wst.data.ahead import ahead
from wst.data.check.image_files import Examined, examine
from wst.data.decode import AS_STORED, Reading, content_of
from wst.errors import InputError
from wst.machine import usable_cpus

EXAMINER = 2
"""Version of what is found out about an image file; another one finds out anew."""
_CHUNK = 32
_WRITE_EVERY = 1024
_PATIENCE_S = 10.0
"""How long to wait for another process that writes; what is not remembered is found out again."""


def look_at(
    paths: Sequence[Path],
    reading: Reading = AS_STORED,
    jobs: int | None = None,
    on_done: Callable[[int], None] = lambda count: None,
    *,
    anew: bool = False,
    unknown: bool = True,
    niceness: int = 0,
) -> Generator[Examined]:
    """What is in image files, in order, several at a time; each file is read once.

    Threads do: Pillow and hashlib let others run while they decode and hash.

    Args:
        paths: image files.
        reading: how they become pixels.
        jobs: threads; one a CPU when left out.
        on_done: told how many more are finished; the work ends when it raises.
        anew: decode also what is remembered.
        unknown: decode what is not remembered; else of such a file there is the digest alone.
        niceness: of the threads, where the operating system has one for each.
    """
    jobs = jobs or usable_cpus()
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    new: list[Examined] = []
    with closing(_Known(reading)) as known:

        def look(chunk: Sequence[Path]) -> list[tuple[Examined, bool]]:
            found = []
            for path in chunk:
                try:
                    content = content_of(path)
                except InputError as error:
                    reason = str(error).rpartition("; found ")[2]
                    found.append((Examined(b"", problem="unreadable", detail=reason), False))
                    continue
                digest = hashlib.sha256(content).digest()
                examined = None if anew else known.get(digest)
                is_new = examined is None and unknown
                found.append((examine(content, reading) if is_new else examined or Examined(digest), is_new))
            return found

        try:
            with ThreadPoolExecutor(jobs, initializer=_lower, initargs=(niceness,)) as pool:
                for found in ahead(pool, look, chunks, 4 * jobs):
                    new += [examined for examined, is_new in found if is_new]
                    if len(new) >= _WRITE_EVERY:
                        known.put(new)
                        new.clear()
                    on_done(len(found))
                    yield from (examined for examined, _ in found)
        finally:
            known.put(new)


def _lower(niceness: int) -> None:
    """Let the calling thread step back behind others: on Linux each has a priority of its own."""
    if niceness and hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


class _Known:
    """The memory of images.  Where it cannot be read or written, there is none.

    Args:
        reading: how they become pixels.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = repr(reading).encode()
        self._lock = threading.Lock()
        self._file = (
            memo.cache_folder() / memo.IMAGES / f"examined-{EXAMINER}-pillow-{PIL.__version__}.sqlite"
        )
        self._database = self._opened()

    def _opened(self) -> sqlite3.Connection | None:
        for attempt in range(2):
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                database = sqlite3.connect(self._file, timeout=_PATIENCE_S, check_same_thread=False)
                # What a loss of power spoils is found out again.
                database.execute("PRAGMA synchronous = OFF")
                database.execute(
                    "CREATE TABLE IF NOT EXISTS images (key BLOB PRIMARY KEY, found TEXT, sum BLOB) "
                    "WITHOUT ROWID"
                )
                return database
            except sqlite3.OperationalError:  # busy, or no place to write
                return None
            except sqlite3.DatabaseError:  # something else than a database
                if attempt == 0:
                    self._remove()
            except OSError:
                return None
        return None

    def _remove(self) -> None:
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
            self._file.with_name(f"{self._file.name}-journal").unlink(missing_ok=True)

    def get(self, digest: bytes) -> Examined | None:
        """What is remembered of a content, if anything."""
        key = self._key(digest)
        with self._lock:
            if self._database is None:
                return None
            try:
                query = "SELECT found, sum FROM images WHERE key = ?"
                row = self._database.execute(query, (key,)).fetchone()
            except sqlite3.DatabaseError as error:
                self._give_up(error)
                return None
        if row is None or _sum(key, row[0]) != row[1]:
            return None
        pixels, form, size, problem, detail = json.loads(row[0])
        return Examined(digest, bytes.fromhex(pixels), form, tuple(size), problem, detail)

    def _key(self, digest: bytes) -> bytes:
        return hashlib.sha256(digest + self._reading).digest()

    def put(self, found: Sequence[Examined]) -> None:
        """Remember what was found."""
        rows = []
        for digest, pixels, *rest in map(astuple, found):
            text = json.dumps([pixels.hex(), *rest])
            key = self._key(digest)
            rows.append((key, text, _sum(key, text)))
        with self._lock:
            if self._database is None or not rows:
                return
            try:
                with self._database:
                    self._database.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?)", rows)
            except sqlite3.DatabaseError as error:
                self._give_up(error)

    def _give_up(self, error: sqlite3.DatabaseError) -> None:
        """Do without; a file that is damaged goes, so that the next process makes it again."""
        assert self._database is not None
        self._database.close()
        self._database = None
        if not isinstance(error, sqlite3.OperationalError):
            self._remove()

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()


def _sum(key: bytes, text: object) -> bytes:
    return hashlib.sha256(key + str(text).encode()).digest()[:8]
