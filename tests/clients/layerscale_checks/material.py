"""What the checks send, and what they read replies with."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
from client import Client

MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "the system and the user"}]
ASKED = [MESSAGES[1]]
LONG = {"messages": ASKED, "max_tokens": 30_000, "ignore_eos": True}  # seconds of work, for which nobody waits
TOO_LONG = [{"role": "user", "content": "x" * 40_000}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
MESSAGE_TOOLS = [{"name": "weather", "input_schema": WEATHER}]
CALL = '{"city": "Paris"}'  # what the model of the server `scripted` calls weather with


def says(reply: str) -> str:
    """What the model of `scripted` gives that reply to: `call`, `thought`, `answer`, `lines`."""
    return f"How is the weather? <|{('call', 'thought', 'answer', 'lines').index(reply)}|>"


def asking(reply: str) -> list[dict[str, str]]:
    """A conversation that it gives that reply to."""
    return [{"role": "user", "content": says(reply)}]


@contextlib.contextmanager
def losing_first(url: str) -> Iterator[str]:
    """A way to a server on which the answer to the first request is lost, and no other.

    The request does arrive and is answered; the connection ends before the first byte of the answer.
    """
    target = urlsplit(url)
    address = (target.hostname or "", target.port or 0)
    listener = socket.create_server(("127.0.0.1", 0))

    def relay(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        first = True
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(address)
                threading.Thread(target=relay, args=(near, far), daemon=True).start()
                if first:
                    far.recv(1)
                    near.shutdown(socket.SHUT_RDWR)
                    first = False
                else:
                    threading.Thread(target=relay, args=(far, near), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def inside(text: str) -> str:
    """Two letters from within a text, of which a random model writes much that is half a character."""
    found = re.search("(?<=.)[ -~]{2}", text, re.DOTALL)
    assert found, f"no two letters in {text!r}"
    return found[0]


def before(end: str, text: str) -> str:
    """What comes before the first `end`."""
    return text.partition(end)[0]


def read(value: Any, name: str) -> Any:
    """A field of a model, or of the mapping that older clients make of what they have no model for."""
    return value[name] if isinstance(value, dict) else getattr(value, name)


async def idle(c: Client) -> bool:
    """Whether the server runs nothing; asked past the client, of which the older ones read no counters."""
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{c.world.urls['main']}/health")).json()["running"] == 0
