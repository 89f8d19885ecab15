"""Flags of the commands that run a model."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from kvtape.types import SamplingParams

__all__ = ["add_engine_flags", "add_sampling_flags", "engine_options", "sampling_params"]

DEFAULT_MODEL = "smollm2-135m"


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `engine_options` reads."""
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help=f"alias, path to a .gguf, or hf:owner/repo/file.gguf; {DEFAULT_MODEL}"
    )
    parser.add_argument(
        "--ctx", type=int, metavar="N", help="longest context in tokens; default: what the model allows"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads; default: one a core")
    parser.add_argument(
        "--kv-memory",
        default="auto",
        metavar="SIZE",
        help="memory for KV: bytes, 512M, 2GiB, or auto (a quarter, up to 4 GiB)",
    )
    parser.add_argument(
        "--kv-type",
        default="f16",
        type=_one_of("KV type", "f16", "q8_0"),
        metavar="f16|q8_0",
        help="how KV is stored; q8_0 takes half of the memory",
    )
    parser.add_argument(
        "--device",
        default="auto",
        type=_one_of("device", "auto", "cpu"),
        metavar="auto|cpu",
        help="where the model runs",
    )


def engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of an engine."""
    return {
        "n_ctx": args.ctx,
        "n_threads": args.threads,
        "kv_memory": args.kv_memory,
        "kv_type": args.kv_type,
    }


def add_sampling_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `sampling_params` reads."""
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest reply; default: until the context is full")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 to 2; 0, the default, is greedy")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="share of probability drawn from; 1")
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="most tokens drawn from; 0: all")
    parser.add_argument("--seed", type=int, metavar="N", help="makes what is drawn repeatable")
    parser.add_argument("--stop", action="append", metavar="TEXT", help="ends the reply; may be repeated")


def sampling_params(args: argparse.Namespace) -> SamplingParams:
    """Return what the flags ask for.

    Raises:
        InvalidRequest: a value is out of bounds.
    """
    return SamplingParams(
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        seed=args.seed,
        stop=tuple(args.stop or ()),
    )


def _one_of(what: str, *supported: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in supported:
            raise argparse.ArgumentTypeError(f"{what} {text!r} is not supported; supported: {', '.join(supported)}")
        return text

    return check
