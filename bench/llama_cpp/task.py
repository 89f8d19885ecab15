"""The speed task: what is timed, and the process around a contender.

Each contender runs in a process of its own and is told what to do in JSON lines, so that contenders can take turns in
one run without sharing threads, caches or allocators. A command costs about 0.1 ms beside the work itself.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["DECODE_TOKENS", "LONG_CONTEXT", "N_CTX", "PREFILL_TOKENS", "Contender", "Worker", "check", "serve"]

PREFILL_TOKENS = 512
DECODE_TOKENS = 128
LONG_CONTEXT = 4096
N_CTX = 4352
GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "smollm2_text.npz"
CHECK_LENGTHS = (
    64,
    100,
    333,
    512,
    777,
    1000,
)  # prompt lengths whose next token is compared, where float32 is sure of it
CLEAR_MARGIN = 0.7  # logits


class Contender(Protocol):
    """What a contender can do. A fresh one has an empty context."""

    def first_token(self, ids: list[int]) -> int:
        """Read `ids` into an empty context; return the best next token."""

    def hold(self, ids: list[int]) -> None:
        """Read `ids` into the context that `decode` continues."""

    def decode(self, n_tokens: int) -> int:
        """Generate `n_tokens` greedily after what is held, which stays; return how many came."""

    def describe(self) -> dict[str, Any]:
        """Return version and instruction sets."""


def serve(contender: Contender, load_seconds: float) -> None:
    """Answer the commands on standard input until it ends."""
    print(json.dumps({"load_seconds": load_seconds, **contender.describe()}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, Any] = {}
        if command["do"] == "first_token":
            answer["token"] = contender.first_token(command["ids"])
        elif command["do"] == "hold":
            contender.hold(command["ids"])
        elif command["do"] == "decode":
            answer["n_tokens"] = contender.decode(command["n_tokens"])
            assert answer["n_tokens"] == command["n_tokens"]
        elif command["do"] == "memory":
            status = dict(
                line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
            )
            answer["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            answer["anonymous_bytes"] = int(status["RssAnon"].split()[0]) * 1024
        print(json.dumps(answer), flush=True)


class Worker:
    """A contender's process, seen from the report."""

    def __init__(self, module: str, model: Path, options: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(model), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self._answer()

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contender ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def check(worker: Worker) -> int:
    """Compare next tokens with those of float32 where it is sure of them; return how many were compared.

    Raises:
        ValueError: one differs. A wrong answer is not timed.
    """
    record = np.load(GOLDEN)
    compared = 0
    for length in CHECK_LENGTHS:
        if record["margin"][length - 1] > CLEAR_MARGIN:
            token = worker.ask("first_token", ids=record["ids"][:length].tolist())["token"]
            if token != record["top"][length - 1]:
                raise ValueError(f"after {length} tokens: {token}, float32 says {record['top'][length - 1]}")
            compared += 1
    if not compared:
        raise ValueError("float32 is sure of no token; choose other lengths")
    return compared
