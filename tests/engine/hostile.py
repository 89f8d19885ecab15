"""Constraints that want to crash the process, hang it, fill its memory, or be believed."""

from __future__ import annotations

import json
from typing import Any

from kvtape.types import Constraint, ConstraintKind


def schema(value: Any) -> Constraint:
    return Constraint(ConstraintKind.JSON_SCHEMA, value if isinstance(value, str) else json.dumps(value))


def regex(source: str) -> Constraint:
    return Constraint(ConstraintKind.REGEX, source)


def lark(source: str) -> Constraint:
    return Constraint(ConstraintKind.LARK, source)


def _wrapped(key: str, n: int) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "string"}
    for _ in range(n):
        value = {key: [value, {"type": "null"}]}
    return value


def _nested(n: int) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "string"}
    for _ in range(n):
        value = {"type": "object", "properties": {"a": value}, "required": ["a"]}
    return value


def _referring(n: int, key: str | None = None) -> dict[str, Any]:
    """Definitions that each refer to the next, once or, under `key`, twice."""
    links = [{"$ref": f"#/$defs/d{i + 1}"} for i in range(n)]
    defs = {f"d{i}": {key: [link, link]} if key else link for i, link in enumerate(links)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{n}": {"type": "object"}}}


def _rules(n: int, name: str, times: int = 1) -> str:
    rules = [f"{name}{i}: " + " ".join([f"{name}{i + 1}"] * times) for i in range(n)]
    return f"start: {name}0\n" + "\n".join(rules) + f'\n{name}{n}: "x"'


REFUSED: dict[str, Constraint] = {
    "deep text": schema("[" * 60_000 + "]" * 60_000),
    "deep objects": schema('{"a":' * 3000 + "1" + "}" * 3000),
    "too deep objects": schema(_nested(60)),
    "allOf in allOf": schema(_wrapped("allOf", 31)),
    "oneOf in oneOf": schema(_wrapped("oneOf", 31)),
    "3500 references": schema(_referring(3500)),
    "a reference to itself": schema({"$ref": "#"}),
    "a circle of references": schema(
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    ),
    "anyOf of itself": schema({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
    "allOf of itself": schema({"allOf": [{"$ref": "#"}, {"type": "object"}]}),
    "8 to the 12th": schema(
        {"allOf": [{"anyOf": [{"properties": {f"p{i}_{j}": {"type": "string"}}} for j in range(8)]} for i in range(12)]}
    ),
    "a remote reference": schema({"$ref": "http://169.254.169.254/latest"}),
    "a file": schema({"$ref": "file:///etc/passwd"}),
    "a remote base": schema({"$id": "http://example.com/a", "$ref": "b.json"}),
    "a missing definition": schema({"$ref": "#/$defs/none"}),
    "contradicting bounds": schema({"type": "integer", "minimum": 5, "maximum": 3}),
    "contradicting lengths": schema({"type": "string", "minLength": 5, "maxLength": 3}),
    "contradicting items": schema({"type": "array", "minItems": 5, "maxItems": 3}),
    "contradicting types": schema({"allOf": [{"type": "string"}, {"type": "integer"}]}),
    "no choice": schema({"enum": []}),
    "no branch": schema({"anyOf": []}),
    "false": schema("false"),
    "a required false": schema({"type": "object", "properties": {"a": False}, "required": ["a"]}),
    "a million keys": schema({"type": "object", "minProperties": 10**6}),
    "an unknown type": schema({"type": "strong"}),
    "a type that is a number": schema({"type": 5}),
    "required that is no list": schema({"required": "a"}),
    "properties that are a list": schema({"properties": [1]}),
    "not": schema({"not": {"type": "string"}}),
    "if": schema({"if": {"type": "string"}, "then": {"minLength": 2}}),
    "uniqueItems": schema({"type": "array", "uniqueItems": True}),
    "contains": schema({"type": "array", "contains": {"type": "string"}}),
    "propertyNames": schema({"type": "object", "propertyNames": {"pattern": "a"}}),
    "dependentRequired": schema({"dependentRequired": {"a": ["b"]}}),
    "unevaluatedProperties": schema({"unevaluatedProperties": False}),
    "$dynamicRef": schema({"$dynamicRef": "#a"}),
    "an unknown format": schema({"type": "string", "format": "colour"}),
    "a broken pattern": schema({"type": "string", "pattern": "("}),
    "a look-ahead": schema({"type": "string", "pattern": "^(?=.*a).*$"}),
    "a back-reference": schema({"type": "string", "pattern": r"(a)\1"}),
    "16 patterns at once": schema({"allOf": [{"type": "string", "pattern": f"^.*{c}.*$"} for c in "abcdefghijklmnop"]}),
    "multiples of next to nothing": schema({"type": "number", "multipleOf": 1e-300}),
    "multiples of much": schema({"type": "integer", "multipleOf": 987654321}),
    "multiples of a prime": schema({"type": "integer", "multipleOf": 99991}),
    "multiples of four primes": schema({"allOf": [{"type": "integer", "multipleOf": p} for p in (97, 89, 83, 79)]}),
    "multiples of nothing": schema({"type": "integer", "multipleOf": 0}),
    "every float": schema({"type": "number", "minimum": 1e-308, "maximum": 1.7e308}),
    "keys of two patterns": schema({"patternProperties": {"^a": {"type": "string"}, "a$": {"type": "integer"}}}),
    "many patterns": schema({"patternProperties": {f"^k{i}_[a-z]{{1,200}}$": {} for i in range(300)}}),
    "8000 required": schema({"type": "object", "required": [f"p{i}" for i in range(8000)]}),
    "text beyond ASCII in an error": schema({"$ref": "#/" + "é" * 200, "frobnicate": "é" * 200}),
    "a long number": schema('{"const": 1' + "0" * 5000 + "}"),
    "an infinite number": schema('{"const": 1e999}'),
    "a key twice": schema('{"type": "string", "type": "integer"}'),
    "half a character": schema('{"const": "\\ud800"}'),
    "a look-behind": regex("(?<=a)b"),
    "a word boundary": regex(r"\ba\b"),
    "anchors": regex("^a$b"),
    "an empty class": regex("[^\\x00-\\x{10FFFF}]"),
    "a broken regex": regex("["),
    "bytes": regex(r"(?-u)\xff"),
    "too deep groups": regex("(" * 70 + "a" + ")*" * 70),
    "no grammar": lark(""),
    "blanks": lark("  \n"),
    "no start": lark('a: "b"'),
    "another kind of grammar": lark('{"grammars":[]}'),
    "a rule of itself": lark("start: start"),
    "a circle of terminals": lark("start: A\nA: B\nB: A"),
    "6000 rules": lark(_rules(6000, "a")),
    "6000 terminals": lark(_rules(6000, "A")),
    "a terminal doubled 40 times": lark(_rules(40, "A", 2)),
    "an unknown import": lark("%import common.NOTHING\nstart: NOTHING"),
    "an import of a file": lark("%import ../../../etc/passwd\nstart: A"),
    "another grammar": lark("start: @other"),
    "19 patterns at once": lark("start: A\nA: " + " & ".join(f"/.*{c}.*/" for c in "abcdefghijklmnopqrs")),
    "an empty intersection": lark("start: A\nA: /a/ & /b/"),
    "a token beyond all": lark("start: <[999999999]>"),
    "an unknown token": lark("start: <|nothing|>"),
    "a schema in it": lark('start: %json {"not": {}}'),
    "bytes in it": lark('%llguidance {"allow_invalid_utf8": true}\nstart: /\\xff+/'),
}

# What compiles, and may end with an error later.
SURVIVED: dict[str, Constraint] = {
    "anyOf in anyOf": schema(_wrapped("anyOf", 31)),
    "objects in objects": schema(_nested(31)),
    "an object that never ends": schema({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
    "allOf doubled 30 times": schema(_referring(30, "allOf")),
    "anyOf doubled 30 times": schema(_referring(30, "anyOf")),
    "18000 choices": schema({"enum": list(range(18_000))}),
    "choices that begin alike": schema({"enum": ["a" * i for i in range(480)]}),
    "a long constant": schema({"const": "x" * 120_000}),
    "a billion items": schema({"type": "array", "minItems": 10**9}),
    "at most a billion items": schema({"type": "array", "maxItems": 10**9, "items": {"type": "integer"}}),
    "a billion characters": schema({"type": "string", "minLength": 10**9}),
    "pluses of pluses": schema({"type": "string", "pattern": "^(a+)+$"}),
    "repeats of repeats": schema({"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"}),
    "classes of many": schema({"type": "string", "pattern": r"^[\p{L}\p{N}]{1,1000}\p{Lu}{1,1000}$"}),
    "an exponential tail": schema({"type": "string", "pattern": "^(.*a.{20}|.*b.{20})$"}),
    "a long key": schema({"type": "object", "properties": {"k" * 100_000: {"type": "string"}}}),
    "zeros": regex("a\x00b"),
    "a hundred thousand squared": regex("(a{1,100000}){1,100000}"),
    "a billion": regex("a{1000000000}"),
    "12000 words": regex("|".join(f"word{i}" for i in range(12_000))),
    "a thousand behind": regex(".*a.{1000}b.{1000}c.{1000}"),
    "an injected rule": regex('a/\nstart: "x"\nfoo: /b'),
    "groups": regex("(" * 60 + "a" + ")*" * 60),
    "left recursion": lark('start: start "a" | "b"'),
    "a rule that never ends": lark('start: "a" start'),
    "an ambiguous grammar": lark('start: start start | "a" | ""'),
    "a very ambiguous grammar": lark('start: s\ns: s s s | s s | "a" | s'),
    "rules of nothing": lark('start: a*\na: b*\nb: c*\nc: "x"?'),
    "a rule doubled 40 times": lark(_rules(40, "a", 2)),
    "repeated repeats": lark('start: ("a" "b"{100000}){100000}'),
    "a negation": lark("start: A\nA: ~/(?s:.*)a(.{30})/"),
    "any substring": lark('start: A\nA: %regex {"substring_chars": "' + "abc" * 20_000 + '"}'),
    "tokens that spell nothing": lark("start: <[0-40]>*"),
    "blanks of anything": lark('%ignore /.*/\nstart: "a"'),
}
