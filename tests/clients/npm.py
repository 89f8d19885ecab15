"""Published clients from npm: their locked packages, and the scripts that drive them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["run_node_tests"]

_NODE = Path(__file__).parent / "node"
_UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ETIMEDOUT")


def run_node_tests(name: str, script: str, cache: pytest.Cache, **environment: str) -> None:
    """Run the tests in `node/NAME/SCRIPT` with the packages of its lock file, which are kept for the next run.

    Skips where there is no npm, or nothing to install from.
    """
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is not here")
    folder = cache.mkdir(f"node-{name}")
    _install(_NODE / name, folder)
    shutil.copy(_NODE / name / script, folder)
    command = ["node", "--test", script]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _install(source: Path, folder: Path) -> None:
    """Install what the lock file names, unless that has been done."""
    lock, done = (source / "package-lock.json").read_bytes(), folder / "installed.json"
    if done.exists() and done.read_bytes() == lock:
        return
    for file in ("package.json", "package-lock.json"):
        shutil.copy(source / file, folder)
    installing = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if any(code in installing.stderr for code in _UNREACHABLE):
        pytest.skip("npm has nothing to install from")
    assert installing.returncode == 0, installing.stderr
    done.write_bytes(lock)
