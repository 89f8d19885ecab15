"""Tools in a prompt: for templates that know of tools, and for those that do not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kvtape.types import Tool

__all__ = ["fold_tools", "has_tools", "template_messages", "template_tools"]

# Asks for the forms that chat/tool_parsers call so.
_FORMS = {
    "hermes": (
        'To call one, write <tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call> '
        "and wait for its result."
    ),
    "json": 'To call one, reply with {{"name": {name}, "arguments": {arguments}}} and nothing else.',
}
_PLACES = {"name": "<name of the function>", "arguments": "<object of its arguments>"}
_NO_ARGUMENTS = {"type": "object", "properties": {}}


def has_tools(template: str) -> bool:
    """Whether a chat template writes tools, calls and their results itself."""
    return "tools" in template


def template_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Return tools in the form that chat templates expect, which is OpenAI's."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": _NO_ARGUMENTS if tool.parameters is None else dict(tool.parameters),
            },
        }
        for tool in tools
    ]


def template_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages in the form that chat templates expect: the arguments of calls as objects, not as text."""
    return [
        {**message, "tool_calls": [_with_object(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else dict(message)
        for message in messages
    ]


def fold_tools(messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], form: str) -> list[dict[str, Any]]:
    """Write tools, calls and results into plain messages, for a template that knows nothing of them.

    Tools go to the system prompt, calls into the assistant's text and results into the user's. What comes to stand side
    by side of one role is one message, because many templates insist on turns.

    Args:
        messages: as in a `ChatPrompt`.
        tools: what the model may call; none: only calls and results are folded.
        form: name of the parser that will read the reply, "hermes" or "json".
    """
    folded: list[dict[str, Any]] = []
    if tools:
        folded.append({"role": "system", "content": _introduction(tools, form)})
    for message in messages:
        plain = _fold(message, form)
        if tools and plain["role"] == "system" and len(folded) == 1:
            folded[0]["content"] = f"{plain['content']}\n\n{folded[0]['content']}"
        elif message["role"] in ("tool", "user") and folded and folded[-1].get("role") == "user":
            folded[-1]["content"] += f"\n{plain['content']}"
        else:
            folded.append(plain)
    return folded


def _introduction(tools: Sequence[Tool], form: str) -> str:
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in template_tools(tools))
    return f"You can call these functions:\n<tools>\n{listed}\n</tools>\n{_FORMS[form].format(**_PLACES)}"


def _fold(message: Mapping[str, Any], form: str) -> dict[str, Any]:
    content: str = message.get("content") or ""
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    calls = [_call_text(call, form) for call in message.get("tool_calls") or ()]
    kept = {name: message[name] for name in ("reasoning_content",) if name in message}
    return {"role": message["role"], "content": "\n".join([content, *calls] if content else calls), **kept}


def _call_text(call: Mapping[str, Any], form: str) -> str:
    function = call["function"]
    text = f'{{"name": {json.dumps(function["name"])}, "arguments": {function["arguments"] or "{}"}}}'
    return f"<tool_call>\n{text}\n</tool_call>" if form == "hermes" else text


def _with_object(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.loads(function["arguments"] or "{}")}}
