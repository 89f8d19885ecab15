"""Replies of the client `openai`, streamed and plain, in one form that can be compared."""

from __future__ import annotations

from typing import Any

__all__ = ["Joined", "assert_stream_is_plain", "counts", "extra", "plain_choices"]


def extra(**fields):
    """Return what keeps a random model talking."""
    return {"extra_body": {"ignore_eos": True, **fields}}


def joined_logprobs(old, new):
    if new is None:
        return old
    lists = {name: values for name, values in new.model_dump().items() if isinstance(values, list)}
    return {name: (old or {}).get(name, []) + values for name, values in lists.items()}


class Reply:
    """One choice, put together from the pieces of a stream or from the whole."""

    def __init__(self):
        self.texts: dict[str, str | None] = {}  # by field: text or content, refusal, reasoning
        self.calls: dict[int, list[str]] = {}  # name and arguments
        self.ids: list[str] = []
        self.logprobs = None
        self.finish_reason: str | None = None

    def add(self, piece: Any, fields: dict[str, Any]) -> None:
        assert self.finish_reason is None, "nothing follows the finish reason"
        self.finish_reason = piece.finish_reason
        self.logprobs = joined_logprobs(self.logprobs, piece.logprobs)
        calls = fields.pop("tool_calls", None) or []
        if fields.get("function_call"):
            calls = [{"function": fields["function_call"]}]
        for index, call in enumerate(calls):
            self._add_call(call.get("index", index), call)
        for name in ("text", "content", "refusal", "reasoning", "reasoning_content"):
            if name in fields:
                old, new = self.texts.get(name), fields[name]
                self.texts[name] = new if old is None else old + new

    def _add_call(self, index: int, call: dict[str, Any]) -> None:
        name, arguments = call["function"].get("name"), call["function"].get("arguments") or ""
        if name is not None:
            assert index == len(self.calls), "calls come in order"
            self.calls[index] = [name, ""]
            if "id" in call:
                assert call["type"] == "function"
                self.ids.append(call["id"])
        self.calls[index][1] += arguments

    def compared(self):
        return self.texts, self.calls, self.logprobs, self.finish_reason


def fields_of(piece: Any) -> dict[str, Any]:
    if hasattr(piece, "text"):
        return {"text": piece.text}
    said = piece.delta if hasattr(piece, "delta") else piece.message
    fields: dict[str, Any] = said.model_dump(exclude_unset=True)
    return fields


class Joined:
    """A stream of either route, put together again by choice."""

    def __init__(self, chunks):
        self.replies: dict[int, Reply] = {}
        self.usage = None
        heads = set()
        for chunk in chunks:
            heads.add((chunk.id, chunk.created, chunk.model, chunk.system_fingerprint))
            self.usage = chunk.usage
            for piece in chunk.choices:
                self.replies.setdefault(piece.index, Reply()).add(piece, fields_of(piece))
        assert len(heads) == 1
        ids = [name for reply in self.replies.values() for name in reply.ids]
        assert len(set(ids)) == len(ids)

    @property
    def choices(self):
        return {index: reply.compared() for index, reply in self.replies.items()}


def plain_choices(reply):
    """Return a plain reply as `Joined.choices` is."""
    replies = {}
    for choice in reply.choices:
        replies[choice.index] = Reply()
        replies[choice.index].add(choice, fields_of(choice))
    return {index: reply.compared() for index, reply in replies.items()}


def counts(usage):
    """Return what does not depend on who came before, as what is cached does."""
    details = usage.completion_tokens_details
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, details and details.reasoning_tokens


def assert_stream_is_plain(create, fields):
    plain = create(**fields)
    streamed = Joined(create(**fields, stream=True, stream_options={"include_usage": True}))
    assert streamed.choices == plain_choices(plain), fields
    assert counts(streamed.usage) == counts(plain.usage)
    return plain
