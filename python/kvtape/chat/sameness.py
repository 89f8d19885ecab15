"""When two messages are the same, whatever dialects and JSON libraries made of them on their way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

__all__ = ["canonical", "digest"]


def canonical(message: Mapping[str, Any]) -> str:
    """Return a message of a `ChatPrompt` as text that is equal where the messages mean the same.

    The ids of calls are left out: the dialect made them. Those of their results stay.
    """
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return json.dumps(
        [
            message["role"],
            message.get("content") or "",
            message.get("reasoning_content") or "",
            message.get("name"),
            message.get("tool_call_id"),
            [[call["name"], _canonical_json(call["arguments"])] for call in calls],
        ],
        ensure_ascii=False,
    )


def digest(text: str, *, behind: bytes = b"") -> bytes:
    """Return 16 bytes that stand for a text, or for one behind what other such bytes stand for."""
    return blake2b(behind + text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _canonical_json(text: str) -> str:
    try:
        return json.dumps(json.loads(text or "{}"), sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
