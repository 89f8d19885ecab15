"""Environments that hold one published version of the Python client `layerscale` each, and its checks run in one."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["VERSIONS", "Report", "Unreachable", "run_checks"]

VERSIONS = ("0.2.1", "0.3.0", "0.4.0", "0.5.2", "0.7.0", "0.8.0")

_CHECKS = Path(__file__).parent / "layerscale_checks" / "run_checks.py"
_CACHE = Path(__file__).parents[2] / "build" / "cache"
_NO_INDEX = (
    "No matching distribution",
    "Could not find a version",
    "Connection",
    "Temporary failure in name resolution",
)


class Unreachable(Exception):
    """There is no package index to install from."""


@dataclass(frozen=True)
class Report:
    """What came of the checks of one version.

    `methods` and `exceptions` are what the package has; a result is a check's subject, its name, the client that it was
    run with (`sync` or `async`), and what was wrong, if anything was.
    """

    version: str
    methods: dict[str, list[str]]
    exceptions: list[str]
    results: list[tuple[str, str, str, str | None]]


def run_checks(version: str, world: dict[str, Any]) -> Report:
    """Run every check that applies to a version, in its environment; `world` is the `World` of its harness.

    Raises:
        Unreachable: it is not installed, and cannot be.
    """
    packages = None if _is_beside_us(version) else _installed(version)
    alone = [] if packages is None else ["-S"]  # without what is installed beside us
    command = [sys.executable, *alone, str(_CHECKS), version]
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(packages or "")}
    done = subprocess.run(
        command, input=json.dumps(world), env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, f"the checks of layerscale {version} did not run:\n{done.stdout}{done.stderr}"
    found = json.loads(done.stdout)
    results = [(subject, name, client, problem) for subject, name, client, problem in found["results"]]
    return Report(version, found["methods"], found["exceptions"], results)


def _is_beside_us(version: str) -> bool:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("layerscale") == version
    return False


def _installed(version: str) -> Path:
    """The folder with a version and what it needs, filled on first use."""
    python = f"{platform.python_implementation().lower()}{sys.version_info.major}.{sys.version_info.minor}"
    folder = _CACHE / f"layerscale-{version}-{python}"
    if folder.is_dir():
        return folder
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as unfinished:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:"]
        install = [*pip, "--retries", "1", "--target", f"{unfinished}/packages", f"layerscale=={version}"]
        done = subprocess.run(install, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            if any(sign in done.stderr for sign in _NO_INDEX):
                raise Unreachable(
                    f"layerscale {version} is not in build/cache, and there is nothing to install it from"
                )
            raise AssertionError(done.stderr)
        with suppress(OSError):  # another run was faster
            os.rename(f"{unfinished}/packages", folder)
    return folder
