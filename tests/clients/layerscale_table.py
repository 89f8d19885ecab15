"""The table of the published Python clients and their methods against our server.

python -m tests.clients.layerscale_table [VERSION...]    prints it, and writes docs/reference/layerscale-clients.md
                                                         where it is about all versions
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.clients.layerscale_environments import VERSIONS, Report, run_checks
from tests.clients.layerscale_world import standing

__all__ = ["UNPROVOKED", "failures", "render", "uncovered"]

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "layerscale-clients.md"

# Exceptions of the clients that no request to our server ends with, and why.
UNPROVOKED = {
    "LayerScaleError": "the base of them all; the first generation raises it itself when a wait takes too long",
    "APIError": "the base of those that a request ends with",
    "PermissionDeniedError": "403 is about licences, of which there are none",
    "UnprocessableEntityError": "422: what is wrong with a body is a 400",
    "RateLimitError": "429: requests wait for their turn",
}


def failures(report: Report) -> list[str]:
    """Say of each check that failed what was wrong."""
    return [
        f"{report.version} {client}: {subject}: {name}: {problem}"
        for subject, name, client, problem in report.results
        if problem is not None
    ]


def uncovered(report: Report) -> list[str]:
    """Name what the package has and no check is about."""
    checked = {(client, subject) for subject, _, client, _ in report.results}
    return [
        f"{report.version} {client}: {subject}"
        for client, methods in report.methods.items()
        for subject in [*methods, *(set(report.exceptions) - set(UNPROVOKED))]
        if (client, subject) not in checked
    ]


def render(reports: list[Report]) -> str:
    """Draw the table: a row a subject, a column a version; a cell is about both clients, sync and async."""
    methods = {name for report in reports for names in report.methods.values() for name in names}
    ordered = sorted(methods, key=lambda name: (name.startswith(("client.", "stream.", "socket.")), name))
    others = sorted({subject for report in reports for subject, *_ in report.results} - methods)
    rows = [["", *(report.version for report in reports)]]
    for subject in [*ordered, *others]:
        name = f"`{subject}`" if "." in subject or subject[0].isupper() else subject
        rows.append([name, *(_cell(report, subject) for report in reports)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows)


def _cell(report: Report, subject: str) -> str:
    """Of one version and subject: whether all checks passed, how many did not, or nothing where there is nothing."""
    problems = [problem for name, _, _, problem in report.results if name == subject]
    if not problems:
        return "✗" if any(subject in names for names in report.methods.values()) else ""
    n_wrong = sum(problem is not None for problem in problems)
    return f"✗ {n_wrong} of {len(problems)}" if n_wrong else "✓"


def main(versions: list[str]) -> int:
    """Run the checks, print the table and what failed; returns the exit status."""
    reports = []
    for version in versions or VERSIONS:
        with tempfile.TemporaryDirectory() as folder, standing(Path(folder)) as world:
            reports.append(run_checks(version, world))
    table = render(reports)
    print(table)
    problems = [line for report in reports for line in [*failures(report), *uncovered(report)]]
    print("\n".join(["", *problems]))
    if not versions:
        opening, _, _ = PAGE.read_text().partition("\n| ")
        PAGE.write_text(f"{opening.rstrip()}\n\n{table}\n")
    return bool(problems)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
