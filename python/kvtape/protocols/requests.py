"""Decoding of JSON request bodies into structs, with errors that carry the path of the offending value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from kvtape.errors import InvalidRequest

__all__ = ["LATER", "decode_object", "decode_request", "refuse_all", "refuse_unless", "required"]

LATER = "is not supported by this server"

StructT = TypeVar("StructT", bound=msgspec.Struct)
T = TypeVar("T")

_AT_PATH = re.compile(r" - at `\$\.?(?P<path>.*)`$")


def decode_object(body: bytes) -> dict[str, object]:
    """Decode a body that must be a JSON object; an empty body is an empty object.

    Raises:
        InvalidRequest: not JSON, or not an object.
    """
    try:
        value = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"the request body must be a JSON object, found {_json_type(value)}")
    return value


def decode_request(body: bytes, kind: type[StructT], aliases: Mapping[str, str] | None = None) -> StructT:
    """Decode a request; unknown fields are ignored, a mistyped one is an error that names its path.

    `aliases` maps other spellings onto field names; the field's own name wins when both are there.

    Raises:
        InvalidRequest: with `param` set to the JSON path where there is one.
    """
    value = decode_object(body)
    for other, name in (aliases or {}).items():
        if other in value:
            found = value.pop(other)
            value.setdefault(name, found)
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        message = str(error)
        if missing := re.search(r"missing required field `(?P<name>[^`]+)`", message):
            path = _AT_PATH.search(message)
            name = f"{path['path']}.{missing['name']}" if path else missing["name"]
            raise InvalidRequest(f"{name} is required", param=name) from None
        if path := _AT_PATH.search(message):
            name = path["path"]
            raise InvalidRequest(f"{name}: {message[: path.start()]}", param=name or None) from None
        raise InvalidRequest(message) from None


def refuse_all(request: Any, names: Sequence[str]) -> None:
    """Refuse each of these fields that asks for anything.

    Raises:
        InvalidRequest: naming the field.
    """
    for name in names:
        refuse_unless(not getattr(request, name), name, LATER)


def refuse_unless(condition: bool, param: str, why: str) -> None:
    """Refuse a known parameter that this version does not honour.

    Raises:
        InvalidRequest: naming the parameter.
    """
    if not condition:
        raise InvalidRequest(f"{param} {why}", param=param)


def required(value: T | None, path: str) -> T:
    """Return a value that must be there.

    Raises:
        InvalidRequest: it is not; naming its path.
    """
    if value is None:
        raise InvalidRequest(f"{path} is required", param=path)
    return value


def _json_type(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
