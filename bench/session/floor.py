"""The least that our server's parts cost: an app that reads a body and answers, and one that echoes a WebSocket's text.

python -m bench.session.floor PORT
"""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from kvtape.server.serving import SERVER_OPTIONS, listen

ANSWER = b'{"pushed":100,"dropped":0,"queue_size":100,"queue_capacity":16384,"total_enqueued":100,"total_dropped":0}'


async def take(request: Request) -> Response:
    """Read the body and answer."""
    await request.body()
    return Response(ANSWER, media_type="application/json")


async def echo(socket: WebSocket) -> None:
    """Answer each text."""
    await socket.accept()
    try:
        while True:
            await socket.receive_text()
            await socket.send_text(ANSWER.decode())
    except WebSocketDisconnect:
        pass


def main() -> None:
    """Serve until the process is ended."""
    routes = [
        Route("/health", take),
        Route("/v1/sessions/{session_id}/{what:path}", take, methods=["GET", "POST"]),
        WebSocketRoute("/v1/sessions/{session_id}/ws", echo),
    ]
    with listen("127.0.0.1", int(sys.argv[1])) as bound:
        uvicorn.Server(uvicorn.Config(Starlette(routes=routes), **SERVER_OPTIONS)).run(sockets=[bound])


if __name__ == "__main__":
    main()
