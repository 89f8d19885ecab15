"""LayerScale: a question to a session."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale.models import GenerateRequest
from kvtape.protocols.openai.fields import read_seed
from kvtape.protocols.openai.history import read_messages
from kvtape.protocols.openai.request_models import ChatRequest
from kvtape.protocols.openai.thinking import read_template_options, read_thinking
from kvtape.protocols.openai.tools import read_tools
from kvtape.protocols.requests import decode_request, refuse_all, refuse_unless
from kvtape.protocols.sampling import CHAT_TEMPERATURE, CHAT_TOP_P, read_stop, sampling_params, token_limit
from kvtape.types import ChatPrompt, SamplingParams, Thinking, ToolChoice

__all__ = ["GenerateCall", "decode_generate"]

DEFAULT_MAX_TOKENS = 256  # of the first generation; the second has no cap
DEFAULT_GAP_THRESHOLD = 2.0
MAX_CANDIDATES = 64

_ALIASES = {"maxTokens": "max_tokens", "fastAnswer": "fast_answer", "clearAfter": "clear_after"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateCall:
    """A checked question to a session: a `prompt`, or a `chat`; with neither the session's context is continued.

    `fast_answer` says whether an answer that is there already will do; None: the request does not say. A ready position
    may decide for one of `candidates`, if the gap to the second best token is large enough.
    """

    prompt: str | None
    chat: ChatPrompt | None
    params: SamplingParams
    thinking: Thinking
    stream: bool
    fast_answer: bool | None
    candidates: tuple[str, ...]
    gap_threshold: float
    clear_after: bool


def decode_generate(body: bytes, *, wire: int) -> GenerateCall:
    """Decode `POST …/generate` to a session of the first or the second generation.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, GenerateRequest, _ALIASES)
    refuse_all(request, ("reasoning", "thinking_budget"))
    if wire == 2:
        for name in ("messages", "tools", "clear_after"):
            refuse_unless(not getattr(request, name), name, "does not go with a session of the second generation")
        refuse_unless(request.prompt is not None, "prompt", "is required")
    refuse_unless(request.prompt != "", "prompt", "must not be empty")
    if request.clear_after is not None and request.clear_after < 0:
        raise InvalidRequest(f"clear_after must not be negative, found {request.clear_after}", param="clear_after")
    refuse_unless("date_string" not in read_template_options(request), "chat_template_kwargs.date_string", _DATED)
    fast_answer = request.fast_answer if isinstance(request.fast_answer, bool) else None
    if fast_answer is None and wire == 2 and _asks_for_another(request):
        fast_answer = False
    return GenerateCall(
        prompt=request.prompt,
        chat=_read_chat(request),
        params=_read_params(request, wire),
        thinking=read_thinking(request),
        stream=bool(request.stream),
        fast_answer=fast_answer,
        candidates=_read_candidates(request.fast_answer),
        gap_threshold=_read_gap(request.gap_threshold),
        clear_after=bool(request.clear_after),
    )


_DATED = "cannot be set here: a session keeps the date of its beginning"


def _asks_for_another(request: GenerateRequest) -> bool:
    """Whether a client of the second generation asks for another answer than the one that a flash query keeps.

    That one is greedy. It is expected for an equal question although the default there is to draw.
    """
    draws = any(getattr(request, name) is not None for name in ("temperature", "top_p", "seed"))
    return bool((draws and request.temperature != 0) or request.stop or request.ignore_eos)


def _read_params(request: GenerateRequest, wire: int) -> SamplingParams:
    limit = token_limit(request.max_tokens, request.max_completion_tokens)
    max_tokens, temperature, top_p = (
        (DEFAULT_MAX_TOKENS, 0.0, 1.0) if wire == 1 else (None, CHAT_TEMPERATURE, CHAT_TOP_P)
    )
    return sampling_params(
        max_tokens=max_tokens if limit is None else limit,
        temperature=temperature if request.temperature is None else request.temperature,
        top_p=top_p if request.top_p is None else request.top_p,
        seed=read_seed(request.seed),
        ignore_eos=request.ignore_eos,
        stop=read_stop(request.stop),
    )


def _read_chat(request: GenerateRequest) -> ChatPrompt | None:
    if not request.messages:
        refuse_unless(not request.tools, "tools", "needs messages")
        return None
    refuse_unless(request.prompt is None, "prompt", "cannot stand beside messages")
    return ChatPrompt(
        messages=read_messages(request.messages),
        tools=read_tools(ChatRequest(messages=request.messages, tools=request.tools)),
        tool_choice=ToolChoice(constrained=True),
        thinking=read_thinking(request),
        template_options=read_template_options(request),
    )


def _read_candidates(candidates: bool | list[str] | None) -> tuple[str, ...]:
    if not isinstance(candidates, list):
        return ()
    refuse_unless(len(candidates) <= MAX_CANDIDATES, "fast_answer", f"has at most {MAX_CANDIDATES} strings")
    for index, candidate in enumerate(candidates):
        path = f"fast_answer[{index}]"
        refuse_unless(bool(candidate.strip()), path, "must not be empty")
        refuse_unless(candidate not in candidates[:index], path, f"is {candidate!r:.80} for the second time")
    return tuple(candidates)


def _read_gap(gap: float | None) -> float:
    if gap is None:
        return DEFAULT_GAP_THRESHOLD
    refuse_unless(math.isfinite(gap) and gap >= 0, "gap_threshold", f"must be a number from 0 on, found {gap}")
    return gap
