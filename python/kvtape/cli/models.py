"""`kvtape models`: which models have an alias, and which of them are here."""

from __future__ import annotations

import argparse

HELP = "list the models that have an alias, and which are here"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""


def run(args: argparse.Namespace) -> int:
    """Print the table on standard output."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    from kvtape.model.registry import MODELS, cached_path

    table = Table("alias", "size", "licence", "from", "file")
    for name, entry in MODELS.items():
        path = cached_path(name)
        table.add_row(
            name, decimal(entry.n_bytes), entry.license, entry.requirement, str(path or "not here: kvtape pull")
        )
    Console().print(table)
    return 0
