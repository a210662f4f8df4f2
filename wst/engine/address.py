"""Whether something that may be Ray answers at an address, found out in seconds; needs no Ray."""

from __future__ import annotations

import os
import re
import socket
import time

from wst.errors import InputError

_REACH_S = 10.0
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
"""How a client of HTTP/2, which Ray speaks, begins: its preface and empty settings."""
_FRAME = 9
"""Bytes of a frame's head: its length (3), its type, its flags, its stream (4)."""
_SETTINGS = 4


def asked_for(address: str) -> str:
    """What the user means by an address: as in Ray, the variable ``RAY_ADDRESS`` says what ``auto`` is.

    Raises:
        InputError: it is neither ``auto`` nor ``HOST:PORT``.
    """
    meant = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    if meant != "auto":
        _parts(meant)
    return meant


def reach(address: str) -> None:
    """Wait for a server's first words at ``HOST:PORT``.

    Ray itself tries for many minutes where nobody answers or where somebody else does.

    Raises:
        InputError: nobody answers, or not as Ray does.
    """
    host, port = _parts(address)
    deadline = time.monotonic() + _REACH_S
    try:
        with socket.create_connection((host, port), timeout=_REACH_S) as connection:
            # Behind TLS the words are others; there an open port is all that is asked for.
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return
            connection.sendall(_HELLO)
            answer = b""
            while len(answer) < _FRAME:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                part = connection.recv(_FRAME - len(answer))
                if not part:
                    break
                answer += part
    except TimeoutError:
        raise not_running(address, f"no answer within {_REACH_S:g} s") from None
    except (OSError, UnicodeError) as error:  # the latter from a name that no host has
        raise not_running(address, error) from None
    if len(answer) < _FRAME or answer[3] != _SETTINGS or any(answer[5:]):
        raise not_running(address, "another kind of server")


def not_running(address: str, found: object) -> InputError:
    """The line for an address at which no cluster can be joined."""
    line = next(iter(str(found).strip().splitlines()), "") or type(found).__name__
    return InputError(f"--address: expected a running Ray cluster at {address}; found: {line}")


def _parts(address: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[\w.:%]+\]|[\w.-]+):([0-9]{1,5})", address)
    if match is None or not 0 < int(match[2]) < 2**16:
        raise InputError(f"--address: expected HOST:PORT of a Ray cluster's head, or auto; found {address!r}")
    return match[1].strip("[]"), int(match[2])
