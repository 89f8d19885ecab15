"""Clients over raw sockets that do what no client should: the server lives, others are served, nothing stays behind."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from kvtape import Engine
from kvtape.server import connection, create_app, serving
from kvtape.server.limits import BodyLimits
from kvtape.server.routes import session_socket
from tests.serving import CANDLES, eventually

MIB = 1 << 20
HEAD = b"host: x\r\ncontent-type: application/json\r\n"
UPGRADE = (
    b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Server:
    """A server with short patience."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.app = create_app(engine, limits=BodyLimits(body_bytes=2 * MIB, total_bytes=8 * MIB, seconds=1.0))
        self.loop: asyncio.AbstractEventLoop | None = None

        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.loop = asyncio.get_running_loop()
            await self.app(scope, receive, send)

        options = {**serving.SERVER_OPTIONS, "timeout_keep_alive": 1}
        self.uvicorn = uvicorn.Server(uvicorn.Config(app, lifespan="on", **options))
        self.url = ""

    def state(self) -> dict[str, int]:
        """What must be as it was when everybody has gone."""
        assert self.loop is not None
        state, stats = self.uvicorn.server_state, self.engine.stats()
        return {
            "connections": len(state.connections),
            "requests": len(state.tasks),
            "tasks": len(asyncio.all_tasks(self.loop)),
            "sequences": stats.n_sequences,
            "generations": stats.running,
            "body bytes": self.app.state.limits.held_bytes,
            "open requests": self.app.state.runtime.requests.n_open,
        }


@pytest.fixture(scope="module")
def server(make_tiny_model) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch, Engine(make_tiny_model(n_ctx=512), kv_memory="16M", n_threads=1) as e:
        patch.setattr(connection, "HEAD_SECONDS", 1.0)
        patch.setattr(serving, "_STALL_SECONDS", 1.5)
        patch.setattr(session_socket, "PING_SECONDS", 0.3)
        patch.setattr(session_socket, "READ_SECONDS", 1.0)
        server = Server(e)
        with serving.listen("127.0.0.1", 0) as bound:
            thread = threading.Thread(target=server.uvicorn.run, kwargs={"sockets": [bound]})
            thread.start()
            try:
                eventually(lambda: server.uvicorn.started)
                server.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
                made = httpx.post(f"{server.url}/v1/sessions/init", json={"type": "ohlcv"}).json()["id"]
                httpx.delete(f"{server.url}/v1/sessions/{made}")  # what a first session starts stays
                yield server
            finally:
                server.uvicorn.should_exit = True
                thread.join()


