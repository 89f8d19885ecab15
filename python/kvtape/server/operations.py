"""What each route takes and answers, as `/openapi.json` tells it: one entry a route and method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kvtape.protocols.anthropic import models as anthropic_requests
from kvtape.protocols.anthropic import reply_models as anthropic
from kvtape.protocols.anthropic.errors import ErrorEnvelope
from kvtape.protocols.layerscale import models
from kvtape.protocols.openai import models as openai
from kvtape.protocols.openai.completions_models import CompletionsRequest, TextCompletion
from kvtape.protocols.openai.errors import ErrorReply
from kvtape.protocols.openai.request_models import ChatRequest
from kvtape.server.request_schemas import InitRequest

__all__ = ["OPERATIONS", "Events", "Json", "Operation", "Parameter", "Text"]


@dataclass(frozen=True, slots=True)
class Json:
    """One JSON object of this type; None: any."""

    type: Any


@dataclass(frozen=True, slots=True)
class Events:
    """An event stream whose frames hold JSON of these types."""

    frames: tuple[Any, ...]
    ends_with_done: bool = False  # `data: [DONE]`


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text."""

    media_type: str


Content = Json | Events | Text


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the path, the query or the headers."""

    name: str
    place: str
    schema: Mapping[str, Any]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route.

    Attributes:
        answers: what a success has, by status; none: an empty body.
        errors: statuses of errors, besides those that every route may answer with.
        error: the envelope of an error.
        open: whether it needs no key.
    """

    id: str
    summary: str
    tag: str
    body: Any = None
    answers: Mapping[int, tuple[Content, ...]] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    error: Any = ErrorReply
    parameters: tuple[Parameter, ...] = ()
    open: bool = False


