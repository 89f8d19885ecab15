"""Chat templates: messages to the text a model was trained on.

A template is code that comes with a model file. It runs in a process of its own (`render_worker.py`) with limits on
steps, memory and time, and sees nothing but the values it is given.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvtape.errors import InvalidRequest, ModelError

if TYPE_CHECKING:
    from kvtape.model.load import Model

__all__ = ["ChatTemplate", "template_of"]

_FUEL = 2_000_000  # steps of one rendering; a chat of 1,000 messages takes about 20,000
_MAX_BYTES = 512 << 20  # of address space, the interpreter's own included
_MAX_SECONDS = (
    5.0  # for what takes few steps and little memory and yet no end, such as the length of a doubled lazy list
)
_MAX_TEXT_BYTES = 64 << 20

_WORKER = Path(__file__).with_name("render_worker.py")


_OF_MODEL: weakref.WeakKeyDictionary[Model, ChatTemplate | None] = weakref.WeakKeyDictionary()


class _Limit(Exception):
    """The process died or did not answer in time."""


def template_of(model: Model) -> ChatTemplate | None:
    """Return the model's chat template, compiled when it is first asked for; None where it has none.

    Raises:
        ModelError: the template is no Jinja.
    """
    if model not in _OF_MODEL:
        source = model.template_source
        _OF_MODEL[model] = (
            None if source is None else ChatTemplate(source, bos_token=model.bos_text, eos_token=model.eos_text)
        )
    return _OF_MODEL[model]


class ChatTemplate:
    """A chat template, compiled. Safe to use from several threads, which take turns."""

    def __init__(
        self,
        source: str,
        *,
        bos_token: str = "",
        eos_token: str = "",
        fuel: int = _FUEL,
        max_bytes: int = _MAX_BYTES,
        max_seconds: float = _MAX_SECONDS,
    ) -> None:
        """Compile a Jinja template; `tokenizer.chat_template` of a model file.

        Raises:
            ModelError: the template is no Jinja, or compiling it takes more than the limits allow.
        """
        self.source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._limits, self._max_seconds = [str(max_bytes), str(fuel)], max_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        with self._lock:
            self._start()

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        now: float | None = None,
        **kwargs: Any,
    ) -> str:
        """Render messages; `kwargs` are further variables of the template, `now` (seconds) is its clock.

        Blocks for about 0.2 ms, and for seconds where the template is hostile: not for an event loop.

        Raises:
            InvalidRequest: the template refuses these messages, or cannot work with them; `param` is `messages`.
            ModelError: the template takes more steps, memory or time than the limits allow.
        """
        variables = {
            **self._tokens,
            **kwargs,
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
            "tools": tools,
        }
        try:
            clock = time.time() if now is None else now
            request = json.dumps({"variables": variables, "now": clock}, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(f"messages must be JSON values: {error}", param="messages") from error
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._start()
            answer = self._ask(request)
        if "text" in answer:
            return answer["text"]
        if answer["kind"] == "limit":
            raise ModelError(f"chat template: {answer['error']}")
        if answer["kind"] == "refused":
            raise InvalidRequest(f"the chat template refuses: {answer['error']}", param="messages")
        raise InvalidRequest(f"the chat template cannot render this: {answer['error']}", param="messages")

    def close(self) -> None:
        """End the process; the next rendering starts another."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        # A process that a parent started belongs to the parent: its pipes are left alone after a fork.
        command = [sys.executable, "-P", str(_WORKER), *self._limits]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._process, self._owner = process, os.getpid()
        self._finalizer = weakref.finalize(self, _end, process, os.getpid())
        answer = self._ask(json.dumps({"source": self.source}).encode())
        if "error" in answer:
            self._stop()
            raise ModelError(f"chat template: {answer['error']}")

    def _stop(self) -> None:
        if self._process is not None:
            self._finalizer()
        self._process = None

    def _ask(self, request: bytes) -> dict[str, str]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + self._max_seconds
        try:
            with contextlib.suppress(BrokenPipeError):  # reading says it better
                view = memoryview(struct.pack(">I", len(request)) + request)
                while view:
                    view = view[process.stdin.write(view) :]
            (n_bytes,) = struct.unpack(">I", _read(process.stdout.fileno(), 4, deadline))
            if n_bytes > _MAX_TEXT_BYTES:
                raise _Limit(f"its text is longer than {_MAX_TEXT_BYTES} bytes")
            answer: dict[str, str] = json.loads(_read(process.stdout.fileno(), n_bytes, deadline))
        except _Limit as error:
            self._stop()
            return {"error": str(error), "kind": "limit"}
        except BaseException:  # interrupted between request and answer: the next one must not read the old answer
            self._stop()
            raise
        return answer


def _read(descriptor: int, n_bytes: int, deadline: float) -> bytes:
    parts = []
    while n_bytes > 0:
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise _Limit("no answer in time")
        part = os.read(descriptor, min(n_bytes, 1 << 20))
        if not part:
            raise _Limit("its process died, most likely out of memory")
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """End a process and close its pipes; in a process forked from the owner, only close them."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    if os.getpid() == owner:
        process.kill()
        process.wait()
