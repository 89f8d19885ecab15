"""Running the app on a socket: early liveness, and an end that lets streams finish."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from kvtape.server.connection import HttpProtocol
from kvtape.server.lifespan import Phase, Runtime
from kvtape.server.websocket import MAX_MESSAGE_BYTES, SocketProtocol

__all__ = ["SERVER_OPTIONS", "DrainingServer", "listen", "serve"]

SERVER_OPTIONS: dict[str, Any] = {
    "log_config": None,
    "access_log": False,  # a line a request costs as much as routing it, and one of a full pipe stops the loop
    "http": HttpProtocol,
    "timeout_keep_alive": 60,  # seconds between two requests
    "ws": SocketProtocol,
    "ws_max_size": MAX_MESSAGE_BYTES,
    "ws_ping_interval": None,  # each dialect has its own pings
    "ws_per_message_deflate": False,  # costs more time than a local network takes
}

log = logging.getLogger(__name__)

_STALL_SECONDS = 60.0  # after which a client that takes none of what is written to it is dropped, by the system
_AFTER_DEADLINE = 1.0  # seconds for streams to send their error once the engine is gone


class DrainingServer(uvicorn.Server):
    """A server that drains at the first SIGTERM or SIGINT and is gone at the second.

    While it drains, the socket stays open so that `/health` says 503; new requests get 503 too, event streams end,
    running requests go on until the deadline and then end with an error. A failed start ends it as well.
    """

    def __init__(self, config: uvicorn.Config, runtime: Runtime, *, drain_seconds: float) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._drain_seconds = drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the socket and say where it is."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        for server in self.servers:
            for bound in server.sockets:
                host, port = bound.getsockname()[:2]
                log.info("listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)

    async def on_tick(self, counter: int) -> bool:
        """End when there will never be an engine."""
        return await super().on_tick(counter) or self._runtime.phase is Phase.FAILED

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or leave at once."""
        if self._task is not None or self._loop is None:
            os._exit(128 + sig)
        self._loop.call_soon_threadsafe(self.begin_drain)

    def begin_drain(self) -> None:
        """Begin to drain; on the event loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        n_open = self._runtime.requests.n_open
        log.info("draining: %d open requests have %g s", n_open, self._drain_seconds)
        self._runtime.drain()
        if not await self._quiet_within(self._drain_seconds):
            log.warning("%d requests were still running at the deadline", self._runtime.requests.n_open)
            await self._runtime.aclose()
            await self._quiet_within(_AFTER_DEADLINE)
        self.should_exit = True

    async def _quiet_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._runtime.requests.n_open:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.02)
        return True


def serve(app: Starlette, *, host: str, port: int, drain_seconds: float, **options: Any) -> bool:
    """Serve an app made by `create_app` until a signal ends it; returns whether there was an engine to serve.

    Raises:
        OSError: the address cannot be bound.
    """
    with listen(host, port) as bound:
        config = uvicorn.Config(
            app,
            **SERVER_OPTIONS,
            timeout_graceful_shutdown=2,
            lifespan="on",
            **options,
        )
        runtime: Runtime = app.state.runtime
        DrainingServer(config, runtime, drain_seconds=drain_seconds).run(sockets=[bound])
    return runtime.phase is not Phase.FAILED


def listen(host: str, port: int) -> socket.socket:
    """Open a listening TCP socket; port 0 is any free one.

    The protocol is named because asyncio switches Nagle's algorithm off only where it is: without that each small
    answer waits 40 ms for the client's delayed acknowledgement.

    Raises:
        OSError: the address cannot be bound.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted sockets inherit it
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_STALL_SECONDS * 1000))
        bound.bind(address)
        bound.listen(2048)
    except BaseException:
        bound.close()
        raise
    return bound
