"""`kvtape serve`: an HTTP server over one model."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import time
from typing import TYPE_CHECKING

from kvtape.cli import require_extra
from kvtape.cli.engine_flags import add_engine_flags, engine_options

if TYPE_CHECKING:
    from kvtape.engine import AsyncEngine

HELP = "serve a model over HTTP: live-data sessions and chat completions"

SWITCH_SECONDS = 5e-4  # that a thread which renders or encodes keeps the event loop waiting; Python's own is 5 ms

log = logging.getLogger("kvtape.serve")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the server's and the model's flags."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 8080, 0: any free one")
    parser.add_argument("--api-key", action="append", metavar="KEY", help="ask requests for a key; may be repeated")
    parser.add_argument("--max-sessions", type=int, default=256, metavar="N", help="sessions live at a time; 256")
    parser.add_argument(
        "--drain-seconds", type=float, default=30.0, metavar="S", help="time for running requests at the end; 30"
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="form of the log; text")
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; running requests are let finish, a second Ctrl-C ends at once."""
    require_extra("server")
    _log_to_stderr(args.log_format)

    from kvtape.engine import AsyncEngine
    from kvtape.model.load import model_name
    from kvtape.server import create_app
    from kvtape.server.serving import serve

    def load() -> AsyncEngine:
        log.info("loading %s", args.model)
        started = time.monotonic()
        engine = AsyncEngine(args.model, **engine_options(args))
        _report(engine, time.monotonic() - started)
        gc.collect()
        gc.freeze()  # vocabulary, modules: a full collection would hold every request up while it walks through them
        return engine

    app = create_app(
        load, api_keys=args.api_key or (), max_sessions=args.max_sessions, model_name=model_name(args.model)
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    served = serve(app, host=args.host, port=args.port, drain_seconds=args.drain_seconds)
    return 0 if served else 1


def _report(engine: AsyncEngine, seconds: float) -> None:
    from kvtape.engine.stats import huge_page_bytes

    stats, model = engine.stats(), engine.model
    log.info(
        "model %s: %.0fM parameters, %.0f MB, loaded in %.1f s; context %d tokens; "
        "KV memory %.0f MiB of %s for %d tokens",
        model.name,
        model.n_params / 1e6,
        model.size_bytes / 1e6,
        seconds,
        engine.n_ctx,
        stats.kv_bytes / (1 << 20),
        stats.kv_type,
        stats.kv_blocks_total * stats.block_size,
    )
    n_huge = huge_page_bytes()
    if n_huge is not None:
        log.info("%.0f MB of memory on huge pages", n_huge / 1e6)


def _log_to_stderr(form: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # we say ourselves where we listen


class _JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields)
