"""What the codecs ask of request bodies beyond the types of their models, as JSON Schema.

A field that is None here is known to the model only in order to be refused: the document leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kvtape.protocols.anthropic import models as anthropic
from kvtape.protocols.layerscale import models as layerscale
from kvtape.protocols.layerscale.create import MAX_FLASH_TOKENS
from kvtape.protocols.layerscale.generate import MAX_CANDIDATES
from kvtape.protocols.openai import completions_models, request_models
from kvtape.session.choices import MAX_CHOICE_BYTES, MIN_CHOICES
from kvtape.session.choices import MAX_CHOICES as MAX_FLASH_CHOICES
from kvtape.session.row_types import MAX_INTEGER, MAX_MAGNITUDE, MAX_TIME, MIN_TIME, ROW_TYPES, RowType
from kvtape.session.spec import OVERFLOWS
from kvtape.types import BOUNDS, MAX_CHOICES, MAX_STOP_BYTES, MAX_STOP_STRINGS, MAX_TOOLS, REQUEST_BOUNDS

__all__ = ["REFINED", "REQUIRED", "InitRequest", "row_schema"]

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": ["boolean", "null"]}
_SOME_TEXT: Schema = {"type": "string", "minLength": 1, "pattern": r"\S"}
_SCHEMA: Schema = {"type": "object", "description": "a JSON Schema"}
_FUNCTION_NAME = "^[a-zA-Z0-9_-]{1,64}$"


def _one_of(*values: Any) -> Schema:
    return {"enum": [*values, None]}


def _number(name: str, *, minimum: float | None = None, maximum: float | None = None) -> Schema:
    """Return the schema of a number of the parameter table, which may be left out."""
    bound = BOUNDS.get(name) or REQUEST_BOUNDS[name]
    return {
        "type": ["integer" if bound.integer else "number", "null"],
        "minimum": bound.minimum if minimum is None else minimum,
        "maximum": bound.maximum if maximum is None else maximum,
    }


def _numbers(*names: str) -> dict[str, Schema]:
    return {name: _number(name) for name in names}


def _object(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _array(items: Schema, **limits: int) -> Schema:
    return {"type": "array", "items": items, **limits}


def _stop(most: int, n_bytes: int) -> Schema:
    text = {"type": "string", "minLength": 1, "maxLength": n_bytes, "description": f"at most {n_bytes} bytes"}
    return {"anyOf": [text, _array(text, maxItems=most), {"type": "null"}]}


# -- OpenAI ------------------------------------------------------------------------------------------------------------

_SEED: Schema = {"type": ["integer", "null"], "minimum": -(1 << 63), "maximum": (1 << 64) - 1}
_SAMPLING: dict[str, Schema | None] = {
    **_numbers("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "frequency_penalty", "presence_penalty"),
    **_numbers("max_tokens", "n"),
    "session_id": None,
    "seed": _SEED,
    "stop": _stop(4, 64),
    "logit_bias": {
        "type": ["object", "null"],
        "propertyNames": {"pattern": "^[0-9]{1,9}$"},
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    },
    "response_format": {
        "anyOf": [
            _object({"type": {"enum": ["text", "json_object"]}}),
            _object(
                {
                    "type": {"const": "json_schema"},
                    "json_schema": _object(
                        {"name": {"type": "string", "pattern": _FUNCTION_NAME}}, schema=_SCHEMA, strict=_FLAG
                    ),
                }
            ),
            {"type": "null"},
        ]
    },
}

_PARTS = _array(_object({"type": {"const": "text"}, "text": _TEXT}))
_CONTENT: Schema = {"anyOf": [_TEXT, _PARTS, {"type": "null"}]}
_CALL = _object(
    {
        "function": _object(
            {"name": _TEXT},
            arguments={
                "anyOf": [
                    {"type": ["object", "null"]},
                    {"type": "string", "contentMediaType": "application/json", "description": "an object, as text"},
                ]
            },
        )
    },
    id={"type": ["string", "null"]},
    type={"const": "function"},
)
_REASONING: Schema = {"type": ["string", "null"]}
_PLAIN_MESSAGE: Schema = {
    "anyOf": [
        _object({"role": {"enum": ["system", "developer", "user"]}, "content": _CONTENT}),
        _object({"role": {"const": "assistant"}, "content": _CONTENT}, reasoning=_REASONING),
    ]
}
_CALLING_MESSAGE = _object(
    {"role": {"const": "assistant"}, "tool_calls": _array(_CALL, minItems=1)}, content=_CONTENT, reasoning=_REASONING
)
_RESULT_MESSAGE = _object(
    {"role": {"enum": ["tool", "ipython"]}, "content": {"anyOf": [_TEXT, _PARTS]}},
    tool_call_id={"type": ["string", "null"], "description": "of an open call; left out: of the first"},
)
_MESSAGES: Schema = {
    "anyOf": [
        _array(_PLAIN_MESSAGE, minItems=1),
        {
            **_array({"anyOf": [_PLAIN_MESSAGE, _CALLING_MESSAGE, _RESULT_MESSAGE]}),
            "contains": _CALLING_MESSAGE,
            "description": "calls, and results behind the calls that they answer",
        },
    ]
}
_FUNCTION = _object(
    {"name": {"type": "string", "pattern": _FUNCTION_NAME}},
    description={"type": ["string", "null"]},
    parameters=_object({"type": {"const": "object"}}),
    strict=_FLAG,
)
_TOOLS: Schema = {
    "anyOf": [
        _array(_object({"function": _FUNCTION}, type={"const": "function"}), maxItems=MAX_TOOLS),
        {"type": "null"},
    ],
    "description": "no name twice",
}
_EFFORT = _one_of("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TEMPLATE_OPTIONS: Schema = {
    "type": ["object", "null"],
    "properties": {
        "date_string": _TEXT,
        "enable_thinking": {"type": "boolean"},
        "add_generation_prompt": {"const": True},
        "tools_in_user_message": {"const": True},
    },
    "additionalProperties": False,
}
_NAMED_FUNCTION = _object({"type": {"const": "function"}, "function": _object({"name": _TEXT})})
_SESSION_ID: Schema = {"type": ["string", "null"], "pattern": "^[A-Za-z0-9_-]{1,128}$"}
_REASONING_OBJECT: Schema = {
    "anyOf": [
        _object({}, enabled=_FLAG, effort=_EFFORT, max_tokens=_number("reasoning_budget"), exclude=_FLAG),
        {"type": "null"},
    ]
}
_CHAT: dict[str, Schema | None] = {
    **_SAMPLING,
    "session_id": _SESSION_ID | {"description": "of the session that this is a turn of; n is 1 then"},
    "messages": _MESSAGES,
    "max_completion_tokens": _number("max_tokens"),
    "top_logprobs": _number("top_logprobs"),
    "thinking_budget": _number("reasoning_budget"),
    "reasoning_effort": _EFFORT,
    "reasoning": _REASONING_OBJECT,
    "chat_template_kwargs": _TEMPLATE_OPTIONS,
    "tools": _TOOLS,
    "tool_choice": {
        "anyOf": [
            _one_of("auto", "none", "required"),
            _NAMED_FUNCTION,
            _object(
                {
                    "type": {"const": "allowed_tools"},
                    "allowed_tools": _object(
                        {"mode": {"enum": ["auto", "required"]}, "tools": _array(_NAMED_FUNCTION, minItems=1)}
                    ),
                }
            ),
        ]
    },
    "functions": {"anyOf": [_array(_FUNCTION, maxItems=MAX_TOOLS), {"type": "null"}]},
    "function_call": {"anyOf": [_one_of("auto", "none"), _object({"name": _TEXT})]},
    "service_tier": _one_of("auto", "default", "flex", "scale", "priority", "fast"),
    "modalities": _one_of(["text"]),
    "verbosity": _one_of("medium"),
    "audio": None,
    "moderation": None,
    "web_search_options": None,
}
_IDS = _array({"type": "integer", "minimum": 0}, minItems=1)
_COMPLETIONS: dict[str, Schema | None] = {
    **_SAMPLING,
    "prompt": {
        "description": "a text, token ids, or a list of either; prompts times best_of are at most 128",
        "anyOf": [
            _TEXT,
            _array(_TEXT, minItems=1, maxItems=MAX_CHOICES),
            _IDS,
            _array(_IDS, minItems=1, maxItems=MAX_CHOICES),
        ],
    },
    "max_tokens": _number("max_tokens", minimum=0),
    "best_of": _number("best_of"),
    "logprobs": _number("text_logprobs"),
    "suffix": None,
}

# -- Anthropic ---------------------------------------------------------------------------------------------------------

_CACHE: Schema = {"anyOf": [{"$ref": "#/components/schemas/CacheControl"}, {"type": "null"}]}
_TEXT_BLOCK = _object({"type": {"const": "text"}, "text": _TEXT}, cache_control=_CACHE)
_BLOCKS = _array(_TEXT_BLOCK)
_BLOCK_TEXT: Schema = {"anyOf": [_TEXT, _BLOCKS]}
_TOOL_NAME: Schema = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,128}$"}
_CALL_BLOCK = _object(
    {"type": {"const": "tool_use"}, "id": _TEXT, "name": _TOOL_NAME, "input": {"type": "object"}}, cache_control=_CACHE
)
_RESULT_BLOCK = _object(
    {"type": {"const": "tool_result"}, "tool_use_id": _TEXT},
    content={"anyOf": [_TEXT, _BLOCKS, {"type": "null"}]},
    is_error=_FLAG,
    cache_control=_CACHE,
)
_THINKING_BLOCKS: tuple[Schema, ...] = (
    _object({"type": {"const": "thinking"}, "thinking": _TEXT}, signature=_TEXT),
    _object({"type": {"const": "redacted_thinking"}}),
)


def _turn(role: str, content: Schema) -> Schema:
    return _object({"role": {"const": role}, "content": content})


_USER_TURN = _turn("user", _BLOCK_TEXT)
_PLAIN_TURNS = [_USER_TURN, _turn("assistant", _BLOCK_TEXT)]
_ANY_TURN: Schema = {
    "anyOf": [
        *_PLAIN_TURNS,
        _turn("system", _BLOCK_TEXT),
        _turn("user", _array({"anyOf": [_TEXT_BLOCK, _RESULT_BLOCK]})),
        _turn("assistant", _array({"anyOf": [_TEXT_BLOCK, _CALL_BLOCK, *_THINKING_BLOCKS]})),
    ]
}
_COUNT: dict[str, Schema | None] = {
    "messages": {
        "description": "a last message of the assistant is how the reply begins",
        "anyOf": [
            {"type": "array", "minItems": 1, "prefixItems": [_USER_TURN], "items": {"anyOf": _PLAIN_TURNS}},
            {
                "type": "array",
                "minItems": 2,
                "prefixItems": [_USER_TURN],
                "items": _ANY_TURN,
                "description": "each call has its result in the next message",
            },
        ],
    },
    "system": {"anyOf": [_TEXT, _BLOCKS, {"type": "null"}]},
    "tools": {
        "anyOf": [
            _array(
                _object(
                    {"name": _TOOL_NAME, "input_schema": _object({"type": {"const": "object"}})},
                    description={"type": ["string", "null"]},
                    type=_one_of("custom"),
                    strict=_FLAG,
                ),
                maxItems=MAX_TOOLS,
            ),
            {"type": "null"},
        ],
        "description": "no name twice",
    },
    "thinking": {
        "anyOf": [
            _object({"type": {"enum": ["disabled", "adaptive"]}}, display=_one_of("summarized", "omitted")),
            _object(
                {"type": {"const": "enabled"}, "budget_tokens": {"type": "integer", "minimum": 1, "maximum": 1 << 20}},
                display=_one_of("summarized", "omitted"),
            ),
            {"type": "null"},
        ],
        "description": "budget_tokens is less than max_tokens",
    },
    "speed": _one_of("standard"),
    "mcp_servers": None,
    "context_management": None,
    "compaction": None,
}
_MESSAGE: dict[str, Schema | None] = {
    **_COUNT,
    "session_id": _SESSION_ID | {"description": "of the session that this is a turn of"},
    "max_tokens": {**_number("max_tokens"), "type": "integer"},
    "temperature": _number("temperature", maximum=1.0),
    **_numbers("top_p", "top_k", "seed"),
    "stop_sequences": _stop(MAX_STOP_STRINGS, MAX_STOP_BYTES)["anyOf"][1] | {"type": ["array", "null"]},
    "service_tier": _one_of("auto", "standard_only"),
    **dict.fromkeys(
        ("inference_geo", "container", "diagnostics", "billing_policy", "fallbacks", "fallback_credit_token", "thread")
    ),
}

# -- LayerScale --------------------------------------------------------------------------------------------------------


def row_schema(row_type: RowType) -> Schema:
    """Return the schema of one type of row."""
    number = {"type": "number", "minimum": -MAX_MAGNITUDE, "maximum": MAX_MAGNITUDE}
    integer = {"type": "integer", "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER}
    time: Schema = {"type": "integer", "minimum": MIN_TIME, "maximum": MAX_TIME, "description": "Unix seconds"}
    fields: dict[str, Schema] = {}
    for item in row_type.fields:
        if item.names is None:
            schema = integer if item.kind == "integer" else number
        else:
            schema = {"type": "string", "maxLength": item.names.max_len}
            if item.names.bare:
                schema |= {"minLength": 1, "pattern": r"^[!-+\--?A-~][!-+\--~]*$"}
        fields[item.name] = {**schema, "description": item.label}
    required = {item.name: fields[item.name] for item in row_type.fields if not item.optional}
    optional = {item.name: fields[item.name] for item in row_type.fields if item.optional}
    return {**_object(required, timestamp=time, **optional), "title": f"{row_type.name} row"}


_CHOICES: Schema = {
    "anyOf": [
        _array(
            {"type": "string", "pattern": r"^\S(.*\S)?$", "maxLength": MAX_CHOICE_BYTES},
            minItems=MIN_CHOICES,
            maxItems=MAX_FLASH_CHOICES,
            uniqueItems=True,
        ),
        _array(_TEXT, maxItems=0),
        {"type": "null"},
    ],
    "description": f"none begins another, and each has at most {MAX_CHOICE_BYTES} bytes",
}
_CLAMPED: Schema = {"type": ["integer", "null"], "description": f"clamped into 1 to {MAX_FLASH_TOKENS}"}
_FLASH: dict[str, Schema | None] = {
    "query": _SOME_TEXT,
    "max_tokens": _CLAMPED,
    "maxTokens": _CLAMPED,
    "choices": _CHOICES,
}
_SIZE: Schema = {"type": ["integer", "null"], "minimum": 0, "description": "tokens; 0: no window"}
_CREATE: dict[str, Schema | None] = {
    "type": _one_of("text"),
    "context": {"type": ["integer", "null"], "minimum": 1, "description": "tokens, at most the server's"},
    "window": _SIZE,
    "window_size": _SIZE | {"description": "the older name of window"},
    "flash": {
        "anyOf": [
            _array({"anyOf": [_SOME_TEXT, {"$ref": "#/components/schemas/FlashRequest"}]}, maxItems=20),
            {"type": "null"},
        ]
    },
    "id": _SESSION_ID,
    "overflow": _one_of(*OVERFLOWS),
}
_PUSH: dict[str, Schema | None] = {
    "data": {
        "description": "text, or rows of the session's type and texts in any order",
        "anyOf": [_TEXT, _array(_TEXT), *(_array({"anyOf": [row_schema(kind), _TEXT]}) for kind in ROW_TYPES.values())],
    }
}
_GENERATE: dict[str, Schema | None] = {
    "prompt": {"type": ["string", "null"], "minLength": 1, "description": "required on a session of text"},
    **_numbers("max_tokens", "temperature", "top_p"),
    "max_completion_tokens": _number("max_tokens"),
    "seed": _SEED,
    "stop": _stop(4, 64),
    "fast_answer": {"anyOf": [_FLAG, _array(_SOME_TEXT, maxItems=MAX_CANDIDATES)]},
    "gap_threshold": {"type": ["number", "null"], "minimum": 0},
    "clear_after": {"type": ["integer", "null"], "minimum": 0},
    "reasoning_effort": _EFFORT,
    "chat_template_kwargs": {
        **_TEMPLATE_OPTIONS,
        "properties": {name: each for name, each in _TEMPLATE_OPTIONS["properties"].items() if name != "date_string"},
    },
    "messages": {"anyOf": [*_MESSAGES["anyOf"], {"type": "null"}], "description": "not beside a prompt"},
    "tools": {**_TOOLS, "description": "of messages"},
    "reasoning": None,
    "thinking_budget": None,
}

_WARM: dict[str, Schema | None] = {
    "messages": _MESSAGES,
    "tools": _TOOLS,
    "reasoning_effort": _EFFORT,
    "chat_template_kwargs": _TEMPLATE_OPTIONS,
    "reasoning": _REASONING_OBJECT,
    "thinking_budget": _number("reasoning_budget"),
}

#: What `POST /v1/sessions/init` takes: the same, and a type there must be.
InitRequest = msgspec.defstruct("InitRequest", [("type", str)], bases=(layerscale.CreateRequest,), kw_only=True)

#: By model: by field, its schema, or None for one that is always refused.
REFINED: dict[type, dict[str, Schema | None]] = {
    request_models.ChatRequest: _CHAT,
    completions_models.CompletionsRequest: _COMPLETIONS,
    anthropic.CountRequest: _COUNT,
    anthropic.MessageRequest: _MESSAGE,
    layerscale.CreateRequest: _CREATE,
    InitRequest: _CREATE | {"type": {"enum": list(ROW_TYPES)}},
    layerscale.PushRequest: _PUSH,
    layerscale.FlashRequest: _FLASH,
    layerscale.GenerateRequest: _GENERATE,
    layerscale.WarmRequest: _WARM,
}

#: Fields that must be there although the model does without: it says better than msgspec what is wrong with them.
REQUIRED: dict[type, list[str]] = {completions_models.CompletionsRequest: ["prompt"]}
