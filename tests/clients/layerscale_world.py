"""The servers that the checks of `layerscale` talk to, all over tiny models and on ports of their own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape import Engine
from kvtape.engine import AsyncEngine
from kvtape.server import create_app
from kvtape.server.limits import BodyLimits
from tests.reference.tiny_model import TinySpec, write_tiny_model
from tests.scripted import cut, scripted_engine
from tests.serving import ROWS, STATS, running

__all__ = ["KEY", "standing"]

KEY = "LS-test"
LINES = "one\u2028two\u2029three\x85four"  # ends of lines to Python, and to the streams of older clients
REPLIES = (
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>',
    "<think>\nWarm?\nYes.\n</think>\n\nIt is warm.",
    "It is warm.",
    LINES,
)


@contextmanager
def standing(folder: Path) -> Iterator[dict[str, Any]]:
    """Serve what the checks need; yields the `World` of their harness as JSON would have it.

    `main` asks for a key, and has a context that takes seconds to fill; `scripted` recites REPLIES; `small` holds one
    session and little in request bodies; `loading` has no model yet; a `dying` one ends its engine when told to; at
    `nobody` there is none.
    """
    model = write_tiny_model(folder / "tiny.gguf", TinySpec(n_ctx=32_768))
    with ExitStack() as stack:
        engine = stack.enter_context(Engine(model, kv_memory="256M", n_threads=1))
        scripted = stack.enter_context(scripted_engine(folder / "scripted.gguf", [cut(reply) for reply in REPLIES]))
        small = BodyLimits(body_bytes=80_000, total_bytes=20_000)
        apps = {
            "main": create_app(engine, api_keys=[KEY]),
            "scripted": create_app(scripted),
            "small": create_app(engine, max_sessions=1, limits=small),
            "loading": create_app(_never(over := threading.Event())),
        }
        for name in ("dying sync", "dying async"):
            apps[name] = _mortal(stack.enter_context(Engine(model, kv_memory="64M", n_threads=1)))
        urls = {name: stack.enter_context(running(app)) for name, app in apps.items()}
        stack.callback(over.set)  # before its server is asked to end
        with socket.create_server(("127.0.0.1", 0)) as free:
            urls["nobody"] = f"http://127.0.0.1:{free.getsockname()[1]}"
        yield {"urls": urls, "rows": ROWS, "stats": STATS, "lines": LINES}


def _never(over: threading.Event) -> Callable[[], AsyncEngine]:
    """A source of an engine that is still loading when all is over."""

    def load() -> AsyncEngine:
        over.wait()
        raise RuntimeError("it was not wanted any more")

    return load


def _mortal(engine: Engine) -> Starlette:
    """An app with a route that closes its engine."""

    def kill(request: Request) -> Response:
        engine.close()
        return Response()

    app = create_app(engine)
    app.router.routes.append(Route("/kill", kill, methods=["POST"]))
    return app
