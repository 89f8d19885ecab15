"""`kvtape pull`: fetch model files."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "fetch a model file and check it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "names",
        nargs="*",
        default=["smollm2-135m"],
        metavar="NAME",
        help="an alias of `kvtape models`, or hf:owner/repo/file",
    )


def run(args: argparse.Namespace) -> int:
    """Fetch each model; print the paths on standard output, one a line."""
    for name in args.names:
        print(fetch(name))
    return 0


def fetch(name: str) -> Path:
    """Return the path of a model, fetched with a progress bar on standard error where it is not here yet."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from kvtape.model import registry

    columns = (
        TextColumn("{task.fields[name]} {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", name=name, total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        return registry.resolve(name, download=True, progress=show)
