"""The OpenAPI 3.1 document of the server, made from its routes, the table of operations and the models on the wire."""

from __future__ import annotations

import asyncio
import http
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import UNSET, inspect
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

import kvtape
from kvtape.server.operations import OPERATIONS, Content, Events, Json, Operation, Text
from kvtape.server.request_schemas import REFINED, REQUIRED
from kvtape.server.responses import json_response

__all__ = ["ROUTES", "make_document", "methods_of"]

Schema = dict[str, Any]

_ALWAYS = (401, 500, 503)  # a key that is missing, a fault of ours, a server that is not ready
_REF = "#/components/schemas/{name}"
_REF_PATTERN = re.compile(_REF.format(name=r"([\w.-]+)"))


async def openapi(request: Request) -> Response:
    """Answer with the document of the app's routes."""
    state = request.app.state
    if not hasattr(state, "openapi"):
        document = await asyncio.to_thread(
            make_document, request.app.routes, keys=state.needs_key
        )  # a third of a second
        state.openapi = msgspec.json.encode(document)
    return json_response(state.openapi)


def make_document(routes: Iterable[BaseRoute], *, keys: bool = False) -> dict[str, Any]:
    """Describe routes; `keys`: whether requests need one.

    Raises:
        KeyError: a route is not in the table.
    """
    paths: dict[str, dict[str, Any]] = {}
    for method, path in methods_of(routes):
        paths.setdefault(path, {})[method.lower()] = _describe(OPERATIONS[method, path], keys=keys)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kvtape",
            "version": kvtape.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _needed_by(paths),
            "headers": {
                "request-id": {"description": "the request's own, if it had one", "schema": {"type": "string"}}
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def methods_of(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Yield each method and path; a WebSocket begins with GET, and HEAD goes with GET."""
    for route in routes:
        if isinstance(route, (Route, WebSocketRoute)):
            path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
            methods = route.methods if isinstance(route, Route) else None
            for method in sorted((methods or {"GET"}) - {"HEAD"}):
                yield method, path


def _describe(operation: Operation, *, keys: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            {
                "name": each.name,
                "in": each.place,
                "required": each.place == "path",
                "schema": dict(each.schema),
                **({"description": each.description} if each.description else {}),
            }
            for each in operation.parameters
        ],
        "responses": {
            **{str(status): _response(status, contents) for status, contents in operation.answers.items()},
            **{
                str(status): _response(status, (Json(operation.error),))
                for status in sorted({*operation.errors, *_ALWAYS} - set(operation.answers))
            },
        },
    }
    if operation.body is not None:
        content = {"application/json": {"schema": _schema_of(operation.body)}}
        described["requestBody"] = {"required": True, "content": content}
    if keys:
        described["security"] = [] if operation.open else [{"bearer": []}, {"key": []}]
    return described


def _response(status: int, contents: Sequence[Content]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": _phrase(status),
        "headers": {"x-request-id": {"$ref": "#/components/headers/request-id"}},
    }
    if contents:
        response["content"] = dict(map(_media, contents))
    return response


def _phrase(status: int) -> str:
    return "Overloaded" if status == 529 else http.HTTPStatus(status).phrase


def _media(content: Content) -> tuple[str, dict[str, Any]]:
    if isinstance(content, Json):
        return "application/json", {"schema": {"type": "object"} if content.type is None else _schema_of(content.type)}
    if isinstance(content, Text):
        return content.media_type, {"schema": {"type": "string"}}
    return "text/event-stream", {"schema": _event_schema(content)}


def _event_schema(events: Events) -> Schema:
    """Describe one event: that is what a schema of an event stream does in OpenAPI."""
    frame = {"anyOf": [_schema_of(each) for each in events.frames]}
    data: Schema = {"type": "string", "contentMediaType": "application/json", "contentSchema": frame}
    return {
        "type": "object",
        "required": ["data"],
        "properties": {
            "event": {"type": "string"},
            "id": {"type": "string"},
            "data": {"anyOf": [data, {"const": "[DONE]"}]} if events.ends_with_done else data,
        },
    }


# -- schemas of the models ---------------------------------------------------------------------------------------------


@cache
def _schemas() -> tuple[dict[Any, Schema], dict[str, Schema]]:
    """Return the schema of each type of the table, most of them references, and what these refer to."""
    requests = [operation.body for operation in OPERATIONS.values() if operation.body is not None]
    replies = list(_reply_types())
    structs = list(_structs([*requests, *replies]))
    types = list(dict.fromkeys([*structs, *requests, *replies]))
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(types, schemas, strict=True))

    def component(struct: Any) -> Schema:
        found: Schema = components[by_type[struct]["$ref"].rpartition("/")[2]]
        return found

    for struct in _structs(replies):
        if not struct.__struct_config__.omit_defaults:  # what is not left out is always there
            fields = [each.encode_name for each in msgspec.structs.fields(struct) if each.default is not UNSET]
            schema = component(struct)
            schema["required"] = list(dict.fromkeys([*schema.get("required", ()), *fields]))
    for struct in _structs(requests):
        model = getattr(struct, "__origin__", struct)
        _refine(component(struct), REFINED.get(model, {}))
        component(struct).setdefault("required", []).extend(REQUIRED.get(model, []))
    tidied = {_tidy(name): _with_tidy_references(schema) for name, schema in components.items()}
    return {kind: _with_tidy_references(schema) for kind, schema in by_type.items()}, tidied


def _tidy(name: str) -> str:
    """Shorten the name of a component: msgspec tells names of two modules apart by the modules' whole paths."""
    module, _, short = name.rpartition(".")
    dialect = module.removeprefix("kvtape.protocols.").partition(".")[0]
    return dialect.capitalize() + short.removesuffix("_Any_")


def _with_tidy_references(schema: Schema) -> Schema:
    text = msgspec.json.encode(schema).decode()
    tidy: Schema = msgspec.json.decode(_REF_PATTERN.sub(lambda found: _REF.format(name=_tidy(found[1])), text))
    return tidy


def _reply_types() -> Iterator[Any]:
    for operation in OPERATIONS.values():
        for content in sum(operation.answers.values(), ()):
            if isinstance(content, Events):
                yield from content.frames
            elif isinstance(content, Json) and content.type is not None:
                yield content.type
        yield operation.error


def _structs(types: Iterable[Any]) -> Iterator[Any]:
    """Yield each struct that values of these types may hold."""
    found: dict[Any, None] = {}
    waiting = list(inspect.multi_type_info(types))
    while waiting:
        info = waiting.pop()
        if isinstance(info, inspect.StructType) and info.cls not in found:
            found[info.cls] = None
            waiting += [each.type for each in info.fields]
        elif isinstance(info, inspect.UnionType):
            waiting += info.types
        elif isinstance(info, inspect.CollectionType):
            waiting.append(info.item_type)
        elif isinstance(info, inspect.DictType):
            waiting.append(info.value_type)
    yield from found


def _refine(schema: Schema, refined: Mapping[str, Schema | None]) -> None:
    """Put what the codec asks for in the place of what the model says; leave out what it refuses."""
    properties = schema["properties"]
    for name, better in refined.items():
        if better is None:
            del properties[name]
        else:
            properties[name] = better


def _schema_of(kind: Any) -> Schema:
    return _schemas()[0][kind]


def _needed_by(paths: Mapping[str, Any]) -> dict[str, Schema]:
    """Return the components that the paths refer to, and those that these do."""
    components = _schemas()[1]
    needed: dict[str, Schema] = {}
    waiting = _references(paths)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = components[name]
            waiting |= _references(components[name])
    return dict(sorted(needed.items()))


def _references(value: Any) -> set[str]:
    return set(_REF_PATTERN.findall(msgspec.json.encode(value).decode()))


ROUTES = [Route("/openapi.json", openapi)]
