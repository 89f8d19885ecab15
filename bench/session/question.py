"""A question asked right behind an acknowledged candle, against llama.cpp's server with its prompt cache.

Both answer the same tokens with as many: the peer is sent the whole context as text, as a client without a session
would, and has all of it but the new candle and the question in its cache. A rolling window, whose oldest candle has
gone, is what its cache cannot help with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from json import dumps, loads
from typing import Any

from bench.llama_cpp.limits import Limit, ModelShape
from bench.session.limits import least_seconds
from bench.session.task import QUERIES, QUESTION, SessionClient, candles

__all__ = ["ANSWER_TOKENS", "Asker", "Times", "resend"]

ANSWER_TOKENS = 8
ASSISTANT = "assistant\n"  # ends what the model is given
HEAD_LINES = 3  # of the context's text, before the first candle


@dataclass
class Times:
    """Seconds of each round, in the order of the rounds."""

    n_context: int = 0  # tokens, question included
    n_new: int = 0  # of which were not there before the candle
    session: list[float] = field(default_factory=list)  # from the acknowledgement of the candle on
    resent: list[float] = field(default_factory=list)
    resent_to_us: list[float] = field(default_factory=list)  # the same text to another kvtape
    rolling: list[float] = field(default_factory=list)
    least: list[float] = field(default_factory=list)

    def ratios(self, slow: str, fast: str) -> list[float]:
        """Quotients round by round."""
        return [a / b for a, b in zip(getattr(self, slow), getattr(self, fast), strict=False)]


class Asker:
    """A session that grows, and a peer that is kept at the same context.

    Args:
        client: an empty session.
        peer_port: llama-server's; None where there is none.
        own_port: that of another kvtape, which only knows what is resent to it.
    """

    def __init__(
        self,
        client: SessionClient,
        peer_port: int | None,
        own_port: int,
        limit: Limit | None,
        shape: ModelShape,
    ) -> None:
        self.client = client
        self.n_rows = 0
        self._rows = candles(4096)
        self._peer_port, self._own_port = peer_port, own_port
        self._limit, self._shape = limit, shape

    def fill(self, n_rows: int) -> None:
        """Let session and peer hold `n_rows` candles."""
        while self.n_rows < n_rows:
            n = min(100, n_rows - self.n_rows)
            self._push(n)
            self.client.resident(self.n_rows)
        self.client.ask(QUESTION, 1)
        self._resent(self._prompt())
        self._resent_to_us(self._prompt())

    def round(self, times: Times) -> None:
        """Push a candle and ask, in the session and by sending all again."""
        client = self.client
        n_before = client.data_end()
        self._push(1)
        began = time.perf_counter()
        answer = client.ask(QUESTION, ANSWER_TOKENS)
        times.session.append(time.perf_counter() - began)
        text = self._prompt()
        times.n_context = answer["usage"]["prompt_tokens"]
        times.n_new = times.n_context - n_before
        if self._limit is not None:
            least = least_seconds(self._limit, self._shape, n_before, times.n_new, ANSWER_TOKENS)
            times.least.append(least)
        if self._peer_port is not None:
            times.resent.append(self._resent(text, times.n_context))
        times.resent_to_us.append(self._resent_to_us(text, times.n_context))

    def ask_each(self, n: int) -> dict[str, float]:
        """Ask the n-th question in the session, of the peer, and of kvtape without the session; return the seconds."""
        began = time.perf_counter()
        answer = self.client.ask(QUERIES[n], ANSWER_TOKENS)
        session = time.perf_counter() - began
        text, n_tokens = self._prompt(), answer["usage"]["prompt_tokens"]
        return {
            "session": session,
            "llama-server": self._resent(text, n_tokens),
            "resent to kvtape": self._resent_to_us(text, n_tokens),
        }

    def rolling(self, times: Times) -> None:
        """Ask the peer with the oldest candle gone; each call with one more."""
        lines = self._prompt().split("\n")
        gone = len(times.rolling) + 1
        times.rolling.append(self._resent("\n".join([*lines[:HEAD_LINES], *lines[HEAD_LINES + gone :]])))

    def _push(self, n: int) -> None:
        self.client.push(self._rows[self.n_rows : self.n_rows + n])
        self.n_rows += n

    def _prompt(self) -> str:
        """Return the text that the last question was answered from."""
        text = self.client.context_text()
        return text[: text.rindex(ASSISTANT) + len(ASSISTANT)]

    def _resent(self, text: str, n_tokens: int | None = None) -> float:
        if self._peer_port is None:
            return 0.0
        seconds, answer = resend(self._peer_port, "/completion", {
            "prompt": text, "n_predict": ANSWER_TOKENS, "temperature": 0, "cache_prompt": True, "ignore_eos": True,
        })  # fmt: skip
        if n_tokens is not None and answer["tokens_evaluated"] != n_tokens:
            raise RuntimeError(f"the peer was asked {answer['tokens_evaluated']} tokens, the session {n_tokens}")
        return seconds

    def _resent_to_us(self, text: str, n_tokens: int | None = None) -> float:
        seconds, answer = resend(self._own_port, "/v1/completions", {
            "model": "any", "prompt": text, "max_tokens": ANSWER_TOKENS, "temperature": 0, "ignore_eos": True,
        })  # fmt: skip
        if n_tokens is not None and answer["usage"]["prompt_tokens"] != n_tokens:
            raise RuntimeError(f"resent {answer['usage']['prompt_tokens']} tokens, the session had {n_tokens}")
        return seconds


def resend(port: int, path: str, body: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Post a request over a connection of its own; return seconds and answer."""
    http = HTTPConnection("127.0.0.1", port, timeout=600)
    http.connect()
    began = time.perf_counter()
    http.request("POST", path, dumps(body), {"Content-Type": "application/json"})
    response = http.getresponse()
    text = response.read()
    seconds = time.perf_counter() - began
    http.close()
    if response.status >= 400:
        raise RuntimeError(f"{path}: {response.status} {text.decode()[:400]}")
    return seconds, loads(text)
