"""The server under test as a process of its own, and what it holds: memory, files, threads."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import httpx

__all__ = ["Sample", "read_sample", "served"]

START_SECONDS = 60.0


class Sample(NamedTuple):
    """What a process holds at one moment."""

    at: float  # seconds of time.monotonic()
    rss: float  # MB
    n_fds: int
    n_threads: int
    n_client_fds: int  # of this process: each connection is one here and one there


def read_sample(pid: int) -> Sample:
    """Read it from /proc."""
    process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    rss = int(status["VmRSS"].split()[0]) / 1e3
    n_fds, n_client_fds = (sum(1 for _ in folder.iterdir()) for folder in (process / "fd", Path("/proc/self/fd")))
    return Sample(time.monotonic(), rss, n_fds, int(status["Threads"]), n_client_fds)


@contextmanager
def served(model: Path, log: IO[bytes], *options: str) -> Iterator[tuple[str, int]]:
    """Run `kvtape serve` on a free loopback port; yields URL and process id once it is ready.

    Raises:
        RuntimeError: it does not come up, or it is gone before its time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "kvtape", "serve", "--model", str(model), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("kvtape serve does not come up; see its log")
            time.sleep(0.05)
        yield url, process.pid
        if process.poll() is not None:
            raise RuntimeError(f"the server has ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait(timeout=60)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/health").status_code == 200
    except httpx.TransportError:
        return False
