"""The agent task: a conversation whose every turn asks, calls a tool, reads its result and answers, over HTTP.

The client resends the whole history with each request, as chat clients do, with the replies that this server gave. All
text is made from a seed and new in each turn, so nothing but the conversation itself can be reused.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

__all__ = ["Agent", "Cost", "Script"]

SYSTEM = "You answer questions about weather stations. Look the record of a station up before you answer."
STATIONS = ("north", "south", "east", "west")
TOOL = {
    "name": "look_up",
    "description": "Returns the record of a station for one year.",
    "parameters": {
        "type": "object",
        "properties": {"station": {"type": "string", "enum": STATIONS}, "year": {"type": "string", "enum": ["2004"]}},
        "required": ["station", "year"],
    },
}
IN_TEXT = f"""{SYSTEM}

You can call this function:
<tools>
{json.dumps(TOOL)}
</tools>
To call it, write <tool_call>
{{"name": "look_up", "arguments": {{"station": "north", "year": "2004"}}}}
</tool_call> and wait for its result."""
WORDS = (
    "wind", "rain", "frost", "haze", "cloud", "gust", "calm", "storm", "sleet", "river", "harbour", "valley",
    "ridge", "coast", "plain", "dawn", "noon", "dusk", "night", "early", "late", "strong", "weak", "rising",
    "falling", "steady", "broken", "clear", "heavy", "light", "gauge", "mast", "sensor", "reading", "mean", "peak",
    "gap", "drift", "spell", "week", "month", "station", "record", "northern", "southern", "inland", "upper",
    "lower", "first", "second", "third", "last", "after", "before", "between", "near", "over",
)  # fmt: skip
N_RESULT_WORDS = 38  # with a number after each: about 100 tokens; 35 turns fit into 8,192
N_CALL, N_ANSWER = 24, 32  # tokens


@dataclass(frozen=True)
class Script:
    """What the user and the tool say in one conversation; the same for every server."""

    seed: int

    def question(self, turn: int) -> str:
        """What the user asks."""
        rng = self._rng(turn, "question")
        return f"What of the {rng.choice(WORDS)} {rng.choice(WORDS)} at station {rng.choice(STATIONS)}?"

    def result(self, turn: int) -> str:
        """What the tool returns."""
        rng = self._rng(turn, "result")
        return " ".join(f"{rng.choice(WORDS)} {rng.randrange(10)}" for _ in range(N_RESULT_WORDS))

    def _rng(self, turn: int, what: str) -> random.Random:
        return random.Random(f"{self.seed} {turn} {what}")


@dataclass
class Cost:
    """What some requests took: seconds, and tokens of their prompts and replies."""

    seconds: float = 0.0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    reply_tokens: int = 0

    @property
    def computed_tokens(self) -> int:
        """Tokens of the prompts that were not reused."""
        return self.prompt_tokens - self.reused_tokens

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.seconds + other.seconds,
            self.prompt_tokens + other.prompt_tokens,
            self.reused_tokens + other.reused_tokens,
            self.reply_tokens + other.reply_tokens,
        )


@dataclass
class Agent:
    """One conversation with one server.

    Args:
        port: where the server listens.
        script: what the user and the tool say.
        by_api: whether tools are fields of the request, or written into the prompt by this client.
        forces: whether the server takes and heeds a `tool_choice` that names a tool; else the model does as it likes,
            and its reply is as long as a call.
        end_ids: tokens that end a reply; they are banned where its length is fixed.
    """

    port: int
    script: Script
    by_api: bool
    forces: bool
    end_ids: list[int]
    temperature: float = 0.0
    messages: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.messages = [{"role": "system", "content": SYSTEM if self.by_api else IN_TEXT}]

    def turn(self, n: int) -> Cost:
        """Ask, call, read the result, answer.

        Raises:
            RuntimeError: the server refuses, or a reply is not as long as it must be.
        """
        self.messages.append({"role": "user", "content": self.script.question(n)})
        call, cost = self._ask(N_CALL, call=True)
        result = self.script.result(n)
        if calls := call.get("tool_calls"):
            self.messages += [{"role": "tool", "tool_call_id": each["id"], "content": result} for each in calls]
        else:  # a call in the text, or none where the model is free
            self.messages.append({"role": "user", "content": f"<tool_response>\n{result}\n</tool_response>"})
        _, answer_cost = self._ask(N_ANSWER)
        return cost + answer_cost

    def _ask(self, n_tokens: int, *, call: bool = False) -> tuple[dict[str, Any], Cost]:
        body: dict[str, Any] = {
            "model": "any",
            "messages": self.messages,
            "max_tokens": n_tokens,
            "temperature": self.temperature,
            "seed": self.script.seed,
        }
        forced = call and self.by_api and self.forces
        if self.by_api:
            body["tools"] = [{"type": "function", "function": TOOL}]
        if forced:
            body["tool_choice"] = {"type": "function", "function": {"name": TOOL["name"]}}
            body["max_tokens"] = 4 * n_tokens  # the call ends by itself
        else:
            body["logit_bias"] = {str(token_id): -100 for token_id in self.end_ids}
        reply, seconds = self._post(body)
        message, usage = reply["choices"][0]["message"], reply["usage"]
        if forced and not message.get("tool_calls"):
            raise RuntimeError(f"no call, although the request names one: {message}")
        if not forced and usage["completion_tokens"] != n_tokens:
            raise RuntimeError(f"{usage['completion_tokens']} tokens in a reply of {n_tokens}: {message}")
        self.messages.append(message)
        reused = usage["prompt_tokens_details"]["cached_tokens"]
        return message, Cost(seconds, usage["prompt_tokens"], reused, usage["completion_tokens"])

    def _post(self, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
        http = HTTPConnection("127.0.0.1", self.port, timeout=600)
        http.connect()
        begin = time.perf_counter()
        http.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = http.getresponse()
        text = response.read()
        seconds = time.perf_counter() - begin
        http.close()
        if response.status >= 400:
            raise RuntimeError(f"{response.status} {text.decode()}")
        reply: dict[str, Any] = json.loads(text)
        return reply, seconds
