"""The exception tree of kvtape.

::

    KvtapeError
    ├── InvalidRequest        the caller's value is wrong; `param`: its JSON path, if there is one (also a ValueError)
    │   └── ContextOverflow   the tokens do not fit; carries `n_tokens` and `limit` where they are known
    ├── NotFound              no such session, sequence, model, key or file (also a LookupError)
    ├── Conflict              the object exists already, or somebody else is using it
    ├── Overloaded            a bounded queue is full; `retry_after` is a hint in seconds
    ├── ModelError            a model file is broken, or is something this version cannot run
    └── EngineFailed          the engine is shut down, failed, or belongs to the process this one was forked from
        └── SequenceLost      a sequence with a hole lost its KV: append what it has left to a new one
"""

from __future__ import annotations

__all__ = [
    "Conflict",
    "ContextOverflow",
    "EngineFailed",
    "InvalidRequest",
    "KvtapeError",
    "ModelError",
    "NotFound",
    "Overloaded",
    "SequenceLost",
]


class KvtapeError(Exception):
    """Root of every error kvtape raises on purpose."""


class InvalidRequest(KvtapeError, ValueError):
    """The caller's value is wrong."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContextOverflow(InvalidRequest):
    """The tokens do not fit the context."""

    def __init__(
        self, message: str, *, param: str | None = None, n_tokens: int | None = None, limit: int | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.n_tokens = n_tokens
        self.limit = limit


class NotFound(KvtapeError, LookupError):
    """No such session, sequence, model, key or file."""


class Conflict(KvtapeError):
    """The object exists already, or somebody else is using it."""


class Overloaded(KvtapeError):
    """A bounded queue is full."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelError(KvtapeError):
    """A model file is broken, or is something this version cannot run."""


class EngineFailed(KvtapeError):
    """The engine is shut down, failed, or belongs to another process."""


class SequenceLost(EngineFailed):
    """A sequence with a hole lost its KV, which nothing can compute again."""
