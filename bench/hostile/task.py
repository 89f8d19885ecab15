"""The hostile task: a good client pushes a candle and asks what a flash query has answered, and others misbehave.

Run as a program it is the others, from its own process: `go` on its stdin lets them loose, `stop` calls them back.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from typing import Any

from bench.session.task import candles

__all__ = ["QUESTION", "GoodClient"]

QUESTION = "Rising?"
HEAD = b"host: x\r\ncontent-type: application/json\r\n"
UPGRADE = (
    b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
PACE = 0.005  # seconds between two of the things that come in a row: the others share the cores with the server


class GoodClient:
    """Two sessions on one connection: one takes pushes, the other has data and a flash query with an answer."""

    def __init__(self, port: int) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=60)
        self._fed = f"/v1/sessions/{self.create({'type': 'ohlcv', 'window_size': 400})}"
        asked = self.create({"type": "ohlcv", "flash": [{"query": QUESTION, "max_tokens": 4}]})
        self._asked = f"/v1/sessions/{asked}"
        self._rows = [json.dumps({"data": [row]}).encode() for row in candles(64)]
        self.call("POST", f"{self._asked}/stream/push", json.dumps({"data": candles(10)}).encode())
        while not self.call("GET", f"{self._asked}/flash")["data"][0]["fresh"]:
            time.sleep(0.01)
        self._n = 0

    def create(self, body: dict[str, Any]) -> str:
        return str(self.call("POST", "/v1/sessions/init", json.dumps(body).encode())["id"])

    def call(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        """Send a request and return its answer, which must be a success."""
        self._http.request(method, path, body, {"content-type": "application/json"})
        response = self._http.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {content[:200].decode()}")
        answer: dict[str, Any] = json.loads(content)
        return answer

    def push(self) -> float:
        """Push a candle; return the seconds until it was acknowledged."""
        body = self._rows[self._n % len(self._rows)]
        self._n += 1
        began = time.perf_counter()
        ack = self.call("POST", f"{self._fed}/stream/push", body)
        took = time.perf_counter() - began
        if ack["pushed"] != 1:
            raise RuntimeError(f"not pushed: {ack}")
        return took

    def hit(self) -> float:
        """Ask what the flash query asks; return the seconds until its answer was there."""
        body = json.dumps({"prompt": QUESTION, "fast_answer": True}).encode()
        began = time.perf_counter()
        answer = self.call("POST", f"{self._asked}/generate", body)
        took = time.perf_counter() - began
        if answer.get("flash") is not True:
            raise RuntimeError(f"not from the flash query: {answer}")
        return took


class Others:
    """Everybody who misbehaves; `step` does one thing of those that come in a row."""

    def __init__(self, port: int, session: str) -> None:
        self._port = port
        self._path = f"/v1/sessions/{session}".encode()
        self._held = ExitStack()
        self._floods: list[tuple[socket.socket, bytes]] = []
        self._jobs: list[Callable[[], None]] = [self._reset, self._bad_json, self._giant_body, self._flood]
        self._turn = 0

    def arrive(self) -> None:
        """Open what is then only held: connections, halves of things, streams that nobody reads."""
        for _ in range(50):
            self._connect()
            self._connect(b"GET /health HTTP/1.1\r\nx-half: ")
            self._connect(
                b"POST " + self._path + b"/stream/push HTTP/1.1\r\n" + HEAD + b"content-length: 9999\r\n\r\n{"
            )
        for _ in range(20):
            self._connect(b"GET " + self._path + b"/events HTTP/1.1\r\n" + HEAD + b"\r\n")
            self._socket().sendall(b"\x81\xff" + struct.pack("!Q", 1 << 20) + b"\0\0\0\0half")
        ping, push = b'{"type":"ping"}', json.dumps({"type": "push", "data": candles(1)}).encode()
        for frame in (self._frame(ping, 1), self._frame(b"x", 9), self._frame(push, 1)):
            client = self._socket()
            client.setblocking(False)
            self._floods.append((client, frame * (1 + 60_000 // len(frame))))

    def leave(self) -> None:
        """Close everything."""
        self._held.close()
        self._held = ExitStack()
        self._floods.clear()

    def step(self) -> None:
        """Do the next thing."""
        self._turn += 1
        with suppress(OSError):
            self._jobs[self._turn % len(self._jobs)]()

    def _open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=10)

    def _connect(self, data: bytes = b"") -> socket.socket:
        client = self._held.enter_context(self._open())
        client.sendall(data)
        return client

    def _socket(self) -> socket.socket:
        return self._connect(b"GET " + self._path + b"/ws HTTP/1.1\r\nhost: x\r\n" + UPGRADE + b"\r\n")

    def _frame(self, payload: bytes, opcode: int) -> bytes:
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else struct.pack("!BH", 0xFE, len(payload))
        return bytes([0x80 | opcode]) + size + b"\0\0\0\0" + payload

    def _reset(self) -> None:
        client = self._open()
        client.sendall(b"GET " + self._path + b"/events HTTP/1.1\r\n" + HEAD + b"\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def _bad_json(self) -> None:
        body = b'{"data":' * 2_000
        with self._open() as client:
            head = b"POST " + self._path + b"/stream/push HTTP/1.1\r\n" + HEAD
            client.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            client.recv(1000)

    def _giant_body(self) -> None:
        with self._open() as client:
            client.sendall(
                b"POST " + self._path + b"/stream/push HTTP/1.1\r\n" + HEAD + b"content-length: 99999999\r\n\r\n"
            )
            client.recv(1000)

    def _flood(self) -> None:
        for client, frames in self._floods:
            with suppress(OSError):  # the buffers are full: that is the server's answer to a flood
                client.send(frames)


def commands() -> Iterator[str | None]:
    """Yield what stdin says, and None in its pauses."""
    while True:
        if select.select([sys.stdin], [], [], PACE)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            yield line.strip()
        else:
            yield None


def main(port: int, session: str) -> None:
    others, loose = Others(port, session), False
    for command in commands():
        if command == "go":
            others.arrive()
            loose = True
        elif command == "stop":
            others.leave()
            loose = False
        if command is not None:
            print(command, flush=True)
        elif loose:
            others.step()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
