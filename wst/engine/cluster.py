"""Ray for a study: started for it alone, or a cluster that runs."""

from __future__ import annotations

import logging
import os
import secrets
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import wst.engine.before_ray  # noqa: F401

# isort: split
import ray
from ray._private import ray_constants, services
from ray._raylet import AuthenticationTokenLoader, Config, GcsClient  # type: ignore[attr-defined]

from wst.engine.address import asked_for, not_running, reach
from wst.engine.faults import StudyInterrupted
from wst.engine.watchdog import watched
from wst.errors import InputError
from wst.machine import usable_cpus
from wst.study import Study
from wst.study.study import Resources

_QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}
_ERRORS = (OSError, ValueError, RuntimeError, ray.exceptions.RayError)
"""What Ray raises where it cannot connect."""
_STORED_TOKEN = Path.home() / ".ray" / "auth_token"
_ANSWER_S, _JOIN_S = 10.0, 40.0
"""How long a cluster may take to answer, and to let us in."""


@contextmanager
def connected(study: Study, address: str | None, folder: Path) -> Iterator[int]:
    """Connect to Ray, or start it for this user alone; yields the number of slots, and ends what was started.

    Args:
        study: says what a slot is.
        address: of a cluster that runs; None starts Ray on this machine, on loopback.
        folder: where a Ray that starts here keeps all its files.

    Raises:
        InputError: no cluster can be joined at the address.
        StudyInterrupted: SIGTERM came meanwhile.
    """
    try:
        with _own(study.resources, folder) if address is None else _joined(address):
            yield _slots(study.resources)
    except SystemExit:  # Ray's answer to SIGTERM, from the beginning of its start
        raise StudyInterrupted(signal.SIGTERM.name) from None


@contextmanager
def _own(need: Resources, folder: Path) -> Iterator[None]:
    cpus = max(usable_cpus(), need.cpus_per_trial * (need.slots or 1))
    here = {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "_temp_dir": str(folder)}
    with token():
        try:
            with loopback():
                ray.init(address="local", num_cpus=cpus, **here, **_QUIET)
            yield
        finally:
            ray.shutdown()


@contextmanager
def _joined(address: str) -> Iterator[None]:
    meant = find(address)
    try:
        late = not_running(address, f"no end of joining it within {_JOIN_S:g} s")
        with watched(lambda: (str(late), 2), patience_s=_JOIN_S):
            ray.init(address=meant, **_QUIET)
    except _ERRORS as error:
        ray.shutdown()
        raise not_running(address, error) from None
    try:
        yield
    finally:
        ray.shutdown()


def find(address: str) -> str:
    """What Ray takes for an address, once something answers there as Ray does.

    Raises:
        InputError: it is no address, or no cluster runs there.
    """
    meant = asked_for(address)
    try:
        place = services.canonicalize_bootstrap_address(meant)
        if meant != "auto":
            reach(meant)
        reach(place)  # where Ray connects to: it puts this machine's outward address for a loopback one
        with _muted():
            GcsClient(address=place).internal_kv_get(b"session_name", b"session", timeout=_ANSWER_S)
    except InputError:
        raise
    except ray.exceptions.AuthenticationError as error:
        if meant != "auto" or not _STORED_TOKEN.exists():  # which Ray takes then, by itself
            raise not_running(address, error) from None
    except _ERRORS as error:
        raise not_running(address, error) from None
    return meant


@contextmanager
def _muted() -> Iterator[None]:
    """Drop what Ray's compiled code would write to the terminal beside our one line."""
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


@contextmanager
def token() -> Iterator[None]:
    """Let a Ray that starts in the block do nothing for those who lack its token, which it gets anew.

    Loopback is open to every user of the machine, and Ray runs what it is sent.  The token is in the
    environment of the processes alone, which other users cannot read.
    """
    try:
        with _environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32)):
            _read_authentication()
            yield
    finally:
        _read_authentication()


def _read_authentication() -> None:
    """Have Ray, which remembers them, read mode and token from the environment."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def loopback() -> Iterator[None]:
    """Keep a Ray that starts in the block off the network.

    On Linux, Ray replaces a loopback address by the machine's outward one, and its servers then listen on
    every interface.  The switch that keeps it local on macOS and Windows stops that, for its children too.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    with _environment(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0"):
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            yield
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables for this process and its children while the block lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _slots(need: Resources) -> int:
    slots = sum(room(node["Resources"], need) for node in ray.nodes() if node["Alive"])
    return min(slots, need.slots or slots)


def room(have: Mapping[str, float], need: Resources) -> int:
    """Jobs that one node holds; a share of a GPU is one of a single GPU."""
    cpus, gpus = int(have.get("CPU", 0) // need.cpus_per_trial), int(have.get("GPU", 0))
    share = need.gpus_per_trial
    if not share:
        return cpus
    return min(cpus, gpus * int(1 / share + 1e-9) if share < 1 else int(gpus // share))