_WITH_BODY = (400, 408, 413)
_SESSION = Parameter("session_id", "path", {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"})
_FLASH = Parameter("flash_id", "path", {"type": "integer", "minimum": 1})
_MODEL = Parameter("model_id", "path", {"type": "string", "minLength": 1}, "in any case; slashes encoded or not")
_VERSION = Parameter(
    "anthropic-version", "header", {"enum": ["2023-06-01", "2026-10-21"]}, "with it a stream has pings"
)
_BOUND = Parameter(
    "x-layerscale-session-id", "header", _SESSION.schema, "the session that this is a turn of; also `session_id`"
)
_LAST_EVENT = Parameter("last-event-id", "header", {"type": "string"}, "go on behind this event")
_LAST_EVENT_ON_SOCKET = Parameter("last_event_id", "query", {"type": "string"}, "go on behind this event")
_CHANGES_ONLY = Parameter(
    "changes_only", "query", {"enum": ["true", "false"]}, "leave out answers that say what the one before said"
)


def _ok(*contents: Any) -> dict[int, tuple[Content, ...]]:
    return {200: tuple(each if isinstance(each, Content) else Json(each) for each in contents)}


def _probe(id: str, summary: str, *contents: Content) -> Operation:
    return Operation(id, summary, "server", answers={200: contents, 503: contents}, open=True)


def _of_session(
    id: str, summary: str, *answers: Any, body: Any = None, errors: tuple[int, ...] = (), **more: Parameter
) -> Operation:
    """Make an operation on one session, whose id may be malformed or unknown; `more` are further parameters."""
    known = (400, 404, *(_WITH_BODY if body is not None else ()), *errors)
    parameters = (_SESSION, *more.values())
    return Operation(id, summary, "sessions", body=body, answers=_ok(*answers), errors=known, parameters=parameters)


def _of_messages(
    id: str, summary: str, body: Any, *contents: Any, errors: tuple[int, ...] = (), **more: Parameter
) -> Operation:
    return Operation(
        id,
        summary,
        "anthropic",
        body=body,
        answers=_ok(*contents),
        errors=(*_WITH_BODY, 529, *errors),
        error=ErrorEnvelope,
        parameters=(_VERSION, *more.values()),
    )


_ONE = "/v1/sessions/{session_id}"
_SESSION_EVENTS = Events((models.Connected, models.DataUpdated, models.FlashReady))
_MESSAGE_EVENTS = Events(
    (
        anthropic.MessageStart,
        anthropic.BlockStart,
        anthropic.BlockDelta,
        anthropic.BlockStop,
        anthropic.MessageDelta,
        anthropic.MessageStop,
        anthropic.Ping,
        ErrorEnvelope,
    )
)
_PUSH = models.PushRequest[Any]

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/health"): _probe("getHealth", "Readiness and counters.", Json(models.Health)),
    ("GET", "/healthz"): _probe("getHealthz", "Readiness and counters.", Json(models.Health)),
    ("GET", "/v1/health"): _probe("getReadiness", "Readiness alone."),
    ("GET", "/metrics"): Operation(
        "getMetrics", "Counters and histograms for Prometheus.", "server", answers=_ok(Text("text/plain"))
    ),
    ("GET", "/openapi.json"): Operation("getOpenapi", "This document.", "server", answers=_ok(Json(None))),
    ("GET", "/v1/models"): Operation("listModels", "List the one model.", "server", answers=_ok(models.ModelList)),
    ("GET", "/v1/models/{model_id}"): Operation(
        "getModel", "Describe the model.", "server", answers=_ok(models.Model), errors=(404,), parameters=(_MODEL,)
    ),
    ("POST", "/v1/chat/completions"): Operation(
        "createChatCompletion",
        "Answer a conversation, at once or as a stream.",
        "openai",
        body=ChatRequest,
        answers=_ok(openai.Completion, Events((openai.Chunk, ErrorReply), ends_with_done=True)),
        errors=(*_WITH_BODY, 404, 409),
        parameters=(_BOUND,),
    ),
    ("POST", "/v1/completions"): Operation(
        "createCompletion",
        "Continue raw prompts, at once or as a stream.",
        "openai",
        body=CompletionsRequest,
        answers=_ok(TextCompletion, Events((TextCompletion, ErrorReply), ends_with_done=True)),
        errors=_WITH_BODY,
    ),
    ("POST", "/v1/messages"): _of_messages(
        "createMessage",
        "Answer a conversation, at once or as a stream.",
        anthropic_requests.MessageRequest,
        anthropic.Message,
        _MESSAGE_EVENTS,
        errors=(404, 409),
        session=_BOUND,
    ),
    ("POST", "/v1/messages/count_tokens"): _of_messages(
        "countTokens", "Count the tokens of a prompt.", anthropic_requests.CountRequest, anthropic.TokenCount
    ),
    ("POST", "/v1/sessions/init"): Operation(
        "initSession",
        "Open a session of typed rows.",
        "sessions",
        body=InitRequest,
        answers=_ok(models.SessionObject),
        errors=(*_WITH_BODY, 409),
    ),
    ("POST", "/v1/sessions"): Operation(
        "createSession",
        "Open a session of text.",
        "sessions",
        body=models.CreateRequest,
        answers=_ok(models.SessionObject),
        errors=(*_WITH_BODY, 409),
    ),
    ("GET", "/v1/sessions"): Operation(
        "listSessions", "List the live sessions.", "sessions", answers=_ok(models.SessionList)
    ),
    ("GET", _ONE): _of_session("getSession", "Show a session.", models.SessionObject),
    ("DELETE", _ONE): _of_session(
        "deleteSession", "Delete a session and all it holds.", models.SessionDeleted, errors=(409,)
    ),
    ("GET", f"{_ONE}/state"): _of_session("getSessionState", "Show a session with its text.", models.SessionObject),
    ("GET", f"{_ONE}/slots"): _of_session("listSlots", "Show the parts of the context.", models.SlotList),
    ("POST", f"{_ONE}/append"): _of_session(
        "appendText",
        "Append raw text to the durable context.",
        models.AppendResult,
        body=models.AppendRequest,
        errors=(409,),
    ),
    ("POST", f"{_ONE}/mark_prefix"): _of_session("markPrefix", "Freeze the context as it is.", models.MarkPrefixResult),
    ("POST", f"{_ONE}/stream/push"): _of_session("pushRows", "Queue rows and texts.", models.PushResult, body=_PUSH),
    ("POST", f"{_ONE}/push"): _of_session("push", "Queue texts and rows.", models.PushResult, body=_PUSH),
    ("GET", f"{_ONE}/stream/status"): _of_session(
        "getStreamStatus", "Show how far the ingest is.", models.StreamStatus
    ),
    ("GET", f"{_ONE}/stats"): _of_session("getStats", "Show statistics over all rows.", models.Stats),
    ("POST", f"{_ONE}/generate"): _of_session(
        "generate",
        "Answer a question about the session's data, at once or as a stream.",
        models.Generated,
        Events((models.GenerateToken, models.Generated, ErrorReply)),
        body=models.GenerateRequest,
        errors=(409,),
    ),
    ("POST", f"{_ONE}/warm"): _of_session(
        "warm",
        "Compute the prompt of the session's next turn ahead.",
        models.SessionWarm,
        body=models.WarmRequest,
        errors=(409,),
    ),
    ("GET", f"{_ONE}/flash"): _of_session("listFlash", "List the flash queries and their answers.", models.FlashList),
    ("POST", f"{_ONE}/flash"): _of_session(
        "addFlash", "Register a flash query.", models.FlashRegistered, body=models.FlashRequest, errors=(409,)
    ),
    ("DELETE", f"{_ONE}/flash/{{flash_id}}"): _of_session(
        "deleteFlash", "Remove a flash query.", models.FlashDeleted, flash_id=_FLASH
    ),
    ("GET", f"{_ONE}/events"): _of_session(
        "streamEvents",
        "Stream what happens in the session.",
        _SESSION_EVENTS,
        last_event=_LAST_EVENT,
        changes_only=_CHANGES_ONLY,
    ),
    ("GET", f"{_ONE}/ws"): Operation(
        "openSocket",
        "A WebSocket: rows in, acknowledgements and events out.",
        "sessions",
        answers={101: ()},
        errors=(400, 404),
        parameters=(_SESSION, _LAST_EVENT_ON_SOCKET, _CHANGES_ONLY),
    ),
}
