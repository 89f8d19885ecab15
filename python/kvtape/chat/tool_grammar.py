"""Constraints that make a model's calls ones that their parser reads and their schemas allow."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kvtape.chat.tool_parsers import TOOL_PARSERS
from kvtape.engine.constraints import check_constraint, checked_schema
from kvtape.errors import InvalidRequest
from kvtape.types import Constraint, ConstraintKind, Tool, ToolChoice, ToolMode

if TYPE_CHECKING:
    from kvtape.model.load import Model

__all__ = ["tool_grammar"]


@dataclass(frozen=True, slots=True)
class _Form:
    """How a format writes calls where nothing leaves it a choice."""

    marker: str = ""  # before a group of calls
    begin: str = ""  # the rest of what opens a group
    between: str = ""  # calls of a group
    end: str = ""  # of a group
    arguments: str = "arguments"
    repeats: bool = False  # whether each call has a group of its own


_TAGGED = _Form(marker="<tool_call>", begin="\n", end="\n</tool_call>", repeats=True)
_FORMS = {
    "hermes": _TAGGED,
    "qwen_coder": _TAGGED,
    "llama": _Form(between="; ", arguments="parameters"),
    "mistral": _Form(marker="[TOOL_CALLS]", begin="[", between=", ", end="]"),
    "json": _Form(between="\n"),
}
_ANY_OBJECT: dict[str, Any] = {"type": "object"}
_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def tool_grammar(
    format_name: str, tools: Sequence[Tool], choice: ToolChoice, model: Model, *, answer: Constraint | None = None
) -> Constraint | None:
    """Return what a reply must match for its calls to obey `choice`; None where it may say anything.

    A reply that must call is one or more calls and nothing else. One that may is constrained if calls are to be, a tool
    is strict, or the answer is; else the model calls in its own words, of which its parser knows more than this. The
    arguments of a strict tool match its schema; those of others do where the schema can be enforced, and else are any
    object. Blocks, as `check_constraint`.

    Args:
        format_name: how calls are written, a key of `TOOL_PARSERS`.
        tools: the tools the model knows.
        choice: what the request says about calls.
        model: whose tokenizer says which markers are tokens.
        answer: what a reply without calls must match; a JSON schema.

    Raises:
        InvalidRequest: no tool may be called although one must be, the schema of a strict tool cannot be enforced, or
            the answer is held to something else than a schema.
    """
    callable_tools = [tool for tool in tools if not choice.names or tool.name in choice.names]
    required = choice.mode is ToolMode.REQUIRED
    if required and not callable_tools:
        raise InvalidRequest("a tool must be called, and there is none", param="tool_choice")
    if choice.mode is ToolMode.NONE or not callable_tools:
        return answer
    held = choice.constrained or any(tool.strict for tool in callable_tools)
    if not required and answer is None and not held:
        return None
    form = _FORMS[format_name]
    special = model.tokenizer.special_tokens
    marker = _token(form.marker, special)
    rules = [_start(form, marker, required=required or answer is not None, parallel=choice.parallel)]
    if answer is not None and not required:
        rules += _or_answer(rules.pop(), answer)
    rules.append("call: " + " | ".join(f"call{i}" for i in range(len(callable_tools))))
    for i, tool in enumerate(callable_tools):
        schema = json.dumps(checked_schema(json.dumps(_arguments(tool, model))))
        opening = f'{{"name": {json.dumps(tool.name, ensure_ascii=False)}, "{form.arguments}": '
        rules += [f"call{i}: {_literal(opening)} arguments{i} {_literal('}')}", f"arguments{i}: %json {schema}"]
    if not required and answer is None:
        rules += _text(format_name, marker)
    return Constraint(ConstraintKind.LARK, "\n".join(rules), "tools")


def _start(form: _Form, marker: str, *, required: bool, parallel: bool) -> str:
    """The rules of a reply, but for its text and its single calls."""
    more = f"({_literal(form.between)} call)*" if parallel and not form.repeats else ""
    group = f"group: {_literal(form.begin)} call {more} {_literal(form.end)}"
    if required:
        again = f'("\\n" {marker} group)*' if parallel and form.repeats else ""
        return f"start: {marker} group {again}\n{group}"
    if parallel and form.repeats:
        return f"start: (head group)* text\n{group}"
    return f"start: text | head group\n{group}"


def _or_answer(start: str, answer: Constraint) -> list[str]:
    """The rules of a reply that is either the calls of `start` or an answer."""
    if answer.kind is not ConstraintKind.JSON_SCHEMA:
        raise InvalidRequest(
            f"{answer.param} cannot stand beside tools that may be called; a JSON schema can", param=answer.param
        )
    schema = json.dumps(checked_schema(answer.source))
    return ["start: calls | answer", start.replace("start:", "calls:", 1), f"answer: %json {schema}"]


def _text(format_name: str, marker: str) -> list[str]:
    """The rules of text in which the format's parser finds no call, and of text up to where one begins.

    A group begins behind its marker; where there is none, at the start of a line.
    """
    parser = TOOL_PARSERS[format_name]
    parts = ["/(?s:.*)/"]
    tags = "|".join(re.escape(tag).replace("/", r"\/").replace(r"\|", "[|]") for tag in parser.tags)
    if tags:
        parts.append(f"~/(?s:.*)({tags})(?s:.*)/")
    if parser.bare:
        parts.append(r"~/((?s:.*)\n)?[ \t]*(\[[ \t]*)?\{(?s:.*)/")
    rules = ["TEXT: " + " & ".join(parts), "text: TEXT"]
    if marker.startswith("<["):
        return [*rules, f"head: TEXT {marker}"]
    if marker:
        return [*rules, f"head[lazy]: TEXT {marker}"]
    return [*rules, r"HEAD: TEXT & /((?s:.*)\n)?[ \t]*/", "head: HEAD"]


def _arguments(tool: Tool, model: Model) -> dict[str, Any]:
    """The schema of a tool's arguments, which are an object."""
    if tool.parameters is None:
        return _NO_ARGUMENTS
    schema = {"type": "object", **tool.parameters}
    try:
        if schema["type"] != "object":
            raise InvalidRequest(f"its parameters are of type {schema['type']!r:.40}, not an object", param="tools")
        check_constraint(model, Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(schema)))
    except InvalidRequest as error:
        if tool.strict:
            raise InvalidRequest(f"tool {tool.name!r:.80} cannot be strict: {error}", param="tools") from None
        return _ANY_OBJECT
    return schema


def _token(marker: str, special: dict[str, int]) -> str:
    """A marker as the grammar names it: a control token by its id, else by its text."""
    if not marker:
        return ""
    return f"<[{special[marker]}]>" if marker in special else _literal(marker)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""
