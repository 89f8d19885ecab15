"""What the checks of the first generation share."""

from __future__ import annotations

from typing import Any

from client import Client

PROMPT = "be brief"
UP, DOWN = {"query": "up?", "max_tokens": 4}, {"query": "down?"}
LONG = {"prompt": "on and on", "max_tokens": 30_000, "ignore_eos": True, "temperature": 1.0}


async def candles(c: Client, **options: Any) -> str:
    """Make a session of candles; returns its id."""
    return (await c.session(type="ohlcv", prompt=PROMPT, **options)).session_id


async def answered(c: Client, session: str) -> Any:
    listed = await c.sessions.list_flash(session)
    queries = listed.flash_queries
    return queries if all(item.data_version == listed.current_data_version for item in queries) else None
