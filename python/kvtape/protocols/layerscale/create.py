"""LayerScale: what a session is to be created with, and flash queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale.models import CreateRequest, FlashRequest, SharedRingInit
from kvtape.protocols.requests import decode_request, refuse_unless

__all__ = ["CreateCall", "FlashCall", "decode_create", "decode_flash"]

STREAM_TYPES = ("ohlcv", "iot", "spatial", "event", "vitals")
DEFAULT_FLASH_TOKENS = 32
MAX_FLASH_TOKENS = 256

_CREATE_ALIASES = {
    "markPrefix": "mark_prefix",
    "context_size": "context",
    "contextSize": "context",
    "windowSize": "window_size",
}
_FLASH_ALIASES = {"maxTokens": "max_tokens"}


@dataclass(frozen=True, slots=True)
class FlashCall:
    """A checked flash query; `choices`, which the session checks, are the answers that it may have, none: any."""

    query: str
    max_tokens: int
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCall:
    """A checked creation of a session; what is None is left to the server."""

    type: str  # of rows, or "text"
    prompt: str
    context: int | None
    window: int | None
    flash: tuple[FlashCall, ...]
    mark_prefix: bool
    id: str | None
    pre_decode: bool
    overflow: Literal["drop_newest", "drop_oldest", "block", "conflate"] | None
    shared_ring: SharedRingInit | None


def decode_create(body: bytes, *, wire: int) -> CreateCall:
    """Decode `POST /v1/sessions/init` (wire 1) or `POST /v1/sessions` (wire 2), whose sessions have no typed rows.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, CreateRequest, _CREATE_ALIASES)
    types, default = (STREAM_TYPES, "") if wire == 1 else (("text",), "text")
    kind = default if request.type is None else request.type
    if kind not in types:
        raise InvalidRequest(f"type must be one of {', '.join(types)}, found {kind!r:.40}", param="type")
    if request.context is not None and request.context < 1:
        raise InvalidRequest(f"context must be a positive number of tokens, found {request.context}", param="context")
    return CreateCall(
        type=kind,
        prompt=request.prompt or "",
        context=request.context,
        window=_read_window(request),
        flash=tuple(
            _read_flash(FlashRequest(item) if isinstance(item, str) else item, f"flash[{index}].")
            for index, item in enumerate(request.flash or ())
        ),
        mark_prefix=bool(request.mark_prefix),
        id=request.id,
        pre_decode=bool(request.pre_decode),
        overflow=request.overflow,
        shared_ring=request.shared_ring,
    )


def decode_flash(body: bytes) -> FlashCall:
    """Decode `POST …/flash`; the number of tokens is clamped, never refused.

    Raises:
        InvalidRequest: the query is missing or empty, or the choices are no list of strings.
    """
    return _read_flash(decode_request(body, FlashRequest, _FLASH_ALIASES), "")


def _read_window(request: CreateRequest) -> int | None:
    """Read a window under either of its names; 0 is none."""
    name = "window" if request.window_size is None else "window_size"
    window: int | None = getattr(request, name)
    refuse_unless(window is None or window >= 0, name, f"must be a number of tokens, 0 for no window, found {window}")
    return window or None


def _read_flash(request: FlashRequest, path: str) -> FlashCall:
    refuse_unless(bool(request.query.strip()), f"{path}query", "must not be empty")
    max_tokens = request.maxTokens if request.max_tokens is None else request.max_tokens
    max_tokens = DEFAULT_FLASH_TOKENS if max_tokens is None else min(max(max_tokens, 1), MAX_FLASH_TOKENS)
    return FlashCall(request.query, max_tokens, tuple(request.choices or ()))
