"""Runs the checks of the client in hand, see harness.py."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from client import World, exceptions, methods
from harness import CHECKS, numbers, perform


async def report(world: World) -> dict[str, Any]:
    """Run every check with either client, and say what there is in the package and what came of each check."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(16))
    listed = {"sync": sorted(methods(False)), "async": sorted(methods(True))}
    results = []
    for client, names in listed.items():
        for one in CHECKS:
            if one.applies(set(names), world.version):
                started = time.monotonic()
                problem = await perform(one, world, client == "async")
                results.append([one.subject, one.name, client, problem])
                said = f"{time.monotonic() - started:6.2f} s {client} {one.subject}: {one.name}: {problem or 'ok'}"
                print(said, file=sys.stderr, flush=True)
    return {"methods": listed, "exceptions": sorted(exceptions()), "results": results}


def main() -> None:
    """Read the world from stdin, and print what came of the checks."""
    version = importlib.metadata.version("layerscale")
    assert version == sys.argv[1], f"this is layerscale {version}"
    world = World(version=numbers(version), **json.load(sys.stdin))
    for generation in ("both", "gen1" if world.version < (0, 5) else "gen2"):
        for path in sorted(Path(__file__).parent.glob(f"{generation}_*.py")):
            importlib.import_module(path.stem)
    print(json.dumps(asyncio.run(report(world))), flush=True)
    os._exit(0)  # a check that has failed may have left a thread waiting


if __name__ == "__main__":
    main()
