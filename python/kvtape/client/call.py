"""A request as a value, and where it is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx
import msgspec

from kvtape.client.errors import error_of
from kvtape.client.retry import RECONNECT, RETRY, Backoff
from kvtape.errors import KvtapeError
from kvtape.protocols.sse import SseEvent

__all__ = ["TIMEOUT", "USER_AGENT", "Call", "Settings", "StreamCall", "refusal", "request_of"]

T = TypeVar("T")

TIMEOUT = httpx.Timeout(600.0, connect=5.0)
USER_AGENT = "kvtape-client"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the server is and how it is spoken to."""

    base_url: str
    api_key: str | None = None
    timeout: httpx.Timeout = field(default_factory=lambda: TIMEOUT)
    retry: Backoff = RETRY
    reconnect: Backoff = RECONNECT

    def authorization(self) -> dict[str, str]:
        """Return the header with the key, where there is one."""
        return {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def http_options(self) -> dict[str, Any]:
        """Return what httpx is to know."""
        headers = {"content-type": "application/json", "user-agent": USER_AGENT, **self.authorization()}
        return {"base_url": self.base_url, "headers": headers, "timeout": self.timeout}


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and the type of its answer; `str` is the answer as it stands."""

    method: str
    path: str
    result: type[T]
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def decode(self, response: httpx.Response) -> T:
        """Return the answer.

        Raises:
            KvtapeError: the server's error, as the exception it stands for.
        """
        if response.status_code >= 400:
            raise refusal(response)
        if self.result is str:
            return response.text  # type: ignore[return-value]  # T is str
        return msgspec.json.decode(response.content, type=self.result)


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[T]):
    """One request that a stream answers: `read` makes a value, or nothing, of each event; `is_last` knows the end."""

    method: str
    path: str
    read: Callable[[SseEvent], T | None]
    is_last: Callable[[SseEvent], bool]
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: httpx.Timeout | None = None  # None: the client's


def refusal(response: httpx.Response) -> KvtapeError:
    """Return the exception that an answer of 400 or more, read to its end, stands for."""
    return error_of(response.status_code, response.content, response.headers.get("retry-after"))


def request_of(call: Call[Any] | StreamCall[Any]) -> dict[str, Any]:
    """Return a call as httpx wants it."""
    content = None if call.body is None else msgspec.json.encode(call.body)
    request: dict[str, Any] = {"method": call.method, "url": call.path, "content": content, "headers": call.headers}
    if isinstance(call, StreamCall) and call.timeout is not None:
        request["timeout"] = call.timeout
    return request
