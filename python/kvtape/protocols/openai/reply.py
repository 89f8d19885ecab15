"""Chat completions: the steps of a reply to the body of a plain one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET

from kvtape.protocols.openai import models
from kvtape.protocols.openai.logprobs import TokenBytes, encode_chat_logprobs
from kvtape.types import ContentDelta, Event, ReasoningDelta, ReplyFinish, ReplyStep, Usage, gather

__all__ = ["ReplyForm", "call_id", "encode_completion", "encode_finish", "encode_usage", "shown_events"]


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """How a request wants its reply to be written."""

    calls: bool = False  # whether it may call tools
    legacy: bool = False  # a call is a `function_call`
    reasoning: bool = True  # whether it is told
    separate_reasoning: bool = True  # else it stays in the content, with its markers
    stream_reasoning: bool = True  # else a stream tells it in one piece
    service_tier: str | None = None


def shown_events(step: ReplyStep, form: ReplyForm) -> Iterable[Event]:
    """Return what a step adds to the reply as the request wants to see it."""
    if not form.separate_reasoning:
        return [ContentDelta(step.token.text)] if step.token.text else []
    if not form.reasoning:
        return [event for event in step.events if not isinstance(event, ReasoningDelta)]
    return step.events


def call_id(head: models.Head, choice: int, call: int) -> str:
    """Return the id of a call, which no other reply has, as `head.id` is random."""
    return f"call_{head.id.rpartition('-')[2]}_{choice}_{call}"


def encode_finish(finish: ReplyFinish, form: ReplyForm) -> str:
    """Return why a reply ended in OpenAI's words."""
    return "function_call" if form.legacy and finish is ReplyFinish.TOOL_CALLS else str(finish)


def encode_usage(usage: Usage, n_reasoning: int = 0) -> models.UsageBody:
    """Put token counts into the wire's shape; `n_reasoning` of the completion's are reasoning."""
    return models.UsageBody(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=models.PromptTokensDetails(usage.cached_tokens),
        completion_tokens_details=models.CompletionTokensDetails(n_reasoning) if n_reasoning else UNSET,
    )


def encode_completion(
    choices: Sequence[Sequence[ReplyStep]],
    usage: Usage,
    head: models.Head,
    form: ReplyForm,
    *,
    token_bytes: TokenBytes | None = None,
) -> bytes:
    """Encode a plain reply from all steps of each choice; give `token_bytes` where log-probabilities were asked."""
    encoded = []
    for index, steps in enumerate(choices):
        finish = steps[-1].finish
        assert finish is not None
        encoded.append(
            models.Choice(
                message=_message(steps, head, index, form),
                finish_reason=encode_finish(finish, form),
                logprobs=encode_chat_logprobs([step.token for step in steps], token_bytes) if token_bytes else None,
                index=index,
            )
        )
    counts = encode_usage(usage, sum(step.token.in_reasoning for steps in choices for step in steps))
    tier = UNSET if form.service_tier is None else form.service_tier
    return msgspec.json.encode(models.Completion(*head, encoded, counts, service_tier=tier))


def _message(steps: Sequence[ReplyStep], head: models.Head, index: int, form: ReplyForm) -> models.OutputMessage:
    reply = gather(event for step in steps for event in shown_events(step, form))
    calls = [models.CalledFunction(call.name, call.arguments) for call in reply.tool_calls]
    message = models.OutputMessage(reply.content or (None if calls or reply.reasoning else ""))
    if reply.reasoning is not None:
        message.reasoning = message.reasoning_content = reply.reasoning
    if calls and form.legacy:
        message.function_call = calls[0]
    elif calls:
        message.tool_calls = [
            models.OutputToolCall(call_id(head, index, number), call) for number, call in enumerate(calls)
        ]
    return message
