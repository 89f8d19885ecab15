"""The names of the package, and what `import kvtape` does: next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import kvtape


def test_names_are_the_published_ones() -> None:
    assert set(kvtape.__all__) == {
        "AsyncEngine",
        "Engine",
        "FinishReason",
        "KvtapeError",
        "SamplingParams",
        "SharedRing",
        "TokenEvent",
        "client",
        "server",
    }
    assert kvtape.__all__ == sorted(kvtape.__all__)
    assert set(kvtape.__all__) <= set(dir(kvtape))


@pytest.mark.parametrize("name", kvtape.__all__)
def test_each_name_is_there(name: str) -> None:
    value = getattr(kvtape, name)
    assert value.__name__ in (name, f"kvtape.{name}")


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        kvtape.Motor  # noqa: B018


def test_importing_does_next_to_nothing() -> None:
    program = """
import json, os, sys, threading
import kvtape
n_threads = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else threading.active_count()
print(json.dumps({"modules": sorted(sys.modules), "n_threads": n_threads}))
"""
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    found = json.loads(run.stdout)
    heavy = {"numpy", "asyncio", "tokenizers", "minijinja", "msgspec", "rich", "httpx", "starlette", "uvicorn"}
    assert not heavy & set(found["modules"])
    assert [name for name in found["modules"] if name.startswith("kvtape.")] == []
    assert found["n_threads"] == 1
