"""Log-probabilities on the wire: a list of objects in chat, four parallel lists in raw completions."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

from kvtape.protocols.openai import completions_models, models
from kvtape.types import TokenEvent

__all__ = ["TextLogprobsEncoder", "TokenBytes", "WithText", "encode_chat_logprobs"]

TokenBytes = Callable[[int], bytes]  # what a token adds to the text


class WithText:
    """Holds events back until their text can be shown, so that each chunk carries the log-probabilities of its text."""

    def __init__(self) -> None:
        self._held: list[TokenEvent] = []

    def push(self, event: TokenEvent) -> list[TokenEvent]:
        """Return the events that go out with this one: none while there is neither text nor an end."""
        self._held.append(event)
        if not event.text and not event.finished:
            return []
        shown, self._held = self._held, []
        return shown


def encode_chat_logprobs(events: Sequence[TokenEvent], token_bytes: TokenBytes) -> models.Logprobs:
    """Encode chat's form, one entry a token."""

    def spell(token_id: int) -> tuple[str, list[int]]:
        raw = token_bytes(token_id)
        return raw.decode("utf-8", "replace"), list(raw)

    entries = []
    for event in events:
        token, raw = spell(event.token_id)
        top = []
        for alternative in event.top_logprobs:
            other, other_raw = spell(alternative.token_id)
            top.append(models.TopTokenLogprob(other, _finite(alternative.logprob), other_raw))
        entries.append(models.TokenLogprob(token, _finite(event.logprob or 0.0), raw, top))
    return models.Logprobs(entries)


class TextLogprobsEncoder:
    """Encodes the form of raw completions for one choice, piece by piece.

    `text_offset` counts characters from the beginning of the choice's text. A token that is no whole character is
    spelled `bytes:\\xe2\\x82`, so that two of them stay two keys of `top_logprobs`.
    """

    def __init__(self, token_bytes: TokenBytes, *, offset: int = 0) -> None:
        self._token_bytes = token_bytes
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = offset  # of the next token; below 0 where it begins before the text

    def encode(self, events: Sequence[TokenEvent]) -> completions_models.TextLogprobs:
        """Encode the next events; the token that was drawn is always among `top_logprobs`."""
        logprobs = completions_models.TextLogprobs([], [], [], [])
        for event in events:
            token = self._spell(event.token_id)
            top = {self._spell(item.token_id): _finite(item.logprob) for item in event.top_logprobs}
            logprob = None if event.logprob is None else _finite(event.logprob)
            if logprob is not None:
                top.setdefault(token, logprob)
            logprobs.tokens.append(token)
            logprobs.token_logprobs.append(logprob)
            logprobs.top_logprobs.append(None if logprob is None else top)
            logprobs.text_offset.append(max(self._offset, 0))
            self._offset += len(self._text.decode(self._token_bytes(event.token_id)))
        return logprobs

    def _spell(self, token_id: int) -> str:
        raw = self._token_bytes(token_id)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _finite(logprob: float) -> float:
    return max(logprob, -9999.0)  # JSON has no -inf
