"""The speed task: the process around a contender, and the check of its answers.

Each contender runs in a process of its own and is told what to do in JSON lines, so that contenders can take turns in
one run without sharing threads, caches or allocators. It takes its own time, so that the lines cost nothing.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.llama_cpp.workloads import Workload
from bench.peers.llama_cpp import cache_folder
from tests.reference.transformer import TransformerReference

__all__ = ["Contender", "Worker", "Yardstick", "check", "serve"]

YARDSTICK_LEN = 640  # tokens of the text
CLEAR_MARGIN = 0.7  # logits by which float32's best token leads where an answer is compared with it
N_CHECKED = 4  # contexts of a workload for one sequence; one for many has as many as sequences


class Contender(Protocol):
    """What a contender can do."""

    def hold(self, prompts: list[list[int]], n_sequences: int, n_more: int) -> None:
        """Make room for `n_sequences` and read the prompts: one for each sequence, or one for all.

        `n_more` tokens at most follow a prompt.
        """

    def run(self, tails: list[list[int]], n_tokens: int) -> list[list[int]]:
        """Read a tail in each sequence and generate `n_tokens` greedily; afterwards only the prompts are held."""

    def describe(self) -> dict[str, Any]:
        """Return version and instruction sets."""


def serve(contender: Contender, began: float) -> None:
    """Answer the commands on standard input until it ends; `began` is when the model was asked for."""
    contender.hold([[]], 1, 2)
    contender.run([[0]], 1)
    to_first_token = time.perf_counter() - began
    print(json.dumps({"load_seconds": to_first_token, **contender.describe()}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, Any] = {}
        if command["do"] == "hold":
            contender.hold(command["prompts"], command["n_sequences"], command["n_more"])
        elif command["do"] == "run":
            begin = time.perf_counter_ns()
            tokens = contender.run(command["tails"], command["n_tokens"])
            answer = {"seconds": (time.perf_counter_ns() - begin) / 1e9, "tokens": tokens}
            assert [len(row) for row in tokens] == [command["n_tokens"]] * len(command["tails"])
        elif command["do"] == "memory":
            lines = Path("/proc/self/status").read_text().splitlines()
            status = dict(line.split(":", 1) for line in lines if ":" in line)
            answer["peak_rss_bytes"] = int(status["VmHWM"].split()[0]) * 1024  # ru_maxrss begins at the parent's
            answer["anonymous_bytes"] = int(status["RssAnon"].split()[0]) * 1024
        print(json.dumps(answer), flush=True)


class Worker:
    """A contender's process, seen from the report. It ended during start where `about` is not there: RuntimeError."""

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

    def hold(self, workload: Workload, ids: list[int]) -> None:
        """Prepare for `workload` over the text `ids`."""
        self.ask(
            "hold",
            prompts=workload.prompts(ids),
            n_sequences=workload.n_sequences,
            n_more=workload.n_tail + workload.n_tokens,
        )

    def run(self, workload: Workload, ids: list[int], n: int) -> float:
        """Do the workload for the n-th time; return its seconds."""
        return float(self.ask("run", tails=workload.tails(ids, n), n_tokens=workload.n_tokens)["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contender ended with status {self._process.wait()}")
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Yardstick:
    """The best token after each of the text's first tokens by float32, and by how many logits it leads.

    Computed once a model by `tests.reference` and kept in the cache folder.
    """

    def __init__(self, model: Path, ids: list[int]) -> None:
        self.ids = ids[:YARDSTICK_LEN]
        digest = hashlib.sha256(model.read_bytes() + np.asarray(self.ids, dtype=np.int32).tobytes()).hexdigest()
        path = cache_folder() / "yardsticks" / f"{model.stem}-{digest[:16]}.npz"
        if not path.exists():
            logits = TransformerReference(model, np.float32).forward(np.asarray(self.ids))
            second, best = np.partition(logits, -2, axis=-1)[:, -2:].T
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, top=logits.argmax(axis=-1), margin=best - second)
        record = np.load(path)
        self.top: NDArray[np.int64] = record["top"]
        self.clear = [i + 1 for i, margin in enumerate(record["margin"]) if margin > CLEAR_MARGIN]  # lengths


def check(worker: Worker, workload: Workload, yardstick: Yardstick) -> int:
    """Compare next tokens with float32's in the workload's own shape; return how many were compared.

    Every tail of the check ends where float32 is sure of the next token; the prompts before it are shorter than the
    workload's.

    Raises:
        ValueError: one differs. A wrong answer is not timed.
    """
    ids, n_tail = yardstick.ids, min(workload.n_tail, YARDSTICK_LEN - 128)
    lengths = [length for length in yardstick.clear if length > n_tail + 32]
    n = workload.n_sequences
    if n == 1:
        rounds = [[length] for length in lengths[:: max(1, len(lengths) // N_CHECKED)][:N_CHECKED]]
    else:
        rounds = [lengths[:1] * n] if workload.shared else [lengths[:n]]
    for ends in rounds:
        prompts = [ids[: end - n_tail] for end in (ends[:1] if workload.shared else ends)]
        tails = [ids[end - n_tail : end] for end in ends]
        worker.ask("hold", prompts=prompts, n_sequences=n, n_more=n_tail + 1)
        for end, (token,) in zip(ends, worker.ask("run", tails=tails, n_tokens=1)["tokens"], strict=True):
            if token != yardstick.top[end - 1]:
                raise ValueError(f"{workload.name}: {token} after {end} tokens, float32 says {yardstick.top[end - 1]}")
    return sum(map(len, rounds))
