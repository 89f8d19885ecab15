"""LayerScale: what clients send."""

from __future__ import annotations

from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import msgspec

from kvtape.protocols.openai.request_models import InputMessage, Reasoning, ToolDefinition

__all__ = [
    "AppendRequest",
    "CreateRequest",
    "EventRow",
    "FlashRequest",
    "GenerateRequest",
    "IotRow",
    "OhlcvRow",
    "PushRequest",
    "SessionRow",
    "SharedRingInit",
    "SpatialRow",
    "VitalsRow",
    "WarmRequest",
]

Row = TypeVar("Row")


class OhlcvRow(TypedDict):
    """A candle: open, high, low, close, volume; `timestamp` is in Unix seconds, as in every type of row."""

    o: float
    h: float
    l: float  # noqa: E741
    c: float
    v: float
    timestamp: NotRequired[int]
    sym: NotRequired[str]


class IotRow(TypedDict):
    """A reading of sensor `sid`, and the limits that it should keep."""

    sid: str
    val: float
    lo: float
    hi: float
    timestamp: NotRequired[int]


class SpatialRow(TypedDict):
    """A position, its speed, and its heading in degrees."""

    x: float
    y: float
    z: float
    spd: float
    hdg: float
    timestamp: NotRequired[int]


class EventRow(TypedDict):
    """`cnt` events of one category from one source; a severity of 4 or more is critical."""

    src: str
    sev: int
    cat: str
    cnt: int
    timestamp: NotRequired[int]


class VitalsRow(TypedDict):
    """Heart rate a minute, blood pressure, oxygen saturation in per cent, temperature in degrees Celsius."""

    hr: float
    bp_s: float
    bp_d: float
    spo2: float
    temp: float
    timestamp: NotRequired[int]


SessionRow = OhlcvRow | IotRow | SpatialRow | EventRow | VitalsRow


class FlashRequest(msgspec.Struct):
    """Body of `POST …/flash`, and a flash query registered together with its session.

    `choices`, of which the answer is one, are this server's own.
    """

    query: str
    max_tokens: int | None = None
    maxTokens: int | None = None  # another spelling of max_tokens
    choices: list[str] | None = None


class SharedRingInit(msgspec.Struct):
    """A ring in this machine's shared memory; `names` are those that its rows count, by field."""

    name: str
    names: dict[str, list[str]] | None = None
    capacity: int = 4096  # rows, a power of two


class CreateRequest(msgspec.Struct, kw_only=True):
    """Body of `POST /v1/sessions/init`, which needs a type, and of `POST /v1/sessions`, which needs nothing.

    Both take the fields of either. This server's own are `overflow`, what a full queue does, and `shared_ring`, which
    the session makes and reads.
    """

    type: str | None = None
    prompt: str | None = None
    context: int | None = None
    window_size: int | None = None
    window: int | None = None  # the newer name of window_size
    flash: list[FlashRequest | str] | None = None
    mark_prefix: bool | None = None
    id: str | None = None
    pre_decode: bool | None = None
    overflow: Literal["drop_newest", "drop_oldest", "block", "conflate"] | None = None
    shared_ring: SharedRingInit | None = None


class AppendRequest(msgspec.Struct):
    """Body of `POST …/append`."""

    text: str


class PushRequest(msgspec.Struct, Generic[Row]):
    """Body of `POST …/stream/push` and `POST …/push`: text, or rows and texts in any order.

    Rows are checked against the session's type.
    """

    data: list[Row] | str


class GenerateRequest(msgspec.Struct, kw_only=True):
    """Body of `POST …/generate`. Every field here is honoured, inert, or refused by name in the codec."""

    prompt: str | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    ignore_eos: bool | None = None
    stop: str | list[str] | None = None
    fast_answer: bool | list[str] | None = None
    gap_threshold: float | None = None
    clear_after: int | None = None
    messages: list[InputMessage] | None = None
    tools: list[ToolDefinition] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    thinking_budget: int | None = None


class WarmRequest(msgspec.Struct, kw_only=True):
    """Body of `POST …/warm`: of a chat request, what makes its prompt; all else is not looked at."""

    messages: list[InputMessage]
    tools: list[ToolDefinition] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    thinking_budget: int | None = None
