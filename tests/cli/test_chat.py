"""`kvtape chat` with scripted input and a tiny random model."""

from __future__ import annotations

import argparse

import pytest

from kvtape import Engine
from kvtape.chat.prompt import encode_chat
from kvtape.cli import chat
from kvtape.types import ChatPrompt

SYSTEM = {"role": "system", "content": "be brief"}


@pytest.fixture
def converse(tiny_model, monkeypatch, capsys):
    """Run the command with lines of input; returns what it printed."""

    def run(*lines):
        waiting = iter(lines)

        def read(prompt):
            try:
                return next(waiting)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", read)
        parser = argparse.ArgumentParser()
        chat.configure(parser)
        argv = ["--model", str(tiny_model), "--kv-memory", "16M", "--threads", "1", "--max-tokens", "9"]
        assert chat.run(parser.parse_args([*argv, "--system", "be brief"])) == 0
        return capsys.readouterr().out.split("ends.\n", 1)[1]

    return run


@pytest.fixture
def replies(tiny_model):
    """What the model says to each user message of one conversation, each prompt computed afresh."""

    def generate(*users):
        with Engine(tiny_model, kv_memory="16M", n_threads=1) as engine:
            messages, texts = [SYSTEM], []
            for user in users:
                messages.append({"role": "user", "content": user})
                sequence = engine.open()
                sequence.append(encode_chat(engine.model, ChatPrompt(messages=messages)))
                texts.append("".join(event.text for event in sequence.generate(max_tokens=9)))
                messages.append({"role": "assistant", "content": texts[-1]})
                sequence.close()
            return texts

    return generate


def test_the_conversation_goes_on(converse, replies):
    first, second = replies("the system", "and the user")
    assert converse("the system", "  ", "and the user", "/exit", "never read") == f"{first}\n{second}\n"


def test_reset_starts_again(converse, replies):
    (first,) = replies("the system")
    assert converse("the system", "/reset", "the system") == f"{first}\n{first}\n\n"


def test_a_message_that_does_not_fit_is_left_out(converse, replies):
    (first,) = replies("the system")
    out = converse("x" * 2000, "the system", "/exit")
    overflow, rest = out.split("/reset starts again\n")
    assert "512" in overflow
    assert rest == f"{first}\n"
