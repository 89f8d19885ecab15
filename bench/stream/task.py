"""The stream task: many tokens of a model that costs next to nothing, so that what is left is the way of a token."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.reference.tiny_model import TinySpec, write_tiny_model

__all__ = ["N_TOKENS", "PROMPT", "chat_request", "make_model", "seconds_a_token", "session_request", "sessions"]

N_TOKENS = 1_000  # of each answer
PROMPT = "Count."


def make_model(folder: Path) -> Path:
    """Write a random model of one small layer."""
    return write_tiny_model(
        folder / "tiny.gguf", TinySpec(n_layers=1, dim=32, ffn_dim=32, n_heads=2, n_kv_heads=1, n_ctx=2048)
    )


def chat_request() -> tuple[str, bytes]:
    """Return path and body of a streamed chat completion."""
    body = {
        "model": "any",
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": N_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return "/v1/chat/completions", json.dumps(body).encode()


@contextmanager
def sessions(url: str, n_sessions: int) -> Iterator[list[str]]:
    """Open so many sessions; yields their ids."""
    with httpx.Client(base_url=url, timeout=60) as http:
        ids = [http.post("/v1/sessions/init", json={"type": "ohlcv"}).json()["session_id"] for _ in range(n_sessions)]
        yield ids
        for session_id in ids:
            http.delete(f"/v1/sessions/{session_id}").raise_for_status()


def session_request(session_id: str) -> tuple[str, bytes]:
    """Return path and body of a streamed answer of a session."""
    body = {"prompt": PROMPT, "max_tokens": N_TOKENS, "ignore_eos": True, "stream": True, "clear_after": 1}
    return f"/v1/sessions/{session_id}/generate", json.dumps(body).encode()


def seconds_a_token(url: str, requests: list[tuple[str, bytes]]) -> float:
    """Send all requests at once, read every stream to its end; return seconds a token from the first bytes on.

    The reader only looks for the end, so that little of its own work is measured.
    """
    address = urlsplit(url)
    ends: list[float] = []
    first = 0.0
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for path, body in requests:
            connection = stack.enter_context(socket.create_connection((address.hostname, address.port)))
            head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode() + body)
            selector.register(connection, selectors.EVENT_READ, bytearray())
        while len(ends) < len(requests):
            for key, _ in selector.select():
                piece = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                first = first or time.perf_counter()
                key.data.extend(piece)
                if not piece:
                    selector.unregister(key.fileobj)
                    ends.append(time.perf_counter())
                    if f'"completion_tokens":{N_TOKENS}'.encode() not in key.data:
                        raise RuntimeError(f"not {N_TOKENS} tokens: {bytes(key.data[-400:]).decode()}")
    return (ends[-1] - first) / (len(requests) * N_TOKENS)
