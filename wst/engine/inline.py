"""A study in this process, one job at a time, without Ray: for notebooks, debugging and single fine-tunes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import FrameType

import torch

from wst.engine.driver import Driver
from wst.engine.faults import OutOfTime, StudyInterrupted, StudyStoppedError
from wst.engine.job import Job
from wst.errors import InputError


def run(driver: Driver) -> None:
    """Run a study to its end.

    Args:
        driver: of a planner that stands where the ledger stands.

    Raises:
        StudyInterrupted: after SIGTERM, or, as ``OutOfTime``, when the environment's time is over; the
            ledger is whole and the study can go on.
        KeyboardInterrupt: after Ctrl-C, likewise.
        StudyStoppedError: the study cannot go on: a full disk, or most trials failing alike.
        InputError: trials are to train on a GPU, and there is none.
    """
    if driver.device == "cuda" and not torch.cuda.is_available():
        need = driver.study.resources.gpus_per_trial
        raise InputError(f"resources: expected a GPU, for gpus_per_trial: {need:g}; found none")
    try:
        with _terminable(), _torch_as_before():
            _run(driver)
    except KeyboardInterrupt:
        if not driver.finished:  # nothing is left to stop where it has just ended
            raise
    if driver.fatal is not None:
        raise StudyStoppedError(driver.fatal)


def _run(driver: Driver) -> None:
    report_epochs = frozenset(driver.study.report_epochs())
    deadline = driver.environment.deadline

    def in_time() -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise OutOfTime()

    driver.while_waiting = in_time
    for number in count():
        job_id = f"inline-{number}"
        specs = driver.next_job(job_id)
        if specs is None:
            return
        job = Job(specs, report_epochs)
        while not job.done and driver.fatal is None:
            job.drop(driver.take(job_id, job.step()))
            in_time()
        driver.close(job_id)


@contextmanager
def _torch_as_before() -> Iterator[None]:
    """Give the process's threads and its share of a GPU's memory back, which trials set for themselves."""
    threads = torch.get_num_threads()
    began = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    share = torch.cuda.get_per_process_memory_fraction() if began else 1.0
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.set_per_process_memory_fraction(share)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the study as Ctrl-C does; only a main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise StudyInterrupted(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
