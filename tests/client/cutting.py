"""A TCP proxy that cuts its connections in the middle of whatever they carry."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

__all__ = ["Cutter", "cutting"]


class Cutter:
    """Passes bytes on, of each connection as many in either direction as `budget` says, then resets both sides.

    Attributes:
        n_cuts: connections that were cut.
        is_cutting: off at first; while it is off, everything passes.
    """

    def __init__(self, upstream: tuple[str, int], budget: Callable[[], int]) -> None:
        self.n_cuts = 0
        self.is_cutting = False
        self._upstream = upstream
        self._budget = budget
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []

    def cut_all(self) -> None:
        """Cut what is open now."""
        for client in self._open:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def serve(self, client: socket.socket) -> None:
        """Carry one connection to its end."""
        with client, socket.create_connection(self._upstream) as server:
            self._open.append(client)
            left = [self._budget()]
            there = threading.Thread(target=self._pump, args=(client, server, left))
            there.start()
            self._pump(server, client, left)
            there.join()

    def _pump(self, source: socket.socket, sink: socket.socket, left: list[int]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                with self._lock:
                    passed = data[: left[0]] if self.is_cutting else data
                    left[0] -= len(passed)
                    is_cut = len(passed) < len(data)
                    self.n_cuts += is_cut
                sink.sendall(passed)
                if is_cut:
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cutting(url: str, budget: Callable[[], int]) -> Iterator[tuple[str, Cutter]]:
    """Run a proxy in front of `url`; yields its own URL and the cutter."""
    host, port = url.removeprefix("http://").split(":")
    cutter = Cutter((host, int(port)), budget)
    threads = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = bound.accept()
                threads.append(threading.Thread(target=cutter.serve, args=(client,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as bound:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}", cutter
        finally:
            bound.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join(timeout=20)
                assert not thread.is_alive(), "somebody has left a connection open"
