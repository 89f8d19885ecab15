"""Schemas that constraints are tested with: each keyword at its edges by hand, and random ones made of them."""

from __future__ import annotations

import itertools
import random
from typing import Any

Schema = dict[str, Any]

SMALL_STRING: Schema = {"type": "string", "maxLength": 3}
DIGIT: Schema = {"type": "integer", "minimum": 0, "maximum": 9}

SCALARS: list[Schema] = [
    {"type": "null"},
    {"type": "boolean"},
    {"type": "integer"},
    {"type": "number"},
    {"type": "string", "maxLength": 5},
    {"type": ["null", "boolean"]},
    {"type": ["integer", "null"], "minimum": 3, "maximum": 12},
    {"type": ["string", "integer"], "maxLength": 2, "minimum": 0, "maximum": 9},
]

CHOICES: list[Schema] = [
    {"const": value} for value in (None, True, 0, -1, 1.5, "", "a b", 'é\n\t"\\/', "\u2028😀", [], {}, [1, [2]])
] + [
    {"const": {"a": {"b": [None, "c"]}, "": 1}},
    {"enum": ["red", "green", "blue"]},
    {"enum": ["a", "ab", "abc", ""]},
    {"enum": [1, 10, 100, -1]},
    {"enum": [1.25, "1.25", None, False]},
    {"enum": [[1, 2], {"a": 1}, "x"]},
    {"enum": ["ä", "日本", "😀", "\x01"]},
    {"type": "string", "enum": ["a", 1, "b"]},
    {"enum": ["aa", "ab", "b"], "pattern": "^a"},
    {"enum": [1, 5, 9], "minimum": 4},
]

