"""What answers at an address, without Ray."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from wst.engine import address as address_module
from wst.engine.address import asked_for, reach
from wst.errors import InputError

SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


@contextmanager
def _server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one client."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as client, suppress(ConnectionResetError):
                talk(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def _speaking(words: bytes) -> Callable[[socket.socket], None]:
    def talk(client: socket.socket) -> None:
        client.sendall(words)
        while client.recv(100):  # until the other end hangs up
            pass

    return talk


def test_server_of_http_2_is_reached() -> None:
    heard: list[bytes] = []

    def talk(client: socket.socket) -> None:
        heard.append(client.recv(24))
        for byte in SETTINGS:  # in pieces, as a network may bring them
            client.sendall(bytes([byte]))
        client.recv(100)

    with _server(talk) as address:
        reach(address)
    assert heard == [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220 mail ready\r\n",
        b"\0\0\0\x06\0\0\0\0\0",  # a frame that is not the first of any server
        b"\0\0\0\x04\0\0\0\0\x01",
    ],
)
def test_other_server_is_refused(words: bytes) -> None:
    with _server(_speaking(words)) as address:
        line = f"^--address: expected a running Ray cluster at {address}; found: another kind of server$"
        with pytest.raises(InputError, match=line):
            reach(address)


def test_server_that_hangs_up_is_refused() -> None:
    with (
        _server(lambda client: None) as address,
        pytest.raises(InputError, match="--address: expected a running Ray"),
    ):
        reach(address)


@pytest.mark.parametrize("words", [b"", SETTINGS[:4]])
def test_server_that_falls_silent_is_given_up(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_module, "_REACH_S", 0.2)
    with (
        _server(_speaking(words)) as address,
        pytest.raises(InputError, match=r"found: no answer within 0.2 s$"),
    ):
        reach(address)


def test_behind_tls_an_open_port_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with _server(lambda client: None) as address:
        reach(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "local",
        "auto ",
        "host",
        "127.0.0.1",
        "host:",
        ":6379",
        "host:0",
        "host:99999",
        "host:123456",
        "host:٣",
        "1:2:3",
        "[::1]",
        "[::1:6379",
        "host:6379\n",
        "ho\0st:6379",
        "ho st:6379",
        "ray://host:10001",
        "http://host:8265",
    ],
)
def test_text_that_is_no_address(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for meant in (asked_for, reach):
        with pytest.raises(InputError) as caught:
            meant(text)
        expected = f"--address: expected HOST:PORT of a Ray cluster's head, or auto; found {text!r}"
        assert str(caught.value) == expected
    if text and "\0" not in text:  # which no variable can hold
        monkeypatch.setenv("RAY_ADDRESS", text)
        with pytest.raises(InputError, match="found "):
            asked_for("auto")


@pytest.mark.parametrize("text", ["a..b:80", f"{'a' * 300}:80", f"{'ü' * 70}:80"])
def test_name_that_no_host_can_have(text: str) -> None:
    with pytest.raises(InputError, match=f"^--address: expected a running Ray cluster at {text}; found: "):
        reach(asked_for(text))


def test_auto_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert asked_for("auto") == "auto"
    monkeypatch.setenv("RAY_ADDRESS", "10.1.2.3:6379")
    assert asked_for("auto") == "10.1.2.3:6379"
    assert asked_for("[::1]:6379") == "[::1]:6379"
