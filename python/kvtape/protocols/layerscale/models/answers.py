"""LayerScale: answers of a session, at once or in frames."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from kvtape.protocols.openai.models import OutputToolCall, PromptTokensDetails

__all__ = [
    "GenerateToken",
    "GenerateUsage",
    "Generated",
    "SessionWarm",
]


class GenerateUsage(msgspec.Struct):
    """Token counts of an answer; one that was there already has zeros and neither total nor details."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int | UnsetType = UNSET
    prompt_tokens_details: PromptTokensDetails | UnsetType = UNSET


class Generated(msgspec.Struct, kw_only=True):
    """A session's answer; with `done` it is the last frame of a streamed one."""

    done: bool | UnsetType = UNSET
    text: str
    finish_reason: str
    n_tokens: int
    total_tokens: int
    pos_max: int
    id: str
    object: Literal["session.generation"] = "session.generation"
    session_id: str
    data_version: int
    usage: GenerateUsage
    flash: bool | UnsetType = UNSET
    flash_id: int | UnsetType = UNSET
    confidence: float | UnsetType = UNSET
    probabilities: dict[str, float] | UnsetType = UNSET
    coverage: float | UnsetType = UNSET
    speculative: bool | UnsetType = UNSET
    logit_gap: float | UnsetType = UNSET
    tool_calls: list[OutputToolCall] | UnsetType = UNSET


class GenerateToken(msgspec.Struct):
    """One frame of text: `token` and `pos` for gen-1, `text` for gen-2; with `tool_call`, the beginning of a call."""

    token: str
    text: str
    pos: int
    done: bool = False
    tool_call: bool | UnsetType = UNSET


class SessionWarm(msgspec.Struct, kw_only=True):
    """How the reading of a conversation ahead of its turn ended: `warmed`, `cancelled` by a turn, or all `covered`."""

    id: str
    object: Literal["session.warm"] = "session.warm"
    session_id: str
    finish_reason: Literal["warmed", "cancelled", "covered"]
    prompt_tokens: int
    cached_tokens: int
    prefix_cached_tokens: int
    data_version: int
