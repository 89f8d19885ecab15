"""The command line: `kvtape COMMAND ...`.

A command is a module of this package with three names, and a row in `COMMANDS`:

- `HELP`: one line;
- `configure(parser)`: adds its arguments to an `argparse.ArgumentParser`;
- `run(args) -> int`: does it and returns the exit code.

Command modules import what is heavy inside `run`, so that `--help` and the reading of `kvtape.toml` stay quick. Every
flag is also an environment variable and a key of `kvtape.toml`: `config.py`.

Exit codes: 0 done; 1 a `KvtapeError` or an error of the operating system; 2 the request itself was wrong; 130
interrupted; 141 the reader of our output went away.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import re
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from kvtape.cli.config import parse_with_config
from kvtape.errors import InvalidRequest, KvtapeError

__all__ = ["COMMANDS", "Command", "load_command", "main", "make_parser", "require_extra"]

COMMANDS: dict[str, str] = {
    "demo": "kvtape.cli.demo",
    "serve": "kvtape.cli.serve",
    "run": "kvtape.cli.run",
    "chat": "kvtape.cli.chat",
    "pull": "kvtape.cli.pull",
    "models": "kvtape.cli.models",
    "bench": "kvtape.cli.bench",
    "version": "kvtape.cli.version",
}


class Command(Protocol):
    """What a command module offers."""

    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit code."""
        raise NotImplementedError


def load_command(name: str) -> Command:
    """Import the module of a command in `COMMANDS`."""
    return cast(Command, importlib.import_module(COMMANDS[name]))


def make_parser(name: str) -> argparse.ArgumentParser:
    """Build the parser of a command in `COMMANDS`."""
    command = load_command(name)
    parser = argparse.ArgumentParser(prog=f"kvtape {name}", description=command.HELP, allow_abbrev=False)
    command.configure(parser)
    return parser


def require_extra(name: str) -> None:
    """Check that every distribution of an optional extra of kvtape is installed.

    Raises:
        KvtapeError: something is missing; the message is the line that installs it.
    """
    try:
        requirements = importlib.metadata.requires("kvtape") or []
    except importlib.metadata.PackageNotFoundError:  # a source tree on PYTHONPATH has no metadata to ask
        return
    missing = []
    for requirement in requirements:
        found = re.fullmatch(rf"([A-Za-z0-9._-]+)[^;]*;.*\bextra == ['\"]{re.escape(name)}['\"].*", requirement)
        if found is None:
            continue
        try:
            importlib.metadata.version(found[1])
        except importlib.metadata.PackageNotFoundError:
            missing.append(found[1])
    if missing:
        raise KvtapeError(f"{', '.join(missing)} not installed; install with: pip install 'kvtape[{name}]'")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` defaults to the arguments of this process.

    Raises:
        SystemExit: from argparse, after `COMMAND --help` (0) or a usage error (2).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] in (["-h"], ["--help"]):
        print(_help(), end="")
        return 0
    name = "version" if args[:1] == ["--version"] else "".join(args[:1])
    if name not in COMMANDS:
        wanted = f"wanted one of {', '.join(COMMANDS)}"
        print(f"kvtape: {wanted}, found {name!r}" if args else _help(), file=sys.stderr)
        return 2
    try:
        command = load_command(name)
        code = command.run(parse_with_config(name, args[1:], COMMANDS, make_parser))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit complains again
        return 141
    except (KvtapeError, OSError) as error:
        print(f"kvtape {name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidRequest) else 1


def _help() -> str:
    rows = "".join(f"  {name:<10}{load_command(name).HELP}\n" for name in COMMANDS)
    return (
        "usage: kvtape COMMAND ...\n\nLive data in a language model's context.\n\ncommands:\n"
        f"{rows}\n`kvtape COMMAND --help` explains one; flags can also be set by KVTAPE_<FLAG> or in kvtape.toml.\n"
    )
