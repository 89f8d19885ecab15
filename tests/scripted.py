"""Chats with a model that recites: a real server over a real engine, and replies of the test's choosing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kvtape import Engine
from tests.reference.scripted_model import write_scripted_model

__all__ = ["CHAT_TEMPLATE", "cut", "scripted_engine"]

# Knows of tools and of reasoning, and ends with what was said last: `<|1|>` there is the reply that follows.
CHAT_TEMPLATE = (
    "{# <tool_call> <think> </think> #}"
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for message in messages %}"
    "{{ '\n' ~ message.role ~ ': ' if message.role != 'assistant' }}{{ message.reasoning_content }}"
    "{% for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}{{ message.content }}"
    "{{ '<|end|>' if message.role == 'assistant' }}"
    "{% endfor %}"
)


def cut(text: str, n_bytes: int = 3) -> list[bytes]:
    """Cut text into tokens, in the middle of characters too."""
    data = text.encode()
    return [data[at : at + n_bytes] for at in range(0, len(data), n_bytes)]


def scripted_engine(path: Path, replies: Sequence[Sequence[bytes | str]], *, n_ctx: int = 2048) -> Engine:
    """Make an engine whose model gives reply n to what ends with `<|n|>`."""
    write_scripted_model(path, replies, chat_template=CHAT_TEMPLATE, n_ctx=n_ctx)
    return Engine(path, kv_memory="64M", n_threads=1)