_ENDS = [None, -100, -7, -1, 0, 1, 5, 42, 99999]
INTEGERS: list[Schema] = [
    {"type": "integer"} | ({} if low is None else {lows: low}) | ({} if high is None else {highs: high})
    for (low, high), lows, highs in [
        ((low, high), ("minimum", "exclusiveMinimum")[i % 2], ("maximum", "exclusiveMaximum")[i // 2 % 2])
        for i, (low, high) in enumerate(itertools.product(_ENDS, repeat=2))
        if low is None or high is None or low + 2 < high
    ]
]
NUMBERS: list[Schema] = [
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "minimum": -1.5, "maximum": 2.25},
    {"type": "number", "minimum": 0.001, "maximum": 0.002},
    {"type": "number", "minimum": 99.5},
    {"type": "number", "maximum": -3.75},
    {"type": "number", "exclusiveMinimum": -0.5, "maximum": 0},
    {"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 10},
    {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 3},
    {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 200},
    {"type": "integer", "multipleOf": 3},
    {"type": "integer", "multipleOf": 10, "exclusiveMinimum": -100, "exclusiveMaximum": 100},
]

STRINGS: list[Schema] = [
    *({"type": "string", "minLength": low, "maxLength": high} for low in (0, 1, 3) for high in (3, 4, 9)),
    *(
        {"type": "string", "pattern": pattern}
        for pattern in (
            "^[a-z]{2,4}$",
            "^(yes|no)$",
            r"^\d{3}-\d{4}$",
            r"^\w{1,5}$",
            r"^[^aeiou\s]{2,6}$",
            "^$",
            "^a?b?c?$",
            r"^\s{1,3}x$",
            r"^[\u00e0-\u00ff]{1,3}$",
            '^["\\\\]{1,3}$',
            "^(ab|cd){1,3}$",
            r"^#[0-9a-fA-F]{6}$",
            r"^[A-Z][a-z]{0,4}( [A-Z][a-z]{0,4}){0,2}$",
            "^.{2,5}$",
        )
    ),
    {"type": "string", "pattern": "^[ab]", "maxLength": 4},
    {"type": "string", "pattern": "x$", "maxLength": 6},
    {"type": "string", "pattern": "b", "minLength": 2, "maxLength": 5},
    *({"type": "string", "format": name} for name in ("date", "time", "date-time", "duration", "ipv4", "uuid")),
    *({"type": "string", "format": name, "maxLength": 30} for name in ("email", "hostname", "ipv6", "uri")),
]

ARRAYS: list[Schema] = [
    *(
        {"type": "array", "items": items, "minItems": low, "maxItems": high}
        for items in (DIGIT, SMALL_STRING, {"enum": [1, "a", None]}, {"type": "boolean"})
        for low, high in ((0, 0), (0, 3), (2, 2), (1, 4))
    ),
    {"type": "array", "prefixItems": [DIGIT, SMALL_STRING], "items": False},
    {"type": "array", "prefixItems": [DIGIT, SMALL_STRING], "items": False, "minItems": 2},
    {"type": "array", "prefixItems": [{"const": "point"}, DIGIT], "items": {"type": "null"}, "maxItems": 5},
    {"type": "array", "prefixItems": [DIGIT], "items": {"type": "boolean"}, "minItems": 3, "maxItems": 4},
    {"type": "array", "items": False},
    {"type": "array", "items": {"type": "array", "items": DIGIT, "maxItems": 2}, "maxItems": 3},
    {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [DIGIT, {"const": "x"}],
        "additionalItems": False,
        "minItems": 2,
    },
]

_PROPERTIES: Schema = {"a": DIGIT, "b": SMALL_STRING, "c": {"type": "boolean"}}
OBJECTS: list[Schema] = [
    *(
        {"type": "object", "properties": _PROPERTIES, "required": list(required), "additionalProperties": False}
        for n in range(4)
        for required in itertools.combinations("abc", n)
    ),
    {"type": "object", "properties": {}, "additionalProperties": False},
    {
        "type": "object",
        "properties": {"a": DIGIT},
        "required": ["a", "z"],
        "additionalProperties": DIGIT,
        "maxProperties": 2,
    },
    {
        "type": "object",
        "properties": {"": DIGIT, "with space": DIGIT, "é": DIGIT, 'q"u\\o': DIGIT},
        "required": ["", "with space", "é", 'q"u\\o'],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "patternProperties": {"^[a-c]$": DIGIT, "^n_[0-9]$": {"type": "null"}},
        "additionalProperties": False,
    },
    {
        "type": "object",
        "patternProperties": {"^x": {"const": 1}},
        "properties": {"xa": {"const": 1}},
        "required": ["xa"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {
            "a": {
                "type": "object",
                "properties": {
                    "b": {
                        "type": "object",
                        "properties": {"c": DIGIT},
                        "required": ["c"],
                        "additionalProperties": False,
                    }
                },
                "required": ["b"],
                "additionalProperties": False,
            }
        },
        "required": ["a"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {
            "kind": {"const": "k"},
            "list": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"id": DIGIT},
                    "required": ["id"],
                    "additionalProperties": False,
                },
                "minItems": 1,
                "maxItems": 2,
            },
        },
        "required": ["kind", "list"],
        "additionalProperties": False,
    },
    {"type": "object", "minProperties": 1, "properties": {"a": DIGIT, "b": DIGIT}, "additionalProperties": False},
    {"type": "object", "maxProperties": 1, "properties": {"a": DIGIT, "b": DIGIT}, "additionalProperties": False},
    {
        "properties": {"a": {"const": 1}},
        "required": ["a"],
        "type": "object",
        "additionalProperties": False,
        "title": "T",
        "description": "d",
        "default": {},
        "examples": [{}],
        "$comment": "c",
        "readOnly": True,
    },
]

COMBINATIONS: list[Schema] = [
    {"anyOf": [DIGIT, SMALL_STRING]},
    {"anyOf": [{"type": "null"}, {"type": "array", "items": DIGIT, "maxItems": 2}]},
    {"anyOf": [{"const": 1}, {"const": 2}, {"enum": ["x", "y"]}]},
    {
        "anyOf": [
            {
                "type": "object",
                "properties": {"t": {"const": "a"}, "v": DIGIT},
                "required": ["t", "v"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"t": {"const": "b"}, "w": SMALL_STRING},
                "required": ["t", "w"],
                "additionalProperties": False,
            },
        ]
    },
    {"oneOf": [DIGIT, {"type": "boolean"}]},
    {"oneOf": [{"type": "string", "maxLength": 2}, {"type": "null"}]},
    {"oneOf": [{"const": "a"}, {"const": "b"}]},
    {
        "oneOf": [
            {"type": "object", "properties": {"t": {"const": "a"}}, "required": ["t"], "additionalProperties": False},
            {"type": "object", "properties": {"t": {"const": "b"}}, "required": ["t"], "additionalProperties": False},
        ]
    },
    {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 8}]},
    {"allOf": [{"type": "string", "minLength": 2}, {"maxLength": 4}]},
    {"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "b$"}], "maxLength": 5},
    {
        "allOf": [
            {"type": "object", "properties": {"a": DIGIT}, "required": ["a"]},
            {"type": "object", "properties": {"b": SMALL_STRING}, "required": ["b"]},
        ],
        "maxProperties": 2,
    },
    {"type": "integer", "anyOf": [{"minimum": 90, "maximum": 99}, {"minimum": 0, "maximum": 5}]},
    {
        "type": "object",
        "properties": {"a": {"anyOf": [{"type": "null"}, DIGIT]}},
        "required": ["a"],
        "additionalProperties": False,
    },
]

