"""`kvtape pull`: fetch model files."""

from __future__ import annotations

import argparse

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
    """Fetch each model, with a progress bar on standard error; print the paths on standard output, one a line."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from kvtape.model import registry

    columns = (
        TextColumn("{task.fields[name]} {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    for name in args.names:
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", name=name, total=None)

            def show(what: str, done: int, total: int, bar: Progress = bar, task: TaskID = task) -> None:
                bar.update(task, description=what, completed=done, total=total)

            path = registry.pull(name, progress=show)
        print(path)
    return 0
