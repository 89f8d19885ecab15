"""Chat templates: messages to the text a model was trained on.

A template is code that comes with a model file. It runs in a process of its own (`render_worker.py`) with limits on
steps, memory and time, and sees nothing but the values it is given.
"""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvtape.engine.worker_process import WorkerFailed, WorkerProcess
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
_COMPILING = threading.Lock()  # sessions are opened in several threads; each template has one process


def template_of(model: Model) -> ChatTemplate | None:
    """Return the model's chat template, compiled when it is first asked for; None where it has none.

    Raises:
        ModelError: the template is no Jinja.
    """
    with _COMPILING:
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
        self._worker = WorkerProcess(
            _WORKER,
            [str(fuel)],
            {"source": source},
            max_bytes=max_bytes,
            max_seconds=max_seconds,
            max_answer_bytes=_MAX_TEXT_BYTES,
        )
        try:
            answer = self._worker.start()
        except WorkerFailed as error:
            raise ModelError(f"chat template: {error}") from error
        if "error" in answer:
            raise ModelError(f"chat template: {answer['error']}")

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
        try:
            answer: dict[str, str] = self._worker.ask(request)
        except WorkerFailed as error:
            raise ModelError(f"chat template: {error}") from error
        if "text" in answer:
            return answer["text"]
        if answer["kind"] == "limit":
            raise ModelError(f"chat template: {answer['error']}")
        if answer["kind"] == "refused":
            raise InvalidRequest(f"the chat template refuses: {answer['error']}", param="messages")
        raise InvalidRequest(f"the chat template cannot render this: {answer['error']}", param="messages")

    def close(self) -> None:
        """End the process; the next rendering starts another."""
        self._worker.close()
