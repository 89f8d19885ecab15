"""A process of its own for what strangers wrote: a crash, a hang or a bomb ends that process and nothing else.

`WorkerProcess` starts this file as a script, with the worker's file as its first argument. The worker is no part of the
package: it has a function `make_answer(*arguments)` that returns what turns a request into an answer.

Requests and answers are JSON objects, each after its length as 4 bytes, big-endian.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import runpy
import select
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["WorkerFailed", "WorkerProcess"]


class WorkerFailed(Exception):
    """The process died, did not answer in time, or said too much."""


class WorkerProcess:
    """A worker, started when it is first asked and again after it has died. Threads take turns.

    Args:
        script: the worker's file.
        arguments: of its `make_answer`.
        setup: the first request to each new process; the answer must have no "error".
        max_bytes: of its address space, the interpreter's own included.
        max_seconds: for an answer.
        max_answer_bytes: of an answer.
        setup_seconds: for the start and the answer to `setup`.
    """

    def __init__(
        self,
        script: str | Path,
        arguments: Sequence[str],
        setup: dict[str, Any],
        *,
        max_bytes: int,
        max_seconds: float,
        max_answer_bytes: int,
        setup_seconds: float | None = None,
    ) -> None:
        self._command = [sys.executable, "-P", __file__, str(script), str(max_bytes), *arguments]
        self._setup = json.dumps(setup).encode()
        self._max_seconds, self._max_answer_bytes = max_seconds, max_answer_bytes
        self._setup_seconds = max_seconds if setup_seconds is None else setup_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def start(self) -> dict[str, Any]:
        """Start the process, if there is none, and return its answer to `setup`; empty where it runs already.

        Raises:
            WorkerFailed: it does not come up.
        """
        with self._lock:
            return self._start()

    def ask(self, request: bytes) -> dict[str, Any]:
        """Return the answer to a request, a JSON object; or that to `setup`, where a new process refuses it.

        Raises:
            WorkerFailed: there is none; the process has been ended.
        """
        with self._lock:
            answer = self._start()
            return answer if "error" in answer else self._exchange(request, self._max_seconds)

    def close(self) -> None:
        """End the process; the next request starts another."""
        with self._lock:
            self._stop()

    def _start(self) -> dict[str, Any]:
        if self._process is not None and self._owner == os.getpid():
            return {}
        # A process that a parent started belongs to the parent: its pipes are left alone after a fork.
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._process, self._owner = process, os.getpid()
        self._finalizer = weakref.finalize(self, _end, process, os.getpid())
        answer = self._exchange(self._setup, self._setup_seconds)
        if "error" in answer:
            self._stop()
        return answer

    def _stop(self) -> None:
        if self._process is not None:
            self._finalizer()
        self._process = None

    def _exchange(self, request: bytes, max_seconds: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + max_seconds
        try:
            with contextlib.suppress(BrokenPipeError):  # reading says it better
                view = memoryview(struct.pack(">I", len(request)) + request)
                while view:
                    view = view[process.stdin.write(view) :]
            (n_bytes,) = struct.unpack(">I", _read(process.stdout.fileno(), 4, deadline))
            if n_bytes > self._max_answer_bytes:
                raise WorkerFailed(f"its text is longer than {self._max_answer_bytes} bytes")
            answer: dict[str, Any] = json.loads(_read(process.stdout.fileno(), n_bytes, deadline))
        except BaseException:  # also interrupted in between: the next one must not read the old answer
            self._stop()
            raise
        return answer


def _read(descriptor: int, n_bytes: int, deadline: float) -> bytes:
    parts = []
    while n_bytes > 0:
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise WorkerFailed("no answer in time")
        part = os.read(descriptor, min(n_bytes, 1 << 20))
        if not part:
            raise WorkerFailed("its process died, most likely out of memory")
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """End a process and close its pipes; in a process forked from the owner, only close them."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    if os.getpid() == owner:
        process.kill()
        process.wait()


def read_message(source: BinaryIO) -> Any:
    """The next message, or None at the end."""
    header = source.read(4)
    return json.loads(source.read(struct.unpack(">I", header)[0])) if len(header) == 4 else None


def main() -> None:
    """Answer requests until there are no more; runs in the process."""
    script, max_bytes, *arguments = sys.argv[1:]
    answer = runpy.run_path(script)["make_answer"](*arguments)
    resource.setrlimit(resource.RLIMIT_AS, (int(max_bytes), int(max_bytes)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (request := read_message(sys.stdin.buffer)) is not None:
        data = json.dumps(answer(request)).encode()
        sys.stdout.buffer.write(struct.pack(">I", len(data)) + data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
