"""A worker that dies, hangs or talks too much costs one answer; the next request has a process again."""

from __future__ import annotations

import gc
import io
import json
import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kvtape.engine.worker_process import WorkerFailed, WorkerProcess, read_message

SCRIPT = """
import os, time

def make_answer(word):
    def answer(request):
        if "setup" in request:
            return {"error": "no"} if request["setup"] == "bad" else {}
        if request["do"] == "die":
            os._exit(1)
        if request["do"] == "hang":
            time.sleep(60)
        if request["do"] == "grow":
            return {"text": "a" * (1 << 30)}
        if request["do"] == "talk":
            return {"text": "a" * 5000}
        return {"text": word + request["do"]}
    return answer
"""


def make(folder: Path, setup: str = "good") -> WorkerProcess:
    script = folder / "worker.py"
    script.write_text(SCRIPT)
    return WorkerProcess(
        script, ["-"], {"setup": setup}, max_bytes=256 << 20, max_seconds=0.5, max_answer_bytes=4000, setup_seconds=20
    )


def ask(worker: WorkerProcess, what: str) -> str:
    return worker.ask(json.dumps({"do": what}).encode()).get("text", "")


@pytest.mark.parametrize(
    ("what", "says"), [("die", "died"), ("hang", "no answer in time"), ("grow", "died"), ("talk", "longer than 4000")]
)
def test_failures_cost_one_answer(tmp_path, what, says):
    worker = make(tmp_path)
    assert ask(worker, "é") == "-é"
    start = time.monotonic()
    with pytest.raises(WorkerFailed, match=says):
        ask(worker, what)
    assert time.monotonic() - start < 10
    assert ask(worker, "b") == "-b"
    worker.close()


def test_messages_are_framed_by_their_length():
    data = json.dumps({"a": "é"}).encode()
    source = io.BytesIO(struct.pack(">I", len(data)) + data)
    assert read_message(source) == {"a": "é"}
    assert read_message(source) is None


def test_a_setup_that_fails(tmp_path):
    worker = make(tmp_path, "bad")
    assert worker.start() == {"error": "no"}
    assert worker.ask(b"{}") == {"error": "no"}


def test_threads_take_turns(tmp_path):
    worker = make(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        texts = [f"text {i} " * (i % 7) for i in range(100)]
        assert list(pool.map(lambda text: ask(worker, text), texts)) == ["-" + text for text in texts]
    worker.close()


def test_the_process_ends_with_the_worker(tmp_path):
    worker = make(tmp_path)
    worker.start()
    process = worker._process
    assert process is not None
    del worker
    gc.collect()
    assert process.poll() is not None


def test_a_forked_process_gets_its_own(tmp_path):
    worker = make(tmp_path)
    assert ask(worker, "a") == "-a"
    child = os.fork()
    if child == 0:
        os._exit(0 if ask(worker, "child") == "-child" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ask(worker, "b") == "-b"
    worker.close()
