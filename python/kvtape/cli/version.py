"""`kvtape version`: what is installed here, for a bug report."""

from __future__ import annotations

import argparse
import json
import platform

import kvtape

HELP = "print the version, the instruction set in use, the compiler, Python and the platform"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")


def run(args: argparse.Namespace) -> int:
    """Print the facts."""
    from kvtape._native import _core

    facts = {
        "kvtape": kvtape.__version__,
        "isa": _core.active_isa(),
        "available_isas": _core.available_isas(),
        "compiler": _core.compiler(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
    }
    if args.json:
        print(json.dumps(facts))
    else:
        width = max(map(len, facts)) + 2
        for name, value in facts.items():
            print(f"{name:<{width}}{', '.join(value) if isinstance(value, list) else value}")
    return 0
