"""What a push and a flash hit take over HTTP and WebSocket, on an idle engine, beside the floor of the same parts.

The model is next to nothing: what is measured is over before the model is asked. Contenders take turns in blocks, each
begun by a few requests that are not counted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.http.task import free_port, running
from bench.session.task import PROMPT, QUERIES, candles
from bench.session.wire import Http, WebSocket, message
from tests.reference.tiny_model import TinySpec, write_tiny_model

__all__ = ["Session", "measure", "tiny_server"]

N_ROWS = 100
N_WARM, N_PUSHES, N_HITS = 10, 3, 100  # of a block


@contextmanager
def tiny_server() -> Iterator[int]:
    """Run our server over a random model of one small layer; yields its port."""
    with tempfile.TemporaryDirectory() as folder:
        spec = TinySpec(n_layers=1, dim=32, ffn_dim=32, n_heads=2, n_kv_heads=1, n_ctx=65536)
        path, port = write_tiny_model(Path(folder) / "tiny.gguf", spec), free_port()
        command = [sys.executable, "-m", "kvtape", "serve", "--model", str(path), "--port", str(port)]
        with running([*command, "--host", "127.0.0.1", "--threads", "1", "--kv-memory", "256M"], port):
            yield port


class Session:
    """A session made by hand."""

    def __init__(self, http: Http, n_queries: int = 0) -> None:
        flash = [{"query": query, "max_tokens": 8} for query in QUERIES[:n_queries]]
        self.http = http
        _, answer = http(message("POST", "/v1/sessions/init", {"type": "ohlcv", "prompt": PROMPT, "flash": flash}))
        self.path = f"/v1/sessions/{answer['session_id']}"
        self._status = message("GET", f"{self.path}/stream/status")

    def settle(self, *, pause: float = 0.0) -> None:
        """Wait until everything pushed is resident; looks every `pause` seconds."""
        while True:
            counts = self.http(self._status)[1]["statistics"]
            if counts["items_processed"] >= counts["total_enqueued"]:
                return
            time.sleep(pause)

    def delete(self) -> None:
        """Delete the session."""
        self.http(message("DELETE", self.path))


def measure(n_rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each push and hit."""
    seconds: dict[str, list[float]] = {
        name: [] for name in ("HTTP floor", "HTTP push", "WebSocket floor", "WebSocket push", "flash hit")
    }
    rows = candles(N_ROWS)
    frame = WebSocket.frame(json.dumps({"type": "push", "data": rows}))
    with ExitStack() as stack:
        port, floor_port = stack.enter_context(tiny_server()), free_port()
        stack.enter_context(running([sys.executable, "-m", "bench.session.floor", str(floor_port)], floor_port))
        http, floor = Http(port), Http(floor_port)
        floor_socket = WebSocket(floor_port, "/v1/sessions/floor/ws")
        answered = Session(http, n_queries=1)
        http(message("POST", f"{answered.path}/stream/push", {"data": rows[:5]}))
        hit = message("POST", f"{answered.path}/generate", {"prompt": QUERIES[0], "max_tokens": 8})
        for _ in range(n_rounds):
            push, small = (message("POST", "/v1/sessions/floor/stream/push", {"data": part}) for part in (rows, []))
            for _ in range(N_WARM):
                floor(small)
            seconds["HTTP floor"] += [floor(push)[0] for _ in range(N_PUSHES)]
            session = Session(http)
            push = message("POST", f"{session.path}/stream/push", {"data": rows})
            for _ in range(N_PUSHES):
                for _ in range(N_WARM):
                    session.settle()
                seconds["HTTP push"].append(http(push)[0])
                session.settle()
            session.delete()
            for _ in range(N_WARM + N_PUSHES):
                seconds["WebSocket floor"].append(_ask(floor_socket, frame))
            del seconds["WebSocket floor"][-N_WARM - N_PUSHES : -N_PUSHES]
            session = Session(http)
            socket = WebSocket(port, f"{session.path}/ws")
            for _ in range(N_PUSHES):
                for _ in range(N_WARM):
                    _ask(socket, WebSocket.frame('{"type": "ping"}'))
                seconds["WebSocket push"].append(_ask(socket, frame, "push_ack"))
                session.settle()
            socket.close()
            session.delete()
            for _ in range(N_WARM):
                http(hit)
            for _ in range(N_HITS):
                took, answer = http(hit)
                if not answer.get("flash"):
                    raise RuntimeError(f"no flash hit: {answer}")
                seconds["flash hit"].append(took)
    return seconds


def _ask(socket: WebSocket, frame: bytes, kind: str | None = None) -> float:
    """Send a frame; return the seconds to the next text of this kind, or to the very next."""
    began = time.perf_counter()
    socket.send(frame)
    while True:
        answer = socket.receive()
        if answer.get("type") in (kind, "pong") or (kind is None and "type" not in answer):
            return time.perf_counter() - began