REFERENCES: list[Schema] = [
    {"$ref": "#/$defs/d", "$defs": {"d": DIGIT}},
    {"$ref": "#/definitions/d", "definitions": {"d": {"enum": ["p", "q"]}}},
    {"type": "array", "items": {"$ref": "#/$defs/s"}, "maxItems": 3, "$defs": {"s": SMALL_STRING}},
    {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"const": "end"}}, "$ref": "#/$defs/a"},
    {"$ref": "#/$defs/a~1b", "$defs": {"a/b": DIGIT}},
    {"$ref": "#/$defs/d", "maximum": 3, "$defs": {"d": DIGIT}},
    {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"v": DIGIT, "kids": {"type": "array", "maxItems": 1, "items": {"$ref": "#/$defs/tree"}}},
                "required": ["v"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/tree",
    },
    {
        "type": "object",
        "properties": {"v": DIGIT, "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
        "required": ["v", "next"],
        "additionalProperties": False,
    },
    {
        "$defs": {"x": {"anyOf": [DIGIT, {"type": "array", "items": {"$ref": "#/$defs/x"}, "maxItems": 1}]}},
        "$ref": "#/$defs/x",
    },
]

UNBOUNDED: list[Schema] = [
    {},
    {"type": "object"},
    {"type": "array"},
    {"type": "string"},
    {"type": "object", "properties": _PROPERTIES},
    {"type": "object", "additionalProperties": DIGIT},
    {"type": "array", "items": {"type": "array"}},
]

BY_HAND = [
    *SCALARS, *CHOICES, *INTEGERS, *NUMBERS, *STRINGS, *ARRAYS, *OBJECTS, *COMBINATIONS, *REFERENCES, *UNBOUNDED,
]  # fmt: skip


def random_schema(random: random.Random, depth: int = 3) -> Schema:
    """A schema that something small matches."""
    scalars = [*CHOICES, *INTEGERS, *NUMBERS, *STRINGS]
    kind = random.randrange(6) if depth else 0
    if kind <= 1:
        return random.choice(scalars)
    if kind == 2:
        high = random.randrange(4)
        items = random_schema(random, depth - 1)
        return {"type": "array", "items": items, "minItems": random.randint(0, high), "maxItems": high}
    if kind == 3:
        return {"anyOf": [random_schema(random, depth - 1) for _ in range(random.randint(1, 3))]}
    names = random.sample(["a", "b", "name", "né", "x y", "_", "0", "long_property_name"], random.randint(1, 4))
    return {
        "type": "object",
        "properties": {name: random_schema(random, depth - 1) for name in names},
        "required": [name for name in names if random.random() < 0.6],
        "additionalProperties": False,
    }


RANDOM = [random_schema(random.Random(seed)) for seed in range(150)]
EVERY = BY_HAND + RANDOM
