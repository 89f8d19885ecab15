"""LayerScale: a turn to be computed ahead."""

from __future__ import annotations

from kvtape.protocols.layerscale.models import WarmRequest
from kvtape.protocols.openai.history import read_messages
from kvtape.protocols.openai.request_models import ChatRequest
from kvtape.protocols.openai.thinking import read_template_options, read_thinking
from kvtape.protocols.openai.tools import read_tools
from kvtape.protocols.requests import decode_request
from kvtape.types import ChatPrompt

__all__ = ["decode_warm"]


def decode_warm(body: bytes) -> ChatPrompt:
    """Decode `POST …/warm`: the chat request of a turn to come, of which only what makes its prompt counts.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, WarmRequest)
    chat = ChatRequest(
        messages=request.messages,
        tools=request.tools,
        reasoning_effort=request.reasoning_effort,
        chat_template_kwargs=request.chat_template_kwargs,
        reasoning=request.reasoning,
        thinking_budget=request.thinking_budget,
    )
    return ChatPrompt(
        messages=read_messages(chat.messages),
        tools=read_tools(chat),
        thinking=read_thinking(chat),
        template_options=read_template_options(chat),
    )
