"""Messages on the wire to the plain dictionaries of a `ChatPrompt`."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.request_models import ContentPart, FunctionCall, InputMessage, InputToolCall
from kvtape.protocols.requests import refuse_unless, required

__all__ = ["read_messages"]

_ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
    "tool": "tool", "ipython": "tool", "function": "tool",
}  # fmt: skip
_OF_ASSISTANT = ("tool_calls", "function_call", "reasoning", "reasoning_content", "refusal")


def read_messages(messages: list[InputMessage], *, param: str = "messages") -> list[dict[str, Any]]:
    """Turn wire messages into the messages of a `ChatPrompt`.

    Each result answers a call that came before it. A call without an id, which LayerScale's clients may send, gets one,
    and a result without an id answers the first call that is still open.

    Raises:
        InvalidRequest: no messages, an unknown role, content that is not text, arguments that are no JSON object, or a
            result of no call; `param` is its path.
    """
    if not messages:
        raise InvalidRequest(f"{param} must hold at least one message", param=param)
    history = _History()
    for index, message in enumerate(messages):
        history.read(message, f"{param}[{index}]")
    return history.messages


class _History:
    """The messages so far, and the calls among them that have no result yet: name by id."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._open: dict[str, str] = {}
        self._n_calls = 0

    def read(self, message: InputMessage, path: str) -> None:
        role = _ROLES.get(message.role)
        if role is None:
            raise InvalidRequest(
                f"{path}.role must be one of {', '.join(_ROLES)}, found {message.role!r:.40}", param=f"{path}.role"
            )
        refuse_unless(not message.audio, f"{path}.audio", "is not supported by this server")
        plain: dict[str, Any] = {"role": role, "content": _read_content(message.content, f"{path}.content", role)}
        if role == "assistant":
            self._read_assistant(message, path, plain)
        else:
            for name in _OF_ASSISTANT:
                refuse_unless(not getattr(message, name), f"{path}.{name}", "belongs to the assistant's messages")
        if role == "tool":
            self._read_result(message, path, plain)
        else:
            refuse_unless(not message.tool_call_id, f"{path}.tool_call_id", "belongs to messages of the role tool")
        self.messages.append(plain)

    def _read_assistant(self, message: InputMessage, path: str, plain: dict[str, Any]) -> None:
        plain["content"] += message.refusal or ""
        reasoning = message.reasoning or message.reasoning_content
        if reasoning:
            plain["reasoning_content"] = reasoning
        calls = [self._read_call(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(message.tool_calls or ())]
        if message.function_call is not None:
            refuse_unless(not calls, f"{path}.function_call", "cannot stand beside tool_calls")
            calls = [self._call(None, message.function_call, f"{path}.function_call.arguments")]
        if calls:
            plain["tool_calls"] = calls

    def _read_call(self, call: InputToolCall, path: str) -> dict[str, Any]:
        refuse_unless(call.type == "function", f"{path}.type", f"must be 'function', found {call.type!r:.40}")
        function = required(call.function, f"{path}.function")
        refuse_unless(call.id not in self._open, f"{path}.id", "is that of another call without a result")
        return self._call(call.id, function, f"{path}.function.arguments")

    def _call(self, call_id: str | None, function: FunctionCall, arguments_path: str) -> dict[str, Any]:
        self._n_calls += 1
        call_id = call_id or f"call_{self._n_calls}"
        arguments = _read_arguments(function.arguments, arguments_path)
        self._open[call_id] = function.name
        return {"id": call_id, "type": "function", "function": {"name": function.name, "arguments": arguments}}

    def _read_result(self, message: InputMessage, path: str, plain: dict[str, Any]) -> None:
        if message.role == "function":
            path, wanted = f"{path}.name", required(message.name, f"{path}.name")
            call_id = next((call_id for call_id, name in self._open.items() if name == wanted), None)
        else:
            path, call_id = f"{path}.tool_call_id", message.tool_call_id or next(iter(self._open), None)
        name = self._open.pop(call_id, None) if call_id is not None else None
        if name is None:
            raise InvalidRequest(f"{path}: there is no call before this message that it would answer", param=path)
        plain |= {"tool_call_id": call_id, "name": name}


def _read_content(content: str | list[ContentPart] | None, path: str, role: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for index, part in enumerate(content):
        where = f"{path}[{index}]"
        if part.type == "text":
            texts.append(required(part.text, f"{where}.text"))
        elif part.type == "refusal" and role == "assistant":
            texts.append(required(part.refusal, f"{where}.refusal"))
        else:
            raise InvalidRequest(
                f"{where}.type {part.type!r:.40} is not supported, only text is", param=f"{where}.type"
            )
    return "".join(texts)


def _read_arguments(arguments: Any, path: str) -> str:
    """Return arguments as the text of a JSON object; absent or empty ones are no arguments."""
    if not arguments:
        return "{}"
    if isinstance(arguments, dict):
        return json.dumps(arguments, ensure_ascii=False)
    try:
        value = json.loads(arguments, parse_constant=_refuse_constant) if isinstance(arguments, str) else None
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path} must be a JSON object as text: {error}", param=path) from None
    refuse_unless(isinstance(value, dict), path, "must be a JSON object as text")
    return str(arguments)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
