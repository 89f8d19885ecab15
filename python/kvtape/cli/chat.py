"""`kvtape chat`: a conversation in the terminal, kept in one sequence."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from kvtape.cli.engine_flags import add_engine_flags, add_sampling_flags, engine_options, sampling_params
from kvtape.errors import ContextOverflow
from kvtape.types import ChatPrompt, SamplingParams

if TYPE_CHECKING:
    from kvtape.engine import Engine

HELP = "talk to a model; /reset starts again, /exit ends"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `--system`, the model's and the sampler's flags."""
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    add_engine_flags(parser)
    add_sampling_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Read lines and answer them until the end of input."""
    params = sampling_params(args)

    from kvtape.engine import Engine

    opening = [{"role": "system", "content": args.system}] if args.system else []
    with Engine(args.model, **engine_options(args)) as engine:
        print(f"{engine.model.name}, {engine.n_ctx} tokens of context. /reset starts again, /exit ends.")
        _converse(engine, opening, params)
    return 0


def _converse(engine: Engine, opening: list[dict[str, Any]], params: SamplingParams) -> None:
    from kvtape.chat.framing import rewrite
    from kvtape.chat.prompt import encode_chat

    messages = list(opening)
    sequence = engine.open()
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return
        if line == "/exit":
            return
        if line == "/reset":
            messages = list(opening)
            continue
        if not line:
            continue
        messages.append({"role": "user", "content": line})
        reply = ""
        try:
            rewrite(sequence, encode_chat(engine.model, ChatPrompt(messages=messages)))
            for event in sequence.generate(params):
                print(event.text, end="", flush=True)
                reply += event.text
        except ContextOverflow as error:
            print(f"{error}; /reset starts again", end="")
            messages.pop()
            reply = ""
        except KeyboardInterrupt:  # ends the reply, not the conversation
            pass
        print()
        if reply:
            messages.append({"role": "assistant", "content": reply})
