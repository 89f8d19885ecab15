"""Run every task of this folder, one after the other: `python -m bench [task ...]`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main(names: list[str]) -> int:
    """Run the named tasks, or all; the exit code is 1 where one failed."""
    tasks = sorted(path.parent.name for path in Path(__file__).parent.glob("*/report.py"))
    unknown = set(names) - set(tasks)
    if unknown:
        print(f"no task {', '.join(sorted(unknown))}; there are {', '.join(tasks)}", file=sys.stderr)
        return 2
    failed = []
    for task in names or tasks:
        print(f"== bench: {task}", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{task}.report"]).returncode != 0:
            failed.append(task)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
