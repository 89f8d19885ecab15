"""Chat completions: request bytes to a prompt and parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kvtape.protocols.openai.fields import read_count, read_include_usage, read_sampling
from kvtape.protocols.openai.history import read_messages
from kvtape.protocols.openai.reply import ReplyForm
from kvtape.protocols.openai.request_models import ChatRequest
from kvtape.protocols.openai.response_format import read_answer
from kvtape.protocols.openai.thinking import read_template_options, read_thinking, shows_reasoning
from kvtape.protocols.openai.tools import read_tool_choice, read_tools
from kvtape.protocols.requests import LATER, decode_request, refuse_all, refuse_unless
from kvtape.protocols.sampling import CHAT_TEMPERATURE, CHAT_TOP_P, token_limit
from kvtape.types import ChatPrompt, SamplingParams, ToolMode

__all__ = ["ChatCall", "decode_chat_request"]

_ALIASES = {"thinking_token_budget": "thinking_budget"}
_SERVICE_TIER = "default"


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A checked chat request."""

    prompt: ChatPrompt
    params: SamplingParams
    form: ReplyForm
    stream: bool
    include_usage: bool
    n: int = 1
    session_id: str | None = None  # of the session that it is a turn of


def decode_chat_request(body: bytes) -> ChatCall:
    """Decode and check the body of `POST /v1/chat/completions`.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, ChatRequest, _ALIASES)
    _refuse_unsupported(request)
    prompt = _read_prompt(request)
    return ChatCall(
        prompt=prompt,
        params=_read_params(request),
        form=_read_form(request, prompt),
        stream=bool(request.stream),
        include_usage=read_include_usage(request.stream, request.stream_options),
        n=read_count("n", request.n),
        session_id=request.session_id or None,
    )


def _refuse_unsupported(request: ChatRequest) -> None:
    refuse_all(request, ("audio", "moderation"))
    refuse_unless(request.modalities in (None, ["text"]), "modalities", "must be ['text']")
    refuse_unless(request.web_search_options is None, "web_search_options", LATER)
    refuse_unless(request.verbosity in (None, "medium"), "verbosity", "must be 'medium'; there is no other here")
    tiers = (None, "auto", "default", "flex", "scale", "priority", "fast")
    refuse_unless(request.service_tier in tiers, "service_tier", "is not one that there is")


def _read_prompt(request: ChatRequest) -> ChatPrompt:
    options: dict[str, Any] = read_template_options(request)
    tools = read_tools(request)
    choice = read_tool_choice(request, tools)
    return ChatPrompt(
        messages=read_messages(request.messages),
        tools=tools,
        tool_choice=choice,
        thinking=read_thinking(request),
        answer=read_answer(request),
        template_options=options,
    )


def _read_form(request: ChatRequest, prompt: ChatPrompt) -> ReplyForm:
    calls = bool(prompt.tools) and prompt.tool_choice.mode is not ToolMode.NONE
    refuse_unless(not calls or request.separate_reasoning is not False, "separate_reasoning", "must be true with tools")
    return ReplyForm(
        calls=calls,
        legacy=bool(request.functions),
        reasoning=shows_reasoning(request),
        separate_reasoning=request.separate_reasoning is not False,
        stream_reasoning=request.stream_reasoning is not False,
        service_tier=None if request.service_tier is None else _SERVICE_TIER,
    )


def _read_params(request: ChatRequest) -> SamplingParams:
    return read_sampling(
        request,
        max_tokens=token_limit(request.max_tokens, request.max_completion_tokens),
        temperature=CHAT_TEMPERATURE if request.temperature is None else request.temperature,
        top_p=CHAT_TOP_P if request.top_p is None else request.top_p,
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
    )
