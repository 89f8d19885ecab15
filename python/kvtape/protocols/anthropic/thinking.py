"""Reasoning on the wire: what a request says of it, and the signature of a block that shows it."""

from __future__ import annotations

import base64
import binascii
import hashlib

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.models import ThinkingConfig
from kvtape.protocols.requests import refuse_unless
from kvtape.types import Thinking

__all__ = ["read_signed", "read_thinking", "shows_thinking", "sign"]

_PREFIX = "kvtape1."  # of this server's own signatures, and the version of their form
_DIGEST_BYTES = 16


def read_thinking(config: ThinkingConfig | None, effort: str | None, max_tokens: int | None) -> Thinking:
    """Read what a request says about reasoning. Without `thinking`, an effort above low turns it on, and low off.

    Args:
        config: the field `thinking`.
        effort: `output_config.effort`.
        max_tokens: None where only the prompt is counted.

    Raises:
        InvalidRequest: a type, a way to show it or a budget that is not supported.
    """
    if config is None:
        return Thinking(enabled=None if effort is None else effort != "low")
    refuse_unless(
        config.type in ("enabled", "disabled", "adaptive"),
        "thinking.type",
        f"must be enabled, disabled or adaptive, found {config.type!r:.40}",
    )
    refuse_unless(
        config.display in (None, "summarized", "omitted"),
        "thinking.display",
        f"must be summarized or omitted, found {config.display!r:.40}",
    )
    refuse_unless(not config.block_binding, "thinking.block_binding", "is not supported by this server")
    if config.type != "enabled":
        return Thinking(enabled=config.type == "adaptive")
    budget = config.budget_tokens
    if budget is None:
        raise InvalidRequest("thinking.budget_tokens is required", param="thinking.budget_tokens")
    refuse_unless(budget >= 1, "thinking.budget_tokens", f"must be at least 1, found {budget}")
    refuse_unless(
        max_tokens is None or budget < max_tokens,
        "thinking.budget_tokens",
        f"must be less than max_tokens, found {budget} and {max_tokens}",
    )
    return Thinking(enabled=True, budget=budget)


def shows_thinking(config: ThinkingConfig | None) -> bool:
    """Whether a reply's thinking blocks show their text, and not only carry it in the signature."""
    return config is None or config.display != "omitted"


def sign(thinking: str, *, shown: bool) -> str:
    """Make the signature of a thinking block: a digest of its text and, where the block does not show it, the text.

    It tells text that was changed on its way from text that was not. There is no key in it: reasoning goes back to the
    model that a client could tell anything.
    """
    text = thinking.encode()
    digest = hashlib.sha256(text).digest()[:_DIGEST_BYTES]
    return _PREFIX + base64.urlsafe_b64encode(digest + (b"" if shown else text)).decode()


def read_signed(thinking: str, signature: str | None, path: str) -> str:
    """Return the reasoning of a block that a client sends back; signatures of other servers are not looked at.

    Raises:
        InvalidRequest: the signature is one of this server's and the block is not what was signed; `param` names it.
    """
    if signature is None or not signature.startswith(_PREFIX):
        return thinking
    try:
        signed = base64.b64decode(signature.removeprefix(_PREFIX), altchars=b"-_", validate=True)
        text = thinking or signed[_DIGEST_BYTES:].decode()
    except (binascii.Error, ValueError):
        text = ""
        signed = b""
    if hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES] != signed[:_DIGEST_BYTES]:
        raise InvalidRequest(f"{path}.signature is not that of this block's thinking", param=f"{path}.signature")
    return text
