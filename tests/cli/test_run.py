"""`kvtape run` in a process of its own, with a tiny random model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kvtape
from kvtape import Engine
from kvtape.chat.prompt import encode_chat
from kvtape.types import ChatPrompt

OPTIONS = ("--max-tokens", "12", "--kv-memory", "16M", "--threads", "1")


@pytest.fixture
def reply(tiny_model):
    def generate(prompt, *, system=None, raw=False):
        with Engine(tiny_model, kv_memory="16M", n_threads=1) as engine:
            sequence = engine.open()
            messages = [{"role": "system", "content": system}] if system else []
            messages.append({"role": "user", "content": prompt})
            sequence.append(prompt if raw else encode_chat(engine.model, ChatPrompt(messages=messages)))
            return "".join(event.text for event in sequence.generate(max_tokens=12)) + "\n"

    return generate


def test_a_prompt_is_answered_through_the_template(run_kvtape, tiny_model, reply):
    run = run_kvtape("run", "the system", "--model", str(tiny_model), *OPTIONS)
    assert (run.returncode, run.stdout) == (0, reply("the system"))


def test_system_prompt_and_raw_text(run_kvtape, tiny_model, reply):
    run = run_kvtape("run", "the system", "--system", "be brief", "--model", str(tiny_model), *OPTIONS)
    assert run.stdout == reply("the system", system="be brief")
    run = run_kvtape("run", "the system", "--raw", "--model", str(tiny_model), *OPTIONS)
    assert run.stdout == reply("the system", raw=True)


def test_the_prompt_may_come_from_standard_input(tiny_model, reply, tmp_path):
    command = [sys.executable, "-m", "kvtape", "run", "--model", str(tiny_model), *OPTIONS]
    env = {"PYTHONPATH": str(Path(kvtape.__file__).parents[1]), "PATH": ""}
    for argument in ((), ("-",)):
        run = subprocess.run(
            [*command, *argument], input="the system", env=env, cwd=tmp_path, capture_output=True, text=True
        )
        assert (run.returncode, run.stdout) == (0, reply("the system"))


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("", "--model", "x.gguf"), 2, "the prompt is empty"),
        (("x", "--raw", "--system", "s"), 2, "--raw leaves out"),
        (("x", "--temperature", "9"), 2, "temperature"),
        (("x", "--model", "nowhere.gguf"), 1, "nowhere.gguf"),
        (("x", "--device", "cuda"), 2, "cuda"),
    ],
)
def test_refusals(run_kvtape, args, code, message):
    run = run_kvtape("run", *args)
    assert run.returncode == code
    assert message in run.stderr
