"""Messages: request bytes to what every dialect shares."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.conversation import read_conversation
from kvtape.protocols.anthropic.models import CountRequest, MessageRequest, OutputFormat
from kvtape.protocols.anthropic.thinking import read_thinking, shows_thinking
from kvtape.protocols.anthropic.tools import read_tool_choice, read_tools
from kvtape.protocols.requests import LATER, decode_request, refuse_all, refuse_unless
from kvtape.protocols.sampling import CHAT_TEMPERATURE, CHAT_TOP_P, read_stop, sampling_params
from kvtape.types import (
    MAX_STOP_BYTES,
    MAX_STOP_STRINGS,
    ChatPrompt,
    Constraint,
    ConstraintKind,
    SamplingParams,
    ToolMode,
)

__all__ = ["MessageCall", "decode_count_request", "decode_message_request"]


@dataclass(frozen=True, slots=True)
class MessageCall:
    """A checked request.

    Args:
        prompt: what to reply to.
        marked: the same without what follows the last `cache_control`; None where none is set.
        params: of the generation; what counts tokens has no use for this and the next two.
        stream: whether the reply comes as events.
        shows_thinking: whether its thinking blocks show their text.
        session_id: of the session that it is a turn of.
    """

    prompt: ChatPrompt
    marked: ChatPrompt | None = None
    params: SamplingParams = field(default_factory=SamplingParams)
    stream: bool = False
    shows_thinking: bool = True
    session_id: str | None = None


def decode_message_request(body: bytes) -> MessageCall:
    """Decode and check the body of `POST /v1/messages`.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, MessageRequest)
    call = _read_call(request, request.max_tokens)
    refuse_all(request, ("container", "diagnostics", "billing_policy", "fallbacks", "fallback_credit_token", "thread"))
    refuse_unless(request.inference_geo is None, "inference_geo", "cannot be promised by this server")
    refuse_unless(
        request.service_tier in (None, "auto", "standard_only"), "service_tier", "must be auto or standard_only"
    )
    return replace(
        call,
        params=_read_params(request),
        stream=bool(request.stream),
        shows_thinking=shows_thinking(request.thinking),
        session_id=request.session_id or None,
    )


def decode_count_request(body: bytes) -> MessageCall:
    """Decode and check the body of `POST /v1/messages/count_tokens`; fields that do not change the prompt are ignored.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    return _read_call(decode_request(body, CountRequest), None)


def _read_call(request: CountRequest, max_tokens: int | None) -> MessageCall:
    refuse_all(request, ("mcp_servers", "context_management", "compaction"))
    refuse_unless(request.speed in (None, "standard"), "speed", "must be standard")
    tools = read_tools(request.tools)
    effort = request.output_config.effort if request.output_config is not None else None
    settings = ChatPrompt(
        messages=[],
        tools=tools,
        tool_choice=read_tool_choice(request.tool_choice, tools),
        thinking=read_thinking(request.thinking, effort, max_tokens),
        answer=_read_format(request),
    )
    conversation = read_conversation(
        request.system, request.messages, request.tools, mark_last=request.cache_control is not None
    )
    prompt = conversation.fill(settings)
    if prompt.prefill:
        last = f"messages[{len(request.messages) - 1}]"
        calls = prompt.tool_choice.mode is ToolMode.REQUIRED
        for wanted, what in ((prompt.answer, "a format"), (prompt.thinking.enabled, "thinking"), (calls, "a call")):
            refuse_unless(not wanted, last, f"cannot begin the reply where {what} is asked for")
    marked = conversation.marked()
    return MessageCall(prompt, marked=marked.fill(settings) if marked is not None else None)


def _read_format(request: CountRequest) -> Constraint | None:
    config = request.output_config
    if config is not None:
        refuse_unless(not config.task_budget, "output_config.task_budget", LATER)
    current: OutputFormat | None = config.format if config is not None else None
    refuse_unless(
        current is None or request.output_format is None, "output_format", "cannot stand beside output_config.format"
    )
    wanted = current or request.output_format
    if wanted is None:
        return None
    param = "output_format.schema" if current is None else "output_config.format.schema"
    return Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(wanted.schema, ensure_ascii=False), param)


def _read_params(request: MessageRequest) -> SamplingParams:
    temperature = request.temperature
    if temperature is not None and not 0.0 <= temperature <= 1.0:
        raise InvalidRequest(
            f"temperature must be a number from 0 to 1, found {temperature!r:.40}", param="temperature"
        )
    return sampling_params(
        max_tokens=request.max_tokens,
        temperature=CHAT_TEMPERATURE if temperature is None else temperature,
        top_p=CHAT_TOP_P if request.top_p is None else request.top_p,
        top_k=request.top_k,
        seed=request.seed,
        stop=read_stop(
            request.stop_sequences, name="stop_sequences", max_strings=MAX_STOP_STRINGS, max_bytes=MAX_STOP_BYTES
        ),
        ignore_eos=request.ignore_eos,
    )