class Attack:
    """What a hostile client has at hand; its sockets stay open until the test is over."""

    def __init__(self, server: Server, session: str, stack: ExitStack) -> None:
        self.server = server
        self.session = session  # path
        self._stack = stack

    def connect(self, *, small: bool = False) -> socket.socket:
        client = socket.socket()
        if small:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(10)
        host = urlsplit(self.server.url)
        client.connect((host.hostname, host.port))
        return self._stack.enter_context(client)

    def send(self, head: bytes, body: bytes = b"", *, n_bytes: int | None = None, small: bool = False) -> socket.socket:
        """Send a request, or the beginning of one; `n_bytes` is the length that it claims."""
        client = self.connect(small=small)
        length = b"content-length: %d\r\n" % (len(body) if n_bytes is None else n_bytes) if body or n_bytes else b""
        client.sendall(head + b" HTTP/1.1\r\n" + HEAD + length + b"\r\n" + body)
        return client

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send a whole request; return status and body."""
        client = self.send(b"POST " + path.encode(), body)
        answer = client.recv(MIB)
        client.close()
        return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]

    def socket(self) -> socket.socket:
        """Open a WebSocket that has read its handshake and nothing else."""
        client = self.connect(small=True)
        client.sendall(b"GET " + self.session.encode() + b"/ws HTTP/1.1\r\nhost: x\r\n" + UPGRADE + b"\r\n")
        assert client.recv(1).startswith(b"H")
        return client


def frame(payload: bytes, opcode: int = 1, *, length: int | None = None) -> bytes:
    """Return a masked WebSocket frame; `length` is what it claims."""
    n = len(payload) if length is None else length
    size = struct.pack("!B", 0x80 | n) if n < 126 else struct.pack("!BQ", 0xFF, n)
    return bytes([0x80 | opcode]) + size + b"\0\0\0\0" + payload


def flood(client: socket.socket, data: bytes, *, seconds: float = 3.0) -> int:
    """Send until the server takes no more, or drops the connection; return the bytes it took."""
    client.setblocking(False)
    n_bytes, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            n_bytes += client.send(data)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            break
    return n_bytes


def abandoned_connections(attack: Attack) -> None:
    for _ in range(200):
        attack.connect()


def half_heads(attack: Attack) -> None:
    for _ in range(200):
        attack.connect().sendall(b"GET /health HTTP/1.1\r\nx-half: ")


def half_bodies(attack: Attack) -> None:
    for _ in range(200):
        attack.send(f"POST {attack.session}/stream/push".encode(), b'{"data":[', n_bytes=20_000)


def resets(attack: Attack) -> None:
    """Requests whose clients are gone, not politely, before the answer."""
    body = json.dumps({"prompt": "up?", "max_tokens": 300, "ignore_eos": True, "stream": True}).encode()
    for number in range(200):
        if number % 2:
            client = attack.send(b"POST /v1/completions", body)
        else:
            client = attack.send(f"GET {attack.session}/events".encode())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()


def unread_event_streams(attack: Attack) -> None:
    """Event streams that nobody reads while thousands of events happen."""
    for _ in range(50):
        attack.send(f"GET {attack.session}/events".encode(), small=True)
    hub = attack.server.app.state.runtime.sessions.get(attack.session.rpartition("/")[2]).hub
    eventually(lambda: len(hub) >= 50)
    event = session_event()

    def publish() -> None:
        for _ in range(3000):
            hub.publish(event)

    for _ in range(10):
        attack.server.loop.call_soon_threadsafe(publish)
        time.sleep(0.05)
    eventually(lambda: len(hub) <= 2)  # of the good client, at most


def session_event() -> Any:
    from kvtape.session.events import FlashReady

    return FlashReady(1, "q" * 200, "a" * 200, 1, 0.5, 0)


def unread_answers(attack: Attack) -> None:
    """Long answers, streamed to nobody."""
    body = json.dumps({"prompt": ["x"] * 64, "max_tokens": 400, "ignore_eos": True, "stream": True}).encode()
    for _ in range(4):
        attack.send(b"POST /v1/completions", body, small=True)


def unread_listings(attack: Attack) -> None:
    """Requests in a row on one connection, whose answers nobody reads."""
    request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
    taken = flood(attack.connect(small=True), request * 100)
    assert taken < 32 * MIB


def ping_frames(attack: Attack) -> None:
    assert flood(attack.socket(), frame(b"x" * 100, 9) * 600) < 32 * MIB


def ping_messages(attack: Attack) -> None:
    assert flood(attack.socket(), frame(b'{"type":"ping"}') * 3000) < 32 * MIB


def push_messages(attack: Attack) -> None:
    message = frame(json.dumps({"type": "push", "data": CANDLES}).encode())
    assert flood(attack.socket(), message * 100) < 64 * MIB


def half_frames(attack: Attack) -> None:
    for _ in range(50):
        client = attack.socket()
        client.sendall(frame(b'{"type":', length=15 * MIB))


def giant_frames(attack: Attack) -> None:
    for _ in range(20):
        client = attack.socket()
        client.sendall(frame(b"", length=1 << 40))
        with suppress(OSError):
            while client.recv(MIB):
                pass


def broken_frames(attack: Attack) -> None:
    for noise in (b"\xff" * 100, frame(b"\xff\xfe"), frame(b"x", 3), b"\x81\x05hello", frame(b"\x03", 8), b"\x00"):
        client = attack.socket()
        client.sendall(noise)


def bad_json(attack: Attack) -> None:
    row = json.dumps(CANDLES[0])
    bodies = [
        b"{", b"\xff\xfe", b"[" * 200_000, b'{"data":' * 50_000, b"[]", b"null", b'{"data":[null]}', b'{"data":{}}',
        row.replace("150.2", "NaN").encode(), b'{"data":[' + row.replace("150.2", "NaN").encode() + b"]}",
        b'{"data":[' + row.replace("150.2", "Infinity").encode() + b"]}",
        b'{"data":[' + row.replace("150.2", "1e999").encode() + b"]}",
        b'{"data":[' + row.replace("150.2", "1" * 5000).encode() + b"]}",
        b'{"data":[' + row.replace("AAPL", "A" * 1_000_000).encode() + b"]}",
b'{"data":[' + row.replace("AAPL", "\\ud800").encode() + b"]}",
    ]  # fmt: skip
    for body in bodies:
        status, answer = attack.post(f"{attack.session}/stream/push", body)
        assert status == 400, (body[:60], answer)
        assert json.loads(answer)["error"]["message"]
    twice = b'{"data":[],"data":[' + row.encode() + b"]}"  # the last one counts
    status, answer = attack.post(f"{attack.session}/stream/push", twice)
    assert (status, json.loads(answer)["pushed"]) == (200, 1)


def giant_bodies(attack: Attack) -> None:
    for _ in range(10):
        status, _ = attack.post(f"{attack.session}/stream/push", b" " * (2 * MIB + 1))
        assert status == 413
    client = attack.connect()
    client.sendall(b"POST /v1/sessions/init HTTP/1.1\r\n" + HEAD + b"transfer-encoding: chunked\r\n\r\n")
    with suppress(OSError):
        for _ in range(100):
            client.sendall(b"%x\r\n%b\r\n" % (MIB, b" " * MIB))
    assert client.recv(100).startswith(b"HTTP/1.1 413")


def giant_heads(attack: Attack) -> None:
    for line in (b"x-more: 1\r\n", b"x"):
        client = attack.connect()
        assert flood(client, b"GET / HTTP/1.1\r\n" + line * 20_000) < 16 * MIB


def deletes_while_busy(attack: Attack) -> None:
    """Sessions that go while they answer, ingest, stream and are deleted by somebody else."""
    with httpx.Client(base_url=attack.server.url, timeout=30) as http:
        for _ in range(10):
            made = http.post("/v1/sessions/init", json={"type": "ohlcv", "flash": ["up?"]}).json()["id"]
            path = f"/v1/sessions/{made}"
            attack.send(f"GET {path}/events".encode())
            attack.send(f"GET {path}/ws".encode())
            attack.send(f"POST {path}/stream/push".encode(), json.dumps({"data": CANDLES}).encode())
            attack.send(f"POST {path}/generate".encode(), b'{"prompt":"x","max_tokens":400,"ignore_eos":true}')
            deletions = [attack.send(f"DELETE {path}".encode()) for _ in range(5)]
            statuses = [int(client.recv(1000).split()[1]) for client in deletions]
            assert set(statuses) <= {200, 404, 409}

            def deleted(path: str = path) -> bool:
                return http.delete(path).status_code in (200, 404)

            eventually(deleted)


ATTACKS = [
    abandoned_connections, half_heads, half_bodies, resets, unread_event_streams, unread_answers, unread_listings,
    ping_frames, ping_messages, push_messages, half_frames, giant_frames, broken_frames, bad_json, giant_bodies,
    giant_heads, deletes_while_busy,
]  # fmt: skip


class GoodClient(threading.Thread):
    """Pushes and asks, over and over; all of it must be answered."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.stopped = threading.Event()
        self.n_rounds = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=20) as http:
                body = {"type": "ohlcv", "flash": [{"query": "up?", "max_tokens": 1}]}
                session = f"/v1/sessions/{http.post('/v1/sessions/init', json=body).json()['id']}"
                while not self.stopped.is_set() or not self.n_rounds:
                    ack = http.post(f"{session}/stream/push", json={"data": CANDLES[:1]})
                    assert ack.status_code == 200, ack.text
                    answer = http.post(f"{session}/generate", json={"prompt": "up?", "max_tokens": 1})
                    assert answer.status_code in (200, 400), answer.text  # 400: the context is full
                    self.n_rounds += 1
                    time.sleep(0.01)
                http.delete(session).raise_for_status()
        except BaseException as error:
            self.error = error


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_server_lives_and_nothing_stays(server: Server, attack: Callable[[Attack], None]) -> None:
    eventually(lambda: server.state()["connections"] == server.state()["requests"] == 0)
    before, n_bytes = server.state(), resident_bytes()
    good = GoodClient(server.url)
    good.start()
    try:
        with ExitStack() as stack:
            created = httpx.post(f"{server.url}/v1/sessions/init", json={"type": "ohlcv"}).json()
            session = f"/v1/sessions/{created['id']}"
            attack(Attack(server, session, stack))
            # the sockets are still open at this end: the server must get rid of them by itself
            eventually(lambda: server.state()["connections"] <= 2)
    finally:
        good.stopped.set()
        good.join()
    assert good.error is None
    assert httpx.delete(server.url + session).status_code in (200, 404)
    with suppress(AssertionError):
        eventually(lambda: server.state() == before)
    assert server.state() == before
    assert resident_bytes() - n_bytes < 64 * MIB
    server.engine.core.native.check_integrity()


def resident_bytes() -> int:
    """What the process holds, without what its allocator keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
