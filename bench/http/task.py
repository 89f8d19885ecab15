"""The HTTP task: chat completions over loopback, the same text for every server, and when each token arrived."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import httpx

__all__ = ["Server", "free_port", "running"]

START_SECONDS = 60.0


class Server:
    """A server on loopback that speaks OpenAI's chat completions."""

    def __init__(self, port: int) -> None:
        self.port = port

    def arrivals(self, text: str, max_tokens: int) -> list[float]:
        """Ask with `text` as one user message; return the seconds from the request to each piece of the answer.

        Lines are read as they come and parsed when all are there: the client shares the cores with the server.
        """
        body = {
            "model": "any",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
        }
        lines = []
        http = HTTPConnection("127.0.0.1", self.port, timeout=600)
        http.connect()
        begin = time.perf_counter()
        http.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = http.getresponse()
        if response.status >= 400:
            raise RuntimeError(f"{response.status} {response.read().decode()}")
        while line := response.readline():
            lines.append((time.perf_counter() - begin, line))
        http.close()
        times = []
        for seconds, line in lines:
            if line.startswith(b"data: {"):
                choices = json.loads(line.removeprefix(b"data: ")).get("choices")
                if choices and choices[0]["delta"].get("content"):
                    times.append(seconds)
        if not times:
            raise RuntimeError("the answer has no text")
        return times


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[Server]:
    """Run a server until the block ends; the block begins when it answers GET /health with 200."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _ready(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} is not ready:\n{log.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.05)
            yield Server(port)
        finally:
            process.terminate()
            process.wait(timeout=60)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False
