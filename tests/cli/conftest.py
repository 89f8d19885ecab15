from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import kvtape


@pytest.fixture
def run_kvtape(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m kvtape ARGS` in an empty folder with only the KVTAPE_ variables given."""
    package = str(Path(kvtape.__file__).parents[1])

    def run(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("KVTAPE_")}
        return subprocess.run(
            [sys.executable, "-m", "kvtape", *args],
            env=env | {"PYTHONPATH": package} | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run
