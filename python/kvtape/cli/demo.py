"""`kvtape demo`: the main job in a minute, on real candles."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import platform
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kvtape.cli import require_extra
from kvtape.cli.engine_flags import add_engine_flags, engine_options
from kvtape.errors import EngineFailed, InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from kvtape.cli.demo_view.results import DemoResult
    from kvtape.engine import Engine

HELP = "stream real candles into a live session and keep questions about them answered"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the demo's and the model's flags."""
    parser.add_argument("--symbol", default="AAPL", help="AAPL or GOOG; AAPL")
    parser.add_argument("--history", type=int, default=100, metavar="N", help="candles pushed at once at first; 100")
    parser.add_argument("--candles", type=int, default=40, metavar="N", help="candles pushed one by one then; 40")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with candles, answers and times")
    parser.add_argument("--json", action="store_true", help="print the run as JSON instead")
    add_engine_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo on a server of its own; ends by itself."""
    require_extra("server")
    from rich.console import Console

    from kvtape.cli.demo_view.page import html_page
    from kvtape.cli.demo_view.results import to_json
    from kvtape.cli.demo_view.table import summary
    from kvtape.data import load_candles

    candles = load_candles(args.symbol)
    for name, least in (("history", 0), ("candles", 1)):
        if getattr(args, name) < least:
            raise InvalidRequest(f"--{name} must be at least {least}, found {getattr(args, name)}", param=name)
    n_candles = args.history + args.candles
    if n_candles > len(candles):
        raise InvalidRequest(
            f"there are {len(candles)} candles of {args.symbol}, asked for {n_candles}", param="candles"
        )
    if args.html and not args.html.parent.is_dir():
        raise InvalidRequest(f"--html: there is no folder {args.html.parent}", param="html")

    console = Console(stderr=args.json)
    engine = _load(args, console)
    with engine, _local_server(engine) as url:
        result = _play(url, engine, candles[-n_candles:], args, console)
    if args.json:
        sys.stdout.write(to_json(result).decode() + "\n")
    else:
        console.print(summary(result))
    if args.html:
        args.html.write_text(html_page(result), encoding="utf-8")
        console.print(f"wrote {args.html}")
    return 0


def _load(args: argparse.Namespace, console: Console) -> Engine:
    from kvtape.cli.pull import fetch
    from kvtape.engine import Engine

    fetch(args.model)
    started = time.monotonic()
    with console.status(f"loading {args.model}"):
        engine = Engine(args.model, **engine_options(args))
    megabytes = engine.model.size_bytes / 1e6
    console.print(f"loaded {args.model} ({megabytes:.0f} MB) in {time.monotonic() - started:.1f} s")
    return engine


@contextlib.contextmanager
def _local_server(engine: Engine) -> Iterator[str]:
    """Serve the engine on a free loopback port, from a thread; gives its URL."""
    import uvicorn

    from kvtape.server import create_app
    from kvtape.server.serving import listen

    with listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(create_app(engine), log_level="error", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="kvtape-demo-server")
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise EngineFailed("demo: the server did not start")
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _play(url: str, engine: Engine, candles: np.ndarray, args: argparse.Namespace, console: Console) -> DemoResult:
    from rich.live import Live

    from kvtape._native import _core
    from kvtape.cli.demo_run import QUERIES, play
    from kvtape.cli.demo_view.results import DemoResult
    from kvtape.cli.demo_view.table import live_frame
    from kvtape.client import AsyncLayerScale

    machine = f"{platform.machine()}, {_core.active_isa()}, {engine.core.n_threads} threads"
    result = DemoResult(
        model=engine.model.name, symbol=args.symbol, n_candles=args.candles, queries=list(QUERIES), machine=machine
    )

    async def session() -> None:
        client = AsyncLayerScale(url)
        try:
            with Live(console=console, refresh_per_second=8, transient=False) as live:
                await play(
                    client,
                    candles,
                    result,
                    n_history=args.history,
                    show=lambda what: live.update(what or live_frame(result)),
                )
                live.update(live_frame(result))
        finally:
            await client.close()

    asyncio.run(session())
    return result
