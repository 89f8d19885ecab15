"""What the clients load."""

from __future__ import annotations

import subprocess
import sys


def test_the_client_needs_neither_the_native_library_nor_the_server():
    program = """
import sys, kvtape.client
print(sorted(m for m in sys.modules if m in ("kvtape._core", "kvtape._native", "numpy", "kvtape.server", "starlette")))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
