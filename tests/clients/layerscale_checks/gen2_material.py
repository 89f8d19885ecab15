"""What the checks of the second generation share."""

from __future__ import annotations

from typing import Any

from client import Client

LINES = ["AAPL 187.44 +0.5%", "MSFT 420.21 -0.1%", "NVDA 131.29 +2.2%"]
QUESTION = {"prompt": "on and on", "max_tokens": 30_000, "ignore_eos": True, "temperature": 1.0}
GREEDY = {"temperature": 0.0, "ignore_eos": True}


async def fresh(c: Client, session: str) -> Any:
    listed = (await c.sessions.list_flash(session)).data
    return listed if all(item.fresh for item in listed) else None
