"""From a chat request to what an engine needs: token ids, sampling parameters, and how the reply is taken apart."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from kvtape.chat.held import HeldPrompt, HeldTurn
from kvtape.chat.reasoning import ReasoningMarkers, ReasoningSplitter, choose_reasoning_markers, reasoning_span
from kvtape.chat.reply import ReplyParser
from kvtape.chat.reply_end import Render
from kvtape.chat.sameness import digest
from kvtape.chat.splice import EncodedChat, splices_of
from kvtape.chat.template import template_of
from kvtape.chat.tool_grammar import tool_grammar
from kvtape.chat.tool_parsers import choose_tool_parser, make_tool_parser, shown_tokens
from kvtape.chat.tool_prompt import fold_tools, has_tools, template_messages, template_tools
from kvtape.engine.constraints import check_constraint
from kvtape.errors import InvalidRequest
from kvtape.types import (
    ChatPrompt,
    Constraint,
    FinishReason,
    ParsedReply,
    ReasoningSpan,
    SamplingParams,
    Tool,
    ToolMode,
)

if TYPE_CHECKING:
    from kvtape.model.load import Model

__all__ = ["History", "PreparedChat", "encode_chat", "prepare_chat", "render_chat"]

_N_GUIDES = 256  # kept a model

# What replies with these tools must match: a conversation brings the same tools with each turn.
_GUIDES: weakref.WeakKeyDictionary[Model, dict[bytes, Constraint | None]] = weakref.WeakKeyDictionary()


class History(Protocol):
    """The turns that a conversation goes on from: those kept for a model, `Splices`, or in one context, `HeldTurns`."""

    def encode(self, prompt: ChatPrompt, render: Render) -> Any:
        """Render a request and encode what those turns do not have."""

    def keep(
        self, encoded: Any, reply: ParsedReply, generated_ids: Sequence[int], finish: FinishReason | None
    ) -> HeldTurn | None:
        """Take a finished reply to what `encode` returned; `finish` is None where its first call ended it."""


@dataclass(frozen=True, slots=True)
class PreparedChat:
    """A chat request, ready to run; `make_parser` makes what reads one reply to it.

    `encoded` is what `token_ids` was made as. `keep` takes a finished reply with its ids, so that the conversation's
    next turn continues them.
    """

    model: Model
    prompt: ChatPrompt
    encoded: EncodedChat | HeldPrompt
    token_ids: list[int]
    params: SamplingParams
    make_parser: Callable[[], ReplyParser]
    keep: Callable[[ParsedReply, Sequence[int], FinishReason | None], HeldTurn | None]


def prepare_chat(
    model: Model,
    prompt: ChatPrompt,
    params: SamplingParams,
    *,
    history: History | None = None,
    now: float | None = None,
) -> PreparedChat:
    """Render and encode a request, and choose what its reply obeys. Blocks for about a millisecond.

    Args:
        model: what replies.
        prompt: what it replies to.
        params: of the reply; what the request's tools, answer and reasoning ask for is added.
        history: the turns that the ids of the prompt go on from; None: all that are kept for the model.
        now: the template's clock, Unix seconds; None: the time.

    Raises:
        InvalidRequest: the model has no chat template, its template refuses the messages, or the model cannot do what
            is asked; `param` names it.
    """
    prompt = _settled(prompt)
    form = _tool_format(model) if _offered(prompt) else None
    markers = _reasoning_markers(model, prompt)
    constraint = _constraint(model, prompt, form)
    turns: History = splices_of(model) if history is None else history
    render = partial(render_chat, model, now=now)
    encoded = turns.encode(prompt, render)
    opening = encoded.text
    if constraint and markers and prompt.thinking.enabled and not markers.opened_by(opening):
        # The reply would be held to the constraint from its first token, which allows no reasoning: it begins inside.
        encoded = turns.encode(replace(prompt, prefill=f"{markers.open}\n"), render)
        opening += markers.open
    span = reasoning_span(model, markers, opening, prompt.thinking)
    return PreparedChat(
        model=model,
        prompt=prompt,
        encoded=encoded,
        token_ids=encoded.token_ids,
        params=replace(params, reasoning=span, shown_tokens=shown_tokens(model, form, markers), constraint=constraint),
        make_parser=partial(_make_parser, prompt, form, markers, span),
        keep=partial(turns.keep, encoded),
    )


def encode_chat(model: Model, prompt: ChatPrompt) -> list[int]:
    """Return the token ids that a reply to `prompt` follows.

    Raises:
        InvalidRequest: as `prepare_chat`.
    """
    return splices_of(model).encode(_settled(prompt), partial(render_chat, model)).token_ids


def render_chat(
    model: Model, prompt: ChatPrompt, add_generation_prompt: bool = True, *, now: float | None = None
) -> str:
    """Return the text that a reply to `prompt` follows, but for its prefill; or of its messages alone.

    `now` is the template's clock, in Unix seconds; None: the time.

    Raises:
        InvalidRequest: as `prepare_chat`.
    """
    template = template_of(model)
    if template is None:
        raise InvalidRequest(f"model {model.name!r} has no chat template", param="messages")
    options = {**prompt.template_options, "add_generation_prompt": add_generation_prompt, "now": now}
    if prompt.thinking.enabled is not None:
        options["enable_thinking"] = prompt.thinking.enabled
    tools = _offered(prompt)
    if has_tools(template.source):
        messages = template_messages(prompt.messages)
        return template.render(messages, tools=template_tools(tools) or None, **options)
    messages = prompt.messages
    if tools or any(message["role"] == "tool" or message.get("tool_calls") for message in messages):
        messages = fold_tools(messages, tools, _tool_format(model))
    return template.render(messages, **options)


def _offered(prompt: ChatPrompt) -> tuple[Tool, ...]:
    """Tools that the model is told of; also those that may not be called this time, so that prompts begin alike."""
    return () if prompt.tool_choice.mode is ToolMode.NONE else prompt.tools


def _tool_format(model: Model) -> str:
    name = choose_tool_parser(model.template_source or "")
    if name is None:
        raise InvalidRequest(f"model {model.name!r} writes tool calls in a form that is not known here", param="tools")
    return name


def _settled(prompt: ChatPrompt) -> ChatPrompt:
    """Settle what a request leaves open: a reply that must call begins with the call, unless reasoning is asked for."""
    if prompt.tool_choice.mode is ToolMode.REQUIRED and prompt.thinking.enabled is None:
        return replace(prompt, thinking=replace(prompt.thinking, enabled=False))
    return prompt


def _constraint(model: Model, prompt: ChatPrompt, form: str | None) -> Constraint | None:
    """Return what the reply must match, its reasoning apart. It has been compiled once, so that it is sound."""
    if form is None:
        if prompt.answer is not None:
            check_constraint(model, prompt.answer)
        return prompt.answer
    tools = [(tool.name, tool.parameters, tool.strict) for tool in prompt.tools]
    key = digest(json.dumps([form, tools, prompt.tool_choice, prompt.answer], sort_keys=True, default=repr))
    known = _GUIDES.setdefault(model, {})
    with suppress(KeyError):  # several threads are here
        return known[key]
    constraint = tool_grammar(form, prompt.tools, prompt.tool_choice, model, answer=prompt.answer)
    if constraint is not None:
        check_constraint(model, constraint)
    if len(known) >= _N_GUIDES:
        known.clear()
    known[key] = constraint
    return constraint


def _make_parser(
    prompt: ChatPrompt, form: str | None, markers: ReasoningMarkers | None, span: ReasoningSpan | None
) -> ReplyParser:
    names = prompt.tool_choice.names or tuple(tool.name for tool in prompt.tools)
    return ReplyParser(
        reasoning=ReasoningSplitter(markers, opened=span.opened) if markers and span else None,
        tools=make_tool_parser(form, names) if form else None,
    )


def _reasoning_markers(model: Model, prompt: ChatPrompt) -> ReasoningMarkers | None:
    """Return what the model writes around its reasoning; a reply that has begun already does not begin with any."""
    return None if prompt.prefill else choose_reasoning_markers(model.template_source or "")
