"""Contender: `kvtape serve`."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path

from bench.http.task import Server, free_port, running


def start(model: Path, threads: int) -> AbstractContextManager[Server]:
    """Run the server for the block."""
    port = free_port()
    command = [sys.executable, "-m", "kvtape", "serve", "--model", str(model), "--port", str(port)]
    return running([*command, "--host", "127.0.0.1", "--threads", str(threads)], port)
