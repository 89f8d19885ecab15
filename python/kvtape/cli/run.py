"""`kvtape run`: one prompt, one reply."""

from __future__ import annotations

import argparse
import sys

from kvtape.cli.engine_flags import add_engine_flags, add_sampling_flags, engine_options, sampling_params
from kvtape.errors import InvalidRequest
from kvtape.types import ChatPrompt

HELP = "answer one prompt, from the command line or from standard input"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the prompt, and how it is put to the model."""
    parser.add_argument("prompt", nargs="?", help="the prompt; `-` or none at all reads standard input")
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    parser.add_argument("--raw", action="store_true", help="continue the prompt as text, without the chat template")
    add_engine_flags(parser)
    add_sampling_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Print the reply as it is generated."""
    if args.raw and args.system:
        raise InvalidRequest("--system needs the chat template, which --raw leaves out", param="system")
    params = sampling_params(args)
    prompt = sys.stdin.read() if args.prompt in (None, "-") else args.prompt
    if not prompt:
        raise InvalidRequest("the prompt is empty", param="prompt")

    from kvtape.chat.prompt import encode_chat
    from kvtape.engine import Engine

    with Engine(args.model, **engine_options(args)) as engine:
        sequence = engine.open()
        if args.raw:
            sequence.append(prompt)
        else:
            system = [{"role": "system", "content": args.system}] if args.system else []
            chat = ChatPrompt(messages=[*system, {"role": "user", "content": prompt}])
            sequence.append(encode_chat(engine.model, chat))
        for event in sequence.generate(params):
            print(event.text, end="", flush=True)
    print()
    return 0
