"""What a request says about reasoning, and the variables that it sets in the chat template."""

from __future__ import annotations

from typing import Any, Protocol

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.request_models import ChatRequest, Reasoning
from kvtape.protocols.requests import refuse_unless
from kvtape.types import Thinking, check_bound

__all__ = ["ThinkingFields", "read_template_options", "read_thinking", "shows_reasoning"]

_OFF = ("none", "minimal", "low")
_ON = ("medium", "high", "xhigh", "max")


class ThinkingFields(Protocol):
    """A request of any route that says something about reasoning."""

    reasoning_effort: str | None
    reasoning: Reasoning | None
    thinking_budget: int | None
    chat_template_kwargs: dict[str, Any] | None


def read_thinking(request: ThinkingFields) -> Thinking:
    """Read whether the model reasons, and for how many tokens at most.

    An effort outranks a switch, and a budget turns reasoning on where nothing else says; a budget of 0 turns it off.

    Raises:
        InvalidRequest: an unknown effort, a budget out of bounds, or one thing said twice.
    """
    reasoning = request.reasoning or Reasoning()
    effort = _either(request.reasoning_effort, "reasoning_effort", reasoning.effort, "reasoning.effort")
    budget = _either(request.thinking_budget, "thinking_budget", reasoning.max_tokens, "reasoning.max_tokens")
    enabled = reasoning.enabled
    if enabled is None:
        enabled = (request.chat_template_kwargs or {}).get("enable_thinking")
    if effort is not None:
        path = "reasoning_effort" if request.reasoning_effort else "reasoning.effort"
        refuse_unless(effort in (*_OFF, *_ON), path, f"must be one of {', '.join((*_OFF, *_ON))}")
        enabled = effort in _ON
    if budget is not None:
        path = "thinking_budget" if request.thinking_budget is not None else "reasoning.max_tokens"
        check_bound("reasoning_budget", budget, param=path)
        enabled = budget > 0 if enabled is None else enabled
    return Thinking(enabled, budget)


def _either(first: Any, first_path: str, second: Any, second_path: str) -> Any:
    refuse_unless(first is None or second is None, second_path, f"cannot stand beside {first_path}")
    return second if first is None else first


def shows_reasoning(request: ChatRequest) -> bool:
    """Whether the reply tells the reasoning."""
    excluded = request.reasoning is not None and request.reasoning.exclude is True
    return request.include_reasoning is not False and not excluded


def read_template_options(request: ThinkingFields) -> dict[str, Any]:
    """Read the variables of the chat template, but for `enable_thinking`, which `read_thinking` reads.

    Raises:
        InvalidRequest: an unknown one, or one of another type.
    """
    options: dict[str, Any] = {}
    for name, value in (request.chat_template_kwargs or {}).items():
        path = f"chat_template_kwargs.{name}"
        if name == "date_string":
            refuse_unless(isinstance(value, str), path, "must be a string")
            options[name] = value
        elif name == "enable_thinking":
            refuse_unless(isinstance(value, bool), path, "must be a boolean")
        elif name in ("add_generation_prompt", "tools_in_user_message"):
            refuse_unless(value is True, path, "may only be true")
        else:
            raise InvalidRequest(f"{path} is not a known template option", param=path)
    return options
