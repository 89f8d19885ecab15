"""A real server process: early liveness, and the ways it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

import kvtape
from kvtape.server.serving import listen
from tests.serving import eventually

BODY = {"messages": [{"role": "user", "content": "x"}], "ignore_eos": True, "stream": True}


class Process:
    """`kvtape serve` on a free port, its log read as it comes."""

    def __init__(self, folder: Path, *args: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("KVTAPE_")}
        env["PYTHONPATH"] = str(Path(kvtape.__file__).parents[1])
        command = [
            sys.executable,
            "-m",
            "kvtape",
            "serve",
            "--port",
            "0",
            "--kv-memory",
            "16M",
            "--threads",
            "1",
            *args,
        ]
        self.process = subprocess.Popen(command, env=env, cwd=folder, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self._reader.start()

    @property
    def log(self) -> str:
        return "".join(self.lines)

    @property
    def url(self) -> str:
        eventually(lambda: "listening on" in self.log or self.process.poll() is not None)
        return re.search(r"listening on (http://\S+?:\d+)", self.log)[1]

    def ready(self) -> str:
        eventually(lambda: httpx.get(f"{self.url}/v1/health").status_code == 200)
        return self.url

    def end(self) -> int:
        code = self.process.wait(timeout=30)
        self._reader.join()
        self.process.stderr.close()
        return code


@pytest.fixture
def serve(tmp_path, make_tiny_model):
    started: list[Process] = []

    def start(*args: str, n_ctx: int = 2048) -> Process:
        model = () if "--model" in args else ("--model", str(make_tiny_model(n_ctx=n_ctx)))
        started.append(Process(tmp_path, *model, *args))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
            process.end()


def stream(url, **fields):
    """Read a chat stream in a thread; returns the thread and the pieces so far."""
    pieces: list[bytes] = []

    def read():
        with httpx.stream("POST", f"{url}/v1/chat/completions", json={**BODY, **fields}, timeout=60) as response:
            pieces.extend(response.iter_bytes())

    thread = threading.Thread(target=read)
    thread.start()
    eventually(lambda: pieces)
    return thread, pieces


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_running_streams_finish_and_nothing_new_begins(serve, sig):
    server = serve("--drain-seconds", "60")
    url = server.ready()
    with httpx.Client(base_url=url, timeout=60) as http:
        thread, pieces = stream(url, max_tokens=1900, n=8)
        server.process.send_signal(sig)
        eventually(lambda: http.get("/health").status_code == 503)
        refused = http.post("/v1/chat/completions", json=BODY)
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "unavailable_error")
        thread.join()
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"length"' in b"".join(pieces)
    assert server.end() == 0


def test_at_the_deadline_streams_end_with_an_error(serve):
    server = serve("--drain-seconds", "0.05")
    url = server.ready()
    thread, pieces = stream(url, max_tokens=1900, n=8)
    server.process.send_signal(signal.SIGTERM)
    thread.join()
    *_, error, done, rest = b"".join(pieces).split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert json.loads(error.removeprefix(b"data: "))["error"]["type"] == "unavailable_error"
    assert server.end() == 0


def test_a_second_interrupt_ends_at_once(serve):
    server = serve("--drain-seconds", "600")
    url = server.ready()
    body = {**BODY, "stream": False, "max_tokens": 1900, "n": 64}  # seconds of work
    request = threading.Thread(target=post_ignoring_errors, args=(f"{url}/v1/chat/completions", body))
    request.start()
    eventually(lambda: httpx.get(f"{url}/health").json()["running"] > 0)
    server.process.send_signal(signal.SIGINT)
    eventually(lambda: "draining" in server.log)
    server.process.send_signal(signal.SIGINT)
    assert server.end() == 130
    request.join()


async def test_small_answers_are_not_held_back():
    accepted = asyncio.Event()
    with listen("127.0.0.1", 0) as bound:
        options = []

        def connected(reader, writer):
            connection = writer.get_extra_info("socket")
            options.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()
            accepted.set()

        server = await asyncio.start_server(connected, sock=bound)
        async with server:
            _, writer = await asyncio.open_connection(*bound.getsockname())
            await accepted.wait()
            writer.close()
            await writer.wait_closed()
    assert options[0] != 0


def test_an_address_that_cannot_be_bound_is_an_error():
    with listen("127.0.0.1", 0) as bound, pytest.raises(OSError, match="in use"):
        listen(*bound.getsockname())


def post_ignoring_errors(url, body):
    try:
        httpx.post(url, json=body, timeout=60)
    except httpx.TransportError:
        return


def test_it_says_where_it_listens_and_what_it_runs(serve):
    server = serve("--log-format", "json", "--api-key", "secret-key", "--ctx", "512")
    url = server.ready()
    assert httpx.get(f"{url}/v1/models").status_code == 401
    model = httpx.get(f"{url}/v1/models", headers={"x-api-key": "secret-key"}).json()["data"][0]
    assert model["max_model_len"] == 512
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0
    messages = [json.loads(line)["message"] for line in server.lines]
    (report,) = [message for message in messages if message.startswith("model ")]
    assert model["id"] in report
    assert "KV memory 16 MiB" in report
    assert "secret-key" not in server.log


def test_a_model_that_cannot_be_loaded_ends_the_server(serve, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    server = serve("--model", str(broken))
    assert server.end() == 1
    assert "broken.gguf" in server.log


def test_a_taken_port_is_an_error(serve, tmp_path):
    url = serve().ready()
    second = serve("--port", url.rpartition(":")[2])
    assert second.end() == 1
    assert "Address already in use" in second.log
