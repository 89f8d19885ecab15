"""What the answer must match: OpenAI's `response_format`, and our `grammar` and `regex`."""

from __future__ import annotations

import msgspec

from kvtape.protocols.openai.request_models import ResponseFormat, SamplingFields
from kvtape.protocols.openai.tools import check_name
from kvtape.protocols.requests import refuse_unless, required
from kvtape.types import Constraint, ConstraintKind

__all__ = ["read_answer"]

_TYPES = ("text", "json_object", "json_schema")


def read_answer(request: SamplingFields) -> Constraint | None:
    """Read the constraint of an answer; at most one of three fields asks for one.

    Raises:
        InvalidRequest: two of them, or a format that is not known.
    """
    found = (_read_format(request.response_format), _read_grammar(request.grammar), _read_regex(request.regex))
    given = [answer for answer in found if answer]
    if len(given) > 1:
        refuse_unless(False, given[1].param, f"cannot stand beside {given[0].param}")
    return given[0] if given else None


def _read_grammar(grammar: str | None) -> Constraint | None:
    return None if grammar is None else Constraint(ConstraintKind.LARK, grammar, "grammar")


def _read_regex(regex: str | None) -> Constraint | None:
    return None if regex is None else Constraint(ConstraintKind.REGEX, regex, "regex")


def _read_format(wanted: ResponseFormat | None) -> Constraint | None:
    if wanted is None or wanted.type == "text":
        return None
    refuse_unless(wanted.type in _TYPES, "response_format.type", f"must be one of {', '.join(_TYPES)}")
    if wanted.type == "json_object":
        return Constraint(ConstraintKind.JSON_SCHEMA, '{"type":"object"}', "response_format")
    path = "response_format.json_schema"
    described = required(wanted.json_schema, path)
    check_name(described.name, f"{path}.name")
    source = msgspec.json.encode(described.schema or {}).decode()
    return Constraint(ConstraintKind.JSON_SCHEMA, source, f"{path}.schema")
