"""A client that costs next to nothing: requests and WebSocket messages made beforehand, sent over one socket."""

from __future__ import annotations

import base64
import json
import socket
import struct
import time
from typing import Any

__all__ = ["Http", "Message", "WebSocket", "message"]

Message = bytes


class Http:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __call__(self, request: Message) -> tuple[float, dict[str, Any]]:
        """Send a request made by `message`; return seconds and answer.

        Raises:
            RuntimeError: the status is not 200.
        """
        began = time.perf_counter()
        self._socket.sendall(request)
        read = b""
        while b"\r\n\r\n" not in read:
            read += self._receive()
        head, _, body = read.partition(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < int(length[15:]):
            body += self._receive()
        seconds = time.perf_counter() - began
        if b" 200 " not in head[:16]:
            raise RuntimeError(f"{head[:16].decode()}: {body.decode()[:400]}")
        return seconds, json.loads(body)

    def _receive(self) -> bytes:
        piece = self._socket.recv(1 << 16)
        if not piece:
            raise RuntimeError("the server closed the connection")
        return piece

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def message(method: str, path: str, body: object = None) -> Message:
    """Make an HTTP request as a LayerScale client sends it."""
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
        "Connection: keep-alive\r\nUser-Agent: layerscale-python/0.3.0\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class WebSocket:
    """One WebSocket; it sends text masked with zeros, which is text as it is."""

    def __init__(self, port: int, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(bytes(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._read = b""
        while b"\r\n\r\n" not in self._read:
            self._read += self._socket.recv(1 << 16)
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        if b" 101 " not in head[:16]:
            raise RuntimeError(head.decode())

    @staticmethod
    def frame(text: str) -> Message:
        """Make the frame of a text."""
        content = text.encode()
        if len(content) < 126:
            return struct.pack("!BBI", 0x81, 0x80 | len(content), 0) + content
        return struct.pack("!BBHI", 0x81, 0x80 | 126, len(content), 0) + content

    def send(self, frame: Message) -> None:
        """Send a frame."""
        self._socket.sendall(frame)

    def receive(self) -> dict[str, Any]:
        """Return the next text, decoded; pings are passed over."""
        while True:
            opcode, content = self._take(2)[0] & 15, b""
            length = self._last[1]
            if length == 126:
                (length,) = struct.unpack("!H", self._take(2))
            content = self._take(length)
            if opcode == 1:
                return dict(json.loads(content))

    def _take(self, n: int) -> bytes:
        while len(self._read) < n:
            self._read += self._socket.recv(1 << 16)
        self._last, self._read = self._read[:n], self._read[n:]
        return self._last

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
