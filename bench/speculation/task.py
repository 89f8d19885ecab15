"""The speculation task: answers that copy their prompt, answers that do not, and one that no draft can guess."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from kvtape import Engine
from kvtape.chat.prompt import encode_chat
from kvtape.types import ChatPrompt, TokenEvent

__all__ = ["WORKLOADS", "Workload", "answer"]

N_TOKENS = 200  # of an answer, at most
_CITIES = ("Rome", "Oslo", "Lima", "Cairo", "Tokyo")
_NAMES = ("Alice", "Bob", "Chandra", "Dmitri")
_CODE = '''\
def moving_average(values, window):
    """Return the moving average of values over a window."""
    if window <= 0:
        raise ValueError("window must be positive")
    result = []
    total = 0.0
    for index, value in enumerate(values):
        total += value
        if index >= window:
            total -= values[index - window]
        if index >= window - 1:
            result.append(total / window)
    return result
'''
_TOOL = {
    "name": "create_order",
    "parameters": {
        "customer": {"name": "string", "street": "string", "city": "string"},
        "items": [{"article": "string", "quantity": "integer", "unit_price": "number"}],
    },
}


def _table(first: int = 1) -> str:
    rows = [
        f"| {i} | item {i * 37 % 101} | {_CITIES[i % 5]} | {i * 7919 % 1000}.{i * 31 % 100:02d} |"
        for i in range(first, first + 20)
    ]
    header = "| id | name | city | price |\n|---|---|---|---|\n"
    return f"Repeat this table exactly, but change the city Oslo to Bergen.\n\n{header}" + "\n".join(rows) + "\n"


def _orders() -> str:
    draw = random.Random(1)
    orders = [
        {"order_id": 1000 + i, "customer": _NAMES[i % 4], "amount": draw.randrange(50_000) / 100, "status": "open"}
        for i in range(9)
    ]
    lines = ",\n".join(json.dumps(order) for order in orders)
    return f'Set the status of order 1003 to "paid" and give back the whole list as JSON.\n\n[{lines}]'


_CALL = (
    f"You can call this function:\n{json.dumps(_TOOL, indent=2)}\n\nWrite the call as JSON for this order: Alice "
    "Keller of 12 Harbour Street in Bergen wants 3 desk lamps at 24.50, 2 shelves at 89.00 and 12 hooks at 3.20."
)
_RENAME = f"Rename the variable `total` to `running_sum`. Answer with the whole code.\n\n```python\n{_CODE}```"
_STORY = "Write a short story about a lighthouse keeper who finds a message in a bottle."
_ESSAY = "Explain how photosynthesis works and why leaves are green."


@dataclass(frozen=True)
class Workload:
    """Questions that are answered together."""

    name: str
    questions: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


_SAMPLED = {"temperature": 0.6, "top_p": 0.9, "seed": 1}
# Random tokens of eight kinds after a prompt of such: every 3-gram has been there, what came next says nothing.
_NOISE = {"temperature": 2.0, "seed": 1, "logit_bias": dict.fromkeys(range(300, 308), 500.0), "ignore_eos": True}

WORKLOADS = (
    Workload("table", (_table(),)),
    Workload("json", (_orders(),)),
    Workload("code", (_RENAME,)),
    Workload("call", (_CALL,)),
    Workload("story", (_STORY,)),
    Workload("essay", (_ESSAY,)),
    Workload("call-sampled", (_CALL,), _SAMPLED),
    Workload("essay-sampled", (_ESSAY,), _SAMPLED),
    Workload("noise", ("",), _NOISE),
    Workload("tables-4", tuple(_table(first) for first in (1, 21, 41, 61))),
    Workload("table-stories-3", (_table(), _STORY, _ESSAY, _STORY.replace("lighthouse", "bee"))),
)


def _prompt(engine: Engine, question: str) -> list[int]:
    if question:
        return encode_chat(engine.model, ChatPrompt(messages=[{"role": "user", "content": question}]))
    draw = random.Random(2)
    return [300 + draw.randrange(8) for _ in range(2000)]


def answer(engine: Engine, workload: Workload, *, speculate: bool) -> tuple[float, list[list[TokenEvent]]]:
    """Answer all questions at once; return the mean of their seconds after the first tokens, and the events."""
    sequences = [engine.open() for _ in workload.questions]
    generations = []
    for sequence, question in zip(sequences, workload.questions, strict=True):
        sequence.append(_prompt(engine, question))
        sequence.resident()
    for sequence in sequences:
        generations.append(sequence.generate(max_tokens=N_TOKENS, speculate=speculate, **workload.options))
    events = [[next(generation)] for generation in generations]
    began, ends = time.perf_counter(), []
    for generation, mine in zip(generations, events, strict=True):
        mine.extend(generation)
        ends.append(time.perf_counter() - began)
    for sequence in sequences:
        sequence.close()
    return fmean(ends), events
